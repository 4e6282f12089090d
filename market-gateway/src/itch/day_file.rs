//! Day files: the messages of one session, each after its length (`u16`, big-endian); a zero length ends the file.
//!
//! A day file names neither session nor date, and its messages count from 1.

use std::fmt;
use std::io::{self, Read, Write};

use crate::mold::Blocks;

/// Bytes read ahead: more than the longest message with its length.
const BUFFER: usize = 128 * 1024;

/// How a day file came to its end.
#[derive(Debug)]
pub enum Ending {
    /// With a zero length, as it should.
    Complete,
    /// With a zero length, behind which something stands that is nobody's message.
    Followed {
        /// Its bytes.
        by: u64,
    },
    /// It just stopped, `torn` bytes into a message that is not whole. The messages before it are good.
    Truncated {
        /// Bytes that belong to no whole message.
        torn: usize,
    },
    /// It could not be read any further; a damaged compressed file ends like this.
    Unreadable(io::Error),
}

/// Reads the messages of a day file in pieces, in bounded memory.
pub struct Reader<R> {
    input: R,
    buffer: Box<[u8]>,
    start: usize,
    filled: usize,
    ending: Option<Ending>,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// A reader at the beginning of `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BUFFER].into(), start: 0, filled: 0, ending: None }
    }

    /// The next messages, at least one and at most `limit` (from 1); `None` at the end.
    pub fn next_blocks(&mut self, limit: usize) -> Option<Blocks<'_>> {
        while !self.has_message() {
            if self.ending.is_some() {
                return None;
            }
            self.fill();
        }
        let blocks = Blocks::of_day(limit, &self.buffer[self.start..self.filled]);
        self.start += blocks.bytes().len();
        Some(blocks)
    }

    /// How the file ended, once it has.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Whether a whole message or the end mark is next; notes the end mark.
    fn has_message(&mut self) -> bool {
        let ahead = &self.buffer[self.start..self.filled];
        if ahead.starts_with(&[0, 0]) {
            self.start += 2;
            self.ending = Some(self.look_behind());
            return false;
        }
        Blocks::of_day(1, ahead).count() == 1
    }

    /// What stands behind the end mark, read to the end: only there does a compressed file show its damage.
    fn look_behind(&mut self) -> Ending {
        let mut by = (self.filled - self.start) as u64;
        self.start = self.filled;
        loop {
            match self.input.read(&mut self.buffer) {
                Ok(0) if by == 0 => return Ending::Complete,
                Ok(0) => return Ending::Followed { by },
                Ok(bytes) => by += bytes as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ending::Unreadable(error),
            }
        }
    }

    fn fill(&mut self) {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        match self.input.read(&mut self.buffer[self.filled..]) {
            Ok(0) => self.ending = Some(Ending::Truncated { torn: self.filled }),
            Ok(bytes) => self.filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.ending = Some(Ending::Unreadable(error)),
        }
    }
}

/// Writes a day file.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// A writer of an empty day.
    pub fn new(output: W) -> Self {
        Self { output }
    }

    /// Adds a message.
    ///
    /// # Errors
    /// Those of the output, and `InvalidInput` for a message that is empty or longer than 65,535 bytes.
    pub fn message(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u16::try_from(message.len()).ok().filter(|&length| length > 0).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("a message of {} bytes", message.len()))
        })?;
        self.output.write_all(&length.to_be_bytes())?;
        self.output.write_all(message)
    }

    /// Ends the file and gives the output back, flushed.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0, 0])?;
        self.output.flush()?;
        Ok(self.output)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        messages.iter().for_each(|message| writer.message(message).unwrap());
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8], limit: usize) -> (Vec<Vec<u8>>, Ending) {
        let mut reader = Reader::new(bytes);
        let mut messages = Vec::new();
        while let Some(blocks) = reader.next_blocks(limit) {
            assert!((1..=limit).contains(&blocks.count()));
            messages.extend(blocks.map(<[u8]>::to_vec));
        }
        (messages, reader.ending.expect("the end was reached"))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..70), 0..200), limit in 1usize..300) {
            let (read, ending) = read(&day(&messages), limit);
            prop_assert_eq!(read, messages);
            prop_assert!(matches!(ending, Ending::Complete));
        }

        #[test]
        fn a_cut_leaves_the_whole_messages(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..70), 1..50), cut in any::<prop::sample::Index>()) {
            let whole = day(&messages);
            let cut = cut.index(whole.len() - 1);
            let (read, ending) = read(&whole[..cut], 7);
            prop_assert_eq!(&read, &messages[..read.len()]);
            let used: usize = read.iter().map(|m| m.len() + 2).sum();
            prop_assert!(matches!(ending, Ending::Truncated { torn } if torn == cut - used), "{:?}", ending);
        }
    }

    #[test]
    fn what_stands_behind_the_end_mark_is_counted() {
        for (behind, end) in [(1, 3), (2, 2), (3 * BUFFER, 5)] {
            let messages = vec![vec![7; 30]; end];
            let (read, ending) = read(&[day(&messages), vec![0; behind]].concat(), 10);
            assert_eq!(read, messages);
            assert!(matches!(ending, Ending::Followed { by } if by == behind as u64), "{ending:?}");
        }
    }

    #[test]
    fn the_longest_messages_pass_in_bounded_memory() {
        let (messages, ending) = read(&day(&vec![vec![0xFF; 0xFFFF]; 5]), 100);
        assert_eq!(messages, vec![vec![0xFF; 0xFFFF]; 5]);
        assert!(matches!(ending, Ending::Complete));
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let mut writer = Writer::new(Vec::new());
        assert!(writer.message(b"").is_err());
        assert!(writer.message(&vec![0; 65_536]).is_err());
    }
}
