//! Given what keeps an example from running, expect its words.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::process::Command;

/// What `cargo test` builds beside the tests.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "`cargo test` with a name does not build it: run `cargo build -p bus --examples`");
    Command::new(path)
}

#[test]
fn what_keeps_them_from_running_is_one_line_with_the_remedy_and_code_2() {
    let place = tempfile::tempdir().unwrap();
    let (nowhere, file) = (place.path().join("nowhere"), place.path().join("file"));
    std::fs::write(&file, "").unwrap();
    let missing = format!("no topic 'quotes': {}; start its publisher", nowhere.display());
    for (name, bus, told) in
        [("quotes_subscribe", &nowhere, missing.as_str()), ("quotes_publish", &file.join("bus"), "cannot ")]
    {
        let output = example(name).arg(bus).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<_> = said.lines().filter(|line| !line.starts_with("note: ")).collect();
        let [line] = lines[..] else { panic!("{said}") };
        assert!(line.starts_with(&format!("{name}: {told}")) && line.contains("; "), "{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
    }
}
