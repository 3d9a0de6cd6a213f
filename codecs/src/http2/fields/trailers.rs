//! The field list behind the content (RFC 9113 §8.1; RFC 9110 §6.5).

use crate::Fields;
use crate::http::name::is_refused_in_trailers;

use super::{Budget, FieldLimits, FieldsError, check, malformed};

/// Fills trailers.
#[derive(Debug)]
pub(in crate::http2) struct TrailerFields<'a> {
    fields: &'a mut Fields,
    budget: Budget,
    error: Option<FieldsError>,
}

impl<'a> TrailerFields<'a> {
    /// Begins a list; the fields that there were are forgotten.
    pub(in crate::http2) fn new(fields: &'a mut Fields, limits: &FieldLimits) -> Self {
        fields.clear();
        Self { fields, budget: Budget::new(limits.trailer_bytes_max, limits), error: None }
    }

    /// Takes the next field.
    pub(in crate::http2) fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.error.is_none() {
            self.error = self.take(name, value).err();
        }
    }

    /// Ends the list.
    ///
    /// # Errors
    /// The first thing that was wrong; the fields are not to be used then.
    pub(in crate::http2) fn finish(self) -> Result<(), FieldsError> {
        self.error.map_or(Ok(()), Err)
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldsError> {
        self.budget.pay(name, value)?;
        // RFC 9113 §8.1: no pseudo fields.
        if name.starts_with(b":") {
            return Err(PSEUDO);
        }
        self.budget.count_field()?;
        check(name, value)?;
        if is_refused_in_trailers(name) {
            return Err(TRAILER);
        }
        self.fields.push(name, value);
        Ok(())
    }
}

const PSEUDO: FieldsError = malformed("pseudo_field_in_trailers");
const TRAILER: FieldsError = malformed("trailer_not_allowed");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::fields::FieldsErrorKind;
    use crate::http2::fields::hostile::pairs;

    fn read(list: &str) -> Result<Fields, FieldsError> {
        let mut fields = Fields::new();
        fields.push(b"old", b"");
        let mut trailers = TrailerFields::new(&mut fields, &FieldLimits::default());
        pairs(list).for_each(|(name, value)| trailers.push(&name, &value));
        trailers.finish()?;
        Ok(fields)
    }

    #[test]
    fn trailers_are_plain_fields() {
        let fields = read("grpc-status: 0\ngrpc-message: \nx: a\tb").unwrap();
        let expected = [("grpc-status", "0"), ("grpc-message", ""), ("x", "a\tb")];
        let expected = expected.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert_eq!(fields.iter().collect::<Vec<_>>(), expected);
        assert_eq!(read("").unwrap().len(), 0);
    }

    #[test]
    fn what_frames_routes_or_describes_comes_too_late() {
        for (list, reason) in [
            (":status: 200", "pseudo_field_in_trailers"),
            ("x: y\n:path: /", "pseudo_field_in_trailers"),
            (":: x", "pseudo_field_in_trailers"),
            ("content-length: 0", "trailer_not_allowed"),
            ("host: a", "trailer_not_allowed"),
            ("te: trailers", "trailer_not_allowed"),
            ("te: gzip", "te_malformed"),
            ("expect: 100-continue", "trailer_not_allowed"),
            ("transfer-encoding: chunked", "connection_specific_field"),
            ("connection: close", "connection_specific_field"),
            ("authorization: x", "trailer_not_allowed"),
            ("cookie: x", "trailer_not_allowed"),
            ("set-cookie: x", "trailer_not_allowed"),
            ("content-type: x", "trailer_not_allowed"),
            ("content_length: 1", "field_name_disguised"),
            ("X: y", "field_name"),
            ("x:  y", "field_value"),
        ] {
            let error = read(list).unwrap_err();
            assert_eq!((error.reason, error.kind), (reason, FieldsErrorKind::Malformed), "{list}");
        }
    }

    #[test]
    fn trailers_have_limits_of_their_own() {
        // 1 + 8,159 + 32 bytes are 8 KiB.
        assert_eq!(read(&format!("x: {}", "a".repeat(8_159))).unwrap().len(), 1);
        let error = read(&format!("x: {}", "a".repeat(8_160))).unwrap_err();
        assert_eq!((error.reason, error.kind), ("fields_too_large", FieldsErrorKind::TooLarge));
        assert_eq!(read("x: y\n".repeat(100).trim_end()).unwrap().len(), 100);
        let error = read("x: y\n".repeat(101).trim_end()).unwrap_err();
        assert_eq!((error.reason, error.kind), ("too_many_fields", FieldsErrorKind::TooLarge));
    }
}
