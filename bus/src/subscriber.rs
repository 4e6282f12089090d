//! Subscribing: messages where they lie, in order, each once, at the gate of one's choice.

use std::{fmt, marker::PhantomData, time::Duration};

pub use journal::{Gate, ReadError, Start, Watermarks};

use crate::event::{Message, Time, schema::Schema};

/// Turns of looking before a waiting subscriber sleeps.
const SPINS: u32 = 256;
/// The longest sleep between two looks.
const SLEEP: Duration = Duration::from_millis(5);

/// A message of any topic.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Its sequence in the topic, from 0.
    pub sequence: u64,
    /// Its kind; the schema says what that is.
    pub kind: u16,
    /// When it was published.
    pub publish_time: Time,
    /// Epoch of its publisher.
    pub epoch: u32,
    /// Its position in the journal.
    pub position: u64,
    /// Whether a batch ends with it.
    pub batch_end: bool,
    /// Its bytes, 16-aligned, in the journal itself.
    pub body: &'a [u8],
}

/// Reads any topic, by its schema.
#[derive(Debug)]
pub struct Reader {
    reader: journal::Reader,
    schema: Schema,
}

impl Reader {
    pub(crate) fn new(reader: journal::Reader, schema: Schema) -> Self {
        Self { reader, schema }
    }

    /// What the topic carries.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Sequence of the next message.
    pub fn next_sequence(&self) -> u64 {
        self.reader.next_sequence()
    }

    /// How far the topic is.
    pub fn watermarks(&mut self) -> Watermarks {
        self.reader.watermarks()
    }

    /// Whether the topic was closed cleanly by its publisher and has none now.
    pub fn is_closed(&mut self) -> bool {
        self.reader.is_closed()
    }

    /// Whether a publisher is, or may be, at the topic whose shared memory is not seen. What it has made durable is then told
    /// some milliseconds later.
    pub fn is_blind(&self) -> bool {
        self.reader.is_blind()
    }

    /// The oldest sequence that retention has left. A message from there on that cannot be read is lost, also one before
    /// [`Watermarks::first`].
    pub fn begins(&self) -> u64 {
        self.reader.begins()
    }

    /// Whether there is evidence of how far the topic was durable: what lies beyond its last segment is not missed without.
    pub fn is_end_proven(&self) -> bool {
        self.reader.is_end_proven()
    }

    /// The sequence behind the last message of an epoch, also where that is lost, as far as the topic has been published.
    /// `None` where the epoch lost its mark, and with it the proof.
    pub fn end_of(&mut self, epoch: u32) -> Option<u64> {
        self.reader.end_of(epoch)
    }

    /// Where a publisher began that found the topic's mark lost: its epoch, and the sequence at which it began. What was
    /// there before may lack its last messages. `None` if none did, or nothing from before it is retained.
    pub fn began_unmarked(&self) -> Option<(u32, u64)> {
        self.reader.began_unmarked()
    }

    /// The journal that the topic's mark is of, in hexadecimal digits, where that is another than the segments'.
    pub fn foreign_mark(&self) -> Option<String> {
        self.reader.foreign_mark()
    }

    /// Bytes of a segment of the topic's journal.
    pub fn segment_size(&self) -> u64 {
        self.reader.segment_size()
    }

    /// The control page of the topic's journal, while a publisher, live or dead, has it in shared memory.
    pub fn control(&self) -> Option<&journal::Control> {
        self.reader.control()
    }

    /// Whether [`Reader::poll`] would deliver a message now.
    ///
    /// # Errors
    /// As [`Reader::poll`].
    #[inline]
    pub fn has_next(&mut self) -> Result<bool, ReadError> {
        self.reader.has_next()
    }

    /// The next message, if there is one at the gate.
    ///
    /// # Errors
    /// [`ReadError`]; each fault is reported once and the next poll goes on behind it.
    #[inline]
    pub fn poll(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        Ok(self.reader.poll()?.map(|frame| Frame {
            sequence: frame.sequence,
            kind: frame.kind,
            publish_time: Time(frame.publish_time),
            epoch: frame.epoch,
            position: frame.position,
            batch_end: frame.batch_end,
            body: frame.body,
        }))
    }

    /// Sleeps until something may have happened at the gate, at most `limit`.
    pub fn sleep(&mut self, limit: Duration) {
        self.reader.sleep(limit);
    }

