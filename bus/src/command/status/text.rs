//! The status of a bus as tables for people.

use bus::program::{Failure, Output, Tone};

use super::{Details, Health, Report, State, Topic};
use crate::command::about;

/// A cell with the meaning that its colour shows.
type Cell = (String, Option<Tone>);

pub(super) fn print(report: &Report) -> Result<(), Failure> {
    let mut out = Output::stdout();
    let health = match report.health {
        Health::Ok => Tone::Good.paint("ok"),
        Health::Attention => Tone::Warning.paint("attention"),
    };
    out.line(&format!("{}: {health}", report.bus))?;
    for reason in &report.reasons {
        out.line(&format!("  {}", Tone::Warning.paint(reason)))?;
    }
    if report.topics.is_empty() {
        out.line("  no topics")?;
    }
    let readable = || report.topics.iter().filter_map(|topic| Some((topic, topic.details.as_ref()?)));
    table(
        &mut out,
        "topic state epoch first published durable lag writer",
        report.topics.iter().map(progress).collect(),
    )?;
    table(
        &mut out,
        "topic segment retention floor in-memory on-disk i/o writes written marks refusals overruled",
        readable().map(|(topic, details)| storage(&topic.topic, details)).collect(),
    )?;
    let readers = readable().flat_map(|(topic, details)| readers(&topic.topic, details)).collect();
    table(&mut out, "topic reader process gate sequence lag segments-behind removed", readers)?;
    let keepers = readable().flat_map(|(topic, details)| keepers(&topic.topic, details)).collect();
    table(&mut out, "topic keeper needs lost segments-held", keepers)?;
    out.flush()
}

fn progress(topic: &Topic) -> Vec<Cell> {
    let (state, tone) = match topic.state {
        State::Open => ("open", Tone::Good),
        State::Closed => ("closed", Tone::Good),
        State::Dead => ("dead", Tone::Warning),
        State::Unclean => ("unclean", Tone::Warning),
        State::Unknown => ("unknown", Tone::Aside),
        State::Poisoned => ("poisoned", Tone::Bad),
        State::Damaged => ("damaged", Tone::Bad),
        State::Unreadable => ("unreadable", Tone::Bad),
    };
    let mut row = vec![plain(&topic.topic), (state.into(), Some(tone))];
    if let Some(details) = &topic.details {
        row.push(plain(details.epoch));
        row.extend([details.first, details.published, details.durable, details.lag].map(plain));
        let holder = details.holder.as_ref();
        row.push(plain(holder.map_or_else(|| "-".into(), |h| format!("{} ({})", h.process, h.program))));
    }
    row
}

fn storage(topic: &str, details: &Details) -> Vec<Cell> {
    let segments = &details.segments;
    let size = |count: usize, bytes: u64| plain(format!("{count} ({})", about(bytes)));
    let mut row = vec![
        plain(topic),
        plain(about(u64::from(details.segment_size))),
        // Only its publisher knows what it was told, and says so in shared memory.
        plain(match (details.retention, &details.counters) {
            (Some(bytes), _) => about(bytes),
            (None, Some(_)) => "all".into(),
            (None, None) => "-".into(),
        }),
        plain(segments.floor),
        size(segments.memory, segments.memory_bytes),
        size(segments.disk, segments.disk_bytes),
        plain(details.io.as_deref().unwrap_or("-")),
    ];
    match &details.counters {
        None => row.extend((0..5).map(|_| plain("-"))),
        Some(counters) => row.extend([
            plain(counters.writes),
            plain(about(counters.bytes)),
            plain(counters.marks),
            plain(counters.refusals),
            plain(counters.overruled),
        ]),
    }
    row
}

fn readers(topic: &str, details: &Details) -> Vec<Vec<Cell>> {
    let row = |reader: &super::Follower| {
        vec![
            plain(topic),
            plain(&reader.reader),
            plain(reader.process),
            plain(reader.gate),
            plain(reader.sequence),
            plain(reader.lag),
            plain(reader.segments_behind),
            plain(reader.removed),
        ]
    };
    details.readers.iter().map(row).collect()
}

fn keepers(topic: &str, details: &Details) -> Vec<Vec<Cell>> {
    let row = |keeper: &super::Holder| {
        vec![
            plain(topic),
            plain(&keeper.keeper),
            plain(keeper.sequence.map_or_else(|| "all".into(), |sequence| sequence.to_string())),
            plain(keeper.lost),
            plain(keeper.segments),
        ]
    };
    details.keepers.iter().map(row).collect()
}

fn plain(text: impl ToString) -> Cell {
    (text.to_string(), None)
}

/// Prints rows below their heads, which are words; nothing where there are no rows.
fn table(out: &mut Output, heads: &str, rows: Vec<Vec<Cell>>) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let heads = heads.split(' ').map(|head| (head.to_owned(), Some(Tone::Aside))).collect();
    let rows: Vec<Vec<Cell>> = [heads].into_iter().chain(rows).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.0.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    out.line("")?;
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|((text, tone), width)| {
            let text = format!("{text:<width$}");
            tone.map_or(text.clone(), |tone| tone.paint(&text))
        });
        out.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
