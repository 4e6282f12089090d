//! From a stream of bytes to whole messages. What is garbled is skipped up to the next `8=FIX` and counted; it is
//! never answered, as FIX asks for.

use super::message::Message;

/// End of a field.
pub const SOH: u8 = 1;
/// Longest message, header and trailer included.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// What every message begins with.
pub(super) const START: &[u8] = b"8=FIX";
/// Bytes within which BeginString ends.
pub(super) const MAX_VERSION: usize = 16;
const TRAILER: usize = "10=000|".len();

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garbled {
    /// They do not begin with `8=FIX`.
    Noise,
    /// BeginString, BodyLength and MsgType are not the first three fields.
    Header,
    /// Longer than [`MAX_MESSAGE`].
    Oversize,
    /// No CheckSum where BodyLength says.
    Length,
    /// The CheckSum is wrong.
    Checksum,
}

/// What a stream begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed {
    /// More bytes are needed.
    Incomplete,
    /// A message of so many bytes.
    Message(usize),
    /// Bytes to skip, at least one, and why.
    Garbage(usize, Garbled),
}

/// What `bytes` begin with.
pub fn frame(bytes: &[u8]) -> Framed {
    if !START.starts_with(&bytes[..bytes.len().min(START.len())]) {
        return Framed::Garbage(next_start(bytes, 0), Garbled::Noise);
    }
    match locate(bytes) {
        Ok(Some(length)) if sum_is_right(&bytes[..length]) => Framed::Message(length),
        // Its end is where it says. What it holds is skipped with it: a message within a field is none of the stream.
        Ok(Some(length)) => Framed::Garbage(length, Garbled::Checksum),
        Ok(None) => Framed::Incomplete,
        Err(garbled) => Framed::Garbage(next_start(bytes, 1), garbled),
    }
}

/// The length of what begins like a message and ends like one; `None` where more bytes are needed to know.
fn locate(bytes: &[u8]) -> Result<Option<usize>, Garbled> {
    let Some(version) = bytes.iter().take(MAX_VERSION).position(|&b| b == SOH) else {
        return if bytes.len() < MAX_VERSION { Ok(None) } else { Err(Garbled::Header) };
    };
    let rest = &bytes[version + 1..];
    if !b"9=".starts_with(&rest[..rest.len().min(2)]) {
        return Err(Garbled::Header);
    }
    let digits = rest.get(2..).unwrap_or_default();
    let mut body_length = 0_usize;
    let mut count = 0;
    for &b in digits.iter().take_while(|&&b| b != SOH) {
        if !b.is_ascii_digit() {
            return Err(Garbled::Header);
        }
        count += 1;
        body_length = body_length * 10 + usize::from(b - b'0');
        if body_length > MAX_MESSAGE || count > 9 {
            return Err(Garbled::Oversize);
        }
    }
    if digits.len() == count {
        return Ok(None);
    }
    let body = version + 1 + 2 + count + 1;
    let total = body + body_length + TRAILER;
    match () {
        () if count == 0 => Err(Garbled::Header),
        () if total > MAX_MESSAGE => Err(Garbled::Oversize),
        () if bytes.len() < total => Ok(None),
        () if !bytes[body..total].starts_with(b"35=") => Err(Garbled::Header),
        () if !ends_like_message(&bytes[..total]) => Err(Garbled::Length),
        () => Ok(Some(total)),
    }
}

fn ends_like_message(message: &[u8]) -> bool {
    let (content, trailer) = message.split_at(message.len() - TRAILER);
    let digits = trailer.strip_prefix(b"10=").and_then(|rest| rest.strip_suffix(&[SOH]));
    content.ends_with(&[SOH]) && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

fn sum_is_right(message: &[u8]) -> bool {
    let (content, trailer) = message.split_at(message.len() - TRAILER);
    trailer[3..6] == checksum(content)
}

/// The three digits of CheckSum over `content`, which ends with the field before it.
pub fn checksum(content: &[u8]) -> [u8; 3] {
    let sum = content.iter().fold(0_u8, |sum, &b| sum.wrapping_add(b));
    [b'0' + sum / 100, b'0' + sum / 10 % 10, b'0' + sum % 10]
}

/// First place at or after `from` where a message may begin, be it with its first bytes only; else the end.
fn next_start(bytes: &[u8], from: usize) -> usize {
    (from..bytes.len())
        .find(|&at| START.starts_with(&bytes[at..bytes.len().min(at + START.len())]))
        .unwrap_or(bytes.len())
}

/// What a stream held beside messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GarbledCounters {
    /// Messages whose header is none.
    pub headers: u64,
    /// Messages longer than [`MAX_MESSAGE`].
    pub oversize: u64,
    /// Messages whose CheckSum is not where BodyLength says.
    pub lengths: u64,
    /// Messages with a wrong CheckSum.
    pub checksums: u64,
    /// Bytes between messages that are not white space, and bytes of garbled messages.
    pub skipped_bytes: u64,
}

impl GarbledCounters {
    /// Garbled messages of all kinds.
    pub fn messages(&self) -> u64 {
        self.headers + self.oversize + self.lengths + self.checksums
    }

