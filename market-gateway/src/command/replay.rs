//! `market-gateway replay`: captures and message logs into the journals, on the way that sockets take.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bus::event::Time;
use bus::event::market::MarketEvent;
use bus::program::{self, Arguments, Date, Exit, Failure, Progress, Stop, Value};
use bus::{Bus, PublishError, Publisher};
use market_gateway::arbiter::{Limits, Source};
use market_gateway::feed::{Feed, FeedConfig};
use market_gateway::itch::Head;
use market_gateway::itch::day_file::Ending;
use market_gateway::live::MARKET_DATA;
use market_gateway::mold::{Blocks, SessionId};
use market_gateway::net::capture::{
    Answers, Capture, DayFile, PacketCounters, Packets, Pcap, PcapEnding, identities,
};
use market_gateway::normalise::Itch;
use market_gateway::resume::History;
use market_gateway::snapshot::{self, Snapshots};
use serde::Serialize;
use zerocopy::FromBytes;

use super::message_log::{FixReport, MessageLog};
use super::summary::{Summary, tell_unread};

/// What packets are received with, as the summary says it.
const IO: &str = "capture";
/// Bytes of a session on the wire.
const SESSION: usize = 10;
/// Messages of a day file that are taken at once.
const CHUNK: usize = 1_024;
/// Packets between two looks at the clock for the progress shown.
const LOOK: u64 = 256;

type MarketFeed = Feed<Itch, Publisher<MarketEvent>>;

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let stop = Stop::on_signals();
    let settings = Settings::read(arguments)?;
    let sources = Sources::open(arguments, settings.session)?;
    if settings.date.is_none() && !sources.days.is_empty() {
        program::note("a day file names no date: taken for 1970-01-01; give --date");
    }
    let bus = Bus::open(arguments.bus())?;
    bus.scanty_memory().iter().for_each(|line| program::note(line));
    let mut report = Report { market: Summary::nothing(IO), ..Report::default() };
    if sources.has_market_data() {
        let mut replay = Replay::open(&bus, settings, &stop)?;
        tell_unread(&replay.feed.summary());
        replay.play(sources.packets, sources.days)?;
        report.market(&replay);
        replay.close()?;
    }
    if let Some(log) = sources.fix_log {
        report.fix(log.play(&bus, &stop)?);
    }
    report.print(arguments.json())?;
    let is_unproven = !bus.lost_marks().is_empty() || !bus.lost_schemas().is_empty();
    Ok(if report.incomplete || is_unproven { Exit::Fault } else { Exit::Good })
}

/// How fast to replay: as fast as possible, or a multiple of the recorded pace.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    Max,
    Times(f64),
}

impl Value for Speed {
    const EXPECTED: &'static str = "'max', or a multiple of the recorded pace such as 1, 10 or 0.5";
    fn parse(text: &str) -> Option<Self> {
        match text {
            "max" => Some(Self::Max),
            _ => text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0).map(Self::Times),
        }
    }
}

/// Keeps the recorded pace.
struct Pace {
    speed: Speed,
    began: Option<(Instant, Time)>,
}

impl Pace {
    /// Waits until it is time for what was recorded at `time`.
    fn wait(&mut self, time: Time, stop: &Stop) {
        let Speed::Times(times) = self.speed else { return };
        let (began, first) = *self.began.get_or_insert_with(|| (Instant::now(), time));
        let recorded = Duration::from_nanos(time.0.saturating_sub(first.0)).as_secs_f64();
        let due = Duration::try_from_secs_f64(recorded / times).unwrap_or(Duration::MAX);
        let rest = due.saturating_sub(began.elapsed());
        if !rest.is_zero() {
            stop.sleep(rest);
        }
    }
}

/// The files to replay, opened.
struct Sources {
    packets: Vec<(PathBuf, Pcap)>,
    days: Vec<Day>,
    fix_log: Option<MessageLog>,
}

/// A day file, and what its session may be known by.
struct Day {
    path: PathBuf,
    file: DayFile,
    names: Vec<SessionId>,
}

impl Day {
    /// The day in `file`, with the session that the user named, else with those that its contents make.
    fn new(path: PathBuf, file: DayFile, session: Option<SessionId>) -> Result<Self, Failure> {
        let names = match session {
            Some(session) => vec![session],
            None if path.is_file() => identities(&path)?,
            None => {
                return Err(Failure::new(
                    "cannot read twice",
                    path.display(),
                    "give --session, or name a file",
                ));
            }
        };
        Ok(Self { path, file, names })
    }
}

