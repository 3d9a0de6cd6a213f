//! The dialect of SOFA (sofa-hessian 3.x), and the method of a SOFA request.
//!
//! | tags | value |
//! |------|-------|
//! | `N` `T` `F` | null, true, false |
//! | 80–bf, c0–cf +1, d0–d7 +2, `I` +4 | int |
//! | d8–ef, f0–ff +1, 38–3f +2, 77 +4, `L` +8 | long |
//! | 67, 68, 69 +1, 6a +2, 6b +4, `D` +8 | double |
//! | `d` +8 | date |
//! | 00–1f, `S` len16, `s` len16 (more follows) | string; lengths in UTF-16 units |
//! | 20–2f, `B` len16, `b` len16 (more follows) | bytes |
//! | `V` type? length? values `z`; `v` int int values | list |
//! | `M` type? pairs `z` | map |
//! | `O` int name int fields, then a value | class definition |
//! | `o` int values | object of a defined class |
//! | `J` +1, `K` +2, `R` +4 | reference |
//!
//! type: `t` len16 name, or `T` / `u` int. length: `n` +1, or `l` +4.

/// Bytes of a body that are looked at. A request object has `methodName` in its first 200 bytes;
/// a library that orders its fields otherwise may put a few properties before it.
pub const BODY_BYTES_MAX: usize = 8 * 1024;
/// Depth of values within values that are passed over; the depth that the project allows in any
/// reader.
pub const DEPTH_MAX: usize = 32;
/// Class definitions that are kept while values are passed over. The request itself needs one.
pub const CLASSES_MAX: usize = 32;

/// The method that a SOFA request names: the field `methodName` of its first object, which must be
/// of class `com.alipay.sofa.rpc.core.request.SofaRequest`.
///
/// `None` when there is no such object in the first [`BODY_BYTES_MAX`] bytes, when the field is
/// null, empty or no plain string, or when what stands before it cannot be read.
pub fn sofa_method(body: &[u8]) -> Option<&[u8]> {
    let body = body.get(..BODY_BYTES_MAX).unwrap_or(body);
    let mut reader = Reader { rest: body, classes: [0; CLASSES_MAX], classes_len: 0 };
    let mut request = None;
    loop {
        match reader.byte()? {
            b'O' => {
                let (class, method) = reader.definition()?;
                if class == crate::bolt::CLASS_REQUEST {
                    request = Some((reader.classes_len.checked_sub(1)?, method?));
                }
            }
            b'o' => break,
            _ => return None,
        }
    }
    let (class, fields_before) = request?;
    if reader.int()? != i32::try_from(class).ok()? {
        return None;
    }
    for _ in 0..fields_before {
        reader.skip_value()?;
    }
    reader.short_string().filter(|method| !method.is_empty())
}

struct Reader<'a> {
    rest: &'a [u8],
    /// How many fields each defined class has.
    classes: [u16; CLASSES_MAX],
    classes_len: usize,
}

/// A value whose parts are being passed over.
#[derive(Clone, Copy)]
enum Open {
    /// So many values are left.
    Values(u32),
    /// Values until `z`.
    UntilEnd,
}

impl<'a> Reader<'a> {
    /// Passes over one value with all that is in it. Every turn of the loop takes at least one
    /// byte or closes a value that took one, so the input bounds the work.
    fn skip_value(&mut self) -> Option<()> {
        let mut stack = [Open::Values(0); DEPTH_MAX];
        let mut depth = 1;
        *stack.first_mut()? = Open::Values(1);
        while depth > 0 {
            let top = stack.get_mut(depth - 1)?;
            match top {
                Open::Values(0) => {
                    depth -= 1;
                    continue;
                }
                Open::Values(left) => *left -= 1,
                Open::UntilEnd if self.rest.first() == Some(&b'z') => {
                    self.bytes(1)?;
                    depth -= 1;
                    continue;
                }
                Open::UntilEnd => {}
            }
            if let Some(open) = self.begin_value()? {
                *stack.get_mut(depth)? = open;
                depth += 1;
            }
        }
        Some(())
    }

