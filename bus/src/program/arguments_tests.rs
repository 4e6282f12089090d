use super::*;
use crate::program::Rate;
use std::time::Duration;

fn nothing(_: &Arguments) -> Result<Exit, Failure> {
    Ok(Exit::Good)
}

static SAMPLE: Program = Program {
    name: "sample",
    about: "shows how command lines are read",
    commands: &[
        Command {
            name: "",
            about: "the whole path",
            positional: None,
            flags: &[
                Flag::value("for", "D", "how long"),
                Flag::value("rate", "R", "messages a second").default("20k"),
            ],
            examples: &["sample --for 10s"],
            run: nothing,
        },
        Command {
            name: "take",
            about: "takes files",
            positional: Some(FILES),
            flags: &[
                Flag::value("for", "D", "how long"),
                Flag::value("line", "ADDR", "a line").repeated(),
                Flag::value("topic", "T", "a topic").required(),
                Flag::switch("follow", "goes on"),
            ],
            examples: &[],
            run: nothing,
        },
    ],
    later: &["fly"],
};
const FILES: Positional = Positional { name: "FILE", about: "a capture", at_least: 1, at_most: 2 };

fn read(program: &'static Program, line: &str) -> Result<Parsed, String> {
    let words = std::iter::once(program.name).chain(line.split_whitespace()).map(OsString::from);
    parse(program, words).map_err(|failure| failure.to_string())
}

fn good(line: &str) -> Arguments {
    match read(&SAMPLE, line).unwrap() {
        Parsed::Run(arguments) => arguments,
        Parsed::Print(text) => panic!("printed {text}"),
    }
}

fn printed(line: &str) -> String {
    match read(&SAMPLE, line).unwrap() {
        Parsed::Run(_) => panic!("would have run"),
        Parsed::Print(text) => text,
    }
}

#[test]
fn the_default_command_and_its_defaults() {
    let arguments = good("");
    assert_eq!(arguments.command().name, "");
    assert_eq!(arguments.get::<Rate>("rate").unwrap(), Rate(20_000));
    assert_eq!(arguments.find::<Duration>("for").unwrap(), None);
    assert!(!arguments.json());
}

#[test]
fn flags_values_and_words_in_any_order() {
    let arguments =
        good("--json --for 2m take a --line 127.0.0.1:1 --line=127.0.0.1:2 --topic t --follow b --bus /x");
    assert_eq!(arguments.command().name, "take");
    assert_eq!(arguments.positional::<PathBuf>().unwrap(), [PathBuf::from("a"), PathBuf::from("b")]);
    let ports: Vec<_> = arguments.all::<SocketAddr>("line").unwrap().iter().map(SocketAddr::port).collect();
    assert_eq!(ports, [1, 2]);
    assert_eq!(arguments.get::<String>("topic").unwrap(), "t");
    assert!(arguments.json() && arguments.has("follow"));
    assert_eq!(arguments.bus(), PathBuf::from("/x"));
    assert_eq!(good("take --topic t -- --json").positional::<String>().unwrap(), ["--json"]);
}

#[test]
fn what_is_wrong_is_one_line_with_place_and_remedy() {
    for (line, want) in [
        ("--no-such-flag", "unknown flag: --no-such-flag; see 'sample --help'"),
        ("take -x", "unknown flag: -x; see 'sample take --help'"),
        ("--rate 5 take", "unknown flag: --rate; see 'sample take --help'"),
        ("walk", "unknown command: walk; see 'sample --help'"),
        ("fly", "not in this version: fly; see 'sample --help'"),
        ("--rate", "missing value: --rate; see 'sample --help'"),
        ("--json=yes", "takes no value: --json=yes; see 'sample --help'"),
        ("--bus=", "bad value: --bus ''; a directory is expected"),
        ("--rate 1 --rate 2", "given twice: --rate; give it once"),
        ("take a", "missing flag: --topic; see 'sample take --help'"),
        ("take --topic t", "missing argument: FILE; see 'sample take --help'"),
        ("take --topic t a b c", "unexpected argument: c; see 'sample take --help'"),
    ] {
        assert_eq!(read(&SAMPLE, line).unwrap_err(), want, "{line}");
    }
    let value = good("--for soon").find::<Duration>("for").unwrap_err();
    assert_eq!(
        value.to_string(),
        "bad value: --for soon; a duration such as 500ms, 10s, 2m or 1h is expected"
    );
}

#[test]
fn help_teaches_all_commands_or_the_one_named() {
    let all = printed("--help");
    for part in [
        "sample: shows",
        "sample take FILE…",
        "[--rate R]",
        "(default 20k)",
        "--bus DIR",
        "Exit codes:",
        "Examples:",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    assert!(!all.contains("fly"));
    for line in ["take --help", "--help take", "-h take"] {
        let one = printed(line);
        assert!(one.contains("--topic T") && one.contains("--line ADDR") && !one.contains("--rate"), "{one}");
    }
    assert_eq!(printed("--version"), format!("sample {}", env!("CARGO_PKG_VERSION")));
}

proptest::proptest! {
    #[test]
    fn any_command_line_is_read_or_refused(words in proptest::collection::vec("(--)?[a-z=-]{0,8}", 0..6)) {
        let line = std::iter::once("sample".to_owned()).chain(words).map(OsString::from);
        let _ = parse(&SAMPLE, line);
    }
}
