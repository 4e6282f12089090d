//! A storage that may refuse what it is asked for.

use std::{
    fmt, io,
    sync::{Arc, Mutex},
};

use journal::{
    Places,
    storage::{Access, DiskFile, Storage},
};

use super::Ground;

/// What a storage is asked for.
pub enum Asked<'a> {
    Names,
    Open(&'a str),
}

/// Hears of what is asked before that is answered; its error is the answer.
pub type Hook = Box<dyn FnMut(Asked<'_>) -> io::Result<()> + Send>;

/// A storage that somebody hears of before it answers, and may have it answer with an error.
pub struct Hooked {
    below: Arc<dyn Storage>,
    hook: Mutex<Hook>,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooked").field(&self.below).finish()
    }
}

impl Hooked {
    pub fn new(below: Arc<dyn Storage>, hook: Hook) -> Self {
        Self { below, hook: Mutex::new(hook) }
    }
}

impl Storage for Hooked {
    fn names(&self) -> io::Result<Vec<String>> {
        (self.hook.lock().unwrap())(Asked::Names)?;
        self.below.names()
    }
    fn make_directory(&self) -> io::Result<()> {
        self.below.make_directory()
    }
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.below.create(name, length)
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        (self.hook.lock().unwrap())(Asked::Open(name))?;
        self.below.open(name, access)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.below.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.below.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.below.sync()
    }
    fn free_space(&self) -> io::Result<u64> {
        self.below.free_space()
    }
}

/// Places of which somebody hears when they are looked at.
pub fn hooked(ground: &Ground, hook: Hook) -> Places {
    let storage = Arc::new(Hooked::new(Arc::clone(&ground.places.storage), hook));
    Places { storage, memory_dir: ground.memory.clone() }
}
