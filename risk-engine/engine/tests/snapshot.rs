//! Snapshots: the same state comes back, and nothing else is taken for one.

mod common;

use common::*;
use engine::{Cut, InputPosition, Positions, SnapshotError, State};
use proptest::prelude::*;

/// Bytes of the header, and where its checksum begins.
const HEADER: usize = 112;
const CHECKSUM: usize = 80;

#[derive(Debug, Clone)]
enum Event {
    Market(Market),
    Trade(Trades),
    Configure { limit: i64, fee: i64 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => market_message().prop_map(Event::Market),
        3 => trade_message().prop_map(Event::Trade),
        1 => (-5i64..100, -5i64..100).prop_map(|(limit, fee)| Event::Configure { limit, fee }),
    ];
    proptest::collection::vec(event, 0..250)
}

/// Applies the events; returns all effects.
fn play(state: &mut State, events: &[Event]) -> Vec<engine::Effect> {
    let mut effects = Vec::new();
    for (n, event) in (0..).zip(events) {
        match event {
            Event::Market(event) => state.apply_market(event.message()),
            Event::Trade(event) => effects.extend(apply(state, event, n)),
            Event::Configure { limit: value, fee: per_unit } => {
                effects.extend(configure(
                    state,
                    &[limit("", "", *value), limit("ALPHA", "", 7)],
                    &[fee("", "Z", *per_unit, 3_000)],
                ));
            }
        }
    }
    effects
}

fn positions() -> Positions {
    Positions {
        market_data: InputPosition { next: 12, epoch: 3 },
        trades: InputPosition { next: 5, epoch: u32::MAX },
    }
}

fn snapshot(state: &State) -> Vec<u8> {
    state.snapshot(&positions()).expect("a small state fits an archive")
}

fn invalid(bytes: &[u8]) -> SnapshotError {
    State::restore(bytes).err().expect("these bytes are not a snapshot")
}

/// A snapshot whose checksum was made to hold.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..CHECKSUM]);
        hasher.update(&bytes[HEADER..]);
        hasher.finalize()
    };
    bytes[CHECKSUM..HEADER].copy_from_slice(checksum.as_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A restored state is the state: now, and under whatever happens next.
    #[test]
    fn a_restored_state_lives_on_as_the_original(before in events(), after in events()) {
        let mut original = State::new();
        play(&mut original, &before);
        let restored = State::restore(&snapshot(&original)).expect("an own snapshot is accepted");
        prop_assert_eq!(restored.positions, positions());
        prop_assert_eq!(restored.version.to_string(), engine::VERSION);
        let mut state = restored.state;
        let cut = positions().cut();
        prop_assert_eq!(state.state_hash(cut), original.state_hash(cut));
        prop_assert_eq!(state.path_hash(cut), original.path_hash(cut));
        prop_assert_eq!(state.withheld(), original.withheld());
        prop_assert_eq!(snapshot(&state), snapshot(&original), "equal states give equal bytes");

        prop_assert_eq!(play(&mut state, &after), play(&mut original, &after));
        prop_assert_eq!(state.state_hash(cut), original.state_hash(cut));
        prop_assert!(state.positions().eq(original.positions()));
    }

    /// Any change of any byte is noticed.
    #[test]
    fn damage_is_noticed(events in events(), place: proptest::sample::Index, bit in 0u8..8) {
        let mut state = State::new();
        play(&mut state, &events);
        let mut bytes = snapshot(&state);
        bytes[place.index(snapshot(&state).len())] ^= 1 << bit;
        prop_assert!(State::restore(&bytes).is_err());
    }

    /// Contents crafted under a valid checksum are refused or are a state; they never do harm.
    #[test]
    fn crafted_contents_do_no_harm(
        events in events(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
        after in events(),
    ) {
        let mut state = State::new();
        play(&mut state, &events);
        let mut bytes = snapshot(&state);
        for (place, value) in changes {
            let body = bytes.len() - HEADER;
            bytes[HEADER + place.index(body)] = value;
        }
        if let Ok(mut restored) = State::restore(&sealed(bytes)) {
            play(&mut restored.state, &after);
            restored.state.state_hash(Cut::default());
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(State::restore(&bytes).is_err());
    }
}

#[test]
fn what_is_wrong_is_named() {
    let bytes = snapshot(&State::new());
    assert_eq!(invalid(b"short"), SnapshotError::NotASnapshot);
    assert_eq!(invalid(&[0; 200]), SnapshotError::NotASnapshot);
    let mut newer = bytes.clone();
    for format in [4, 6] {
        newer[8] = format;
        assert_eq!(invalid(&newer), SnapshotError::UnknownFormat { format: format.into() });
    }
    let body = (bytes.len() - HEADER) as u64;
    let expected = SnapshotError::Length { expected: body, found: body - 1 };
    assert_eq!(invalid(&bytes[..bytes.len() - 1]), expected);
    let mut damaged = bytes.clone();
    damaged[HEADER] ^= 1;
    assert_eq!(invalid(&damaged), SnapshotError::Checksum);
    let emptied = sealed([&bytes[..HEADER], &vec![0xFF; bytes.len() - HEADER]].concat());
    assert_eq!(invalid(&emptied), SnapshotError::Invalid { what: "the archive is malformed" });
}
