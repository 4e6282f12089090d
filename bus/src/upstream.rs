//! What an input of a derived topic has made durable, asked by the write-out of the derived journal.

use std::time::{Duration, Instant};

use journal::{Gate, Input, Places, Reader, Start};

/// Between two looks at whether the input's owner came or went.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Between two looks at how far an input without owner is, which reads its newest segment.
const READ_EVERY: Duration = Duration::from_millis(200);

/// An input topic, which may not exist yet.
#[derive(Debug)]
pub(crate) struct Upstream {
    places: Places,
    reader: Option<Reader>,
    looked: Option<Instant>,
    read: Option<Instant>,
    /// Durable while nobody owns the input.
    at_rest: u64,
}

impl Upstream {
    pub(crate) fn new(places: Places) -> Self {
        Self { places, reader: None, looked: None, read: None, at_rest: 0 }
    }

    fn look(&mut self) {
        self.looked = Some(Instant::now());
        if self.reader.is_none() {
            self.reader = Reader::open(self.places.clone(), Start::Newest, Gate::Durable).ok();
        }
        let Some(reader) = &mut self.reader else { return };
        reader.look();
        if reader.is_attached() {
            self.read = None;
        } else if self.read.is_none_or(|read| read.elapsed() > READ_EVERY) {
            self.read = Some(Instant::now());
            self.at_rest = self.at_rest.max(reader.watermarks().durable);
        }
    }
}

impl Input for Upstream {
    fn durable_sequence(&mut self) -> u64 {
        if self.looked.is_none_or(|looked| looked.elapsed() > LOOK_EVERY) {
            self.look();
        }
        let attached = self.reader.as_ref().and_then(Reader::control);
        attached.map_or(self.at_rest, |control| control.durable_sequence())
    }

    fn end_of(&mut self, epoch: u32) -> Option<u64> {
        self.look();
        self.reader.as_mut()?.end_of(epoch)
    }
}
