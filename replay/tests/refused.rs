//! Given what is no bus, or topics that this user may not read, expect what can be told of the rest, and 2 where nothing
//! can be.
#![allow(missing_docs)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use bus::event::risk::{PositionUpdate, RiskEvent};
use bus::event::{Cause, Side};
use common::{Ground, Ran, add, fill, program, replay};

const COMMANDS: [&[&str]; 4] = [&["verify"], &["dump", "--topic", "trades"], &["state"], &["blotter"]];

#[test]
fn what_is_no_bus_is_said_to_be_none_by_every_command() {
    let ground = Ground::new();
    let [missing, empty, file, foreign] =
        ["missing", "empty", "file", "foreign"].map(|name| ground.path(name));
    fs::create_dir(&empty).unwrap();
    fs::write(&file, "").unwrap();
    fs::create_dir_all(foreign.join("trades")).unwrap();
    fs::write(foreign.join("note"), "").unwrap();
    for place in [&missing, &empty, &file, &foreign] {
        for command in COMMANDS {
            let ran = replay(place, command);
            let want =
                format!("replay: no bus: {}; start a publisher or name another --bus\n", place.display());
            assert_eq!((ran.code, &*ran.out, ran.error), (2, "", want), "{command:?}");
        }
    }
}

/// Two topics that everybody may read.
fn two_topics() -> Ground {
    let ground = Ground::new();
    ground.market().publish(&add(1)).unwrap();
    ground.trades().publish(&fill(1, Side::BUY, 100, 1)).unwrap();
    let bus = ground.bus.directory();
    set_mode(bus.parent().unwrap(), 0o755);
    open_to_all(bus);
    ground
}

