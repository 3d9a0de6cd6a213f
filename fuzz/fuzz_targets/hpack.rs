//! HPACK: blocks that follow one another, with changes of the table's size between them. Freezing
//! changes nothing; another decoder reads the same; and what was read is written and read again,
//! by both.
#![no_main]

use bytes::BytesMut;
use hangu_codecs::http2::hpack::{Decoder, Encoder, Error, Found};
use hangu_fuzz::Choices;
use libfuzzer_sys::fuzz_target;
use loona_hpack::Decoder as Judge;
use loona_hpack::decoder::{DecoderError, IntegerDecodingError};
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|input: &[u8]| {
    let (mut bytes, mut choices) = Choices::split(input);
    let mut reader = Reader::new();
    let mut writer = Writer::new();
    while !bytes.is_empty() {
        let plan = choices.byte();
        if plan & 1 == 1 {
            reader.set_table_bytes_max(choices.up_to(5000));
        }
        if plan & 2 == 2 {
            writer.set_table_bytes_max(choices.up_to(5000));
        }
        let block_bytes = if choices.is_empty() { bytes.len() } else { choices.up_to(bytes.len()) };
        let (block, rest) = bytes.split_at(block_bytes);
        bytes = rest;
        let Some(fields) = reader.read(block) else { return };
        writer.write(&fields);
    }
});

/// A field with a name in lower case, and whether it is never to be indexed.
type Field = (Vec<u8>, Vec<u8>, bool);

fn owned(found: Found<'_>) -> Field {
    (found.name.to_vec(), found.value.to_vec(), found.is_never_indexed)
}

fn fields_of(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, Error> {
    let mut fields = Vec::new();
    decoder.decode(block, |it| fields.push(owned(it)))?;
    Ok(fields)
}

fn thawed<S: Serialize + DeserializeOwned>(state: &S) -> S {
    let bytes = postcard::to_stdvec(state).expect("a plain state");
    assert!(bytes.len() <= 8192, "{} bytes frozen", bytes.len());
    postcard::from_bytes(&bytes).expect("own snapshot")
}

/// Reads what a peer sent: at once, moved after each block, and as another decoder does.
struct Reader {
    whole: Decoder,
    moved: Decoder,
    judge: Judge<'static>,
}

impl Reader {
    fn new() -> Self {
        let mut judge = Judge::new();
        judge.set_max_allowed_table_size(4096);
        Self { whole: Decoder::new(4096), moved: Decoder::new(4096), judge }
    }

    fn set_table_bytes_max(&mut self, bytes_max: usize) {
        let narrow = u32::try_from(bytes_max).expect("a small number");
        self.whole.set_table_bytes_max(narrow);
        self.moved.set_table_bytes_max(narrow);
        self.judge.set_max_allowed_table_size(bytes_max);
    }

    /// The fields, when all agree on them.
    fn read(&mut self, block: &[u8]) -> Option<Vec<Field>> {
        let fields = fields_of(&mut self.whole, block);
        assert_eq!(fields_of(&mut self.moved, block), fields, "a move changed what was read");
        self.moved = thawed(&self.moved);
        match (fields, self.judge.decode(block)) {
            (Ok(fields), Ok(judged)) => {
                let pairs = fields.iter().map(|it| (&it.0, &it.1));
                assert!(pairs.eq(judged.iter().map(|it| (&it.0, &it.1))), "{judged:?}");
                Some(fields)
            }
            (Ok(_), Err(error)) => {
                assert!(is_narrow(&error), "only the other refuses this: {error:?}");
                None
            }
            (Err(error), Ok(_)) => {
                assert!(is_strict(error), "only we refuse this: {error:?}");
                None
            }
            (Err(_), Err(_)) => None,
        }
    }
}

/// What the other decoder refuses and the RFC allows: integers with more zeros than it likes, and
/// a block that has nothing but changes of the size.
fn is_narrow(error: &DecoderError) -> bool {
    matches!(
        error,
        DecoderError::SizeUpdateAtEnd
            | DecoderError::IntegerDecodingError(IntegerDecodingError::TooManyOctets)
    )
}

/// What the other decoder does not look at.
fn is_strict(error: Error) -> bool {
    matches!(error, Error::SizeUpdateLate | Error::SizeUpdateMissing)
}

/// Writes fields: at once, and moved after each block. Both decoders read them.
struct Writer {
    whole: Encoder,
    moved: Encoder,
    reader: Reader,
}

impl Writer {
    fn new() -> Self {
        Self { whole: Encoder::new(), moved: Encoder::new(), reader: Reader::new() }
    }

    fn set_table_bytes_max(&mut self, bytes_max: usize) {
        let narrow = u32::try_from(bytes_max).expect("a small number");
        self.whole.set_table_bytes_max(narrow);
        self.moved.set_table_bytes_max(narrow);
        self.reader.set_table_bytes_max(bytes_max);
    }

    fn write(&mut self, fields: &[Field]) {
        if fields.is_empty() {
            // The other decoder takes no block of mere sizes.
            return;
        }
        let block = block_of(&mut self.whole, fields);
        assert_eq!(block_of(&mut self.moved, fields), block, "a move changed what was written");
        self.moved = thawed(&self.moved);
        let again = self.reader.read(&block).expect("all read what we write");
        assert_eq!(again.len(), fields.len());
        for (again, field) in again.iter().zip(fields) {
            assert_eq!((&again.0, &again.1), (&field.0.to_ascii_lowercase(), &field.1));
            assert!(again.2 || !field.2, "a secret is passed on as one");
        }
    }
}

fn block_of(encoder: &mut Encoder, fields: &[Field]) -> BytesMut {
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    for (name, value, is_secret) in fields {
        match is_secret {
            true => encoder.secret(name, value, &mut out),
            false => encoder.field(name, value, &mut out),
        }
    }
    out
}
