//! Why a connection ends.

use std::fmt;

use super::numbers::ReserveError;

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// We logged out and the peer agreed, or said nothing for ten seconds.
    Finished,
    /// The peer logged out, with this text.
    LoggedOut(String),
    /// No answer to our Logon.
    LogonTimeout,
    /// Another message than a Logon came first; its type.
    NotLoggedOn(String),
    /// Nothing came for two heartbeat intervals, nor an answer to a TestRequest.
    Silent,
    /// The peer's number is lower than what we already have, and not marked as a repetition.
    TooLow {
        /// The number we expected.
        expected: u64,
        /// The number that came.
        received: u64,
    },
    /// A message without MsgSeqNum.
    NoNumber,
    /// Another BeginString than FIX.4.4.
    WrongVersion(String),
    /// SenderCompID or TargetCompID is not the agreed one; what the peer calls itself and us.
    WrongCompId(String),
    /// The peer wants encryption (98), which we do not speak.
    Encryption,
    /// The peer began again at 1 twice within a second.
    ResetTooOften,
    /// What starts at this number was asked for several times and did not come.
    NoProgress(u64),
    /// Our own numbers could not be reserved.
    Numbers(ReserveError),
    /// The peer closed the connection.
    PeerClosed,
    /// The connection could not be made or has failed.
    Io(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("logged out"),
            Self::LoggedOut(text) => write!(f, "the peer logged out: {text:?}"),
            Self::LogonTimeout => f.write_str("no answer to Logon"),
            Self::NotLoggedOn(kind) => write!(f, "message type {kind:?} came before Logon"),
            Self::Silent => f.write_str("the peer is silent, also to a TestRequest"),
            Self::TooLow { expected, received } => {
                write!(f, "MsgSeqNum too low, expecting {expected} but received {received}")
            }
            Self::NoNumber => f.write_str("MsgSeqNum missing"),
            Self::WrongVersion(version) => write!(f, "BeginString is {version:?}, not FIX.4.4"),
            Self::WrongCompId(ids) => {
                write!(f, "CompID problem: message is {ids}; check --sender and --target")
            }
            Self::Encryption => {
                f.write_str("the peer asks for encryption; ask the venue for EncryptMethod 0")
            }
            Self::ResetTooOften => f.write_str("ResetSeqNumFlag came twice within a second"),
            Self::NoProgress(from) => {
                write!(f, "message {from} was asked for several times and did not come")
            }
            Self::Numbers(error) => error.fmt(f),
            Self::PeerClosed => f.write_str("the peer closed the connection"),
            Self::Io(error) => f.write_str(error),
        }
    }
}

impl From<ReserveError> for Reason {
    fn from(error: ReserveError) -> Self {
        Self::Numbers(error)
    }
}

/// At most 200 bytes of what a peer sent, to be shown.
pub(super) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}
