//! Publishing: claim, fill in place, commit. One publisher a topic.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use journal::{Recovery, Token, Writer, layout::FLAG_CAUSED};

use crate::{
    clock::Clock,
    event::{Event, Message, PartOf, as_bytes, from_bytes, from_bytes_mut},
    topic::Bus,
    wait::{Idle, WaitStrategy},
};

pub use journal::PublishError;

/// How long a publisher that is dropped waits for the disk.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// How long a derived topic waits before it completes what a dead publisher of an input left.
const PATIENCE: Duration = Duration::from_millis(200);
/// Why a publisher has its writer.
const WRITTEN: &str = "only `close` and the drop take it";

/// The one publisher of a topic. It can move to another thread; it cannot be shared or cloned.
///
/// Dropping it closes the topic as [`Publisher::close`] does, but tells no errors: all is made durable, and nothing is
/// left in shared memory. Where the disk takes longer than ten seconds or fails, what is not durable stays in shared
/// memory for the next publisher.
pub struct Publisher<M: Message> {
    writer: Option<Writer>,
    bus: Bus,
    topic: String,
    inputs: Vec<String>,
    token: Token,
    clock: Clock,
    flags: u16,
    waits: bool,
    recovery: Recovery,
    /// For [`Publisher::refused`].
    refused: u64,
    message: PhantomData<fn(M)>,
}