    /// Waits for a message, also through the death and the return of the publisher. False: the topic was closed cleanly and
    /// everything was delivered.
    ///
    /// # Errors
    /// As [`Reader::poll`].
    pub fn wait_ready(&mut self) -> Result<bool, ReadError> {
        let mut turns = 0;
        while !self.has_next()? {
            turns += 1;
            if turns < SPINS {
                std::hint::spin_loop();
            } else if self.is_closed() {
                return self.has_next();
            } else {
                self.sleep(SLEEP);
            }
        }
        Ok(true)
    }
}

/// A message with its place.
#[derive(Clone, Copy)]
pub struct Delivery<'a, M: Message> {
    /// Its sequence in the topic, from 0.
    pub sequence: u64,
    /// When it was published.
    pub publish_time: Time,
    /// Epoch of its publisher.
    pub epoch: u32,
    /// The message.
    pub message: M::Ref<'a>,
}

impl<M: Message> fmt::Debug for Delivery<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// A subscriber of a topic of `M`: delivers each message once, in order, where it lies. What it lends stays as it is until
/// the next call. It holds up nobody, however slow it is; one that is killed leaves nothing behind that matters.
#[derive(Debug)]
pub struct Subscriber<M: Message> {
    reader: Reader,
    message: PhantomData<fn() -> M>,
}

impl<M: Message> Subscriber<M> {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, message: PhantomData }
    }

    /// Sequence of the next message.
    pub fn next_sequence(&self) -> u64 {
        self.reader.next_sequence()
    }

    /// How far the topic is.
    pub fn watermarks(&mut self) -> Watermarks {
        self.reader.watermarks()
    }

    /// Whether the topic was closed cleanly by its publisher and has none now. Messages may be left all the same:
    /// ```
    /// # use bus::{Bus, Gate, Start, event::Event};
    /// # #[derive(Event, Clone, Copy, Debug, Default)]
    /// # #[repr(C)]
    /// # struct Quote { bid: u64 }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = Bus::open(directory.path().join("bus"))?;
    /// # let mut publisher = bus.publisher::<Quote>("quotes")?;
    /// # publisher.publish(&Quote::default())?;
    /// # publisher.close()?;
    /// let mut quotes = bus.subscriber::<Quote>("quotes", Start::Oldest, Gate::Published)?;
    /// let mut count = 0;
    /// loop {
    ///     let is_closed = quotes.is_closed(); // before it is asked for more, so that nothing comes in between
    ///     match quotes.poll()? {
    ///         Some(_) => count += 1,
    ///         None if is_closed => break,
    ///         None => {} // whatever else there is to do
    ///     }
    /// }
    /// assert_eq!(count, 1);
    /// # Ok(()) }
    /// ```
    pub fn is_closed(&mut self) -> bool {
        self.reader.is_closed()
    }

    /// The next message, if there is one at the gate.
    ///
    /// # Errors
    /// As [`Reader::poll`]; also a message that the schema does not explain.
    #[inline]
    pub fn poll(&mut self) -> Result<Option<M::Ref<'_>>, ReadError> {
        Ok(self.poll_delivery()?.map(|delivery| delivery.message))
    }

    /// The next message with its place, if there is one at the gate.
    ///
    /// # Errors
    /// As [`Subscriber::poll`].
    #[inline]
    pub fn poll_delivery(&mut self) -> Result<Option<Delivery<'_, M>>, ReadError> {
        let Some(frame) = self.reader.poll()? else { return Ok(None) };
        let Some(message) = M::decode(frame.kind, frame.body) else {
            let (sequence, kind, length) = (frame.sequence, frame.kind, frame.body.len());
            let what = format!(
                "message {sequence} of kind {kind} with {length} bytes is not of this topic's schema"
            );
            return Err(ReadError::Failed(format!("{what}; update this program or restore the topic")));
        };
        Ok(Some(Delivery {
            sequence: frame.sequence,
            publish_time: frame.publish_time,
            epoch: frame.epoch,
            message,
        }))
    }

    /// Waits for the next message, also through the death and the return of the publisher. `None`: the topic was closed
    /// cleanly by its publisher and all was delivered; asked again, it waits for what a later publisher adds, or says
    /// `None` again.
    ///
    /// # Errors
    /// As [`Subscriber::poll`].
    pub fn wait(&mut self) -> Result<Option<M::Ref<'_>>, ReadError> {
        if self.reader.wait_ready()? { self.poll() } else { Ok(None) }
    }

    /// Sleeps until something may have happened at the gate, at most `limit`.
    pub fn sleep(&mut self, limit: Duration) {
        self.reader.sleep(limit);
    }

    /// The untyped reader below.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }
}
