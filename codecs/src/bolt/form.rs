//! Forms of headers: what one walk over the fields finds, to be used again.
//!
//! Where fields begin and end is known only by reading one length after the other, each of which
//! says where the next one stands: a chain of loads that no processor shortens. But the headers of
//! a caller's requests are alike. So the last ones are kept as *forms*: the bytes of all lengths
//! and names, and where the values stand. A header that has exactly these lengths and names, which
//! a comparison in any order tells, has its values in the same places, whatever they are. A header
//! of another form is walked.

use super::wire::Found;

/// The forms of headers that came last, by their length. For all connections of a thread, as
/// [`crate::Scratch`] is.
#[derive(Debug, Default)]
pub struct Forms {
    forms: Vec<Form>,
    missed: u32,
    /// What is found in a header without fields.
    nothing: Found,
}

/// A header without its values.
#[derive(Clone, Debug, Default)]
struct Form {
    /// A header that had it, with zeros for its values, which are nobody's business here.
    block: Vec<u8>,
    /// All ones where it has lengths and names, and zeros where it has values.
    mask: Vec<u8>,
    fields: usize,
    found: Found,
}

impl Forms {
    /// What a walk over the header would find; `None` if its form is not known, or has more fields
    /// than that.
    #[inline(always)]
    pub(super) fn find(&self, block: &[u8], fields_max: usize) -> Option<&Found> {
        // Most answers have no fields.
        if block.is_empty() {
            return Some(&self.nothing);
        }
        let form = self.forms.get(block.len() % FORMS)?;
        (form.fields <= fields_max && form.is_of(block)).then_some(&form.found)
    }

    /// Keeps the form of a header that was walked: of one in so many, so that headers that are all
    /// different are not made dearer.
    #[inline]
    pub(super) fn learn(&mut self, block: &[u8], fields: usize, found: &Found) {
        self.missed = self.missed.wrapping_add(1);
        if self.missed.is_multiple_of(LEARNT_EVERY) && block.len() <= BLOCK_BYTES_MAX {
            self.keep(block, fields, found);
        }
    }

    #[cold]
    fn keep(&mut self, block: &[u8], fields: usize, found: &Found) {
        if self.forms.is_empty() {
            self.forms.resize(FORMS, Form::default());
        }
        let Some(form) = self.forms.get_mut(block.len() % FORMS) else { return };
        form.block.clear();
        form.block.extend_from_slice(block);
        form.mask.clear();
        form.mask.resize(block.len(), !0);
        let mut rest = block;
        while let Some((field, after)) = super::field(rest) {
            let end = block.len() - after.len();
            let value = end - field.value.map_or(0, <[u8]>::len)..end;
            for bytes in [&mut form.mask, &mut form.block] {
                bytes.get_mut(value.clone()).unwrap_or_default().fill(0);
            }
            rest = after;
        }
        (form.fields, form.found) = (fields, *found);
    }
}

impl Form {
    /// Whether a header has the same lengths and names. Written so that a compiler takes many bytes
    /// at once.
    #[inline(always)]
    fn is_of(&self, block: &[u8]) -> bool {
        if self.block.len() != block.len() {
            return false;
        }
        let pairs = block.iter().zip(&self.block).zip(&self.mask);
        pairs.fold(0, |differs, ((one, kept), mask)| differs | ((one & mask) ^ kept)) == 0
    }
}

/// Places for forms. Some callers have several methods, and values of several lengths.
const FORMS: usize = 64;
/// Longer headers are walked: a form takes twice as much memory.
const BLOCK_BYTES_MAX: usize = 1024;
/// One in so many unknown forms is kept.
const LEARNT_EVERY: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bolt::{Field, header};

    fn block(fields: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let (name, value) = (Some(name.as_bytes()), value.map(str::as_bytes));
            header::write(Field { name, value }, |it| block.extend_from_slice(it));
        }
        block
    }

    fn knowing(block: &[u8]) -> Forms {
        let mut forms = Forms::default();
        (0..LEARNT_EVERY).for_each(|_| forms.learn(block, 2, &Found::default()));
        forms
    }

    #[test]
    fn values_may_differ_and_nothing_else_may() {
        let forms = knowing(&block(&[("ab", Some("cd")), ("e", Some("fgh"))]));
        let knows = |fields: &[_]| forms.find(&block(fields), 2).is_some();
        assert!(knows(&[("ab", Some("cd")), ("e", Some("fgh"))]));
        assert!(knows(&[("ab", Some("xx")), ("e", Some("yyy"))]));
        assert!(!knows(&[("ax", Some("cd")), ("e", Some("fgh"))]), "another name");
        assert!(!knows(&[("ab", Some("c")), ("e", Some("dfgh"))]), "the same bytes otherwise cut");
        assert!(!knows(&[("abcdefg", None), ("e", Some(""))]), "the same length");
        assert!(!knows(&[("ab", Some("cd")), ("e", Some("fghi"))]));
        assert!(forms.find(&block(&[("ab", Some("cd")), ("e", Some("fgh"))]), 1).is_none());
    }

    #[test]
    fn no_value_is_kept() {
        let forms = knowing(&block(&[("ab", Some("secret")), ("e", None)]));
        let kept = forms.forms.iter().flat_map(|it| &it.block);
        assert!(!kept.copied().collect::<Vec<_>>().windows(6).any(|it| it == b"secret"));
        assert!(forms.find(&block(&[("ab", Some("public")), ("e", None)]), 2).is_some());
    }

    #[test]
    fn a_header_that_is_too_long_has_no_form() {
        let long = block(&[("a", Some(&"b".repeat(BLOCK_BYTES_MAX)))]);
        assert!(knowing(&long).find(&long, 9).is_none());
    }
}
