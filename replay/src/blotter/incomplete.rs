//! How a blotter ended: what it told, and what keeps it from being complete.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use bus::event::trade::Withheld;
use bus::{TOPIC_GONE, TOPIC_REPLACED};
use serde::Serialize;

use crate::{Findings, Orphans};

/// Something that keeps a blotter from being complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what")]
pub enum Incomplete {
    /// A fill in an instrument that the market's directory does not name, or in none. The first of each instrument.
    #[serde(rename = "fill without instrument")]
    Fill {
        /// Topic of the fill.
        topic: String,
        /// Its sequence.
        sequence: u64,
        /// The instrument, if it says one.
        instrument: Option<String>,
    },
    /// An execution report that the gateway could not keep, or withheld as a possible repetition. One that the venue sent
    /// in its place is a trade of its own.
    #[serde(rename = "execution withheld")]
    Withheld {
        /// Topic of the trades.
        topic: String,
        /// Its sequence.
        sequence: u64,
        /// Its message number in the FIX session.
        venue_sequence: u64,
        /// Its ExecID, if it says one.
        execution: Option<String>,
        /// Why: `field missing`, `bad value` or `possible repetition`.
        cause: &'static str,
        /// Tag of the field at fault; 0 where there is none.
        tag: u32,
    },
    /// Conclusions whose causes are in no journal.
    #[serde(rename = "effect without cause")]
    Effects {
        /// Topic of the effects.
        topic: String,
        /// Which they are, and where their causes should be.
        #[serde(flatten)]
        effects: Orphans,
    },
    /// Messages of the venue that never came.
    #[serde(rename = "open gap")]
    Gap {
        /// Topic of the market.
        topic: String,
        /// The venue's session.
        session: String,
        /// First venue message number.
        from: u64,
        /// Missing messages.
        count: u64,
    },
    /// A topic that the bus has had, whatever it carried, and that is gone with its directory.
    #[serde(rename = "topic gone")]
    Gone {
        /// The topic.
        topic: String,
    },
    /// A topic, whatever it carries, whose journal is not the one that the bus has had.
    #[serde(rename = "topic replaced")]
    Replaced {
        /// The topic.
        topic: String,
    },
    /// No topic of the bus carries what `trades` or `risk` does, and none is known to be gone: its publisher never ran.
    #[serde(rename = "no topic")]
    Topic {
        /// The topic.
        topic: String,
    },
    /// Trades, with the fills among them, from which nothing in `risk` follows: the engine stopped before them.
    #[serde(rename = "not judged")]
    Unjudged {
        /// Topic of the trades.
        topic: String,
        /// The first of them.
        from: u64,
        /// How many, up to the last.
        count: u64,
    },
    /// What a topic began with, before the blotter did.
    #[serde(rename = "removed by retention")]
    Retired {
        /// The topic.
        topic: String,
        /// The oldest sequence that is left.
        before: u64,
    },
    /// Messages of ours that cannot be read.
    #[serde(rename = "damage")]
    Damage {
        /// The topic.
        topic: String,
        /// First sequence.
        from: u64,
        /// The sequence behind the last.
        to: u64,
        /// How it fails, as [`DamageKind`](crate::DamageKind) names it.
        kind: &'static str,
        /// What the system said, where it refused.
        detail: Option<String>,
    },
}

impl Incomplete {
    pub(super) fn withheld(topic: &str, sequence: u64, report: &Withheld) -> Self {
        let cause = match report.cause {
            Withheld::MISSING => "field missing",
            Withheld::REPETITION => "possible repetition",
            _ => "bad value",
        };
        Self::Withheld {
            topic: topic.into(),
            sequence,
            venue_sequence: report.venue_sequence,
            execution: (!report.execution.is_blank()).then(|| report.execution.to_string()),
            cause,
            tag: report.tag,
        }
    }
}

impl Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fill { topic, sequence, instrument: Some(instrument) } => {
                write!(f, "fill {sequence} of '{topic}' is in {instrument}, which the market does not name")
            }
            Self::Fill { topic, sequence, instrument: None } => {
                write!(f, "fill {sequence} of '{topic}' names no instrument")
            }
            Self::Withheld { topic, sequence, venue_sequence, execution, cause, tag } => {
                write!(f, "execution {sequence} of '{topic}' is withheld, {cause}")?;
                if *tag > 0 {
                    write!(f, " in tag {tag}")?;
                }
                write!(f, ": the venue's message {venue_sequence}")?;
                execution.iter().try_for_each(|execution| write!(f, " with ExecID {execution}"))
            }
            Self::Effects { topic, effects } => write!(f, "'{topic}': {effects}"),
            Self::Gap { topic, session, from, count } => {
                write!(f, "open gap of '{topic}': {count} messages of session {session} from {from}")
            }
            Self::Gone { topic } => write!(f, "topic '{topic}': {TOPIC_GONE}"),
            Self::Replaced { topic } => write!(f, "topic '{topic}': {TOPIC_REPLACED}"),
            Self::Topic { topic } => write!(f, "no topic '{topic}'"),
            Self::Unjudged { topic, from, count } => {
                write!(f, "{count} trades of '{topic}' from {from} are not judged by the risk engine")
            }
            Self::Retired { topic, before } => {
                write!(f, "retention removed what came before sequence {before} of '{topic}'")
            }
            Self::Damage { topic, kind, detail: Some(detail), .. } => {
                write!(f, "{kind}: '{topic}': {detail}")
            }
            Self::Damage { topic, from, to, kind, detail: None } => {
                write!(f, "{kind}: '{topic}': sequences {from} to before {to}")
            }
        }
    }
}

/// How a blotter ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Lines by the type of their message.
    pub lines: BTreeMap<String, u64>,
    /// Messages that became durable too late for their place: a later blotter has them before some that are before them here.
    pub late: u64,
    /// What is incomplete.
    pub incomplete: Findings<Incomplete>,
}

/// The last line of a blotter.
#[derive(Serialize)]
struct End<'a> {
    r#type: &'static str,
    complete: bool,
    lines: &'a BTreeMap<String, u64>,
    late: u64,
    incomplete: &'a [Incomplete],
    incomplete_count: u64,
}

impl Summary {
    /// The last line of a blotter, for JSON.
    pub fn end(&self) -> impl Serialize + '_ {
        End {
            r#type: "end",
            complete: self.incomplete.is_empty(),
            lines: &self.lines,
            late: self.late,
            incomplete: self.incomplete.listed(),
            incomplete_count: self.incomplete.count(),
        }
    }
}
