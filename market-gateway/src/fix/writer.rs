//! Writes messages with a right BodyLength and CheckSum.

use bus::event::Time;

use super::{
    framing::{SOH, checksum},
    value,
};

/// BeginString of everything that is written here.
pub const VERSION: &[u8] = b"FIX.4.4";

/// The header of a message to write.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// MsgType (35).
    pub kind: &'a [u8],
    /// SenderCompID (49).
    pub sender: &'a [u8],
    /// TargetCompID (56).
    pub target: &'a [u8],
    /// MsgSeqNum (34).
    pub number: u64,
    /// SendingTime (52), written to the millisecond.
    pub time: Time,
    /// OrigSendingTime (122) of a message that was sent before, which makes it a PossDup.
    pub original: Option<Time>,
}

/// A message that is being appended to a buffer. Unless it is finished it is not a message.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Where the digits of BodyLength belong.
    length: usize,
}

impl<'a> Writer<'a> {
    /// Begins a message at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, header: &Header<'_>) -> Self {
        let start = out.len();
        out.extend_from_slice(b"8=");
        out.extend_from_slice(VERSION);
        out.extend_from_slice(&[SOH, b'9', b'=']);
        let length = out.len();
        let mut writer = Self { out, start, length };
        writer.out.push(SOH);
        writer
            .text(35, header.kind)
            .text(49, header.sender)
            .text(56, header.target)
            .number(34, header.number);
        if header.original.is_some() {
            writer.text(43, b"Y");
        }
        writer.time(52, header.time, 3);
        if let Some(original) = header.original {
            writer.time(122, original, 3);
        }
        writer
    }

    fn tag(&mut self, tag: u32) {
        self.out.extend_from_slice(tag.to_string().as_bytes());
        self.out.push(b'=');
    }

    /// Appends a text; control characters, which would end the field, become spaces.
    pub fn text(&mut self, tag: u32, value: &[u8]) -> &mut Self {
        self.tag(tag);
        self.out.extend(value.iter().map(|&b| if b.is_ascii_control() { b' ' } else { b }));
        self.out.push(SOH);
        self
    }

    /// Appends a number.
    pub fn number(&mut self, tag: u32, value: u64) -> &mut Self {
        self.text(tag, value.to_string().as_bytes())
    }

    /// Appends a UTCTimestamp with `places` digits of the second's fraction.
    pub fn time(&mut self, tag: u32, time: Time, places: usize) -> &mut Self {
        self.tag(tag);
        value::write_timestamp(self.out, time, places);
        self.out.push(SOH);
        self
    }

    /// Appends a price in its shortest form.
    pub fn price(&mut self, tag: u32, price: bus::event::Price) -> &mut Self {
        self.tag(tag);
        value::write_price(self.out, price);
        self.out.push(SOH);
        self
    }

    /// Ends the message.
    pub fn finish(self) {
        let body = self.out.len() - self.length - 1;
        self.out.splice(self.length..self.length, body.to_string().into_bytes());
        let sum = checksum(&self.out[self.start..]);
        self.out.extend_from_slice(b"10=");
        self.out.extend_from_slice(&sum);
        self.out.push(SOH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::framing::{Framed, frame};

    #[test]
    fn what_is_written_is_framed() {
        let mut out = b"before".to_vec();
        let header = Header {
            kind: b"3",
            sender: b"US",
            target: b"VENUE",
            number: 12,
            time: Time(1_767_323_045_123_456_789),
            original: Some(Time(0)),
        };
        let mut writer = Writer::new(&mut out, &header);
        writer.text(58, b"two\x01fields");
        writer.finish();
        let message = &out[6..];
        assert_eq!(frame(message), Framed::Message(message.len()));
        let text = String::from_utf8_lossy(message).replace('\u{1}', "|");
        assert_eq!(
            text,
            "8=FIX.4.4|9=96|35=3|49=US|56=VENUE|34=12|43=Y|52=20260102-03:04:05.123|\
             122=19700101-00:00:00.000|58=two fields|10=169|"
        );
    }
}