fn open_to_all(path: &Path) {
    let is_directory = path.is_dir();
    set_mode(path, if is_directory { 0o755 } else { 0o644 });
    if is_directory {
        fs::read_dir(path).unwrap().for_each(|entry| open_to_all(&entry.unwrap().path()));
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What a user sees who owns nothing; none where this test has no such user to give.
fn strangers(ground: &Ground, arguments: &[&str]) -> Option<Ran> {
    let bus = ground.bus.directory();
    let mut command = program(bus);
    if fs::metadata(bus.parent().unwrap()).unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    match command.args(arguments).output() {
        Ok(output) => Some(Ran::of(output)),
        Err(error) => {
            eprintln!("not proven: no other user can run the program here: {error}");
            None
        }
    }
}

#[test]
fn where_nothing_may_be_read_every_command_could_not_run_and_says_what_to_do() {
    for what in ["schema.json", "0/mark", ""] {
        let ground = two_topics();
        for topic in ["market-data", "trades"] {
            set_mode(&ground.bus.directory().join(topic).join(what), 0);
        }
        for command in COMMANDS {
            let Some(ran) = strangers(&ground, command) else { return };
            assert_eq!((ran.code, &*ran.out), (2, ""), "{what} {command:?}: {}", ran.error);
            let line = ran.error.lines().last().unwrap();
            let remedy = "Permission denied (os error 13); give this user the right, or run as the bus directory's owner";
            assert!(
                line.starts_with("replay: ") && line.ends_with(remedy),
                "{what} {command:?}: {}",
                ran.error
            );
        }
    }
}

#[test]
fn effects_of_a_topic_that_may_not_be_read_are_not_said_to_have_no_cause() {
    let ground = two_topics();
    let mut risk = ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
    let cause = Cause { sequence: 0, epoch: 1, input: 1, index: 0 };
    risk.publish(&PositionUpdate { cause, ..PositionUpdate::default() }).unwrap();
    risk.close().unwrap();
    open_to_all(ground.bus.directory());
    let whats = |ran: &Ran| {
        let lines = ran.lines();
        let found = lines.last().unwrap()["incomplete"].as_array().unwrap().clone();
        Vec::from_iter(found.iter().map(|found| format!("{} {}", found["what"], found["topic"])))
    };
    let Some(ran) = strangers(&ground, &["blotter"]) else { return };
    assert_eq!(whats(&ran), Vec::<String>::new());
    set_mode(&ground.bus.directory().join("trades"), 0);
    let Some(ran) = strangers(&ground, &["blotter"]) else { return };
    assert_eq!(whats(&ran), ["\"damage\" \"trades\""]);
}

#[test]
fn a_topic_that_may_not_be_read_hides_no_other_and_is_not_hidden() {
    for what in ["schema.json", "0/mark", ""] {
        let ground = two_topics();
        let Some(ran) = strangers(&ground, &["verify"]) else { return };
        assert_eq!(ran.code, 0, "all may be read: {}", ran.error);
        set_mode(&ground.bus.directory().join("market-data").join(what), 0);

        let Some(ran) = strangers(&ground, &["verify", "--json"]) else { return };
        let topics = ran.json()["topics"].clone();
        assert_eq!(
            (ran.code, &topics[1]["ok"], &topics[1]["messages"]),
            (1, &true.into(), &1.into()),
            "{topics}"
        );
        let damage = &topics[0]["damage"][0];
        assert_eq!((&topics[0]["topic"], &damage["kind"]), (&"market-data".into(), &"unreadable".into()));
        assert!(damage["detail"].as_str().unwrap().contains("; give this user the right"), "{damage}");

        let Some(ran) = strangers(&ground, &["blotter"]) else { return };
        let lines = ran.lines();
        assert_eq!((ran.code, &lines[0]["topic"]), (1, &"trades".into()), "{}", ran.error);
        let end = lines.last().unwrap();
        let of_market = |found: &&serde_json::Value| found["topic"] == "market-data";
        let found = end["incomplete"].as_array().unwrap().iter().find(of_market).unwrap();
        assert_eq!((&found["what"], &found["kind"]), (&"damage".into(), &"unreadable".into()), "{end}");
        assert!(found["detail"].as_str().unwrap().contains("; give this user the right"), "{end}");

        // What needs that topic could not run; what does not need it runs.
        for (command, code) in [
            (&["state"][..], 2),
            (&["dump", "--topic", "market-data"], 2),
            (&["verify", "--topic", "market-data"], 2),
            (&["dump", "--topic", "trades"], 0),
        ] {
            let Some(ran) = strangers(&ground, command) else { return };
            assert_eq!(ran.code, code, "{what} {command:?}: {}", ran.error);
        }
    }
}

#[test]
fn given_a_list_of_topics_that_may_not_be_read_expect_all_topics_told_and_the_list_named() {
    let ground = two_topics();
    set_mode(&ground.bus.directory().join("bus.topics"), 0);
    let told =
        format!("cannot tell which topics are gone: {}/bus.topics: ", ground.bus.directory().display());
    let Some(ran) = strangers(&ground, &["verify", "--json"]) else { return };
    let json = ran.json();
    assert_eq!((ran.code, &json["ok"], &json["topics"][1]["ok"]), (1, &false.into(), &true.into()), "{json}");
    assert!(json["error"].as_str().unwrap().starts_with(&told), "{json}");
    let Some(ran) = strangers(&ground, &["verify"]) else { return };
    assert!(ran.code == 1 && ran.out.contains(&told), "{}", ran.out);

    let Some(ran) = strangers(&ground, &["blotter"]) else { return };
    let lines = ran.lines();
    let end = lines.last().unwrap();
    assert_eq!((ran.code, &lines[0]["topic"]), (1, &"trades".into()));
    let of_list = |found: &&serde_json::Value| found["topic"] == "bus.topics";
    let found = end["incomplete"].as_array().unwrap().iter().find(of_list).unwrap();
    assert!(found["kind"] == "unreadable" && found["detail"].as_str().unwrap().starts_with(&told), "{end}");

    // Whoever asks for a topic that is there needs no list of those that are not.
    for (topic, code) in [("trades", 0), ("orders", 2)] {
        let Some(ran) = strangers(&ground, &["verify", "--topic", topic]) else { return };
        assert_eq!((ran.code, ran.error.contains(&told)), (code, code == 2), "{topic}: {}", ran.error);
    }
}