impl<M: Message> fmt::Debug for Publisher<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("topic", &self.topic)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl<M: Message> Publisher<M> {
    #[expect(
        clippy::too_many_arguments,
        reason = "made in one place, from parts that belong together nowhere else"
    )]
    pub(crate) fn new(
        bus: Bus,
        topic: &str,
        inputs: &[&str],
        writer: Writer,
        token: Token,
        clock: Clock,
        waits: bool,
        recovery: Recovery,
    ) -> Self {
        Self {
            writer: Some(writer),
            bus,
            topic: topic.into(),
            inputs: inputs.iter().map(ToString::to_string).collect(),
            token,
            clock,
            flags: if inputs.is_empty() { 0 } else { FLAG_CAUSED },
            waits,
            recovery,
            refused: 0,
            message: PhantomData,
        }
    }

    #[inline]
    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect(WRITTEN)
    }

    fn written(&self) -> &Writer {
        self.writer.as_ref().expect(WRITTEN)
    }

    /// Publishes an event and returns its sequence: from now on every process can read it. Waits where the next segment
    /// is not ready yet; where there is no room it is refused, or waits if the topic's policy is to wait
    /// ([`WhenFull`](crate::config::WhenFull)).
    ///
    /// # Errors
    /// [`PublishError`]; nothing was published.
    #[inline]
    pub fn publish<E: PartOf<M>>(&mut self, event: &E) -> Result<u64, PublishError> {
        match self.try_publish(event) {
            Ok(sequence) => Ok(sequence),
            Err(error) => self.publish_later(event, error),
        }
    }

    #[cold]
    fn publish_later<E: PartOf<M>>(&mut self, event: &E, error: PublishError) -> Result<u64, PublishError> {
        self.wait_for_room(error)?;
        let mut idle = Idle::new(WaitStrategy::Park);
        loop {
            match self.try_publish(event) {
                Err(error) => self.wait_for_room(error)?,
                published => return published,
            }
            idle.idle(0);
        }
    }

    /// Whether to try again after an error.
    fn wait_for_room(&mut self, error: PublishError) -> Result<(), PublishError> {
        match error {
            PublishError::Full => Ok(()),
            PublishError::NoRoom(_) if self.waits => Ok(()),
            error => {
                self.refused += 1;
                Err(error)
            }
        }
    }

    /// Publishes an event, or says at once that it cannot.
    ///
    /// # Errors
    /// As [`Publisher::publish`], and [`PublishError::Full`].
    #[inline]
    pub fn try_publish<E: PartOf<M>>(&mut self, event: &E) -> Result<u64, PublishError> {
        let Self { writer, clock, flags, .. } = self;
        let writer = writer.as_mut().expect(WRITTEN);
        writer.append(E::KIND, *flags, as_bytes(event), || clock.now().0)
    }

    /// Claims room for an event, to be filled where readers will see it. Its contents are arbitrary at first.
    ///
    /// # Errors
    /// [`PublishError`]; waits and refuses as [`Publisher::publish`].
    #[inline]
    pub fn claim<E: PartOf<M>>(&mut self) -> Result<Claim<'_, E>, PublishError> {
        let mut idle = Idle::new(WaitStrategy::Park);
        let now = loop {
            match self.room_for::<E>() {
                Ok(now) => break now,
                Err(error) => self.wait_for_room(error)?,
            }
            idle.idle(0);
        };
        let flags = self.flags;
        let claim = self.writer().claim(E::KIND, flags, size_of::<E>(), now)?;
        Ok(Claim { claim, event: PhantomData })
    }

    /// Makes room for an event, and says what time it is.
    #[inline]
    fn room_for<E: PartOf<M>>(&mut self) -> Result<u64, PublishError> {
        let (now, flags) = (self.clock.now().0, self.flags);
        self.writer().claim(E::KIND, flags, size_of::<E>(), now).map(|_| now)
    }

    /// Opens a batch: events that become visible together and survive together.
    #[inline]
    pub fn batch(&mut self) -> Batch<'_, M> {
        let (now, flags) = (self.clock.now().0, self.flags);
        let waits = self.waits;
        Batch { batch: self.writer().batch(now), flags, waits, message: PhantomData }
    }

    /// From now on no sleeping subscriber is woken, until [`Publisher::wake`]: to be called before several events that
    /// come together, since to wake one takes microseconds, behind which the next event would have to wait. Subscribers
    /// that poll see each event at once all the same; one that sleeps looks for itself now and then.
    #[inline]
    pub fn hold_wakes(&mut self) {
        self.writer().hold_wakes();
    }

    /// Wakes the subscribers that sleep, and from now on with each event again.
    #[inline]
    pub fn wake(&mut self) {
        self.writer().wake();
    }

    /// Sequence of the next event.
    pub fn next_sequence(&self) -> u64 {
        self.written().next_sequence()
    }

    /// The next sequence to become durable.
    pub fn durable(&self) -> u64 {
        self.written().durable()
    }

    /// Epoch of this publisher.
    pub fn epoch(&self) -> u32 {
        self.written().epoch()
    }

    /// Events that were refused, each counted as often as it was tried.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// What opening the topic found and mended.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Waits until all that was published is durable. What a dead publisher of an input left unfinished is completed
    /// on the way: no effect is durable before its cause.
    ///
    /// # Errors
    /// [`PublishError::Poisoned`]: it never will be.
    pub fn flush(&mut self) -> Result<(), PublishError> {
        self.flush_within(Duration::MAX).map(drop)
    }

    /// As [`Publisher::flush`], as long as something becomes durable within `limit` again and again. False: it does not,
    /// because the disk is slow, or because an input lost what caused the effects that wait.
    ///
    /// # Errors
    /// As [`Publisher::flush`].
    pub fn flush_within(&mut self, limit: Duration) -> Result<bool, PublishError> {
        let mut idle = Idle::new(WaitStrategy::Park);
        let (mut moved, mut looked, mut durable) = (Instant::now(), Instant::now(), self.durable());
        while self.durable() < self.next_sequence() {
            if let Some(code) = self.written().poison() {
                return Err(PublishError::Poisoned(code));
            }
            if self.durable() > durable {
                (moved, durable) = (Instant::now(), self.durable());
            } else if moved.elapsed() > limit {
                return Ok(false);
            }
            if looked.elapsed() > PATIENCE {
                self.finish_inputs();
                looked = Instant::now();
            }
            idle.idle(0);
        }
        Ok(true)
    }

    fn finish_inputs(&self) {
        for input in &self.inputs {
            // An input with a live publisher needs no help; one that cannot be recovered is its publisher's to report.
            let _ = self.bus.finish_dead(input);
        }
    }

    /// Makes all durable and ends the topic cleanly: nothing is left in shared memory.
    ///
    /// # Errors
    /// [`PublishError::Poisoned`]: what could not be written stays in shared memory for the next publisher.
    /// [`PublishError::NotEnded`]: all is durable, but not that it ends there, as the disk failed or took more than ten
    /// seconds; subscribers see no end, and the next publisher completes it from shared memory.
    pub fn close(mut self) -> Result<(), PublishError> {
        self.flush()?;
        if self.end(CLOSE_WITHIN) { Ok(()) } else { Err(PublishError::NotEnded) }
    }

    /// Ends at once, as a publisher does that dies: what is not durable stays in shared memory, from where the next
    /// publisher completes it, but for effects whose causes are lost.
    pub fn abandon(mut self) {
        self.end(Duration::ZERO);
    }

    /// Whether the topic is ended cleanly.
    fn end(&mut self, limit: Duration) -> bool {
        self.writer.take().is_none_or(|writer| {
            writer.close();
            self.bus.close_journal(self.token, limit)
        })
    }
}

