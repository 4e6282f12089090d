//! `bus status` as a user meets it.
#![allow(missing_docs)]

mod common;

use std::{
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Output},
};

use bus::{
    Bus, Gate, Start,
    config::{BusConfig, TopicConfig, WhenFull},
    program::Size,
};
use common::{Process, Quote, ground, orders, quote};
use serde_json::Value;

/// The other processes: each publishes a thousand quotes and then does what its orders say.
#[test]
fn process() {
    let Some((bus, orders)) = orders() else { return };
    if orders[0] == "expire" {
        return expire(&bus);
    }
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    (0..1_000).for_each(|n| assert!(quotes.publish(&quote(n)).is_ok()));
    match &*orders[0] {
        "close" => return,
        "fail" => fail_from_now_on(),
        _ => quotes.flush().unwrap(),
    }
    while orders[0] == "fail" && quotes.publish(&quote(0)).is_ok() {
        std::thread::yield_now();
    }
    println!("published 1000");
    loop {
        std::thread::park();
    }
}

/// Publishes until retention has taken what a reader has not read.
fn expire(bus: &Bus) {
    let topic = TopicConfig { retention: Some(Size(3 << 20)), when_full: Some(WhenFull::Expire) };
    let topics = [("quotes".to_owned(), topic)].into();
    let config = BusConfig { segment: Some(Size(1 << 20)), topics, ..BusConfig::default() };
    let bus = Bus::with_config(bus.directory(), config).unwrap();
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    quotes.publish(&quote(0)).unwrap();
    println!("published 1");
    while bus.survey("quotes").unwrap().readers.is_empty() {
        std::thread::yield_now();
    }
    while bus.watermarks("quotes").unwrap().first < 10 {
        (0..10_000).for_each(|_| assert!(quotes.publish(&quote(0)).is_ok()));
    }
    quotes.flush().unwrap();
    println!("expired {}", quotes.next_sequence());
    loop {
        std::thread::park();
    }
}

/// Lets every further write to a file fail.
fn fail_from_now_on() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: ignores a signal and sets a limit of this process; `none` outlives the call.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const none), 0);
    }
}

fn status(bus: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bus"));
    command.arg("status").args(flags).arg("--bus").arg(bus).output().expect("bus runs")
}

fn report(bus: &Path) -> (Option<i32>, Value) {
    let told = status(bus, &["--json"]);
    assert!(told.stderr.is_empty(), "{}", String::from_utf8_lossy(&told.stderr));
    (told.status.code(), serde_json::from_slice(&told.stdout).expect("one object"))
}

fn text(bus: &Path) -> String {
    String::from_utf8(status(bus, &[]).stdout).expect("UTF-8")
}

#[test]
fn an_open_topic_shows_its_holder_its_watermarks_and_its_readers() {
    let (_directory, bus) = ground();
    let mut publisher = Process::start("process", &bus, "stay");
    publisher.told("published");
    let mut reader =
        Bus::open(&bus).unwrap().subscriber::<Quote>("quotes", Start::Oldest, Gate::Durable).unwrap();
    (0..10).for_each(|_| assert!(reader.wait().unwrap().is_some()));
    let (code, report) = report(&bus);
    let topic = &report["topics"][0];
    assert_eq!(
        (code, &report["health"], &topic["state"]),
        (Some(0), &"ok".into(), &"open".into()),
        "{report}"
    );
    assert_eq!(topic["holder"]["process"], publisher.id());
    for (field, value) in [("epoch", 1), ("first", 0), ("published", 1_000), ("durable", 1_000), ("lag", 0)] {
        assert_eq!(topic[field], value, "{field} in {topic}");
    }
    assert!(topic["segments"]["memory"] == 1 && topic["segments"]["disk"] == 1, "{topic}");
    assert!(["io_uring", "pwritev2"].contains(&topic["io"].as_str().unwrap()), "{topic}");
    assert!(topic["counters"]["writes"].as_u64() > Some(0) && topic["mark"]["clean"] == false, "{topic}");
    let follower = &topic["readers"][0];
    assert_eq!((&follower["sequence"], &follower["lag"]), (&10.into(), &990.into()), "{follower}");
    assert_eq!((&follower["gate"], &follower["process"]), (&"durable".into(), &std::process::id().into()));
    let text = text(&bus);
    for word in ["quotes", "open", &publisher.id().to_string(), "status-", "990"] {
        assert!(text.contains(word), "'{word}' in {text}");
    }
}

