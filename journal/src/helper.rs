//! The thread that does what is slow and concerns no message: preparing segments, giving memory back. The write-out goes
//! on meanwhile.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

type Task = Box<dyn FnOnce() + Send>;

/// The thread. Dropping it waits until all that was given to it is done, and until nobody can give it anything.
pub(crate) struct Helper {
    hands: Option<Hands>,
    thread: Option<JoinHandle<()>>,
}

/// Gives tasks to a helper, which does them one after the other.
#[derive(Clone)]
pub(crate) struct Hands(Sender<Task>);

impl fmt::Debug for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hands")
    }
}

impl Helper {
    /// Starts the thread, which runs where the calling thread may run.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, receiver) = channel::<Task>();
        // A task that panics is lost to whoever gave it, who is told; the others' are done.
        let run = move || receiver.into_iter().for_each(|task| drop(catch_unwind(AssertUnwindSafe(task))));
        let thread = thread::Builder::new().name("helper".into()).spawn(run)?;
        Ok(Self { hands: Some(Hands(sender)), thread: Some(thread) })
    }

    /// For whoever has tasks.
    pub(crate) fn hands(&self) -> Option<Hands> {
        self.hands.clone()
    }
}

impl Hands {
    /// Gives a task. A helper that died drops it, undone.
    pub(crate) fn give(&self, task: impl FnOnce() + Send + 'static) {
        let _ = self.0.send(Box::new(task));
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.hands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