impl<M: Message> Drop for Publisher<M> {
    fn drop(&mut self) {
        self.end(CLOSE_WITHIN);
    }
}

/// Room for one event. Dropping it is aborting.
#[derive(Debug)]
pub struct Claim<'a, E: Event> {
    claim: journal::Claim<'a>,
    event: PhantomData<E>,
}

impl<E: Event> Claim<'_, E> {
    /// Publishes the event and returns its sequence.
    #[inline]
    pub fn commit(self) -> u64 {
        self.claim.commit()
    }

    /// Publishes nothing.
    pub fn abort(self) {}
}

impl<E: Event> Deref for Claim<'_, E> {
    type Target = E;
    fn deref(&self) -> &E {
        from_bytes(self.claim.bytes()).expect("claimed with the size of E, 16-aligned")
    }
}

impl<E: Event> DerefMut for Claim<'_, E> {
    fn deref_mut(&mut self) -> &mut E {
        from_bytes_mut(self.claim.body()).expect("claimed with the size of E, 16-aligned")
    }
}

/// Events that become visible together and survive together or not at all. Dropping it publishes nothing.
#[derive(Debug)]
pub struct Batch<'a, M: Message> {
    batch: journal::Batch<'a>,
    flags: u16,
    waits: bool,
    message: PhantomData<fn(M)>,
}

impl<M: Message> Batch<'_, M> {
    /// Adds an event. Waits and is refused as [`Publisher::publish`].
    ///
    /// # Errors
    /// [`PublishError`]; the batch is as it was, and can still be committed. [`PublishError::TooLarge`] where the batch
    /// as a whole would be larger than the largest message.
    #[inline]
    pub fn push<E: PartOf<M>>(&mut self, event: &E) -> Result<(), PublishError> {
        let mut idle = Idle::new(WaitStrategy::Park);
        loop {
            match self.try_push(event) {
                Err(PublishError::Full) => {}
                Err(PublishError::NoRoom(_)) if self.waits => {}
                done => return done,
            }
            idle.idle(0);
        }
    }

    /// Adds an event, or says at once that it cannot.
    ///
    /// # Errors
    /// As [`Batch::push`], and [`PublishError::Full`].
    #[inline]
    pub fn try_push<E: PartOf<M>>(&mut self, event: &E) -> Result<(), PublishError> {
        self.batch.append(E::KIND, self.flags, as_bytes(event))
    }

    /// Events in it.
    pub fn len(&self) -> u64 {
        self.batch.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Publishes it and returns the sequence of its first event.
    #[inline]
    pub fn commit(self) -> u64 {
        self.batch.commit()
    }
}
