//! `replay dump`: one topic, message by message, as JSON.

use std::time::Duration;

use bus::Gate;
use bus::program::{self, Arguments, Exit, Failure, Output, Stop};
use replay::dump::Dump;

/// The longest sleep of a dump that follows.
const SLEEP: Duration = Duration::from_millis(50);

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let bus = super::open(arguments, false)?;
    let topic: String = arguments.get("topic")?;
    let from: u64 = arguments.get("from")?;
    let to = arguments.find("to")?.unwrap_or(u64::MAX);
    if to < from {
        let place = format!("--from {from} --to {to}");
        return Err(Failure::new("an empty range", place, "let --to be at least --from"));
    }
    let follow = arguments.has("follow");
    let stop = if follow { Stop::on_signals() } else { Stop::new() };
    let mut dump = Dump::open(&bus, &topic, from..=to, gate(arguments)?, follow)?;
    let mut out = Output::stdout();
    loop {
        while let Some(line) = dump.next_line() {
            out.line(line)?;
            if stop.requested() {
                break;
            }
        }
        out.flush()?;
        if !follow || dump.is_done() || stop.requested() {
            break;
        }
        dump.sleep(SLEEP);
    }
    Ok(faults(&dump, &topic, arguments))
}

fn gate(arguments: &Arguments) -> Result<Gate, Failure> {
    match arguments.get::<String>("gate")?.as_str() {
        "published" => Ok(Gate::Published),
        "durable" => Ok(Gate::Durable),
        other => {
            Err(Failure::new("bad value", format!("--gate {other}"), "'published' or 'durable' is expected"))
        }
    }
}

/// Tells what could not be printed.
fn faults(dump: &Dump, topic: &str, arguments: &Arguments) -> Exit {
    if let Some(first) = dump.begins_later() {
        program::note(&format!(
            "{topic}: begins at sequence {first}; what came before was removed by retention"
        ));
    }
    if let (Some(end), Ok(Some(last))) = (dump.end(), arguments.find::<u64>("to"))
        && last >= end
    {
        program::note(&format!("{topic}: ends before sequence {end}; message {last} is not there yet"));
    }
    let doubt = dump.doubt();
    for damage in dump.damage().listed().iter().chain(&doubt) {
        program::note(&format!("{topic}: {damage}"));
    }
    // Who asks for the oldest gets it; who names a sequence that is gone gets less than asked for.
    let is_short = dump.begins_later().is_some() && arguments.has("from");
    if is_short || doubt.is_some() || !dump.damage().is_empty() { Exit::Fault } else { Exit::Good }
}
