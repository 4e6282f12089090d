//! Given what keeps the example from running, expect its words.
#![allow(missing_docs)]

use std::process::Command;

#[test]
fn what_keeps_it_from_running_is_one_line_with_the_remedy_and_code_2() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/own_venue");
    assert!(
        path.exists(),
        "`cargo test` with a name does not build it: run `cargo build -p market-gateway --examples`"
    );
    let output = Command::new(path).env("TMPDIR", file.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let [line] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert!(line.starts_with("own_venue: cannot ") && line.contains("; "), "{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
}
