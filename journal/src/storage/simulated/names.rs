//! The names in a simulated directory.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use super::Fired;
use super::content::Content;
use super::seed::Seed;

/// A file, whatever its name.
pub(super) type Node = Arc<Mutex<Content>>;

/// Names as they are seen, as they are durable, and the changes between.
#[derive(Debug, Default)]
pub(super) struct Names {
    seen: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    volatile: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Create { name: String, node: Node },
    Rename { from: String, to: String, node: Node },
    Remove { name: String, node: Node },
}

impl Change {
    fn node(&self) -> &Node {
        match self {
            Self::Create { node, .. } | Self::Rename { node, .. } | Self::Remove { node, .. } => node,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Create { name, node } => {
                names.insert(name.clone(), Arc::clone(node));
            }
            Self::Rename { from, to, node } => {
                forget(names, from, node);
                names.insert(to.clone(), Arc::clone(node));
            }
            Self::Remove { name, node } => forget(names, name, node),
        }
    }
}

/// Removes a name, if it is this file's.
fn forget(names: &mut BTreeMap<String, Node>, name: &str, node: &Node) {
    if names.get(name).is_some_and(|named| Arc::ptr_eq(named, node)) {
        names.remove(name);
    }
}

impl Names {
    pub(super) fn seen(&self) -> &BTreeMap<String, Node> {
        &self.seen
    }

    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.seen.get(name)
    }

    /// All files that have a name or may have one after a cut.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.durable.values().chain(self.volatile.iter().map(Change::node))
    }

    pub(super) fn create(&mut self, name: &str, node: Node) {
        self.change(Change::Create { name: name.into(), node });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let node = Arc::clone(self.get(from).ok_or(ErrorKind::NotFound)?);
        self.change(Change::Rename { from: from.into(), to: to.into(), node });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let node = Arc::clone(self.get(name).ok_or(ErrorKind::NotFound)?);
        self.change(Change::Remove { name: name.into(), node });
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.seen.clone();
        self.volatile.clear();
    }

    pub(super) fn put_durable(&mut self, name: String, node: Node) {
        self.seen.insert(name.clone(), Arc::clone(&node));
        self.durable.insert(name, node);
    }

    /// The names as they may be found after a cut: each change made or not, a rename wholly.
    pub(super) fn after_cut(&self, seed: &mut Seed, fired: &mut Fired) -> BTreeMap<String, Node> {
        let mut found = self.durable.clone();
        for change in &self.volatile {
            if seed.coin() {
                change.apply(&mut found);
            } else {
                fired.lost_names += 1;
            }
        }
        found
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.volatile.push(change);
    }
}
