//! Lists of what was found wrong, bounded whatever a journal holds.

/// Findings that are told one by one.
const LISTED: usize = 1000;

/// The first findings, and how many there were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings<T> {
    listed: Vec<T>,
    count: u64,
}

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Self { listed: Vec::new(), count: 0 }
    }
}

impl<T> Findings<T> {
    /// Adds one; beyond the first thousand it is only counted.
    pub fn push(&mut self, finding: T) {
        self.count += 1;
        if self.listed.len() < LISTED {
            self.listed.push(finding);
        }
    }

    /// Adds those of another list, told in another form.
    pub(crate) fn append<U>(&mut self, other: &Findings<U>, tell: impl Fn(&U) -> T) {
        let before = self.count;
        other.listed.iter().for_each(|finding| self.push(tell(finding)));
        self.count = before + other.count;
    }

    /// Those that are told, at most a thousand.
    pub fn listed(&self) -> &[T] {
        &self.listed
    }

    /// All, also those that are not told.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_thousand_are_counted() {
        let mut findings = Findings::default();
        assert!(findings.is_empty());
        (0..1234).for_each(|finding| findings.push(finding));
        assert_eq!((findings.listed().len(), findings.listed()[999], findings.count()), (1000, 999, 1234));
        let mut told = Findings::default();
        told.append(&findings, ToString::to_string);
        assert_eq!((told.listed().len(), &*told.listed()[7], told.count()), (1000, "7", 1234));
    }
}
