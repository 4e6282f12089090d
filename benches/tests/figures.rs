//! Each figure runs and prints what it promises. What it measures is not asserted: that is the machine's.
#![allow(missing_docs)]

use std::io::Write;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use market_gateway::itch::{AddOrder, Head, day_file};
use serde_json::Value;
use zerocopy::IntoBytes;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_benches")).args(arguments).output().expect("the program starts")
}

/// Lines of a run that ends well, each an object with the promised fields.
fn figures(arguments: &[&str]) -> Vec<Value> {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let figures: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    for figure in &figures {
        assert!(figure["figure"].is_string() && figure["system"].is_string() && figure["unit"].is_string());
        assert!(figure["value"].is_number() != figure["latency"].is_object(), "{figure}");
        assert_eq!(figure["ratio_to"].is_string(), figure["ratio"].is_number(), "{figure}");
    }
    figures
}

fn named<'a>(figures: &'a [Value], name: &str) -> &'a Value {
    figures.iter().find(|figure| figure["figure"] == name).unwrap_or_else(|| panic!("no figure '{name}'"))
}

fn count(figures: &[Value], name: &str) -> u64 {
    let latency = &named(figures, name)["latency"];
    let at = |field: &str| latency[field].as_u64().expect("nanoseconds");
    assert!(at("min") <= at("p50") && at("p50") <= at("p99") && at("p99") <= at("max"), "{latency}");
    at("count")
}

#[test]
fn the_path_counts_every_message_at_every_stage() {
    let figures = figures(&["path", "--rate", "1k", "--for", "300ms", "--json"]);
    for stage in [
        "intended to sent",
        "intended to kernel stamp",
        "intended to published",
        "intended to seen at published",
        "intended to seen at durable",
        "kernel stamp to published",
    ] {
        assert_eq!(count(&figures, stage), 300, "{stage}");
    }
    assert!(count(&figures, "kernel stamp to handler") > 0);
    // Beside a kernel's clock that neighbours disturb, a median may be nothing; then there is no ratio.
    let median = |name| named(&figures, name)["latency"]["p50"].as_u64().expect("nanoseconds");
    let has_ratio = median("kernel stamp to published") > 0 && median("kernel stamp to handler") > 0;
    let ratio_to = &named(&figures, "kernel stamp to published")["ratio_to"];
    assert_eq!(ratio_to.as_str(), has_ratio.then_some("bare receive"));
}

#[test]
fn durable_compares_with_the_raw_disk() {
    let figures = figures(&["durable", "--for", "50ms", "--json"]);
    assert_eq!(count(&figures, "publish to durable"), count(&figures, "durable write of 4 KiB"));
    assert_eq!(named(&figures, "publish to durable")["ratio_to"], "raw disk");
}

#[test]
fn decode_compares_with_a_copy() {
    let figures = figures(&["decode", "--messages", "5k", "--json"]);
    named(&figures, "copy of each message");
    named(&figures, "decode");
    assert_eq!(named(&figures, "decode, normalise, full-depth book")["ratio_to"], "memcpy");
}

fn day() -> Vec<u8> {
    let mut day = day_file::Writer::new(Vec::new());
    for order in 1..=50 {
        let add = AddOrder {
            head: Head::new(AddOrder::LETTER, 1, order),
            order: order.into(),
            side: b'B',
            shares: 100.into(),
            stock: *b"ONE     ",
            price: 1_000_000.into(),
        };
        day.message(add.as_bytes()).expect("memory takes it");
    }
    day.finish().expect("memory takes it")
}

#[test]
fn decode_takes_a_day_file_plain_compressed_and_torn() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
    compressed.write_all(&day()).expect("memory takes it");
    let compressed = compressed.finish().expect("memory takes it");
    let torn = day()[..100].to_vec();
    for (name, bytes) in [("day.itch50", day()), ("day.itch50.gz", compressed), ("torn.itch50", torn)] {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("there is room");
        let path = path.to_str().expect("a plain path");
        assert_eq!(figures(&["decode", path, "--json"]).len(), 3, "{name}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let empty = directory.path().join("empty");
    std::fs::write(&empty, []).expect("there is room");
    for arguments in [
        &["path", "--rate", "0"][..],
        &["decode", "--messages", "0"],
        &["decode", "no such file"],
        &["decode", empty.to_str().expect("a plain path")],
        &["peers"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn list_names_every_figure() {
    let output = run(&["list"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for name in ["round-trip", "rate", "path", "durable", "decode", "publish, poll, decode, book"] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
}
