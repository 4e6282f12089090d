//! The commands: arguments in, a report and an exit code out.

pub(crate) mod blotter;
pub(crate) mod dump;
pub(crate) mod state;
mod table;
pub(crate) mod verify;

use bus::Bus;
use bus::program::{Arguments, Failure};
use replay::Damage;
use serde::Serialize;

/// The bus that the command line names. It must be there, but where `waits` its publishers may still come.
fn open(arguments: &Arguments, waits: bool) -> Result<Bus, Failure> {
    let bus = Bus::open(arguments.existing_bus()?)?;
    if !waits {
        bus.must_exist()?;
    }
    Ok(bus)
}

/// The topics of a bus, or the failure that it has none, nor one that lost its schema or is gone.
fn topics(bus: &Bus) -> Result<Vec<String>, Failure> {
    let topics = bus.topics()?;
    if topics.is_empty() && bus.topics_without_schema()?.is_empty() && bus.topics_gone()?.is_empty() {
        if let Some(doubt) = bus.topics_doubt() {
            return Err(doubt.into());
        }
        let place = bus.directory().display();
        return Err(Failure::new("no topics", place, "start a publisher or name another --bus"));
    }
    Ok(topics)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A damaged range in JSON.
#[derive(Serialize)]
struct DamageEntry<'a> {
    from: u64,
    to: u64,
    kind: &'static str,
    positions: Option<Positions>,
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Positions {
    from: u64,
    to: u64,
}

impl<'a> From<&'a Damage> for DamageEntry<'a> {
    fn from(damage: &'a Damage) -> Self {
        Self {
            from: damage.from,
            to: damage.to,
            kind: damage.kind.name(),
            positions: damage.positions.map(|(from, to)| Positions { from, to }),
            detail: damage.detail.as_deref(),
        }
    }
}
