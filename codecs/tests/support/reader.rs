//! A second reading of HTTP/1.1 messages: as plain as can be, with nothing of the codec in it, and
//! strict. It is what an origin sees that takes no liberties.

/// A message as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The three words of the first line.
    pub first: [Vec<u8>; 3],
    /// Name and value of each field.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The content.
    pub body: Vec<u8>,
    /// Fields after it.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Message {
    /// The values of a field.
    pub fn all(&self, lower: &str) -> Vec<&[u8]> {
        let matches = |name: &[u8]| name.to_ascii_lowercase() == lower.as_bytes();
        self.fields.iter().filter(|(name, _)| matches(name)).map(|(_, value)| &value[..]).collect()
    }
}

/// Reads one request from the front; gives it and what stands behind it.
///
/// # Errors
/// It is not whole, or not well formed, in words.
pub fn request(bytes: &[u8]) -> Result<(Message, &[u8]), String> {
    let (head, rest) = split_at_text(bytes, b"\r\n\r\n").ok_or("no end of head")?;
    let mut lines = split_all(head, b"\r\n").into_iter();
    let line = lines.next().ok_or("no request line")?;
    let words = split_all(line, b" ");
    let [method, target, version] = words[..] else {
        return Err(format!("{} words in the request line", words.len()));
    };
    if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
        return Err("another version".to_owned());
    }
    if method.is_empty() || target.is_empty() || line.iter().any(|it| !(0x20..0x7f).contains(it)) {
        return Err("odd bytes in the request line".to_owned());
    }
    let mut message = Message {
        first: [method.to_vec(), target.to_vec(), version.to_vec()],
        fields: lines.map(field).collect::<Result<_, _>>()?,
        body: Vec::new(),
        trailers: Vec::new(),
    };
    if version == b"HTTP/1.1" && message.all("host").len() != 1 {
        return Err("not exactly one host".to_owned());
    }
    let transfer = message.all("transfer-encoding");
    let lengths = message.all("content-length");
    let rest = match (&transfer[..], &lengths[..]) {
        ([], []) => rest,
        ([], [length]) => {
            let length: usize = number(length, 10).ok_or("odd content length")?;
            let (body, rest) = rest.split_at_checked(length).ok_or("body is cut off")?;
            message.body = body.to_vec();
            rest
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => chunks(rest, &mut message)?,
        _ => return Err("framing in more than one way".to_owned()),
    };
    Ok((message, rest))
}

fn chunks<'a>(mut rest: &'a [u8], message: &mut Message) -> Result<&'a [u8], String> {
    loop {
        let (line, after) = split_at_text(rest, b"\r\n").ok_or("no chunk size")?;
        let size = line.split(|it| *it == b';').next().unwrap_or_default();
        let size = number(size, 16).ok_or("odd chunk size")?;
        if size == 0 {
            rest = after;
            break;
        }
        let (data, after) = after.split_at_checked(size).ok_or("chunk is cut off")?;
        message.body.extend_from_slice(data);
        rest = after.strip_prefix(b"\r\n").ok_or("no end of chunk")?;
    }
    loop {
        let (line, after) = split_at_text(rest, b"\r\n").ok_or("no end of trailers")?;
        rest = after;
        if line.is_empty() {
            return Ok(rest);
        }
        message.trailers.push(field(line)?);
    }
}

fn field(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    let colon = line.iter().position(|it| *it == b':').ok_or("no colon")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let is_token = |it: &u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(it);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err("odd field name".to_owned());
    }
    if value.iter().any(|it| (*it < 0x20 && *it != b'\t') || *it == 0x7f) {
        return Err("odd field value".to_owned());
    }
    Ok((name.to_vec(), value.to_vec()))
}

fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = text.bytes().all(|it| char::from(it).is_digit(radix));
    usize::from_str_radix(text, radix).ok().filter(|_| plain)
}

fn split_at_text<'a>(bytes: &'a [u8], text: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(text.len()).position(|it| it == text)?;
    Some((&bytes[..at], &bytes[at + text.len()..]))
}

fn split_all<'a>(mut bytes: &'a [u8], text: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some((part, rest)) = split_at_text(bytes, text) {
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}
