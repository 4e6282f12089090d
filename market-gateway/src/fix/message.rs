//! A FIX message in place: its fields are slices of the bytes it came in.

use std::fmt;

use super::{framing::SOH, value};

/// Most fields of a message; more are refused.
pub const MAX_FIELDS: usize = 1024;

/// Fields whose value may hold any byte, with the field before them that states their length (FIX 4.4).
const DATA: [(u32, u32); 16] = [
    (90, 91),
    (93, 89),
    (95, 96),
    (212, 213),
    (348, 349),
    (350, 351),
    (352, 353),
    (354, 355),
    (356, 357),
    (358, 359),
    (360, 361),
    (362, 363),
    (364, 365),
    (445, 446),
    (618, 619),
    (621, 622),
];

/// SessionRejectReason (373).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The tag is no number from 1 to 9 digits.
    InvalidTag = 0,
    /// A field that the message needs is not there.
    Missing = 1,
    /// There is a tag, and no value.
    NoValue = 4,
    /// The value is not allowed.
    Value = 5,
    /// The value is not of the field's type.
    Format = 6,
    /// SenderCompID or TargetCompID is not the agreed one.
    CompId = 9,
    /// The message type is unknown here.
    MessageType = 11,
    /// Anything else: more than [`MAX_FIELDS`] fields.
    Other = 99,
}

/// What is wrong with a message, and in which field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defect {
    /// The field's tag, 0 where it is not known.
    pub tag: u32,
    /// What is wrong with it.
    pub fault: Fault,
}

impl Defect {
    /// `fault` in field `tag`.
    pub fn new(tag: u32, fault: Fault) -> Self {
        Self { tag, fault }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::InvalidTag => "invalid tag number",
            Fault::Missing => "required tag missing",
            Fault::NoValue => "tag specified without a value",
            Fault::Value => "value is incorrect",
            Fault::Format => "incorrect data format for value",
            Fault::CompId => "CompID problem",
            Fault::MessageType => "invalid message type",
            Fault::Other => "too many fields",
        };
        if self.tag == 0 { f.write_str(what) } else { write!(f, "{what}: tag {}", self.tag) }
    }
}

/// A message whose frame is whole. Where its fields are not, those before the defect can be read.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// BeginString (8).
    pub version: &'a [u8],
    /// MsgType (35).
    pub kind: &'a [u8],
    /// MsgSeqNum (34); `None` where it is not there or is no number.
    pub number: Option<u64>,
    /// SenderCompID (49), empty where it is not there.
    pub sender: &'a [u8],
    /// TargetCompID (56), empty where it is not there.
    pub target: &'a [u8],
    /// PossDupFlag (43): the same number was sent before.
    pub possible_duplicate: bool,
    /// PossResend (97): the same content may have been sent under another number.
    pub possible_resend: bool,
    /// The first thing wrong with its fields.
    pub defect: Option<Defect>,
}

impl<'a> Message<'a> {
    /// Reads the header and checks the form of every field of `bytes`, one message that
    /// [`frame`](super::framing::frame) has found.
    pub fn parse(bytes: &'a [u8]) -> Self {
        let mut message = Self {
            bytes,
            version: &[],
            kind: &[],
            number: None,
            sender: &[],
            target: &[],
            possible_duplicate: false,
            possible_resend: false,
            defect: None,
        };
        for (count, field) in message.all_fields().enumerate() {
            match field {
                Err(defect) => message.defect = Some(defect),
                Ok((tag, _)) if count == MAX_FIELDS => message.defect = Some(Defect::new(tag, Fault::Other)),
                Ok((tag, value)) => {
                    message.read_header(tag, value);
                    continue;
                }
            }
            break;
        }
        message
    }

    /// Where a field of the header comes twice, the first counts.
    fn read_header(&mut self, tag: u32, value: &'a [u8]) {
        match tag {
            8 if self.version.is_empty() => self.version = value,
            35 if self.kind.is_empty() => self.kind = value,
            34 if self.number.is_none() => self.number = value::number(value),
            49 if self.sender.is_empty() => self.sender = value,
            56 if self.target.is_empty() => self.target = value,
            43 => self.possible_duplicate |= value == b"Y",
            97 => self.possible_resend |= value == b"Y",
            _ => {}
        }
    }

