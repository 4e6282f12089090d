//! What topics prove of each other. An effect is on disk only if its cause was durable: so a topic is opened with what
//! the topics derived from it prove of it, and the inputs of a derived topic are recovered before it is.

use std::{
    thread,
    time::{Duration, Instant},
};

use journal::{Proof, SetAside, storage::DiskStorage};

use crate::{error::BusError, topic::Bus};

/// How long a derived topic waits for an input that another process is recovering.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks meanwhile.
const STEP: Duration = Duration::from_millis(10);

impl Bus {
    /// What the topics derived from `topic` prove of it. One that cannot be read proves nothing.
    pub(crate) fn proven(&self, topic: &str) -> Vec<Proof> {
        let derived = self.topics().unwrap_or_default().into_iter().filter(|name| name != topic);
        let proof = |name: String| {
            let schema = self.schema(&name).ok()?;
            let input = schema.inputs().iter().position(|input| input == topic)?;
            let storage = DiskStorage::new(self.topic_dir(&name).join("0"));
            journal::last_cause(&storage, u16::try_from(input).ok()?)
        };
        derived.filter_map(proof).collect()
    }

    /// Effects of a topic that had been durable and were cut, as an input lacks their causes: it was replaced by an older copy,
    /// or by another bus's. Told as long as their bytes are kept beside.
    ///
    /// # Errors
    /// As [`Bus::reader`].
    pub fn set_aside(&self, topic: &str) -> Result<Vec<SetAside>, BusError> {
        journal::set_aside(&self.places(topic)?).map_err(|source| self.unreadable(topic, source))
    }

    /// Recovers what dead publishers of the inputs of a derived topic left, inputs of inputs first: no effect reaches the
    /// disk before its cause, and none is cut before it is known what of its input is lost. An input with a live publisher
    /// needs no help; one that cannot be recovered is its publisher's to report. Says how many were recovered.
    pub(crate) fn recover_inputs(&self, inputs: &[&str]) -> usize {
        let mut seen = Vec::new();
        inputs.iter().map(|input| self.recover_first(input, &mut seen)).sum()
    }

    fn recover_first(&self, topic: &str, seen: &mut Vec<String>) -> usize {
        let (Ok(schema), Ok(places)) = (self.schema(topic), self.places(topic)) else { return 0 };
        if seen.iter().any(|seen| seen == topic) {
            return 0;
        }
        seen.push(topic.into());
        let before: usize = schema.inputs().iter().map(|input| self.recover_first(input, seen)).sum();
        if self.finish_dead(topic).unwrap_or(false) {
            return before + 1;
        }
        let start = Instant::now();
        while journal::is_unrecovered(&places) && start.elapsed() < PATIENCE {
            match self.recover(topic) {
                // Its publisher is just at it.
                Ok(false) => thread::sleep(STEP),
                Ok(true) => return before + 1,
                Err(_) => break,
            }
        }
        before
    }
}

/// What it means for a derived topic that effects at its end were cut, and what to do.
pub fn effects_cut(topic: &str) -> String {
    format!(
        "effects at the end of topic '{topic}' are cut, as an input lacks their causes: these are lost, or it is an older \
         copy, or another bus's; their bytes are kept in {topic}/0/torn-*; restore the newest copy of the input and start \
         again"
    )
}
