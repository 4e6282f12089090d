use super::*;
use crate::event::market::MarketEvent;
use crate::event::risk::RiskEvent;
use crate::event::schema::Kind;
use crate::event::trade::TradeEvent;
use crate::event::{Bytes, Cause, Event, Money, Text, as_bytes};
use proptest::prelude::*;
use zerocopy::IntoBytes;

/// One line for every kind of the three topics, filled by `sample`.
const LINES: &str = include_str!("../../tests/golden/events.jsonl");

const FRAME: FrameInfo =
    FrameInfo { sequence: 42, kind: 1, publish_time: Time(1_703_462_400_000_000_003), epoch: 7 };

fn all() -> [Schema; 3] {
    [
        Schema::of::<MarketEvent>(&[]).unwrap(),
        Schema::of::<TradeEvent>(&[]).unwrap(),
        Schema::of::<RiskEvent>(&["market-data", "trades"]).unwrap(),
    ]
}

fn print(schema: &Schema, kind: u16, body: &[u8]) -> String {
    let mut line = String::new();
    write_object(&mut line, schema, &FrameInfo { kind, ..FRAME }, body);
    line
}

/// A body whose fields have values that tell them apart.
fn sample(kind: &Kind) -> Vec<u8> {
    let mut body = vec![0; kind.size];
    for (number, field) in (1_u64..).zip(&kind.fields) {
        let bytes = match field.kind {
            FieldKind::Time => (1_703_462_400_000_000_000 + number).to_le_bytes().to_vec(),
            FieldKind::Price | FieldKind::Money => {
                (-1_250_000_000 * i128::from(number)).to_le_bytes().to_vec()
            }
            FieldKind::Quantity => (100 * number).to_le_bytes().to_vec(),
            FieldKind::Side => vec![b'S'],
            FieldKind::Code => vec![b'A' + number as u8],
            FieldKind::Text => format!("{:<width$}", format!("T{number}"), width = field.size).into_bytes(),
            FieldKind::Cause => Cause { sequence: 9, epoch: 3, input: 1, index: 2 }.as_bytes().to_vec(),
            FieldKind::Unsigned | FieldKind::Signed | FieldKind::Bytes => {
                let mut bytes = number.to_le_bytes().to_vec();
                bytes.resize(field.size.max(8), 0xee);
                bytes
            }
        };
        body[field.offset..field.offset + field.size].copy_from_slice(&bytes[..field.size]);
    }
    body
}

#[test]
fn every_kind_prints_as_promised() {
    let lines: String = all()
        .iter()
        .flat_map(|schema| {
            schema.kinds().iter().map(move |kind| print(schema, kind.kind, &sample(kind)) + "\n")
        })
        .collect();
    assert!(lines == LINES, "found:\n{lines}");
}

#[derive(Event, Clone, Copy)]
#[repr(C)]
struct Everything {
    cause: Cause,
    money: Money,
    wide: i128,
    exchange_time: u64,
    sequence: u64,
    small: i8,
    side: Side,
    text: Text<6>,
    bytes: Bytes<2>,
    array: [u8; 2],
    half: u16,
    epoch: i16,
}

#[test]
fn widths_signs_escapes_and_names_of_the_frame() {
    let event = Everything {
        cause: Cause { sequence: u64::MAX, epoch: u32::MAX, input: Cause::NONE, index: 1 },
        money: Money(i128::MIN),
        wide: i128::MIN,
        exchange_time: 5,
        sequence: u64::MAX,
        small: -1,
        side: Side(0),
        text: Text(*b"a\"\\\n\xff\0"),
        bytes: Bytes([0, 0xfe]),
        array: [1, 2],
        half: u16::MAX,
        epoch: i16::MIN,
    };
    let schema = Schema::of::<Everything>(&[]).unwrap();
    let want = concat!(
        r#"{"sequence":42,"type":"everything","exchange_time":0,"receive_time":0,"publish_time":1703462400000000003,"epoch":7,"#,
        r#""cause":{"topic":null,"epoch":4294967295,"sequence":18446744073709551615,"index":1},"#,
        r#""money":"-170141183460469231731687303715.884105728","wide":-170141183460469231731687303715884105728,"#,
        r#""event.exchange_time":5,"event.sequence":18446744073709551615,"small":-1,"side":"unknown","#,
        r#""text":"a\"\\\u000a\u00ff","bytes":"00fe","array":"0102","half":65535,"event.epoch":-32768}"#
    );
    assert_eq!(print(&schema, 1, as_bytes(&event)), want);
}

#[test]
fn what_the_schema_does_not_describe_is_printed_as_bytes() {
    let [market, ..] = all();
    let frame = r#""exchange_time":0,"receive_time":0,"publish_time":1703462400000000003,"epoch":7,"#;
    assert_eq!(
        print(&market, 99, &[0xab]),
        format!(r#"{{"sequence":42,"type":"kind_99",{frame}"body":"ab"}}"#)
    );
    assert_eq!(print(&market, 5, &[]), format!(r#"{{"sequence":42,"type":"add_order",{frame}"body":""}}"#));
}

proptest! {
    #[test]
    fn any_bytes_print_valid_json_with_the_same_members(bytes in proptest::collection::vec(any::<u8>(), 512)) {
        for schema in all().iter().chain([&Schema::of::<Everything>(&[]).unwrap()]) {
            for kind in schema.kinds() {
                let line = print(schema, kind.kind, &bytes[..kind.size]);
                let value: serde_json::Value = serde_json::from_str(&line).unwrap();
                let sampled: serde_json::Value = serde_json::from_str(&print(schema, kind.kind, &sample(kind))).unwrap();
                let members = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
                prop_assert_eq!(members(&value), members(&sampled));
                prop_assert!(line.is_ascii() && !line.contains('\n'));
            }
        }
    }

    #[test]
    fn any_frame_prints_valid_json(kind in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for schema in all() {
            let value: serde_json::Value = serde_json::from_str(&print(&schema, kind, &body)).unwrap();
            prop_assert_eq!(&value["sequence"], 42);
        }
    }

    #[test]
    fn integers_are_exact(small in any::<i64>(), large in any::<i128>(), positive in any::<u64>()) {
        prop_assert_eq!(signed(&small.to_le_bytes()), i128::from(small));
        prop_assert_eq!(signed(&large.to_le_bytes()), large);
        prop_assert_eq!(unsigned(&positive.to_le_bytes()), positive);
        let mut text = String::new();
        push_signed(&mut text, large);
        prop_assert_eq!(text, large.to_string());
    }
}