    /// Passes over a value, or the beginning of one that has parts. The outer `None` is failure.
    #[expect(clippy::option_option, reason = "failure and a value without parts are different")]
    fn begin_value(&mut self) -> Option<Option<Open>> {
        let tag = self.byte()?;
        match tag {
            b'N' | b'T' | b'F' | 0x80..=0xbf | 0xd8..=0xef | 0x67 | 0x68 => {}
            0xc0..=0xcf | 0xf0..=0xff | 0x69 | b'J' => self.bytes(1)?,
            0xd0..=0xd7 | 0x38..=0x3f | 0x6a | b'K' => self.bytes(2)?,
            b'I' | 0x77 | 0x6b | b'R' => self.bytes(4)?,
            b'L' | b'D' | b'd' => self.bytes(8)?,
            0x00..=0x1f | b'S' | b's' => self.string_chunks(tag)?,
            0x20..=0x2f => self.bytes(usize::from(tag - 0x20))?,
            b'B' | b'b' => self.binary_chunks(tag)?,
            b'V' => {
                self.optional_type()?;
                self.optional_length()?;
                return Some(Some(Open::UntilEnd));
            }
            b'v' => {
                self.int()?;
                return Some(Some(Open::Values(u32::try_from(self.int()?).ok()?)));
            }
            b'M' => {
                self.optional_type()?;
                return Some(Some(Open::UntilEnd));
            }
            b'O' => {
                self.definition()?;
                return Some(Some(Open::Values(1)));
            }
            b'o' => {
                let class = usize::try_from(self.int()?).ok()?;
                let fields = *self.classes.get(..self.classes_len)?.get(class)?;
                return Some(Some(Open::Values(u32::from(fields))));
            }
            _ => return None,
        }
        Some(None)
    }

    /// A class definition after its tag: the name, and the place of `methodName` in it.
    fn definition(&mut self) -> Option<(&'a [u8], Option<u16>)> {
        let units = usize::try_from(self.int()?).ok()?;
        let name = self.string_units(units)?;
        let fields = u16::try_from(self.int()?).ok()?;
        let mut method = None;
        for index in 0..fields {
            if self.short_string()? == METHOD_FIELD {
                method = Some(index);
            }
        }
        *self.classes.get_mut(self.classes_len)? = fields;
        self.classes_len += 1;
        Some((name, method))
    }

    fn int(&mut self) -> Option<i32> {
        let tag = self.byte()?;
        let tag_value = i32::from(tag);
        match tag {
            0x80..=0xbf => Some(tag_value - 0x90),
            0xc0..=0xcf => Some(((tag_value - 0xc8) << 8) + i32::from(self.byte()?)),
            0xd0..=0xd7 => {
                Some(((tag_value - 0xd4) << 16) + i32::from(u16::from_be_bytes(self.chunk()?)))
            }
            b'I' => Some(i32::from_be_bytes(self.chunk()?)),
            _ => None,
        }
    }

    /// A string in one piece.
    fn short_string(&mut self) -> Option<&'a [u8]> {
        let units = match self.byte()? {
            tag @ 0x00..=0x1f => usize::from(tag),
            b'S' => usize::from(u16::from_be_bytes(self.chunk()?)),
            _ => return None,
        };
        self.string_units(units)
    }

    fn string_chunks(&mut self, mut tag: u8) -> Option<()> {
        loop {
            let units = match tag {
                0x00..=0x1f => usize::from(tag),
                b'S' | b's' => usize::from(u16::from_be_bytes(self.chunk()?)),
                _ => return None,
            };
            self.string_units(units)?;
            if tag != b's' {
                return Some(());
            }
            tag = self.byte()?;
        }
    }

    fn binary_chunks(&mut self, mut tag: u8) -> Option<()> {
        loop {
            let bytes = match tag {
                0x20..=0x2f => usize::from(tag - 0x20),
                b'B' | b'b' => usize::from(u16::from_be_bytes(self.chunk()?)),
                _ => return None,
            };
            self.bytes(bytes)?;
            if tag != b'b' {
                return Some(());
            }
            tag = self.byte()?;
        }
    }

    /// So many UTF-16 units, each written in one to three bytes; characters beyond the basic plane
    /// are two surrogates of three bytes. Java refuses sequences of four bytes.
    fn string_units(&mut self, units: usize) -> Option<&'a [u8]> {
        let mut at = 0;
        for _ in 0..units {
            at += match self.rest.get(at)? {
                0x00..=0x7f => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => return None,
            };
        }
        let (text, rest) = self.rest.split_at_checked(at)?;
        self.rest = rest;
        Some(text)
    }

    fn optional_type(&mut self) -> Option<()> {
        match self.rest.first()? {
            b't' => {
                self.bytes(1)?;
                let units = usize::from(u16::from_be_bytes(self.chunk()?));
                self.string_units(units)?;
            }
            b'T' | b'u' => {
                self.bytes(1)?;
                self.int()?;
            }
            _ => {}
        }
        Some(())
    }

    fn optional_length(&mut self) -> Option<()> {
        match self.rest.first()? {
            b'n' => self.bytes(2),
            b'l' => self.bytes(5),
            _ => Some(()),
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*chunk)
    }

    fn bytes(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }
}

const METHOD_FIELD: &[u8] = b"methodName";
