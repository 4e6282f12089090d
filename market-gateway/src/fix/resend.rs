//! What a session has asked its peer to send again.

use bus::event::Time;

/// A pending ResendRequest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resend {
    /// First number asked for.
    pub(super) from: u64,
    /// Highest number known when it was asked for.
    pub(super) asked: u64,
    /// Highest number known by now.
    pub(super) target: u64,
    /// When it was asked for or last brought something.
    pub(super) time: Time,
    /// How often one and the same range was asked for.
    pub(super) attempts: u32,
}

impl Resend {
    /// Whether a message ahead of `expected` shows that the request will not bring `expected`. Live messages are ahead
    /// anyway while the peer resends; so it takes a resent one, or that everything is here which was known to be
    /// missing. Where nothing has come yet it is too early to tell.
    pub(super) fn is_to_be_renewed(&self, expected: u64, resent: bool) -> bool {
        expected > self.asked || resent && expected > self.from
    }
}
