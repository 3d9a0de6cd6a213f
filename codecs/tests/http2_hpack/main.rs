//! HPACK: the examples of the RFC, stories of real traffic, properties, and what a hostile peer
//! may send.

#[path = "../support/allocations.rs"]
#[allow(unreachable_pub, reason = "other test binaries use it from within a module")]
mod allocations;
mod choices;
mod hostile;
mod properties;
mod rfc;
mod stories;

use bytes::BytesMut;
use hangu_codecs::http2::hpack::{Decoder, Encoder, Error};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Name, value, and whether it is never to be indexed.
type Field = (Vec<u8>, Vec<u8>, bool);

/// Name and value.
type Pair = (Vec<u8>, Vec<u8>);

/// Fields as a list that is written with a plain hand.
fn list(fields: &[(&str, &str)]) -> Vec<Field> {
    let field = |it: &(&str, &str)| (it.0.as_bytes().to_vec(), it.1.as_bytes().to_vec(), false);
    fields.iter().map(field).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|it| !it.is_ascii_whitespace()).collect();
    let pair = |it: &[u8]| u8::from_str_radix(std::str::from_utf8(it).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// The fields of a block.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, Error> {
    let mut fields = Vec::new();
    decoder.decode(block, |it| {
        fields.push((it.name.to_vec(), it.value.to_vec(), it.is_never_indexed));
    })?;
    Ok(fields)
}

/// Names and values of a block.
fn decode_pairs(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Pair>, Error> {
    Ok(decode(decoder, block)?.into_iter().map(|it| (it.0, it.1)).collect())
}

/// One block of these fields.
fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(encoder: &mut Encoder, fields: &[(N, V)]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.field(name.as_ref(), value.as_ref(), &mut out);
    }
    out.to_vec()
}

fn frozen<S: serde::Serialize>(state: &S) -> Vec<u8> {
    postcard::to_stdvec(state).unwrap()
}

/// Through bytes and back, as a swap carries it.
fn thawed<S: serde::Serialize + serde::de::DeserializeOwned>(state: &S) -> S {
    let bytes = frozen(state);
    let state = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(frozen(&state), bytes);
    state
}
