//! What a message costs from its bytes to full-depth books, on the code path of the gateway and the engine.

use std::convert::Infallible;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bus::event::market::{MarketEvent, MarketEventRef, Session};
use bus::event::{Code, Message as _, PartOf, Time, as_bytes};
use bus::program::{Arguments, Exit, Failure, Rate, Value, note};
use engine::State;
use flate2::bufread::MultiGzDecoder;
use market_gateway::itch::{Message, day_file};
use market_gateway::mold::Blocks;
use market_gateway::normalise::Itch;
use market_gateway::{Normalise, Output, Raw};

use crate::conditions;
use crate::figure::{Figure, median};
use crate::flow::{Flow, Framed};

/// Interleaved measurements.
const ROUNDS: u32 = 3;
/// Most orders that rest when the measured part of the mix begins.
const RESTING: usize = 600_000;
/// Most bytes that are read of a file.
const MOST_BYTES: usize = 1 << 30;
/// Messages timed together: so few that most pieces pass between two turns of the scheduler.
const PIECE: usize = 1_000;

/// A number of messages.
struct Count(usize);

impl Value for Count {
    const EXPECTED: &'static str = "a number from 1 to 100M such as 20000, 100k or 2M";
    fn parse(text: &str) -> Option<Self> {
        let Rate(count) = Rate::parse(text).filter(|count| (1..=100_000_000).contains(&count.0))?;
        usize::try_from(count).ok().map(Self)
    }
}

/// Prints nanoseconds a message: a copy of it, decoding alone, and the whole way into the books.
pub(crate) fn decode(arguments: &Arguments) -> Result<Exit, Failure> {
    let Count(messages) = arguments.get("messages")?;
    let file: Option<PathBuf> = arguments.positional()?.into_iter().next();
    let (what, (opening, measured)) = match &file {
        Some(file) => (format!("ITCH of {}", file.display()), (Framed::default(), read(file, messages)?)),
        None => ("a seeded ITCH mix of 500 symbols".into(), Flow::new().day(messages.min(RESTING), messages)),
    };
    let how = format!(
        "one thread, unpinned, {} messages of {:.1} bytes, bytes in cache, {ROUNDS} rounds in turn, median of pieces of {PIECE} messages",
        measured.count(),
        measured.bytes() as f64 / measured.count() as f64 - 2.0
    );
    conditions::print(arguments.json(), &what, &how)?;
    let (mut copies, mut decodes, mut books) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        copy(&measured, &mut copies);
        decode_alone(&measured, &mut decodes);
        whole(&opening, &measured, &mut books);
    }
    let (copies, decodes, books) = (median(&mut copies), median(&mut decodes), median(&mut books));
    let print = |figure, system: &str, value, ratio| {
        Figure { figure, system: system.into(), unit: "ns/msg", value, ratio }.print(arguments.json())
    };
    let floor = |value| (copies > 0.0).then(|| ("memcpy", value / copies));
    print("copy of each message", "memcpy", copies, None)?;
    print("decode", "busbar", decodes, floor(decodes))?;
    print("decode, normalise, full-depth book", "busbar", books, floor(books))?;
    Ok(Exit::Good)
}

/// The first `most` messages of a day file.
fn read(path: &Path, most: usize) -> Result<Framed, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            "cannot read",
            format_args!("{}: {error}", path.display()),
            "name a day file of ITCH 5.0",
        )
    };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let is_compressed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    let input: Box<dyn Read> =
        if is_compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut day = day_file::Reader::new(input);
    let mut messages = Framed::default();
    while messages.count() < most && messages.bytes() < MOST_BYTES {
        let Some(blocks) = day.next_blocks(PIECE.min(most - messages.count())) else { break };
        messages.extend(blocks);
    }
    match day.ending() {
        _ if messages.count() == 0 => Err(failed(std::io::ErrorKind::InvalidData.into())),
        Some(day_file::Ending::Truncated { torn }) if *torn > 0 => {
            note(&format!("the file ends {torn} bytes into a message; those before it are measured"));
            Ok(messages)
        }
        Some(day_file::Ending::Unreadable(error)) => {
            note(&format!("the file cannot be read further ({error}); the messages before are measured"));
            Ok(messages)
        }
        _ => Ok(messages),
    }
}

/// Times pieces of `messages`: adds the nanoseconds a message of each to `times`. `work` is given the number of its
/// first message.
fn time(messages: &Framed, times: &mut Vec<f64>, mut work: impl FnMut(u64, Blocks<'_>)) {
    let (mut blocks, mut first) = (messages.blocks(), 1);
    while blocks.len() > 0 {
        let piece = blocks.take_first(PIECE);
        let start = Instant::now();
        work(first, piece);
        times.push(start.elapsed().as_nanos() as f64 / piece.len() as f64);
        first += piece.len() as u64;
    }
}

/// The floor: each message is found and copied.
fn copy(messages: &Framed, times: &mut Vec<f64>) {
    let mut room = [0_u8; 64];
    time(messages, times, |_, piece| {
        for message in piece {
            let length = message.len().min(room.len());
            room[..length].copy_from_slice(&message[..length]);
            black_box(&mut room);
        }
    });
}

fn decode_alone(messages: &Framed, times: &mut Vec<f64>) {
    time(messages, times, |_, piece| {
        for message in piece {
            black_box(Message::decode(message).map(|decoded| decoded.head().timestamp.get())).ok();
        }
    });
}

/// Decodes, normalises and applies `measured`, after `opening` has filled the books.
fn whole(opening: &Framed, measured: &Framed, times: &mut Vec<f64>) {
    let session = Session { state: Code(b'S'), ..Session::default() };
    let (mut itch, mut books) = (Itch::new(), Books(State::new()));
    itch.begin(&session);
    books.0.apply_market(MarketEventRef::Session(&session));
    apply(&mut itch, &mut books, 1, opening.blocks());
    let opened = opening.count() as u64;
    time(measured, times, |first, piece| apply(&mut itch, &mut books, opened + first, piece));
    for (oddity, count) in books.0.oddities().met() {
        note(&format!("{count} messages did not fit the books: {oddity:?}"));
    }
}

fn apply(itch: &mut Itch, books: &mut Books, first: u64, messages: Blocks<'_>) {
    for (sequence, bytes) in (first..).zip(messages) {
        let Ok(()) = itch.message(Raw { sequence, receive_time: Time(0), bytes }, books);
    }
}

/// Applies what the normaliser makes without a journal between them.
struct Books(State);

impl Output<MarketEvent> for Books {
    type Error = Infallible;

    #[inline]
    fn publish<E: PartOf<MarketEvent>>(&mut self, event: &E) -> Result<(), Infallible> {
        if let Some(event) = MarketEvent::decode(E::KIND, as_bytes(event)) {
            self.0.apply_market(event);
        }
        Ok(())
    }
}
