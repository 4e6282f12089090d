//! Message types as a crate of somebody else makes them: without unsafe code, and with no trait that is not needed.

#![forbid(unsafe_code)]

use bus::event::{Event, Price, Symbol, Text};
use bus::{Bus, Gate, Start};

#[derive(Event, Clone, Copy)]
#[event(kind = 1, name = "a_trade")]
#[repr(C)]
struct Trade {
    instrument: Symbol,
    price: Price,
    r#type: u64,
}

#[derive(Event, Clone, Copy, Debug)]
#[event(kind = 2)]
#[repr(C)]
struct Note {
    text: Text<6>,
    _pad: [u8; 2],
}

#[derive(Event)]
enum Tape {
    Trade(Trade),
    Note(Note),
}

#[derive(Event)]
enum Notes {
    Note(Note),
}

#[test]
fn kinds_need_not_be_printable_to_be_carried() {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::open(directory.path()).unwrap();
    let mut tape = bus.publisher::<Tape>("tape").unwrap();
    let instrument = Symbol::new("ACME").unwrap();
    tape.publish(&Trade { instrument, price: Price(7), r#type: 3 }).unwrap();
    tape.publish(&Note { text: Text::new("halted").unwrap(), _pad: [0; 2] }).unwrap();
    tape.close().unwrap();

    let mut reader = bus.subscriber::<Tape>("tape", Start::Oldest, Gate::Durable).unwrap();
    assert!(matches!(reader.wait(), Ok(Some(TapeRef::Trade(trade))) if trade.r#type == 3));
    assert!(matches!(reader.wait(), Ok(Some(TapeRef::Note(_)))));
    // Who knows fewer kinds is refused nothing, and whose kinds are all printable may print them.
    let mut reader = bus.subscriber::<Notes>("tape", Start::Sequence(1), Gate::Durable).unwrap();
    let note = reader.wait().unwrap().map(|note| format!("{note:?}"));
    assert_eq!(note.as_deref(), Some("Note(Note { text: \"halted\", _pad: [0, 0] })"));
}
