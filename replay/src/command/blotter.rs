//! `replay blotter`: the compliance consumer.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::Bus;
use bus::program::{self, Arguments, Exit, Failure, Stop, counted, note};
use replay::blotter::{Blotter, Summary};

/// Sleep of a blotter that has nothing to do.
const SLEEP: Duration = Duration::from_millis(10);

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let follow = arguments.has("follow");
    let bus = super::open(arguments, follow)?;
    if !follow {
        super::topics(&bus)?;
    } else if bus.topics()?.is_empty() {
        let place = bus.directory().display();
        note(&format!("no topics yet: {place}; each is taken once its publisher has made it there"));
    }
    let summary = match arguments.find::<PathBuf>("out")? {
        None => write(&bus, follow, io::stdout())?,
        Some(path) => {
            let summary = write(&bus, follow, create(&path)?)?;
            if arguments.json() {
                program::print_json(&summary.end())?;
            } else {
                program::print_line(&describe(&summary, &path))?;
            }
            summary
        }
    };
    Ok(if summary.incomplete.is_empty() { Exit::Good } else { Exit::Fault })
}

/// A file of its own: a blotter that was written before is evidence.
fn create(path: &Path) -> Result<File, Failure> {
    File::create_new(path).map_err(|error| {
        Failure::new(format_args!("cannot make the blotter ({error})"), path.display(), "name another --out")
    })
}

fn write(bus: &Bus, follow: bool, out: impl Write + Send) -> Result<Summary, Failure> {
    if !follow {
        let mut blotter = Blotter::bounded(bus, out)?;
        while blotter.do_work()? > 0 {}
        return blotter.finish();
    }
    let stop = Stop::on_signals();
    let mut blotter = Blotter::new(bus, out);
    while !stop.requested() {
        if blotter.do_work()? == 0 {
            stop.sleep(SLEEP);
        }
    }
    blotter.finish()
}

fn describe(summary: &Summary, path: &Path) -> String {
    let lines: u64 = summary.lines.values().sum();
    let mut text = format!("{lines} lines in {}", path.display());
    for (kind, count) in &summary.lines {
        text += &format!("\n  {kind}: {count}");
    }
    if summary.late > 0 {
        text +=
            &format!("\n{} late: a later blotter has them in their places", counted(summary.late, "message"));
    }
    match summary.incomplete.count() {
        0 => text += "\ncomplete",
        count => text += &format!("\nincomplete: {count} findings, in its last line"),
    }
    text
}