    fn all_fields(&self) -> Fields<'a> {
        Fields { rest: self.bytes, data: None }
    }

    /// Tags and values in their order, up to the first defect or [`MAX_FIELDS`].
    pub fn fields(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        self.all_fields().take(MAX_FIELDS).map_while(Result::ok)
    }

    /// The first value of `tag`.
    pub fn get(&self, tag: u32) -> Option<&'a [u8]> {
        self.fields().find(|&(found, _)| found == tag).map(|(_, value)| value)
    }

    /// The number in field `tag`.
    ///
    /// # Errors
    /// The field is missing, or is no number.
    pub fn number_of(&self, tag: u32) -> Result<u64, Defect> {
        let value = self.get(tag).ok_or(Defect::new(tag, Fault::Missing))?;
        value::number(value).ok_or(Defect::new(tag, Fault::Format))
    }

    /// Whether field `tag` is `Y`.
    pub fn is_set(&self, tag: u32) -> bool {
        self.get(tag) == Some(b"Y")
    }

    /// Bytes, from BeginString to the end of CheckSum.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }
}

struct Fields<'a> {
    rest: &'a [u8],
    /// Tag and length of the data field that must follow.
    data: Option<(u32, usize)>,
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, &'a [u8]), Defect> {
        let equals = self.rest.iter().take(10).position(|&b| b == b'=');
        let tag = equals
            .and_then(|equals| value::number(&self.rest[..equals]))
            .and_then(|tag| u32::try_from(tag).ok())
            .filter(|&tag| tag > 0 && self.rest[0] != b'0')
            .ok_or(Defect::new(0, Fault::InvalidTag))?;
        let rest = &self.rest[equals.unwrap_or_default() + 1..];
        let length = match self.data.take() {
            Some((expected, length)) if expected == tag => length,
            _ => rest.iter().position(|&b| b == SOH).unwrap_or(rest.len()),
        };
        if rest.get(length) != Some(&SOH) {
            return Err(Defect::new(tag, Fault::Format));
        }
        let value = &rest[..length];
        if value.is_empty() {
            return Err(Defect::new(tag, Fault::NoValue));
        }
        if let Some((_, data)) = DATA.iter().find(|(length, _)| *length == tag) {
            let length = value::number(value).and_then(|length| usize::try_from(length).ok());
            self.data = Some((*data, length.ok_or(Defect::new(tag, Fault::Format))?));
        }
        self.rest = &rest[length + 1..];
        Ok((tag, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, &'a [u8]), Defect>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> (Option<Defect>, Vec<(u32, String)>) {
        let bytes = text.replace('|', "\u{1}").into_bytes();
        let message = Message::parse(&bytes);
        let fields = message.fields().map(|(tag, value)| (tag, String::from_utf8_lossy(value).into_owned()));
        (message.defect, fields.collect())
    }

    #[test]
    fn fields_end_at_the_first_defect() {
        let (defect, fields) = parse("8=FIX.4.4|35=8|34=7|55=|54=1|");
        assert_eq!(defect, Some(Defect::new(55, Fault::NoValue)));
        assert_eq!(fields.len(), 3);
        for bad in ["0=1|", "01=1|", "x=1|", "=1|", "12345678901=1|"] {
            assert_eq!(parse(bad).0, Some(Defect::new(0, Fault::InvalidTag)), "{bad}");
        }
    }

    #[test]
    fn a_data_field_may_hold_the_delimiter() {
        let (defect, fields) = parse("8=FIX.4.4|35=8|354=5|355=a|34=|34=9|");
        assert_eq!(defect, None);
        assert_eq!(fields[3], (355, "a\u{1}34=".to_owned()));
        assert_eq!(fields[4], (34, "9".to_owned()));
        let past_the_end = parse("8=FIX.4.4|354=99999999999999999999|355=a|").0;
        assert_eq!(past_the_end, Some(Defect::new(354, Fault::Format)));
        assert_eq!(parse("354=1000|355=a|").0, Some(Defect::new(355, Fault::Format)));
    }

    #[test]
    fn too_many_fields_are_a_defect() {
        assert_eq!(parse(&"58=x|".repeat(MAX_FIELDS)).0, None);
        let (defect, fields) = parse(&"58=x|".repeat(MAX_FIELDS + 1));
        assert_eq!(defect, Some(Defect::new(58, Fault::Other)));
        assert_eq!(fields.len(), MAX_FIELDS);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_within_themselves(text in "([0-9]{0,4}=[a-z|\u{1}]{0,5}\u{1}?){0,30}") {
            let message = Message::parse(text.as_bytes());
            prop_assert!(message.fields().map(|(_, value)| value.len()).sum::<usize>() <= text.len());
        }
    }
}
