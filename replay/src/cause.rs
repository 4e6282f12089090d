//! Effects and their causes.

use std::fmt::{self, Display};

use bus::event::schema::Schema;
use bus::event::{Cause, FieldKind};
use serde::Serialize;
use zerocopy::FromBytes;

use crate::Findings;

/// The cause of a message of a derived topic; `None` where no journalled message caused it.
pub(crate) fn cause_of(schema: &Schema, kind: u16, body: &[u8]) -> Option<Cause> {
    let first = schema.kind(kind)?.fields.first()?;
    let is_caused = first.kind == FieldKind::Cause && first.offset == 0 && !schema.inputs().is_empty();
    let (cause, _) = Cause::read_from_prefix(body).ok().filter(|_| is_caused)?;
    (cause.input != Cause::NONE).then_some(cause)
}

/// Effects of a topic whose causes are in no journal, with none between them whose cause in the same epoch of the same
/// input is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// Sequence of the first of them.
    pub first: u64,
    /// Sequence of the last of them.
    pub last: u64,
    /// How many they are.
    pub effects: u64,
    /// What they follow from.
    pub causes: MissingCauses,
}

/// Messages that are in no journal, although effects follow from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingCauses {
    /// The topic in which they should be; `None` where the effects name an input that their topic does not have.
    pub topic: Option<String>,
    /// The epoch that they should be of; 0 where that is not told.
    pub epoch: u32,
    /// The lowest sequence that one of them should have.
    pub first: u64,
    /// The highest one.
    pub last: u64,
}

impl Display for Orphans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, effects, causes } = self;
        match effects {
            1 => write!(f, "effect {first} without its cause, message {}", causes.first)?,
            _ => write!(
                f,
                "{effects} effects from {first} to {last} without their causes, messages {} to {}",
                causes.first, causes.last
            )?,
        }
        if causes.epoch > 0 {
            write!(f, " of epoch {}", causes.epoch)?;
        }
        write!(f, " of {}", causes.topic.as_deref().unwrap_or("an input that the topic does not have"))
    }
}

/// Joins the orphans of a topic as they come.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrphanRuns {
    /// By the index of their input, those that the next effect may still belong to.
    open: Vec<(u16, Orphans)>,
    ended: Findings<Orphans>,
    effects: u64,
}

impl OrphanRuns {
    /// An effect has its cause.
    pub(crate) fn meet(&mut self, cause: Cause) {
        if !self.open.is_empty() {
            self.end(|input, open| input == cause.input && open.causes.epoch == cause.epoch);
        }
    }

    /// The effect of this sequence has none; `input` is the topic in which it should be.
    pub(crate) fn push(&mut self, sequence: u64, cause: Cause, input: Option<&str>) {
        let Cause { sequence: caused, epoch, .. } = cause;
        self.effects += 1;
        let mut open = self.open.iter_mut();
        if let Some((_, open)) =
            open.find(|(index, open)| *index == cause.input && open.causes.epoch == epoch)
        {
            (open.last, open.effects) = (sequence, open.effects + 1);
            let causes = &mut open.causes;
            (causes.first, causes.last) = (causes.first.min(caused), causes.last.max(caused));
            return;
        }
        // A later epoch of the input: none of the former follows.
        self.end(|input, _| input == cause.input);
        let causes = MissingCauses { topic: input.map(str::to_owned), epoch, first: caused, last: caused };
        self.open.push((cause.input, Orphans { first: sequence, last: sequence, effects: 1, causes }));
    }

    fn end(&mut self, is_over: impl Fn(u16, &Orphans) -> bool) {
        let ended = self.open.extract_if(.., |(input, open)| is_over(*input, open));
        ended.for_each(|(_, run)| self.ended.push(run));
    }

    /// All of them in the order of their ends, and how many effects they are.
    pub(crate) fn finish(mut self) -> (Findings<Orphans>, u64) {
        self.end(|_, _| true);
        (self.ended, self.effects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_are_joined_until_one_of_the_same_input_and_epoch_has_its_cause() {
        let mut runs = OrphanRuns::default();
        let cause = |input, epoch, sequence| Cause { sequence, epoch, input, index: 0 };
        let lost = |runs: &mut OrphanRuns, sequence, of: Cause| {
            let input = ["market-data", "trades"].get(usize::from(of.input)).copied();
            runs.push(sequence, of, input);
        };
        lost(&mut runs, 1, cause(0, 1, 10));
        lost(&mut runs, 2, cause(1, 1, 20));
        runs.meet(cause(1, 2, 0));
        lost(&mut runs, 4, cause(1, 1, 22));
        runs.meet(cause(0, 1, 3));
        lost(&mut runs, 6, cause(1, 1, 21));
        lost(&mut runs, 7, cause(0, 1, 11));
        lost(&mut runs, 8, cause(7, 1, 5));
        lost(&mut runs, 9, cause(0, 2, 4));
        let told =
            |runs: &Findings<Orphans>| runs.listed().iter().map(ToString::to_string).collect::<Vec<_>>();
        let (found, effects) = runs.finish();
        assert_eq!(effects, 7);
        assert_eq!(
            told(&found),
            [
                "effect 1 without its cause, message 10 of epoch 1 of market-data",
                "effect 7 without its cause, message 11 of epoch 1 of market-data",
                "3 effects from 2 to 6 without their causes, messages 20 to 22 of epoch 1 of trades",
                "effect 8 without its cause, message 5 of epoch 1 of an input that the topic does not have",
                "effect 9 without its cause, message 4 of epoch 2 of market-data",
            ]
        );
    }

    #[test]
    fn an_input_of_many_epochs_leaves_a_bounded_list() {
        let mut runs = OrphanRuns::default();
        for n in 0..5_000 {
            let cause = Cause { sequence: n, epoch: n as u32, input: 3, index: 0 };
            runs.push(n, cause, None);
            assert!(runs.open.len() < 2);
        }
        let (found, effects) = runs.finish();
        assert_eq!((found.listed().len(), found.count(), effects), (1_000, 5_000, 5_000));
    }
}