    fn count(&mut self, skipped: &[u8], why: Garbled) {
        match why {
            Garbled::Noise => {}
            Garbled::Header => self.headers += 1,
            Garbled::Oversize => self.oversize += 1,
            Garbled::Length => self.lengths += 1,
            Garbled::Checksum => self.checksums += 1,
        }
        self.skipped_bytes += skipped.iter().filter(|b| !b.is_ascii_whitespace()).count() as u64;
    }
}

/// A buffer of fixed size between a stream and its messages. A message stays until it is consumed, so that one which
/// nobody could take yet is handed out again.
#[derive(Debug)]
pub struct Framer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    garbled: GarbledCounters,
}

impl Default for Framer {
    fn default() -> Self {
        Self { bytes: vec![0; 2 * MAX_MESSAGE].into(), start: 0, end: 0, garbled: GarbledCounters::default() }
    }
}

impl Framer {
    /// Room for more bytes; never empty once [`message`](Self::message) has answered `None`.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// The first `count` bytes of [`room`](Self::room) are filled.
    ///
    /// # Panics
    /// If that is more than there was room for.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.end, "more bytes than the buffer had room for");
        self.end += count;
    }

    /// The next whole message, or `None` until more bytes are there. It stays until [`consume`](Self::consume).
    pub fn message(&mut self) -> Option<Message<'_>> {
        loop {
            match frame(&self.bytes[self.start..self.end]) {
                Framed::Incomplete => return None,
                Framed::Message(length) => {
                    return Some(Message::parse(&self.bytes[self.start..self.start + length]));
                }
                Framed::Garbage(skip, why) => {
                    self.garbled.count(&self.bytes[self.start..self.start + skip], why);
                    self.start += skip;
                }
            }
        }
    }

    /// Takes `length` bytes, those of the message that [`message`](Self::message) gave.
    ///
    /// # Panics
    /// If that is more than the buffer holds.
    pub fn consume(&mut self, length: usize) {
        assert!(length <= self.end - self.start, "more bytes consumed than the buffer holds");
        self.start += length;
    }

    /// Bytes that are no whole message yet.
    pub fn unread(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Forgets all bytes, as at the end of a connection.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// What was skipped so far.
    pub fn garbled(&self) -> GarbledCounters {
        self.garbled
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A heartbeat with the text `text`.
    fn heartbeat(text: &str) -> Vec<u8> {
        let body = format!("35=0\u{1}34=2\u{1}112={text}\u{1}");
        let mut message = format!("8=FIX.4.4\u{1}9={}\u{1}{body}", body.len()).into_bytes();
        let sum = checksum(&message);
        message.extend_from_slice(b"10=");
        message.extend_from_slice(&sum);
        message.push(SOH);
        message
    }

    #[test]
    fn every_beginning_of_a_message_is_incomplete() {
        let message = heartbeat("x");
        for length in 1..message.len() {
            assert_eq!(frame(&message[..length]), Framed::Incomplete, "{length}");
        }
        assert_eq!(frame(&message), Framed::Message(message.len()));
    }

    #[test]
    fn a_message_within_a_garbled_one_is_none_of_the_stream() {
        let inner = heartbeat("inner");
        let body = [format!("35=B\u{1}95={}\u{1}96=", inner.len()).as_bytes(), &inner, b"\x01"].concat();
        let mut stream =
            [format!("8=FIX.4.4\u{1}9={}\u{1}", body.len()).as_bytes(), &body, b"10=000\x01"].concat();
        assert_ne!(checksum(&stream[..stream.len() - 7]), *b"000");
        let garbled = stream.len();
        stream.extend(heartbeat("outer"));
        assert_eq!(frame(&stream), Framed::Garbage(garbled, Garbled::Checksum));
    }

    #[test]
    fn a_garbled_message_is_skipped_to_the_next() {
        let mut stream = heartbeat("one");
        let first = stream.len();
        stream[first - 3] ^= 1;
        stream.extend(heartbeat("two"));
        assert_eq!(frame(&stream), Framed::Garbage(first, Garbled::Checksum));
        assert_eq!(frame(b"8=FIX.4.4\x019=70000\x01"), Framed::Garbage(18, Garbled::Oversize));
        assert_eq!(frame(b"8=FIX.4.4\x0135=0\x01"), Framed::Garbage(15, Garbled::Header));
        assert_eq!(frame(b"noise8=FI"), Framed::Garbage(5, Garbled::Noise));
    }

    proptest! {
        #[test]
        fn messages_survive_any_noise_and_any_cut(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..30), 0_u32..1000), 1..20),
            cut in 1_usize..50,
        ) {
            let mut stream = Vec::new();
            for (noise, text) in &parts {
                stream.extend(noise.iter().filter(|&&b| b != b'8'));
                stream.extend(heartbeat(&text.to_string()));
            }
            let mut framer = Framer::default();
            let mut found = Vec::new();
            for chunk in stream.chunks(cut) {
                framer.room()[..chunk.len()].copy_from_slice(chunk);
                framer.filled(chunk.len());
                while let Some(message) = framer.message() {
                    found.push(String::from_utf8(message.get(112).unwrap().to_vec()).unwrap());
                    let length = message.length();
                    framer.consume(length);
                }
            }
            prop_assert_eq!(found, parts.iter().map(|(_, text)| text.to_string()).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_make_progress_within_the_buffer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut rest = &bytes[..];
            while let Framed::Garbage(skip, _) = frame(rest) {
                prop_assert!(skip > 0 && skip <= rest.len());
                rest = &rest[skip..];
            }
        }
    }
}
