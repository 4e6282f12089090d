use super::*;

/// A bus directory and a root for its shared memory.
struct Machine {
    disk: tempfile::TempDir,
    memory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = || tempfile::tempdir().expect("a directory");
        let machine = Self { disk: directory(), memory: directory() };
        fs::create_dir(machine.bus()).expect("a bus directory");
        machine
    }

    fn bus(&self) -> PathBuf {
        self.disk.path().join("bus")
    }

    fn instance(&self) -> Instance {
        Instance::below(self.memory.path(), &self.bus()).expect("a bus directory")
    }

    fn instances(&self) -> usize {
        fs::read_dir(self.memory.path()).expect("listed").count()
    }
}

/// Leaves a file that may hold messages, as a killed writer does.
fn leave_memory(writer: &Occupancy) -> PathBuf {
    let segment = writer.make_topic("trades", 0).expect("a directory").join("0");
    fs::write(&segment, [1; 100]).expect("written");
    segment
}

#[test]
fn all_processes_find_one_place_and_a_clean_end_leaves_nothing() {
    let machine = Machine::new();
    let instance = machine.instance();
    assert!(!instance.is_current().expect("nothing there"));
    assert_eq!(machine.instances(), 0, "looking makes nothing");
    let gateway = instance.enter().expect("entered");
    let engine = machine.instance().enter().expect("entered");
    assert_eq!(gateway.bus_id(), engine.bus_id());
    assert!(instance.is_current().expect("there"));
    let topic = gateway.make_topic("trades", 0).expect("made");
    assert_eq!(topic, engine.instance().topic_path("trades", 0));
    drop(gateway);
    assert!(topic.is_dir(), "the other one is still there");
    drop(engine);
    assert_eq!(machine.instances(), 0);
}

#[test]
fn readers_do_not_hold_an_instance() {
    let machine = Machine::new();
    let writer = machine.instance().enter().expect("entered");
    let topic = writer.make_topic("trades", 0).expect("made");
    let presence = readers::Presence::announce(&topic, crate::Gate::Published, 0).expect("a page");
    drop(writer);
    assert_eq!(machine.instances(), 0);
    presence.tell(1);
}

#[test]
fn memory_in_use_survives_its_writer() {
    let machine = Machine::new();
    let writer = machine.instance().enter().expect("entered");
    let segment = leave_memory(&writer);
    drop(writer);
    assert_eq!(sweep(machine.memory.path()).expect("swept"), 0);
    assert!(segment.exists());
    let _successor = machine.instance().enter().expect("entered");
    assert!(segment.exists());
}

#[test]
fn a_copied_bus_has_a_place_of_its_own() {
    let machine = Machine::new();
    let writer = machine.instance().enter().expect("entered");
    let copy = machine.disk.path().join("copy");
    fs::create_dir(&copy).expect("made");
    fs::copy(machine.bus().join("bus.id"), copy.join("bus.id")).expect("copied");
    let copied = Instance::below(machine.memory.path(), &copy).expect("a directory");
    assert_ne!(copied.directory(), writer.instance().directory());
    assert!(!copied.is_current().expect("nothing there"));
}

#[test]
fn memory_of_another_id_is_stale_and_goes_once_free() {
    let machine = Machine::new();
    let writer = machine.instance().enter().expect("entered");
    let segment = leave_memory(&writer);
    fs::write(&segment, []).expect("nothing was committed there");
    // As when the bus is removed and another directory gets its inode.
    fs::write(machine.bus().join("bus.id"), format!("{:032x}\n", 5)).expect("written");
    assert!(!machine.instance().is_current().expect("stale"));
    assert!(matches!(machine.instance().enter(), Err(InstanceError::InUse { .. })));
    drop(writer);
    let successor = machine.instance().enter().expect("emptied");
    assert!(!segment.exists());
    assert!(machine.instance().is_current().expect("ours now"));
    assert_eq!(successor.bus_id().to_string(), format!("{:032x}", 5));
}

#[test]
fn every_file_may_vanish_while_directories_stay() {
    let machine = Machine::new();
    let writer = machine.instance().enter().expect("entered");
    let segment = leave_memory(&writer);
    for name in [LOCK, OWNER] {
        fs::remove_file(writer.instance().directory().join(name)).expect("removed");
    }
    assert!(!machine.instance().is_current().expect("says nothing"));
    let other = machine.instance().enter().expect("entered");
    assert!(segment.exists(), "what a live writer made since is not touched");
    assert!(machine.instance().is_current().expect("said again"));
    drop(writer);
    fs::remove_file(&segment).expect("removed");
    drop(other);
    assert_eq!(machine.instances(), 0);
}

#[test]
fn the_sweep_leaves_what_it_cannot_understand() {
    let machine = Machine::new();
    let root = machine.memory.path();
    let user = effective_user();
    for name in ["other", &format!("busbar-{user}-short"), &format!("busbar-{}-{:016x}", user + 1, 1)] {
        fs::create_dir(root.join(name)).expect("made");
    }
    let unnamed = root.join(format!("busbar-{user}-{:016x}", 2));
    fs::create_dir_all(unnamed.join("trades/0")).expect("made");
    fs::write(unnamed.join("trades/0/1"), [0; 10]).expect("written");
    fs::create_dir_all(root.join(format!("busbar-{user}-{:016x}", 3)).join("trades/0")).expect("made");
    assert_eq!(sweep(root).expect("swept"), 1, "only the empty one");
    let found = forgotten(root).expect("listed");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].bus.as_ref(), found[0].bytes, found[0].unknown), (None, 10, 1));
    assert!(!found[0].remove().expect("it may hold messages"));
    assert!(found[0].discard().expect("on request").is_some());
    assert_eq!(machine.instances(), 3);
}

#[test]
fn a_link_under_the_name_is_refused() {
    let machine = Machine::new();
    let instance = machine.instance();
    std::os::unix::fs::symlink(machine.disk.path(), instance.directory()).expect("linked");
    assert!(matches!(instance.enter(), Err(InstanceError::Foreign { .. })));
    assert!(matches!(instance.is_current(), Err(InstanceError::Foreign { .. })));
}

#[test]
fn coming_and_going_never_fails() {
    let machine = Machine::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let writer = machine.instance().enter().expect("entered");
                    let segment = writer
                        .make_topic("trades", 0)
                        .expect("held")
                        .join(format!("{:?}", thread::current().id()));
                    fs::write(&segment, b"x").expect("written");
                    sweep(machine.memory.path()).expect("swept");
                    fs::remove_file(&segment).expect("ours");
                }
            });
        }
    });
    assert_eq!(machine.instances(), 0);
}

#[test]
fn a_refusal_of_the_system_says_what_to_do() {
    let told = |kind: ErrorKind| InstanceError::io("identify", Path::new("/bus"), kind.into()).to_string();
    let denied = told(ErrorKind::PermissionDenied);
    assert_eq!(
        denied,
        "cannot identify: /bus: permission denied; give this user the right, or run as the bus directory's owner"
    );
    assert!(told(ErrorKind::NotADirectory).ends_with("; name another --bus, or move away what lies there"));
    assert!(told(ErrorKind::Other).ends_with("; mend that and start again"));
}
