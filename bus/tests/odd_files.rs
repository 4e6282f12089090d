//! Given a bus in which something else lies where a file should, expect that nobody waits for it, and that it is named.
#![allow(missing_docs)]

mod common;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use bus::{
    Bus, BusError,
    config::{ConfigError, load},
    regular::Unfit,
};
use common::{Process, Quote, ground, orders, quote};

/// What may stand in the place of a file, to be put there anew.
const ODD: [fn(&Path); 2] = [
    |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
    |path| symlink("/dev/zero", path).unwrap(),
];

/// The other process: publishes and ends well.
#[test]
fn process() {
    let Some((bus, _)) = orders() else { return };
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    quotes.publish(&quote(0)).unwrap();
}

fn closed() -> (tempfile::TempDir, std::path::PathBuf) {
    let (directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    (directory, bus)
}

/// `bus status`, ended by force where it takes twenty seconds or 16 GiB of addresses.
fn status(bus: &Path) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new("sh")
        .args(["-c", "ulimit -v 16777216; exec timeout -s KILL 20 \"$0\" status --bus \"$1\""])
        .args([Path::new(env!("CARGO_BIN_EXE_bus")), bus])
        .output()
        .unwrap();
    (status.code(), [stdout, stderr].map(|told| String::from_utf8(told).unwrap()).concat())
}

#[test]
fn a_schema_that_is_no_file_is_told_by_its_name() {
    for odd in ODD {
        let (_directory, bus) = closed();
        let schema = bus.join("quotes/schema.json");
        fs::remove_file(&schema).unwrap();
        odd(&schema);
        let (code, told) = status(&bus);
        assert!(code.is_some_and(|code| code < 3), "it ends by itself: {code:?} {told}");
        let open = Bus::open(&bus).unwrap();
        assert_eq!(open.topics().unwrap(), ["quotes"]);
        assert_eq!(open.topics_without_schema().unwrap(), [""; 0], "it is not gone");
        let Err(error @ BusError::Io { .. }) = open.schema("quotes") else { panic!("{told}") };
        let why =
            format!("cannot read: {}: it is no regular file; mend that and start again", schema.display());
        assert_eq!(error.to_string(), why);
    }
}

#[test]
fn a_schema_without_end_is_not_read_to_its_end() {
    let (_directory, bus) = closed();
    let schema = bus.join("quotes/schema.json");
    fs::File::options().write(true).open(&schema).unwrap().set_len(1 << 40).unwrap();
    let Err(BusError::Io { source, .. }) = Bus::open(&bus).unwrap().schema("quotes") else { panic!() };
    let unfit = source.get_ref().unwrap().downcast_ref::<Unfit>();
    assert_eq!(unfit, Some(&Unfit::TooLong { most: 4 << 20 }));
}

#[test]
fn a_schema_that_the_system_does_not_give_is_not_gone() {
    let (_directory, bus) = closed();
    let schema = bus.join("quotes/schema.json");
    fs::remove_file(&schema).unwrap();
    // One of many answers that say nothing about what is there.
    symlink("x".repeat(300), &schema).unwrap();
    let open = Bus::open(&bus).unwrap();
    assert_eq!(open.topics_without_schema().unwrap(), [""; 0]);
    assert!(matches!(open.schema("quotes"), Err(BusError::Io { .. })));
    fs::remove_file(&schema).unwrap();
    assert_eq!(open.topics_without_schema().unwrap(), ["quotes"], "now it is");
}

#[test]
fn a_lock_that_is_a_pipe_holds_nobody_up() {
    let (_directory, bus) = closed();
    let lock = bus.join("quotes/0/lock");
    fs::remove_file(&lock).unwrap();
    ODD[0](&lock);
    let (code, told) = status(&bus);
    assert!(code.is_some_and(|code| code < 3), "it ends by itself: {code:?} {told}");
    assert!(told.contains("quotes"), "{told}");
    let refused = Bus::open(&bus).unwrap().publisher::<Quote>("quotes").unwrap_err().to_string();
    assert!(refused.contains("quotes/0/lock") && refused.contains("it is no regular file"), "{refused}");
}

#[test]
fn an_id_that_is_a_pipe_is_told_by_its_name() {
    let (_directory, bus) = closed();
    let id = bus.join("bus.id");
    fs::remove_file(&id).unwrap();
    ODD[0](&id);
    let refused = Bus::open(&bus).unwrap().publisher::<Quote>("quotes").unwrap_err().to_string();
    assert!(
        refused.contains("cannot identify: ") && refused.contains("bus.id: it is no regular file"),
        "{refused}"
    );
    let (code, told) = status(&bus);
    assert!(code.is_some_and(|code| code < 3), "it ends by itself: {code:?} {told}");
}

#[test]
fn a_configuration_that_is_no_file_or_has_no_end_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("busbar.toml");
    symlink("/dev/zero", &path).unwrap();
    let Err(ConfigError::Unreadable { source, .. }) = load::<toml::Table>(&path) else { panic!("refused") };
    assert_eq!(source.to_string(), "it is no regular file");
    fs::remove_file(&path).unwrap();
    fs::File::create(&path).unwrap().set_len((1 << 20) + 1).unwrap();
    assert!(matches!(load::<toml::Table>(&path), Err(ConfigError::TooLong { .. })));
}