impl Sources {
    fn open(arguments: &Arguments, session: Option<SessionId>) -> Result<Self, Failure> {
        let fix_log: Option<PathBuf> = arguments.find("fix-log")?;
        let fix_log = fix_log.map(MessageLog::open).transpose()?;
        let mut sources = Self { packets: Vec::new(), days: Vec::new(), fix_log };
        for path in arguments.positional::<PathBuf>()? {
            match Capture::open(&path)? {
                Capture::Day(file) => sources.days.push(Day::new(path, file, session)?),
                Capture::Packets(pcap) => sources.packets.push((path, pcap)),
            }
        }
        if let Some(session) = session.filter(|_| sources.days.len() > 1) {
            let place = format_args!("--session {session}");
            return Err(Failure::new(
                "one session for several day files",
                place,
                "replay one file at a time",
            ));
        }
        if !sources.has_market_data() && sources.fix_log.is_none() {
            return Err(Failure::new("nothing to replay", "FILE", "name a capture or give --fix-log"));
        }
        Ok(sources)
    }

    fn has_market_data(&self) -> bool {
        !self.packets.is_empty() || !self.days.is_empty()
    }
}

/// What else the user said.
struct Settings {
    answers: Option<Answers>,
    /// Name of a day file's session; of captures, the only session to take.
    session: Option<SessionId>,
    date: Option<Date>,
    speed: Speed,
}

impl Settings {
    fn read(arguments: &Arguments) -> Result<Self, Failure> {
        let answers: Option<PathBuf> = arguments.find("rerequest")?;
        Ok(Self {
            answers: answers.as_deref().map(Answers::open).transpose()?,
            session: arguments.find("session")?.map(|Name(session)| session),
            date: arguments.find("date")?,
            speed: arguments.get("speed")?,
        })
    }
}

/// A session as the user names it, in as many bytes as MoldUDP64 has for it.
struct Name(SessionId);

impl Value for Name {
    const EXPECTED: &'static str = "a session of 1 to 10 printable ASCII characters";
    fn parse(text: &str) -> Option<Self> {
        SessionId::new(text).filter(|_| super::is_name(text, SESSION)).map(Self)
    }
}

/// A replay of market data.
struct Replay<'a> {
    feed: MarketFeed,
    answers: Option<Answers>,
    pace: Pace,
    stop: &'a Stop,
    progress: Progress,
    snapshots: Snapshots,
    packets: PacketCounters,
    /// Files that did not end as they should.
    torn: u64,
    /// There were captures, and no packet in them was the feed's.
    is_foreign: bool,
    last: Time,
}

impl<'a> Replay<'a> {
    fn open(bus: &Bus, settings: Settings, stop: &'a Stop) -> Result<Self, Failure> {
        let publisher = bus.publisher::<MarketEvent>(MARKET_DATA)?;
        let mut normaliser = Itch::new();
        let history = History::read(bus, MARKET_DATA, &mut normaliser)?;
        let Settings { answers, session, date, speed } = settings;
        let config = FeedConfig { limits: Limits::of_captures(answers.is_some()), date, session };
        Ok(Self {
            feed: Feed::new(normaliser, publisher, history, config),
            answers,
            pace: Pace { speed, began: None },
            stop,
            progress: Progress::new(),
            snapshots: Snapshots::new(bus, MARKET_DATA, snapshot::EVERY),
            packets: PacketCounters::default(),
            torn: 0,
            is_foreign: false,
            last: Time(0),
        })
    }

    fn play(&mut self, packets: Vec<(PathBuf, Pcap)>, days: Vec<Day>) -> Result<(), Failure> {
        if !packets.is_empty() {
            self.packets(packets)?;
        }
        for day in days {
            self.day(day)?;
        }
        Ok(())
    }

    fn packets(&mut self, files: Vec<(PathBuf, Pcap)>) -> Result<(), Failure> {
        let (paths, files): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let (mut packets, mut count) = (Packets::new(files), 0_u64);
        while !self.stop.requested()
            && let Some(packet) = packets.next_packet()
        {
            self.pace.wait(packet.time, self.stop);
            self.last = self.last.max(packet.time);
            self.feed.packet(Source::Line(packet.line), packet.time, packet.payload)?;
            self.answer(self.last)?;
            self.keep();
            count += 1;
            if count.is_multiple_of(LOOK) {
                self.progress.show(|| format!("{count} packets"));
            }
        }
        self.packets = packets.counters();
        if self.stop.requested() {
            return Ok(());
        }
        for (path, file) in paths.iter().zip(packets.files()) {
            self.note_ending(path, packet_ending(file.ending()));
        }
        let summary = self.feed.summary();
        self.is_foreign = summary.packets == summary.malformed + summary.foreign;
        self.give_up()
    }

    /// Keeps what a later run has to know.
    fn keep(&mut self) {
        let publisher = self.feed.output();
        let (sequence, durable) = (publisher.next_sequence(), publisher.durable());
        self.snapshots.keep(&self.feed, sequence, durable);
    }

