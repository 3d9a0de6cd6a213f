//! The header fields of SOFA: `{length, name, length, value}` repeated, lengths as signed 32-bit
//! integers; a negative one means null and is followed by no bytes.

use crate::message::RpcFields;

/// One field as it stands: either part may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name.
    pub name: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// Reads one field from the front of a block: the field and the rest. `None` when the block does
/// not begin with a whole field.
#[inline]
pub fn field(block: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (name, rest) = text(block)?;
    let (value, rest) = text(rest)?;
    Some((Field { name, value }, rest))
}

/// Fields with a name and a value, as routing sees them; Java drops the others as well.
pub(super) fn fields(block: &[u8]) -> RpcFields<'_> {
    RpcFields::new(block, read)
}

fn read(mut block: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    loop {
        let (field, rest) = field(block)?;
        if let (Some(name), Some(value)) = (field.name, field.value) {
            return Some((name, value, rest));
        }
        block = rest;
    }
}

#[inline]
fn text(block: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = block.split_first_chunk::<4>()?;
    let length = i32::from_be_bytes(*length);
    if length < 0 {
        return Some((None, rest));
    }
    let (text, rest) = rest.split_at_checked(length.cast_unsigned() as usize)?;
    Some((Some(text), rest))
}

/// Appends one field.
pub(super) fn write(field: Field<'_>, mut put: impl FnMut(&[u8])) {
    for text in [field.name, field.value] {
        match text {
            None => put(&NULL.to_be_bytes()),
            Some(text) => {
                put(&i32::try_from(text.len()).unwrap_or(NULL).to_be_bytes());
                put(text);
            }
        }
    }
}

const NULL: i32 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_a_null_are_passed_over_and_the_last_of_a_name_counts() {
        let mut block = Vec::new();
        let all = [
            (Some("a"), Some("1")),
            (None, Some("x")),
            (Some("n"), None),
            (Some(""), Some("")),
            (Some("a"), Some("2")),
        ];
        for (name, value) in all {
            let field = Field { name: name.map(str::as_bytes), value: value.map(str::as_bytes) };
            write(field, |it| block.extend_from_slice(it));
        }
        let pairs: Vec<_> = fields(&block).iter().collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"", b""), (b"a", b"2")]);
        assert_eq!(fields(&block).find(b"a"), Some(&b"2"[..]));
        assert_eq!(fields(&block).find(b"n"), None);
    }

    #[test]
    fn a_length_beyond_the_end_is_no_field() {
        assert_eq!(field(b"\0\0\0\x02a"), None);
        assert_eq!(field(b"\x7f\xff\xff\xffa"), None);
        assert_eq!(field(b"\0\0\0\x01a"), None, "a name without a value");
        assert_eq!(field(b"\0\0\0"), None);
        let negative = Field { name: None, value: None };
        assert_eq!(field(b"\x80\0\0\0\xff\xff\xff\xff!"), Some((negative, &b"!"[..])));
    }
}