#[test]
fn a_closed_topic_and_its_copy_are_read_without_memory_and_nothing_changes() {
    let (directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    let copy = directory.path().join("copy");
    assert!(Command::new("cp").arg("-r").args([&bus, &copy]).status().unwrap().success());
    let tree = |root: &Path| {
        let listed = Command::new("find").arg(root).args(["-printf", "%P %s %T@\n"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    for place in [&bus, &copy] {
        let before = tree(place);
        let (code, report) = report(place);
        let topic = &report["topics"][0];
        assert_eq!((code, &report["health"], &topic["state"]), (Some(0), &"ok".into(), &"closed".into()));
        assert_eq!((&topic["durable"], &topic["mark"]["clean"]), (&1_000.into(), &true.into()));
        assert_eq!((&topic["holder"], &topic["io"]), (&Value::Null, &Value::Null));
        assert!(text(place).contains("closed"));
        assert_eq!(tree(place), before);
    }
}

#[test]
fn a_dead_publisher_needs_attention() {
    let (_directory, bus) = ground();
    let mut publisher = Process::start("process", &bus, "stay");
    publisher.told("published");
    publisher.kill();
    // The lock goes with the last write in flight.
    let (code, report) = loop {
        let told = report(&bus);
        if told.1["topics"][0]["state"] != "open" {
            break told;
        }
    };
    assert_eq!((code, &report["health"]), (Some(0), &"attention".into()));
    assert_eq!(
        (&report["topics"][0]["state"], &report["topics"][0]["published"]),
        (&"dead".into(), &1_000.into())
    );
    let reason = report["reasons"][0].as_str().unwrap();
    let told = "topic 'quotes': its publisher died; all that it published is durable; ";
    assert!(reason.starts_with(told) && text(&bus).contains(reason), "{reason}");
    assert!(Process::start("process", &bus, "close").end().success());
    assert_eq!(self::report(&bus).1["health"], "ok");
}

#[test]
fn a_topic_that_was_not_ended_cleanly_needs_attention_and_says_why() {
    let (_directory, bus) = ground();
    let mut publisher = Process::start("process", &bus, "stay");
    publisher.told("published");
    publisher.kill();
    while report(&bus).1["topics"][0]["state"] == "open" {
        std::thread::yield_now();
    }
    // As after a power loss.
    let memory = journal::instance::Instance::of(&bus).unwrap();
    std::fs::remove_dir_all(memory.directory()).unwrap();
    let (code, report) = report(&bus);
    let topic = &report["topics"][0];
    assert_eq!((code, &report["health"], &topic["state"]), (Some(0), &"attention".into(), &"unclean".into()));
    let reason = report["reasons"][0].as_str().unwrap();
    let told = "topic 'quotes': nobody publishes it, and it was not ended cleanly: the power was lost, or this is a copy";
    assert!(reason.starts_with(told), "{reason}");
    let text = text(&bus);
    assert!(text.contains("attention") && text.contains(reason) && text.contains("unclean"), "{text}");
    let help = String::from_utf8(status(&bus, &["--help"]).stdout).unwrap();
    let mut words = "open closed dead unclean unknown poisoned damaged unreadable".split(' ');
    assert!(words.all(|word| help.contains(&format!("\n    {word} "))), "{help}");
    assert!(Process::start("process", &bus, "close").end().success());
    assert_eq!(self::report(&bus).1["health"], "ok");
}

#[test]
fn a_reader_that_retention_has_passed_is_told_what_it_has_lost() {
    let (_directory, bus) = ground();
    let mut publisher = Process::start("process", &bus, "expire");
    publisher.told("published");
    let mut reader =
        Bus::open(&bus).unwrap().subscriber::<Quote>("quotes", Start::Oldest, Gate::Published).unwrap();
    assert!(reader.wait().unwrap().is_some());
    let count = publisher.told("expired");
    // The last segments may go between two looks of one report.
    let (code, report, first) = loop {
        let (code, report) = report(&bus);
        let first = report["topics"][0]["first"].as_u64().unwrap();
        if report["topics"][0]["readers"][0]["removed"] == first - 1 {
            break (code, report, first);
        }
    };
    let follower = &report["topics"][0]["readers"][0];
    assert_eq!((code, &report["health"]), (Some(0), &"attention".into()));
    assert_eq!((&follower["sequence"], &follower["lag"]), (&1.into(), &(count - 1).into()));
    let reasons: Vec<_> = report["reasons"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
    let told = format!("has not read {} messages that retention removed", first - 1);
    assert!(reasons.iter().any(|reason| reason.contains(&told)), "{reasons:?}");
    assert!(!reasons.iter().any(|reason| reason.contains("about to lose")), "{reasons:?}");
}

#[test]
fn a_poisoned_topic_is_a_fault_with_the_disks_words() {
    let (_directory, bus) = ground();
    let mut publisher = Process::start("process", &bus, "fail");
    publisher.told("published");
    let (code, report) = report(&bus);
    let topic = &report["topics"][0];
    assert_eq!((code, &topic["state"]), (Some(1), &"poisoned".into()), "{report}");
    assert!(topic["error"].as_str().unwrap().contains("File too large"), "{topic}");
    publisher.kill();
    assert_eq!(self::report(&bus).0, Some(1), "the memory that it left still says so");
    assert!(
        Process::start("process", &bus, "close").end().success(),
        "its messages are there and become durable"
    );
    assert_eq!(self::report(&bus).0, Some(0));
}

#[test]
fn damage_is_a_fault_and_hides_no_other_topic() {
    let (_directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    let other = bus.join("other");
    assert!(Command::new("cp").arg("-r").args([&bus.join("quotes"), &other]).status().unwrap().success());
    // The segments prove what a lost mark proved; without both nothing says whose they are.
    for file in std::fs::read_dir(other.join("0")).unwrap().flatten() {
        std::fs::write(file.path(), [7; 8192]).unwrap();
    }
    let (code, report) = report(&bus);
    assert_eq!((code, &report["health"]), (Some(1), &"attention".into()));
    let states: Vec<_> = report["topics"].as_array().unwrap().iter().map(|topic| &topic["state"]).collect();
    assert_eq!(states, ["damaged", "closed"]);
    let error = report["topics"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("damaged: "), "{error}");
    assert_eq!(
        report["reasons"][0].as_str(),
        Some(&*format!("topic 'other': {error}")),
        "the topic is named once"
    );
    assert!(text(&bus).contains("damaged"));
}

#[test]
fn a_header_that_is_destroyed_is_told_from_a_segment_that_is_gone_and_neither_is_retention() {
    let (_directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    Bus::open(&bus).unwrap().keep_from("quotes", "auditor", 0).unwrap();
    let segment = bus.join("quotes/0/0000000000000000.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[..128].fill(7);
    std::fs::write(&segment, bytes).unwrap();
    let error = |(code, report): (Option<i32>, Value)| {
        let topic = &report["topics"][0];
        assert_eq!((code, &topic["state"]), (Some(1), &"damaged".into()), "{report}");
        assert_eq!((&topic["first"], &topic["keepers"][0]["lost"]), (&1_000.into(), &0.into()), "{report}");
        let error = topic["error"].as_str().unwrap();
        assert_eq!(report["reasons"], Value::from(vec![format!("topic 'quotes': {error}")]));
        error.to_owned()
    };
    assert!(error(report(&bus)).starts_with("the header of segment 0 is destroyed; "));
    std::fs::remove_file(&segment).unwrap();
    assert!(error(report(&bus)).starts_with("segment 0 is missing; restore it"));
}

/// The status as a user sees it who owns nothing; none where this test has no such user to give.
fn strangers_status(bus: &Path) -> Option<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bus"));
    command.args(["status", "--json", "--bus"]).arg(bus);
    // SAFETY: the call touches no memory and always succeeds.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(65_534).gid(65_534);
    }
    command.output().ok()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A closed topic that everybody may read, beside others.
fn open_to_all(directory: &Path, bus: &Path, topic: &str) {
    let journal = bus.join(topic).join("0");
    for path in [directory, bus, &bus.join(topic), &journal] {
        set_mode(path, 0o755);
    }
    for file in ["schema.json", "0/mark", "0/0000000000000000.segment"] {
        set_mode(&bus.join(topic).join(file), 0o644);
    }
}

#[test]
fn what_this_user_may_not_read_is_unreadable_and_not_damaged() {
    let (directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    open_to_all(directory.path(), &bus, "quotes");
    set_mode(&bus.join("quotes/0/0000000000000000.segment"), 0);
    let Some(told) = strangers_status(&bus) else {
        return eprintln!("not proven: no other user can run the program here");
    };
    let report: Value = serde_json::from_slice(&told.stdout).unwrap();
    let topic = &report["topics"][0];
    assert_eq!((told.status.code(), &topic["state"]), (Some(1), &"unreadable".into()), "{report}");
    let error = topic["error"].as_str().unwrap();
    assert!(error.starts_with("segment 0 cannot be read") && error.contains("Permission denied"), "{error}");
    assert_eq!(report["reasons"][0].as_str(), Some(&*format!("topic 'quotes': {error}")));
}

#[test]
fn a_topic_that_this_user_may_not_look_into_hides_no_other_and_is_not_hidden() {
    let (directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    let copied = Command::new("cp").arg("-r").args([bus.join("quotes"), bus.join("more")]).status();
    assert!(copied.unwrap().success());
    for topic in ["quotes", "more"] {
        open_to_all(directory.path(), &bus, topic);
    }
    for (path, mode) in [("more", 0), ("more", 0o755), ("more/schema.json", 0), ("more/schema.json", 0o644)] {
        set_mode(&bus.join(path), mode);
        let Some(told) = strangers_status(&bus) else {
            return eprintln!("not proven: no other user can run the program here");
        };
        let is_refused = mode == 0;
        let report: Value = serde_json::from_slice(&told.stdout).unwrap();
        let states = [0, 1].map(|n| report["topics"][n]["state"].as_str().unwrap());
        let more = if is_refused { "unreadable" } else { "closed" };
        assert_eq!((told.status.code(), states), (Some(i32::from(is_refused)), [more, "closed"]), "{report}");
        let error =
            report["topics"][0]["error"].as_str().unwrap_or("Permission denied; give this user the right");
        assert!(
            error.contains("Permission denied") && error.contains("; give this user the right"),
            "{error}"
        );
    }
}

#[test]
fn a_bus_of_which_nothing_may_be_read_could_not_be_looked_at() {
    let (directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    open_to_all(directory.path(), &bus, "quotes");
    let (mark, topic) = (bus.join("quotes/0/mark"), bus.join("quotes"));
    for path in [&mark, &topic, &bus] {
        set_mode(path, 0);
        let Some(told) = strangers_status(&bus) else {
            return eprintln!("not proven: no other user can run the program here");
        };
        let line = String::from_utf8(told.stderr).unwrap();
        assert_eq!((told.status.code(), told.stdout.len(), line.lines().count()), (Some(2), 0, 1), "{line}");
        assert!(line.contains("Permission denied") && line.contains("; give this user the right"), "{line}");
    }
}

#[test]
fn a_segment_that_is_cut_short_is_damage() {
    let (_directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    let segment = bus.join("quotes/0/0000000000000000.segment");
    std::fs::File::options().write(true).open(segment).unwrap().set_len(20_000).unwrap();
    let (code, report) = report(&bus);
    let topic = &report["topics"][0];
    assert_eq!((code, &topic["state"]), (Some(1), &"damaged".into()), "{report}");
    assert!(topic["error"].as_str().unwrap().starts_with("segment 0 is shorter than"), "{topic}");
}

#[test]
fn a_topic_that_lost_its_schema_or_its_mark_is_damaged() {
    for (lost, reason) in [("schema.json", "its schema.json is gone"), ("0/mark", "its mark is lost")] {
        let (_directory, bus) = ground();
        assert!(Process::start("process", &bus, "close").end().success());
        std::fs::remove_file(bus.join("quotes").join(lost)).unwrap();
        let (code, report) = report(&bus);
        let topic = &report["topics"][0];
        assert_eq!((code, &topic["state"]), (Some(1), &"damaged".into()), "{lost}: {report}");
        assert!(topic["error"].as_str().unwrap().starts_with(reason), "{lost}: {topic}");
    }
}

#[test]
fn a_mark_of_another_topic_is_named() {
    let (_directory, bus) = ground();
    let (_other_directory, other) = ground();
    for bus in [&bus, &other] {
        assert!(Process::start("process", bus, "close").end().success());
    }
    let mark = |bus: &Path| bus.join("quotes/0/mark");
    std::fs::copy(mark(&other), mark(&bus)).unwrap();
    let (code, report) = report(&bus);
    let topic = &report["topics"][0];
    assert_eq!((code, &topic["state"]), (Some(1), &"damaged".into()), "{report}");
    assert!(topic["error"].as_str().unwrap().starts_with("its mark is of another journal, "), "{topic}");
}

#[test]
fn what_is_no_bus_is_refused_and_one_without_topics_is_told() {
    let (directory, bus) = ground();
    let [empty, file, foreign] = ["empty", "file", "foreign"].map(|name| directory.path().join(name));
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(&file, "").unwrap();
    std::fs::create_dir_all(foreign.join("more")).unwrap();
    std::fs::write(foreign.join("note"), "").unwrap();
    for place in [&bus, &empty, &file, &foreign] {
        let refused = status(place, &["--json"]);
        let line = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{line}");
        let want = format!("bus: no bus: {}; start a publisher or name another --bus\n", place.display());
        assert_eq!(line, want);
    }
    // What is left of a publisher whose first topic was refused.
    std::fs::create_dir(&bus).unwrap();
    std::fs::write(bus.join("bus.id"), "").unwrap();
    let (code, report) = report(&bus);
    assert_eq!((code, &report["topics"]), (Some(0), &Value::Array(Vec::new())));
    assert!(text(&bus).contains("no topics"));
}

#[test]
fn a_topic_whose_directory_is_gone_is_damaged_until_its_name_is_taken_out() {
    let (_directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    std::fs::create_dir(bus.join("empty")).unwrap();
    std::fs::remove_dir_all(bus.join("quotes")).unwrap();
    let (code, report_of) = report(&bus);
    let topic = &report_of["topics"][0];
    assert_eq!((code, &topic["topic"], &topic["state"]), (Some(1), &"quotes".into(), &"damaged".into()));
    let error = topic["error"].as_str().unwrap();
    assert!(error.starts_with("its directory is gone, or holds no journal; restore it"), "{error}");
    // As a publisher leaves it that was refused.
    std::fs::create_dir_all(bus.join("quotes/0")).unwrap();
    std::fs::write(bus.join("quotes/0/lock"), "").unwrap();
    assert_eq!(report(&bus).1["topics"][0]["error"], error);
    // As a crash may leave the file, and as anybody may.
    let names = b"../up\n\xff\xfe\nquotes";
    std::fs::write(bus.join("bus.topics"), names).unwrap();
    assert_eq!(report(&bus).0, Some(1));
    assert!(Process::start("process", &bus, "close").end().success());
    let (code, report_of) = report(&bus);
    let state = &report_of["topics"][0]["state"];
    assert_eq!((code, state), (Some(1), &"closed".into()), "it is there again, but another may be gone");
    let is_garbled = |reason: &Value| {
        let reason = reason.as_str().unwrap();
        reason.starts_with("cannot tell which topics are gone") && reason.contains("that name no topic: 2")
    };
    assert!(report_of["reasons"].as_array().unwrap().iter().any(is_garbled), "{report_of}");
    let written = std::fs::read(bus.join("bus.topics")).unwrap();
    assert!(written.starts_with(b"../up\n\xff\xfe\nquotes\nquotes "), "its journal is added");
    assert!(Process::start("process", &bus, "close").end().success());
    assert_eq!(std::fs::read(bus.join("bus.topics")).unwrap(), written, "it is known, and not added again");
    std::fs::remove_dir_all(bus.join("quotes")).unwrap();
    std::fs::write(bus.join("bus.topics"), "").unwrap();
    assert_eq!(report(&bus).0, Some(0), "it was removed on purpose");
}

#[test]
fn given_what_is_no_topic_in_the_place_of_one_expect_it_told_as_gone() {
    let (_directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    let quotes = bus.join("quotes");
    std::fs::rename(&quotes, bus.with_extension("aside")).unwrap();
    let file = |path: &Path| std::fs::write(path, "x").unwrap();
    let circle = |path: &Path| std::os::unix::fs::symlink(path, path).unwrap();
    let below = |make: &dyn Fn(&Path)| {
        std::fs::create_dir(&quotes).unwrap();
        make(&quotes.join("0"));
    };
    let replace: [(&str, &dyn Fn()); 4] = [
        ("a file", &|| file(&quotes)),
        ("a symlink to itself", &|| circle(&quotes)),
        ("a directory with a file for a journal", &|| below(&file)),
        ("a directory with a symlink for a journal", &|| below(&circle)),
    ];
    for (what, put) in replace {
        put();
        let (code, report) = report(&bus);
        let (topic, other) = (&report["topics"][0], &report["topics"][1]);
        let error = topic["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("its directory is gone, or holds no journal"), "{what}: {report}");
        assert_eq!((code, &topic["topic"], other), (Some(1), &"quotes".into(), &Value::Null), "{what}");
        std::fs::remove_dir_all(&quotes).or_else(|_| std::fs::remove_file(&quotes)).unwrap();
    }
}

#[test]
fn given_a_topic_without_its_journal_expect_that_a_copy_is_asked_for_and_no_writer() {
    let (_directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    let journal = bus.join("quotes/0");
    let told = || {
        let (code, report) = report(&bus);
        assert_eq!(code, Some(1));
        report["topics"][0]["error"].as_str().unwrap().to_owned()
    };
    let gone = "its directory is gone, or holds no journal; restore it from a copy";
    std::fs::remove_dir_all(&journal).unwrap();
    assert!(told().starts_with(gone), "{}", told());
    std::fs::create_dir(&journal).unwrap();
    assert!(told().starts_with(gone), "{}", told());
    // A name alone does not say that there was one.
    std::fs::write(bus.join("bus.topics"), "quotes\n").unwrap();
    assert!(told().starts_with("no journal: "), "{}", told());
}

#[test]
fn given_a_mark_that_was_lost_and_made_anew_expect_attention_for_good() {
    let (_directory, bus) = ground();
    assert!(Process::start("process", &bus, "close").end().success());
    std::fs::write(bus.join("quotes/0/mark"), [7; 8192]).unwrap();
    for _ in 0..2 {
        assert!(Process::start("process", &bus, "close").end().success());
        let (code, report) = report(&bus);
        let topic = &report["topics"][0];
        assert_eq!((code, &topic["state"]), (Some(0), &"closed".into()));
        assert_eq!((&report["health"], &topic["mark"]["lost_before"]), (&"attention".into(), &2.into()));
        let told = report["reasons"][0].as_str().unwrap();
        assert!(told.starts_with("topic 'quotes': the mark before epoch 2 was lost"), "{told}");
    }
}

#[test]
fn a_journal_that_is_not_the_one_that_the_bus_has_had_is_told_until_its_line_is_taken_out() {
    let (_directory, bus) = ground();
    let (_other_directory, other) = ground();
    // Says what its publisher said.
    let publish = |bus: &Path| {
        let notes = bus.with_extension("notes");
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 2>\"$0\""]).arg(&notes).arg(std::env::current_exe().unwrap());
        assert!(Process::start_by(command, "process", bus, "close").end().success());
        std::fs::read_to_string(notes).unwrap()
    };
    for bus in [&bus, &other] {
        assert!(!publish(bus).contains("bus.topics"));
    }
    let told = || {
        let (code, report) = report(&bus);
        let topic = &report["topics"][0];
        let error = topic["error"].as_str().unwrap_or_default();
        let is_told = error.starts_with("this is not the journal that bus.topics names, but of another bus");
        assert_eq!((code == Some(1), topic["state"] == "damaged"), (is_told, is_told), "{report}");
        is_told
    };
    let (quotes, list) = (bus.join("quotes"), bus.join("bus.topics"));
    assert!(!told());
    // By another bus's.
    std::fs::remove_dir_all(&quotes).unwrap();
    std::fs::rename(other.join("quotes"), &quotes).unwrap();
    assert!(told());
    assert!(publish(&bus).contains("topic 'quotes': this is not the journal that bus.topics names"));
    assert!(told(), "its publisher does not make it the bus's own");
    std::fs::write(&list, "").unwrap();
    assert!(!told(), "it was replaced on purpose");
    assert!(!publish(&bus).contains("bus.topics"));
    assert!(!told());
    // By its own publisher.
    std::fs::remove_dir_all(&quotes).unwrap();
    publish(&bus);
    assert!(told());
    // By one of an older version, which knew names only.
    std::fs::write(&list, "quotes\n").unwrap();
    assert!(!told());
    publish(&bus);
    std::fs::remove_dir_all(&quotes).unwrap();
    publish(&bus);
    assert!(told(), "its journal was noted by then");
}

#[test]
fn a_list_of_topics_that_is_no_file_of_this_bus_holds_nobody_up_and_changes_nothing() {
    let (_directory, bus) = ground();
    let (list, other) = (bus.join("bus.topics"), bus.join("other"));
    std::fs::create_dir_all(&bus).unwrap();
    assert!(Command::new("mkfifo").arg(&list).status().unwrap().success());
    assert!(Process::start("process", &bus, "close").end().success());
    assert_told_but_for_the_gone(&bus);
    std::fs::remove_file(&list).unwrap();
    std::fs::create_dir(&list).unwrap();
    assert!(Process::start("process", &bus, "close").end().success());
    assert_told_but_for_the_gone(&bus);
    std::fs::remove_dir(&list).unwrap();
    std::os::unix::fs::symlink(&other, &list).unwrap();
    assert!(Process::start("process", &bus, "close").end().success());
    assert!(!other.exists(), "nothing is written through a link");
    assert_told_but_for_the_gone(&bus);
    std::fs::remove_dir_all(bus.join("quotes")).unwrap();
    assert_eq!(status(&bus, &[]).status.code(), Some(2), "there is nothing to tell");
}

/// That the topic is told, and that nobody knows whether others are gone.
fn assert_told_but_for_the_gone(bus: &Path) {
    let (code, report) = report(bus);
    assert_eq!((code, &report["topics"][0]["state"]), (Some(1), &"closed".into()), "{report}");
    let error = format!("cannot tell which topics are gone: {}/bus.topics: ", bus.display());
    assert!(report["error"].as_str().unwrap().starts_with(&error), "{report}");
    assert_eq!((&report["health"], &report["reasons"][0]), (&"attention".into(), &report["error"]));
}

#[test]
fn retention_is_told_as_far_as_it_is_known() {
    let (_directory, bus) = ground();
    let mut process = Process::start("process", &bus, "stay");
    process.told("published");
    let retention = || {
        let text = text(&bus);
        let row = text.lines().filter(|line| line.starts_with("quotes ")).nth(1).unwrap();
        row.split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!(retention(), "all");
    process.kill();
    assert_eq!(retention(), "all", "what its dead publisher left says so");
    bus::Bus::open(&bus).unwrap().finish_dead("quotes").unwrap();
    assert_eq!(retention(), "-");
}
