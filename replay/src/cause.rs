//! Effects and their causes.

use bus::event::schema::Schema;
use bus::event::{Cause, FieldKind};
use zerocopy::FromBytes;

use crate::Findings;

/// An effect whose cause is in no journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The effect's topic.
    pub topic: String,
    /// Its sequence.
    pub sequence: u64,
    /// The topic in which the cause should be; `None` where the effect names an input that its topic does not have.
    pub input: Option<String>,
    /// The epoch that the cause should be of; 0 where that is not told.
    pub epoch: u32,
    /// The sequence that the cause should have.
    pub cause: u64,
}

/// The cause of a message of a derived topic; `None` where no journalled message caused it.
pub(crate) fn cause_of(schema: &Schema, kind: u16, body: &[u8]) -> Option<Cause> {
    let first = schema.kind(kind)?.fields.first()?;
    let is_caused = first.kind == FieldKind::Cause && first.offset == 0 && !schema.inputs().is_empty();
    let (cause, _) = Cause::read_from_prefix(body).ok().filter(|_| is_caused)?;
    (cause.input != Cause::NONE).then_some(cause)
}

/// The effect as an orphan, if its cause does not lie below the end of its input.
pub(crate) fn orphan(
    topic: &str,
    schema: &Schema,
    sequence: u64,
    cause: Cause,
    end_of: impl FnOnce(&str) -> u64,
) -> Option<Orphan> {
    let input = schema.inputs().get(usize::from(cause.input));
    let is_there = input.is_some_and(|input| cause.sequence < end_of(input));
    (!is_there).then(|| Orphan {
        topic: topic.into(),
        sequence,
        input: input.cloned(),
        epoch: cause.epoch,
        cause: cause.sequence,
    })
}

/// Effects of a topic whose causes are in no journal, with none between them whose cause in the same epoch of the same
/// input is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphans {
    /// Sequences of the first and the last of them.
    pub sequences: (u64, u64),
    /// How many they are.
    pub effects: u64,
    /// The topic in which the causes should be; `None` where the effects name an input that their topic does not have.
    pub input: Option<String>,
    /// The epoch that the causes should be of; 0 where that is not told.
    pub epoch: u32,
    /// The lowest and the highest sequence that the causes should have.
    pub causes: (u64, u64),
}

/// Joins the orphans of a topic as they come.
#[derive(Debug, Default)]
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
            self.end(|input, open| input == cause.input && open.epoch == cause.epoch);
        }
    }

    /// An effect has none.
    pub(crate) fn push(&mut self, cause: Cause, orphan: Orphan) {
        let Orphan { sequence, input, epoch, cause: caused, .. } = orphan;
        self.effects += 1;
        let mut open = self.open.iter_mut();
        if let Some((_, open)) = open.find(|(index, open)| *index == cause.input && open.epoch == epoch) {
            (open.sequences.1, open.effects) = (sequence, open.effects + 1);
            open.causes = (open.causes.0.min(caused), open.causes.1.max(caused));
            return;
        }
        // A later epoch of the input: none of the former follows.
        self.end(|input, _| input == cause.input);
        let (sequences, causes) = ((sequence, sequence), (caused, caused));
        self.open.push((cause.input, Orphans { sequences, effects: 1, input, epoch, causes }));
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
            let input = (of.input < 2).then(|| ["market-data", "trades"][usize::from(of.input)].into());
            let (topic, epoch) = ("risk".into(), of.epoch);
            runs.push(of, Orphan { topic, sequence, input, epoch, cause: of.sequence });
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
        let told = |runs: &Findings<Orphans>| {
            let told = |run: &Orphans| (run.input.clone(), run.epoch, run.sequences, run.effects, run.causes);
            runs.listed().iter().map(told).collect::<Vec<_>>()
        };
        let (found, effects) = runs.finish();
        let (market, trades) = (Some("market-data".to_owned()), Some("trades".to_owned()));
        assert_eq!(effects, 7);
        assert_eq!(
            told(&found),
            [
                (market.clone(), 1, (1, 1), 1, (10, 10)),
                (market.clone(), 1, (7, 7), 1, (11, 11)),
                (trades, 1, (2, 6), 3, (20, 22)),
                (None, 1, (8, 8), 1, (5, 5)),
                (market, 2, (9, 9), 1, (4, 4)),
            ]
        );
    }

    #[test]
    fn an_input_of_many_epochs_leaves_a_bounded_list() {
        let mut runs = OrphanRuns::default();
        for n in 0..5_000 {
            let cause = Cause { sequence: n, epoch: n as u32, input: 3, index: 0 };
            runs.push(
                cause,
                Orphan { topic: "t".into(), sequence: n, input: None, epoch: n as u32, cause: n },
            );
            assert!(runs.open.len() < 2);
        }
        let (found, effects) = runs.finish();
        assert_eq!((found.listed().len(), found.count(), effects), (1_000, 5_000, 5_000));
    }
}
