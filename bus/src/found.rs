//! What the publishers of a bus found when they opened its topics: said at once, and kept for the summaries of their programs.

use journal::{Proof, Recovery};

use crate::{evidence::effects_cut, program::note, topic::Bus};

/// Names of topics.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Those whose mark was lost.
    lost_marks: Vec<String>,
    /// Those whose schema was lost.
    lost_schemas: Vec<String>,
    /// Derived ones of which effects were cut that had been durable.
    cut_effects: Vec<String>,
}

impl Bus {
    /// The topics of which this bus, or a clone of it, found the mark lost when it began to write there.
    pub fn lost_marks(&self) -> Vec<String> {
        self.found().lost_marks.clone()
    }

    /// The derived topics of which this bus, or a clone of it, cut effects that had been durable, as their inputs lack the
    /// causes. [`Bus::set_aside`] goes on telling which.
    pub fn cut_effects(&self) -> Vec<String> {
        self.found().cut_effects.clone()
    }

    /// The topics of which this bus, or a clone of it, found the schema lost and wrote it anew.
    pub fn lost_schemas(&self) -> Vec<String> {
        self.found().lost_schemas.clone()
    }

    /// Says what recovery could only guess.
    pub(crate) fn note_recovery(&self, topic: &str, recovery: &Recovery) {
        if recovery.mark_lost {
            note(&mark_lost(topic));
            self.found().lost_marks.push(topic.into());
        }
        if !recovery.set_aside.is_empty() {
            note(&effects_cut(topic));
            self.found().cut_effects.push(topic.into());
        }
        for Proof { epoch, sequence } in &recovery.unbelieved {
            note(&format!(
                "a topic derived from '{topic}' names message {} of epoch {epoch} as a cause, which '{topic}' cannot have \
                 had: one of the two is an older copy, or of another bus; run `replay verify`",
                sequence.saturating_sub(1)
            ));
        }
    }

    /// Says that the schema of a topic that has messages was written anew.
    pub(crate) fn note_lost_schema(&self, topic: &str) {
        note(&schema_lost(topic));
        self.found().lost_schemas.push(topic.into());
    }
}

/// What it means for a topic that its mark is lost, and what to do.
pub fn mark_lost(topic: &str) -> String {
    format!(
        "the mark of topic '{topic}' was lost, and with it the proof that its last messages are there; run `replay \
         verify` and restore it from a copy"
    )
}

/// What it means for a topic that its schema was lost and written anew, and what to do.
pub fn schema_lost(topic: &str) -> String {
    format!(
        "the schema of topic '{topic}' was lost and is written anew from its publisher's types; nothing proves that the \
         messages before are of these; compare {topic}/schema.json with a copy"
    )
}
