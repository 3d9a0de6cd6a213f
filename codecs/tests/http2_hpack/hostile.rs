//! What a peer may send to break the decoder, to make it work, or to make it hold much.

use super::allocations::counted;
use super::*;

fn error(block: &[u8]) -> Error {
    decode(&mut Decoder::new(4096), block).unwrap_err()
}

#[test]
fn what_cannot_be_read_is_refused() {
    let cases: &[(&[u8], Error)] = &[
        // Indices: 0, the first that is not there, far away, in a literal.
        (b"\x80", Error::Index),
        (b"\xbe", Error::Index),
        (b"\xff\x80\x80\x80\x80\x08", Error::Index),
        (b"\x7e\x01a", Error::Index),
        (b"\x1f\x2f\x01a", Error::Index),
        (b"\x0f\x2f\x01a", Error::Index),
        // Integers: more than 32 bits, too many bytes.
        (b"\xff\x81\xff\xff\xff\x0f", Error::Integer),
        (b"\xff\xff\xff\xff\xff\x7f", Error::Integer),
        (b"\xff\x80\x80\x80\x80\x80\x00", Error::Integer),
        (b"\x3f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Error::Integer),
        // Ends in the middle of an index, of a name, of a value, of their lengths.
        (b"\xff", Error::Truncated),
        (b"\xff\x80", Error::Truncated),
        (b"\x40", Error::Truncated),
        (b"\x40\x01", Error::Truncated),
        (b"\x40\x01a", Error::Truncated),
        (b"\x40\x01a\x02b", Error::Truncated),
        (b"\x41\x7f", Error::Truncated),
        (b"\x41\x7f\xff\xff\xff\xff\x07abc", Error::Truncated),
        (b"\x41\xff\xff\xff\xff\xff\x07abc", Error::Truncated),
        (b"\x3f", Error::Truncated),
        // Huffman code: padding of eight bits, of zeros, the end of the string within it.
        (b"\x41\x81\xff", Error::HuffmanPadding),
        (b"\x41\x81\x00", Error::HuffmanPadding),
        (b"\x41\x82\x07\xff", Error::HuffmanPadding),
        (b"\x41\x84\xff\xff\xff\xff", Error::HuffmanEnd),
        (b"\x40\x84\xff\xff\xff\xff\x00", Error::HuffmanEnd),
        // Sizes: too large, after a field.
        (b"\x3f\xe2\x1f", Error::SizeUpdateTooLarge),
        (b"\x20\x3f\xe2\x1f", Error::SizeUpdateTooLarge),
        (b"\x82\x20", Error::SizeUpdateLate),
        (b"\x20\x82\x3f\xe1\x1f", Error::SizeUpdateLate),
    ];
    for (block, expected) in cases {
        assert_eq!(error(block), *expected, "{block:x?}");
    }
}

#[test]
fn an_error_has_a_label_and_a_text() {
    let all = [
        Error::Truncated,
        Error::Integer,
        Error::Index,
        Error::HuffmanEnd,
        Error::HuffmanPadding,
        Error::SizeUpdateLate,
        Error::SizeUpdateTooLarge,
        Error::SizeUpdateMissing,
    ];
    let reasons: std::collections::BTreeSet<_> = all.iter().map(|it| it.reason()).collect();
    assert_eq!(reasons.len(), all.len());
    for error in all {
        assert!(error.reason().bytes().all(|it| it.is_ascii_lowercase() || it == b'_'));
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn fields_before_the_error_are_seen() {
    let mut seen = 0;
    let result = Decoder::new(4096).decode(b"\x82\x86\x80\x84", |_| seen += 1);
    assert_eq!((result, seen), (Err(Error::Index), 2));
}

#[test]
fn a_table_that_had_to_become_smaller_and_did_not_is_refused() {
    let decoder = |sizes: &[u32]| {
        let mut decoder = Decoder::new(4096);
        assert_eq!(decode(&mut decoder, b"\x41\x01a"), Ok(list(&[(":authority", "a")])));
        for size in sizes {
            decoder.set_table_bytes_max(*size);
            decoder = thawed(&decoder);
        }
        decoder
    };
    let missing = Err(Error::SizeUpdateMissing);
    assert_eq!(decode(&mut decoder(&[100]), b"\x82"), missing);
    assert_eq!(decode(&mut decoder(&[100]), b""), missing);
    assert_eq!(decode(&mut decoder(&[0, 4096]), b"\x82"), missing);
    assert_eq!(decode(&mut decoder(&[0, 4096]), b"\x3f\xe1\x1f\x82"), missing);
    assert_eq!(decode(&mut decoder(&[30, 20, 30]), b"\x3e\x82"), missing);
    assert_eq!(decode(&mut decoder(&[100]), b"\x3f\x46\x82"), Err(Error::SizeUpdateTooLarge));
    // The entry is there until the peer says that it is gone.
    for (sizes, block) in [
        (&[100][..], &b"\x3f\x45\xbe"[..]),
        (&[100], b"\x3f\x44\xbe"),
        (&[43, 4096], b"\x3f\x0c\x3f\xe1\x1f\xbe"),
        (&[65536], b"\xbe"),
        (&[65536], b"\x3f\xe1\xff\x03\xbe"),
        (&[4096], b"\xbe"),
    ] {
        let mut decoder = decoder(sizes);
        assert_eq!(decode(&mut decoder, block), Ok(list(&[(":authority", "a")])), "{sizes:?}");
        assert_eq!(decode(&mut thawed(&decoder), b"\xbe"), Ok(list(&[(":authority", "a")])));
    }
    assert_eq!(decode(&mut decoder(&[0, 4096]), b"\x20\x3f\xe1\x1f\xbe"), Err(Error::Index));
    assert_eq!(decode(&mut decoder(&[42]), b"\x3f\x0b\xbe"), Err(Error::Index), "a byte too small");
}

#[test]
fn before_it_is_acknowledged_a_smaller_table_is_not_asked_for() {
    let mut decoder = Decoder::new(0);
    assert_eq!(decode(&mut decoder, b"\x41\x01a\xbe").map(|it| it.len()), Ok(2));
    decoder.set_table_bytes_max(0);
    assert_eq!(decode(&mut decoder, b"\x20\x41\x01a\xbe"), Err(Error::Index));
}

#[test]
fn a_peer_may_change_its_size_as_it_likes_within_what_it_may() {
    let mut decoder = Decoder::new(4096);
    let mut block = Vec::new();
    for _ in 0..100_000 {
        block.extend_from_slice(b"\x20\x3f\xe1\x1f\x3e");
    }
    let (allocations, _) = counted(|| decoder.decode(&block, |_| {}).unwrap());
    assert_eq!(allocations, 0);
}

/// A decoder whose newest entry has about 4,000 bytes.
fn with_large_entry() -> Decoder {
    let mut decoder = Decoder::new(4096);
    let mut block = b"\x40\x7f\xd1\x0e".to_vec();
    block.extend_from_slice(&[b'n'; 2000]);
    block.extend_from_slice(b"\x7f\xd1\x0e");
    block.extend_from_slice(&[b'v'; 2000]);
    assert_eq!(decode(&mut decoder, &block).unwrap().len(), 1);
    decoder
}

#[test]
fn a_bomb_of_indices_copies_nothing() {
    let mut decoder = with_large_entry();
    let block = vec![0xbe; 1_000_000];
    let (mut fields, mut bytes) = (0, 0);
    let (allocations, _) = counted(|| {
        let result = decoder.decode(&block, |it| {
            fields += 1;
            bytes += it.name.len() + it.value.len();
        });
        assert_eq!(result, Ok(()));
    });
    assert_eq!((fields, bytes, allocations), (1_000_000, 4_000_000_000_usize, 0));
}

#[test]
fn a_bomb_of_literals_holds_no_more_than_the_table() {
    // Each one copies a name of 2,000 bytes; half of the entries evict the one that named them.
    for literal in [&b"\x7e\x00"[..], b"\x7e\x01x", b"\x7e\x01x\x40\x00\x00\x7f\x00\x00"] {
        let mut decoder = with_large_entry();
        let block = literal.repeat(20_000);
        let (_, allocated) = counted(|| decoder.decode(&block, |_| {}).unwrap());
        assert!(allocated <= 32 * 1024, "{allocated} bytes");
        assert!(frozen(&decoder).len() <= 4200);
    }
}

#[test]
fn a_string_in_huffman_code_costs_no_more_than_its_block() {
    let mut decoder = Decoder::new(4096);
    // 100,000 bytes of `0`, five bits each.
    let mut block = b"\x0f\x0d\xff\xa1\x8c\x06".to_vec();
    block.extend_from_slice(&[0; 100_000]);
    let mut value_bytes = 0;
    let (_, allocated) = counted(|| {
        decoder.decode(&block, |it| value_bytes = it.value.len()).unwrap();
    });
    assert_eq!(value_bytes, 160_000);
    assert!(allocated <= 160_000);
    // And is given back: a small one allocates anew.
    let (allocations, _) = counted(|| decoder.decode(b"\x0f\x0d\x81\x07", |_| {}).unwrap());
    assert_eq!(allocations, 1);
}

#[test]
fn a_declared_length_allocates_nothing() {
    for block in [&b"\x40\x7f\xff\xff\xff\xff\x07a"[..], b"\x40\xff\xff\xff\xff\xff\x07a"] {
        let mut decoder = Decoder::new(4096);
        let (allocations, _) = counted(|| {
            assert_eq!(decoder.decode(block, |_| {}), Err(Error::Truncated));
        });
        assert_eq!(allocations, 0);
    }
}

/// A connection with something of everything.
fn sample() -> (Encoder, Decoder, Vec<u8>) {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let fields = [
        (":method", "GET"),
        (":path", "/a/long/path?with=query"),
        ("accept", "text/html"),
        ("x-own", "\u{fffd}\u{1}{binary}"),
        ("cookie", "a=b"),
        ("content-length", "12345"),
    ];
    for _ in 0..2 {
        decode(&mut decoder, &encode(&mut encoder, &fields)).unwrap();
    }
    encoder.set_table_bytes_max(200);
    encoder.set_table_bytes_max(1000);
    decoder.set_table_bytes_max(200);
    decoder.set_table_bytes_max(1000);
    let mut block = encode(&mut encoder.clone(), &fields);
    block.extend_from_slice(&encode(&mut Encoder::new(), &fields));
    (encoder, decoder, block)
}

#[test]
fn a_block_that_is_cut_off_gives_its_first_fields_or_is_refused() {
    let (_, decoder, block) = sample();
    let whole = decode(&mut decoder.clone(), &block).unwrap();
    assert_eq!(whole.len(), 12);
    for cut in 0..block.len() {
        let mut decoder = decoder.clone();
        let mut fields = Vec::new();
        let _ = decoder.decode(&block[..cut], |it| {
            fields.push((it.name.to_vec(), it.value.to_vec(), it.is_never_indexed));
        });
        assert!(whole.starts_with(&fields), "{cut}");
    }
}

#[test]
fn a_damaged_block_never_panics() {
    let (_, decoder, block) = sample();
    for at in 0..block.len() {
        for byte in 0..=u8::MAX {
            let mut damaged = block.clone();
            damaged[at] = byte;
            let mut decoder = decoder.clone();
            if decode(&mut decoder, &damaged).is_ok() {
                thawed(&decoder);
            }
        }
    }
}

/// A damaged snapshot either is refused or works within the bounds.
#[test]
fn a_damaged_snapshot_never_panics() {
    let (encoder, decoder, block) = sample();
    let damage = |bytes: &[u8], check: &dyn Fn(&[u8])| {
        for at in 0..bytes.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = bytes.to_vec();
                damaged[at] = byte;
                check(&damaged);
            }
            check(&bytes[..at]);
        }
    };
    damage(&frozen(&decoder), &|bytes| {
        let Ok(mut decoder) = postcard::from_bytes::<Decoder>(bytes) else { return };
        let _ = decode(&mut decoder, &block);
        let _ = decode(&mut decoder, b"\x20\x82\xbe");
    });
    damage(&frozen(&encoder), &|bytes| {
        let Ok(mut encoder) = postcard::from_bytes::<Encoder>(bytes) else { return };
        for _ in 0..3 {
            encode(&mut encoder, &[("accept", "text/html"), ("x-own", "1")]);
        }
        thawed(&encoder);
    });
}

#[test]
fn many_names_that_collide_or_repeat_stay_within_the_bounds() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    for number in 0..20_000_u32 {
        let name = format!("x{}", number % 997);
        let fields = [(name.as_str(), ""), ("", name.as_str()), ("", "")];
        let block = encode(&mut encoder, &fields);
        assert_eq!(decode(&mut decoder, &block), Ok(list(&fields)));
    }
    assert!(frozen(&encoder).len() <= 4200 && frozen(&decoder).len() <= 4200);
}