    /// Answers the requests that are due.
    fn answer(&mut self, now: Time) -> Result<(), Failure> {
        let Some(answers) = &mut self.answers else { return Ok(()) };
        while let Some((session, request)) = self.feed.request(now) {
            if let Some(messages) = answers.answer(request)? {
                self.feed.answer(session, request.sequence, messages, now)?;
            }
        }
        Ok(())
    }

    /// At the end of the captures time goes on until each request was made, then what is missing is lost.
    fn give_up(&mut self) -> Result<(), Failure> {
        let limits = Limits::of_captures(true);
        let end = self.last.0.saturating_add(nanoseconds(limits.patience));
        while self.answers.is_some() && self.last.0 < end {
            self.last.0 = self.last.0.saturating_add(nanoseconds(limits.retry));
            self.answer(self.last)?;
            self.feed.poll(self.last)?;
        }
        self.feed.finish(self.last)?;
        Ok(())
    }

    fn day(&mut self, Day { path, file: mut day, names }: Day) -> Result<(), Failure> {
        let known = names.iter().find(|name| self.feed.history().past(name).is_some());
        let Some(&session) = known.or(names.first()) else {
            self.note_ending(&path, day_ending(Some(&Ending::Truncated { torn: 0 })));
            return Ok(());
        };
        let mut next = 1;
        let chunk = if self.pace.speed == Speed::Max { CHUNK } else { 1 };
        while !self.stop.requested()
            && let Some(messages) = day.next_blocks(chunk)
        {
            self.pace.wait(time_of(messages), self.stop);
            self.feed.messages(session, next, messages)?;
            next += messages.count() as u64;
            self.keep();
            self.progress.show(|| format!("{} messages", next - 1));
        }
        if self.stop.requested() {
            return Ok(());
        }
        if matches!(day.ending(), Some(Ending::Complete | Ending::Followed { .. })) {
            self.feed.end(session, next)?;
        }
        self.note_ending(&path, day_ending(day.ending()));
        Ok(())
    }

    fn note_ending(&mut self, path: &Path, ending: Option<String>) {
        if let Some(ending) = ending {
            self.torn += 1;
            program::note(&format!("{} {ending}; what is whole was used", path.display()));
        }
    }

    /// Makes all durable.
    fn close(self) -> Result<(), PublishError> {
        let (_, publisher) = self.feed.into_parts();
        publisher.close()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// When the venue made the first of these messages.
fn time_of(mut messages: Blocks<'_>) -> Time {
    let head = messages.next().and_then(|message| Head::ref_from_prefix(message).ok());
    Time(head.map_or(0, |(head, _)| head.timestamp.get()))
}

fn day_ending(ending: Option<&Ending>) -> Option<String> {
    match ending? {
        Ending::Complete => None,
        Ending::Followed { by } => Some(format!("holds {by} bytes behind its end mark, which are not read")),
        Ending::Truncated { torn: 0 } => Some("has no end mark: it is truncated".into()),
        Ending::Truncated { torn } => Some(format!("is truncated: {torn} bytes are no whole message")),
        Ending::Unreadable(error) => Some(format!("cannot be read to its end ({error})")),
    }
}

fn packet_ending(ending: Option<&PcapEnding>) -> Option<String> {
    match ending? {
        PcapEnding::Complete => None,
        PcapEnding::Truncated => Some("is truncated within a record".into()),
        PcapEnding::Nonsense { length } => Some(format!("is damaged: a record of {length} bytes")),
        PcapEnding::Unreadable(error) => Some(format!("cannot be read to its end ({error})")),
    }
}

/// What is said at the end.
#[derive(Debug, Default, Serialize)]
struct Report {
    #[serde(flatten)]
    market: Summary,
    /// Frames of captures that are cut off or contradict themselves.
    malformed_frames: u64,
    /// Files that did not end as they should.
    truncated: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<FixReport>,
    #[serde(skip)]
    incomplete: bool,
}

impl Report {
    fn market(&mut self, replay: &Replay<'_>) {
        let summary = replay.feed.summary();
        self.market = Summary::new(&summary, replay.feed.normaliser(), IO);
        self.malformed_frames = replay.packets.malformed;
        self.truncated += replay.torn;
        self.incomplete |= summary.is_incomplete() || replay.torn > 0 || replay.is_foreign;
        if replay.is_foreign {
            program::note("no packet of the feed in the captures; check --session and what was captured");
        }
        if let Some(error) = replay.feed.last_malformation() {
            program::note(&format!("{} malformed packets, at last: {error}", summary.malformed));
        }
    }

    fn fix(&mut self, fix: FixReport) {
        self.incomplete |= fix.is_incomplete();
        self.fix = Some(fix);
    }

    fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            return program::print_json(self);
        }
        program::print_line(&self.market.describe())?;
        self.fix.as_ref().map_or(Ok(()), |fix| program::print_line(&fix.describe()))
    }
}
