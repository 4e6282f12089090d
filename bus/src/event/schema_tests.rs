use super::*;
use crate::event::market::MarketEvent;
use crate::event::risk::RiskEvent;
use crate::event::trade::TradeEvent;
use crate::event::{Event, Price, Quantity, Symbol};
use proptest::prelude::*;

/// Name, number, size and layout hash of every kind of the three topics. A change here is a new format of a topic.
const LAYOUTS: &str = include_str!("../../tests/golden/layouts.txt");

fn all() -> [(&'static str, Schema); 3] {
    [
        ("market-data", Schema::of::<MarketEvent>(&[]).unwrap()),
        ("trades", Schema::of::<TradeEvent>(&[]).unwrap()),
        ("risk", Schema::of::<RiskEvent>(&["market-data", "trades"]).unwrap()),
    ]
}

#[test]
fn layouts_are_locked() {
    let lines: String = all()
        .iter()
        .flat_map(|(topic, schema)| schema.kinds().iter().map(move |kind| (topic, kind)))
        .map(|(topic, kind)| {
            format!("{topic} {} {} {} {:016x}\n", kind.kind, kind.name, kind.size, kind.hash)
        })
        .collect();
    assert!(lines == LAYOUTS, "found:\n{lines}");
}

#[test]
fn the_file_form_reads_back() {
    for (topic, schema) in all() {
        let file = schema.to_json();
        assert_eq!(Schema::parse(file.as_bytes()), Ok(schema), "{topic}");
    }
}

mod first {
    use super::*;
    #[derive(Event, Clone, Copy)]
    #[repr(C)]
    pub(super) struct Quote {
        instrument: Symbol,
        bid: Price,
        r#type: u64,
    }
}
mod second {
    use super::*;
    #[derive(Event, Clone, Copy)]
    #[repr(C)]
    pub(super) struct Quote {
        instrument: Symbol,
        bid: Quantity,
        r#type: u64,
    }
}

#[test]
fn a_subscriber_is_served_by_its_own_kinds_only() {
    let topic = Schema::of::<first::Quote>(&[]).unwrap();
    assert_eq!(topic.kinds()[0].fields[2].name, "type");
    assert_eq!(topic.serves(&Schema::of::<first::Quote>(&["other"]).unwrap()), Ok(()));
    let error = topic.serves(&Schema::of::<second::Quote>(&[]).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "different schema: quote: the topic has the field 'bid' (price of 8 bytes at 8) where \
         'bid' (quantity of 8 bytes at 8) is expected; use the types that the topic was written with"
    );
    let [(_, market), (_, trades), _] = all();
    let error = trades.serves(&market).unwrap_err().to_string();
    assert!(error.contains("calls kind 1 'fill'") || error.contains("field"), "{error}");
    let error = topic.serves(&trades).unwrap_err().to_string();
    assert!(error.starts_with("different schema: fill: "), "{error}");
    let one = Schema::checked(Vec::new(), market.kinds[..1].to_vec()).unwrap();
    let error = one.serves(&market).unwrap_err().to_string();
    assert!(error.contains("the topic has no kind 2 ('instrument')"), "{error}");
    assert_eq!(market.serves(&one), Ok(()));
}

mod third {
    use super::*;
    #[derive(Event, Clone, Copy)]
    #[repr(C)]
    pub(super) struct Quote {
        instrument: Symbol,
        bid: Price,
        extra: u64,
        r#type: u64,
    }
}

#[test]
fn a_publisher_goes_on_with_the_kinds_and_inputs_of_its_topic_and_may_have_more() {
    let topic = Schema::of::<first::Quote>(&[]).unwrap();
    let error = topic.goes_on_as(&Schema::of::<third::Quote>(&[]).unwrap()).unwrap_err().to_string();
    assert_eq!(
        error,
        "different schema: quote: the topic has the field 'type' (unsigned of 8 bytes at 16) where \
         'extra' (unsigned of 8 bytes at 16) is expected; use the types that the topic was written with"
    );
    let error = topic.goes_on_as(&Schema::of::<first::Quote>(&["orders"]).unwrap()).unwrap_err().to_string();
    assert!(error.contains("the topic is derived from [], not from [\"orders\"]"), "{error}");
    let [(_, market), _, _] = all();
    let one = Schema::checked(Vec::new(), market.kinds[..1].to_vec()).unwrap();
    assert_eq!(one.goes_on_as(&market), Ok(()));
    let error = market.goes_on_as(&one).unwrap_err().to_string();
    assert!(
        error.starts_with("different schema: instrument: the topic has kind 2, which the publisher"),
        "{error}"
    );
}

/// A small good file, to be spoilt.
fn file() -> String {
    Schema::of::<first::Quote>(&[]).unwrap().to_json()
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    assert!(Schema::parse(file().as_bytes()).is_ok());
    for (from, to, want) in [
        ("\"format\": 1", "\"format\": 2", "unknown schema format: 2"),
        ("\"price\"", "\"decimal\"", "unknown field type: bid is 'decimal'"),
        ("\"size\": 24", "\"size\": 23", "quote.type does not lie behind"),
        ("\"size\": 24", "\"size\": 99999999999", "quote is larger than 16 MiB"),
        ("\"size\": 24", "\"size\": 32", "quote does not have the layout hash"),
        ("\"offset\": 8", "\"offset\": 7", "quote.bid does not lie behind"),
        ("\"offset\": 8", "\"offset\": 18446744073709551615", "quote.bid does not lie behind"),
        ("\"kind\": 1", "\"kind\": 0", "outside 1 to 65279"),
        ("\"kind\": 1", "\"kind\": 65280", "outside 1 to 65279"),
        ("\"bid\"", "\"type\"", "quote.type stands there twice"),
        ("\"bid\"", "\"\"", "has a name that is not"),
        ("\"bid\"", "\"b\\\"d\"", "has a name that is not"),
        ("\"price\"", "\"side\"", "has a size that its type cannot have"),
        ("\"inputs\": []", "\"inputs\": [\"\"]", "inputs are not"),
        ("\"inputs\": []", "\"inputs\": [], \"more\": 1", "unreadable schema: "),
        ("{", "", "unreadable schema: "),
    ] {
        let spoilt = file().replacen(from, to, 1);
        let error = Schema::parse(spoilt.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(want), "{to}: {error}");
    }
    assert!(Schema::parse(&vec![b' '; MAX_FILE + 1]).is_err());
}

#[test]
fn two_kinds_of_one_number_are_refused() {
    let quote = Schema::of::<first::Quote>(&[]).unwrap().kinds[0].clone();
    let error = Schema::checked(Vec::new(), vec![quote.clone(), quote]).unwrap_err();
    assert!(error.to_string().contains("quote has the number of another kind"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Schema::parse(&bytes);
    }

    #[test]
    fn a_file_with_one_byte_changed_says_the_same_or_is_refused(index in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = file().into_bytes();
        let index = index.index(bytes.len());
        bytes[index] = byte;
        if let Ok(found) = Schema::parse(&bytes) {
            prop_assert_eq!(&found, &Schema::of::<first::Quote>(&[]).unwrap());
        }
    }
}
