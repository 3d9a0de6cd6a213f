//! Properties: what is written is read back, and neither freezing nor another size matters.

use proptest::prelude::*;

use super::*;

/// What happens on a connection.
#[derive(Clone, Debug)]
enum Step {
    Block(Vec<(Vec<u8>, Vec<u8>, bool)>),
    TableBytesMax(u32),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(NAMES).prop_map(|it| it.as_bytes().to_vec()),
        1 => "[a-zA-Z0-9-]{1,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

const NAMES: &[&str] = &[
    ":method",
    ":path",
    ":status",
    ":authority",
    "accept",
    "Content-Type",
    "content-length",
    "cookie",
    "Authorization",
    "x-request-id",
    "traceparent",
    "x-own",
    "x-other",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(&["", "/", "GET", "200", "text/html", "a", "b", "c"][..])
            .prop_map(|it| it.as_bytes().to_vec()),
        2 => "[a-z0-9/ =;]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (0_usize..6000).prop_map(|it| vec![b'x'; it]),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let field = (name(), value(), prop::bool::weighted(0.1));
    let size = prop_oneof![Just(0), Just(4096), 0_u32..300, any::<u32>()];
    let step = prop_oneof![
        4 => prop::collection::vec(field, 0..12).prop_map(Step::Block),
        1 => size.prop_map(Step::TableBytesMax),
    ];
    prop::collection::vec(step, 1..20)
}

fn write(encoder: &mut Encoder, fields: &[Field]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    for (name, value, is_secret) in fields {
        match is_secret {
            true => encoder.secret(name, value, &mut out),
            false => encoder.field(name, value, &mut out),
        }
    }
    out.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_and_freezing_changes_no_byte(steps in steps()) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        let (mut moving_encoder, mut moving_decoder) = (Encoder::new(), Decoder::new(4096));
        for step in steps {
            match step {
                Step::TableBytesMax(bytes_max) => {
                    for it in [&mut encoder, &mut moving_encoder] {
                        it.set_table_bytes_max(bytes_max);
                    }
                    for it in [&mut decoder, &mut moving_decoder] {
                        it.set_table_bytes_max(bytes_max);
                    }
                }
                Step::Block(fields) => {
                    let block = write(&mut encoder, &fields);
                    prop_assert_eq!(&write(&mut moving_encoder, &fields), &block);
                    let read = decode(&mut decoder, &block).unwrap();
                    prop_assert_eq!(&decode(&mut moving_decoder, &block).unwrap(), &read);
                    prop_assert_eq!(read.len(), fields.len());
                    for (read, written) in read.iter().zip(&fields) {
                        prop_assert_eq!(&read.0, &written.0.to_ascii_lowercase());
                        prop_assert_eq!(&read.1, &written.1);
                        prop_assert!(read.2 || !written.2);
                    }
                }
            }
            moving_encoder = thawed(&moving_encoder);
            moving_decoder = thawed(&moving_decoder);
            // The table of either side, as the other has it.
            prop_assert_eq!(frozen(&moving_decoder), frozen(&decoder));
            prop_assert_eq!(frozen(&moving_encoder), frozen(&encoder));
            prop_assert!(frozen(&encoder).len() < 4096 + 200);
        }
    }

    #[test]
    fn any_bytes_mean_the_same_after_a_thaw(
        blocks in prop::collection::vec(bytes(), 1..6),
        bytes_max in prop_oneof![Just(4096), Just(0), 0_u32..200],
    ) {
        let mut decoder = Decoder::new(bytes_max);
        let mut moving = thawed(&decoder);
        for block in blocks {
            let (one, other) = (decode(&mut decoder, &block), decode(&mut moving, &block));
            prop_assert_eq!(&one, &other);
            if one.is_err() {
                break;
            }
            moving = thawed(&moving);
        }
    }
}

/// Bytes that are a block more often than those drawn blindly.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|it| vec![it]),
        (0x80_u8..0xc8).prop_map(|it| vec![it]),
        (0x40_u8..0x7f).prop_map(|it| vec![it, 2, b'a', b'b']),
        (0_u8..0x0f).prop_map(|it| vec![0x40, 1, b'a' + it, 1, b'c']),
        prop::sample::select(PIECES).prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|it| it.concat())
}

/// Changes of the size, and a literal in Huffman code.
const PIECES: &[&[u8]] = &[b"\x20", b"\x3f\xe1\x1f", b"\x41\x83\xf1\xe3\xc2"];
