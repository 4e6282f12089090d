//! Command lines: a program declares its commands and flags, the rest (parsing, help, errors) follows from that.

use super::{Exit, Failure, help};
use crate::directory::must_be_there;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// A program's command line.
#[derive(Debug)]
pub struct Program {
    /// The binary's name.
    pub name: &'static str,
    /// One line: what it is for.
    pub about: &'static str,
    /// Its commands. One with an empty name runs where no command is given.
    pub commands: &'static [Command],
    /// Commands of a later version: refused, and absent from the help.
    pub later: &'static [&'static str],
}

/// One command of a program.
#[derive(Debug)]
pub struct Command {
    /// Its name, empty for what runs without a command.
    pub name: &'static str,
    /// What it does, in a line; lines below it may explain the words of its answer.
    pub about: &'static str,
    /// Arguments that are not flags; `None` if it takes none.
    pub positional: Option<Positional>,
    /// Its own flags; `--bus`, `--json`, `--help` and `--version` belong to every command.
    pub flags: &'static [Flag],
    /// Command lines that show its use.
    pub examples: &'static [&'static str],
    /// Does it.
    pub run: fn(&Arguments) -> Result<Exit, Failure>,
}

/// Arguments that are not flags.
#[derive(Debug)]
pub struct Positional {
    /// What the help calls one of them, such as `FILE`.
    pub name: &'static str,
    /// Meaning, in a line.
    pub about: &'static str,
    /// Fewest.
    pub at_least: usize,
    /// Most.
    pub at_most: usize,
}

/// A flag: `--name` or `--name VALUE`.
#[derive(Debug)]
pub struct Flag {
    pub(super) name: &'static str,
    pub(super) value: Option<&'static str>,
    pub(super) about: &'static str,
    pub(super) default: Option<&'static str>,
    pub(super) required: bool,
    pub(super) repeated: bool,
}

impl Flag {
    /// `--name`, on or off.
    pub const fn switch(name: &'static str, about: &'static str) -> Self {
        Self { name, value: None, about, default: None, required: false, repeated: false }
    }
    /// `--name VALUE`.
    pub const fn value(name: &'static str, value: &'static str, about: &'static str) -> Self {
        Self { name, value: Some(value), about, default: None, required: false, repeated: false }
    }
    /// The value where the flag is not given; the help shows it.
    #[must_use]
    pub const fn default(self, text: &'static str) -> Self {
        Self { default: Some(text), ..self }
    }
    /// Refuses a command line without it.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }
    /// May be given several times.
    #[must_use]
    pub const fn repeated(self) -> Self {
        Self { repeated: true, ..self }
    }
}

/// The flag that names the bus directory.
const BUS: &str = "bus";

/// The flags of every command.
pub(super) static COMMON: [Flag; 4] = [
    Flag::value(BUS, "DIR", "bus directory; else the environment's BUSBAR_DIR, else ./busbar-data"),
    Flag::switch("json", "JSON on stdout and nothing else there"),
    Flag::switch("help", "this text"),
    Flag::switch("version", "name and version"),
];

/// A type that a flag's value or a positional argument can have.
pub trait Value: Sized {
    /// What a refused user should write instead, such as `a duration such as 500ms, 10s, 2m or 1h`.
    const EXPECTED: &'static str;
    /// The value of `text`, or `None` if it is not one.
    fn parse(text: &str) -> Option<Self>;
    /// The value of an argument that may not be UTF-8; only paths need another answer than `None` there.
    fn parse_os(text: &OsStr) -> Option<Self> {
        text.to_str().and_then(Self::parse)
    }
}

macro_rules! values {
    ($($type:ty: $expected:literal;)*) => {
        $(impl Value for $type {
            const EXPECTED: &'static str = $expected;
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        })*
    };
}
values! {
    String: "text in UTF-8";
    u16: "a number from 0 to 65535";
    u32: "a number from 0 to 4294967295";
    u64: "a number from 0 to 18446744073709551615";
    IpAddr: "an IP address such as 127.0.0.1";
    Ipv4Addr: "an IPv4 address such as 127.0.0.1";
}

impl Value for PathBuf {
    const EXPECTED: &'static str = "a path";
    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }
    fn parse_os(text: &OsStr) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }
}

/// `HOST:PORT`; a name is resolved, to IPv4 where it has such an address.
impl Value for SocketAddr {
    const EXPECTED: &'static str = "an address such as 127.0.0.1:9092";
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().or_else(|| {
            let found: Vec<SocketAddr> = text.to_socket_addrs().ok()?.collect();
            found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
        })
    }
}

/// A command line that fits its program.
#[derive(Debug)]
pub struct Arguments {
    command: &'static Command,
    flags: Vec<(&'static str, OsString)>,
    positional: Vec<OsString>,
}

impl Arguments {
    /// The command that was given.
    pub fn command(&self) -> &'static Command {
        self.command
    }

    /// The bus directory.
    pub fn bus(&self) -> PathBuf {
        let from_environment = || std::env::var_os("BUSBAR_DIR").filter(|dir| !dir.is_empty());
        let given = self.given(BUS).next().map(OsStr::to_os_string);
        given.or_else(from_environment).unwrap_or_else(|| "./busbar-data".into()).into()
    }

    /// The bus directory, for who only reads it: it must be there. Who does not wait for a publisher asks
    /// [`Bus::must_exist`](crate::Bus::must_exist), too.
    pub fn existing_bus(&self) -> Result<PathBuf, Failure> {
        let directory = self.bus();
        must_be_there(&directory)?;
        Ok(directory)
    }

    /// Whether stdout is for JSON.
    pub fn json(&self) -> bool {
        self.has("json")
    }

    /// Whether the flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.given(flag).next().is_some()
    }

    /// The value of a flag that is required or has a default.
    ///
    /// # Panics
    /// If the flag is declared neither required nor with a default.
    pub fn get<T: Value>(&self, flag: &str) -> Result<T, Failure> {
        match self.find(flag)? {
            Some(value) => Ok(value),
            None => panic!("--{flag} has neither a default nor is it required; use find()"),
        }
    }

    /// The value of a flag, or its default, if it has one.
    pub fn find<T: Value>(&self, flag: &str) -> Result<Option<T>, Failure> {
        let default = self.declared(flag).default.map(OsStr::new);
        self.given(flag).next().or(default).map(|text| value(&format!("--{flag}"), text)).transpose()
    }

    /// The values of a repeated flag, in their order.
    pub fn all<T: Value>(&self, flag: &str) -> Result<Vec<T>, Failure> {
        self.given(flag).map(|text| value(&format!("--{flag}"), text)).collect()
    }

    /// The arguments that are not flags.
    pub fn positional<T: Value>(&self) -> Result<Vec<T>, Failure> {
        let name = self.command.positional.as_ref().map_or("", |positional| positional.name);
        self.positional.iter().map(|text| value(name, text)).collect()
    }

    fn given<'a>(&'a self, flag: &str) -> impl Iterator<Item = &'a OsStr> {
        let name = self.declared(flag).name;
        self.flags.iter().filter(move |(given, _)| *given == name).map(|(_, text)| text.as_os_str())
    }

    fn declared(&self, flag: &str) -> &'static Flag {
        match find_flag(self.command, flag) {
            Some(declared) => declared,
            None => panic!("--{flag} is not declared for the command '{}'", self.command.name),
        }
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub(super) enum Parsed {
    /// To run a command.
    Run(Arguments),
    /// To print a text: the help or the version.
    Print(String),
}

/// Reads the command line, whose first argument is the program's path.
pub(super) fn parse(
    program: &'static Program,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, Failure> {
    let line = Line { program, command: None, flags: Vec::new(), positional: Vec::new() };
    line.read(lexopt::Parser::from_iter(arguments))
}

/// A command line while it is read.
struct Line {
    program: &'static Program,
    command: Option<&'static Command>,
    flags: Vec<(&'static str, OsString)>,
    positional: Vec<OsString>,
}

impl Line {
    fn read(mut self, mut parser: lexopt::Parser) -> Result<Parsed, Failure> {
        while let Some(argument) = parser.next().map_err(|error| self.refused(&error))? {
            match argument {
                lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return Ok(self.help(&mut parser)),
                lexopt::Arg::Long("version") | lexopt::Arg::Short('V') => {
                    return Ok(Parsed::Print(format!("{} {}", self.program.name, env!("CARGO_PKG_VERSION"))));
                }
                lexopt::Arg::Long(name) => {
                    let name = name.to_owned();
                    self.flag(&name, &mut parser)?;
                }
                lexopt::Arg::Short(letter) => return Err(self.unknown("flag", &format!("-{letter}"))),
                lexopt::Arg::Value(text) => self.word(text)?,
            }
        }
        self.finish()
    }

    /// The help of the command that is named before or after `--help`, else of the whole program.
    fn help(&self, parser: &mut lexopt::Parser) -> Parsed {
        let named = || parser.try_raw_args()?.find_map(|word| self.find_command(word.to_str()?));
        let command = self.command.or_else(named);
        Parsed::Print(
            command
                .map_or_else(|| help::program(self.program), |command| help::command(self.program, command)),
        )
    }

    fn flag(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<(), Failure> {
        let known = match self.command.or_else(|| self.find_command("")) {
            Some(command) => find_flag(command, name),
            None => COMMON.iter().find(|flag| flag.name == name),
        };
        let flag = known.ok_or_else(|| self.unknown("flag", &format!("--{name}")))?;
        if !flag.repeated && self.flags.iter().any(|(given, _)| *given == flag.name) {
            return Err(Failure::new("given twice", format_args!("--{name}"), "give it once"));
        }
        let text = match flag.value {
            Some(_) => parser.value().map_err(|error| self.refused(&error))?,
            None => OsString::new(),
        };
        if flag.name == BUS && text.is_empty() {
            return Err(Failure::new("bad value", "--bus ''", "a directory is expected"));
        }
        self.flags.push((flag.name, text));
        Ok(())
    }

    /// A word that is no flag: the command, if none was named yet, else a positional argument.
    fn word(&mut self, text: OsString) -> Result<(), Failure> {
        let words_of_default = || self.find_command("").is_some_and(|command| command.positional.is_some());
        if self.command.is_none() && self.positional.is_empty() {
            let name = text.to_string_lossy();
            if let Some(command) = self.find_command(&name).filter(|_| !name.is_empty()) {
                self.command = Some(command);
                return self.flags_of(command);
            }
            if self.program.later.contains(&&*name) {
                return Err(Failure::new("not in this version", name, self.see_help()));
            }
            if !words_of_default() {
                return Err(self.unknown("command", &name));
            }
        }
        self.positional.push(text);
        Ok(())
    }

    /// Flags may stand before the command: they must be flags of that command.
    fn flags_of(&self, command: &'static Command) -> Result<(), Failure> {
        match self.flags.iter().find(|(name, _)| find_flag(command, name).is_none()) {
            Some((name, _)) => Err(self.unknown("flag", &format!("--{name}"))),
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<Parsed, Failure> {
        let Some(command) = self.command.or_else(|| self.find_command("")) else {
            let names: Vec<_> = self.program.commands.iter().map(|command| command.name).collect();
            return Err(Failure::new(
                "no command",
                format_args!("one of {}", names.join(", ")),
                self.see_help(),
            ));
        };
        let is_given = |flag: &Flag| self.flags.iter().any(|(given, _)| *given == flag.name);
        if let Some(missing) = command.flags.iter().find(|flag| flag.required && !is_given(flag)) {
            return Err(Failure::new("missing flag", format_args!("--{}", missing.name), self.see_help()));
        }
        let (at_least, at_most) = command.positional.as_ref().map_or((0, 0), |p| (p.at_least, p.at_most));
        if self.positional.len() < at_least {
            let name = command.positional.as_ref().map_or("", |p| p.name);
            return Err(Failure::new("missing argument", name, self.see_help()));
        }
        if let Some(extra) = self.positional.get(at_most) {
            return Err(Failure::new("unexpected argument", extra.to_string_lossy(), self.see_help()));
        }
        Ok(Parsed::Run(Arguments { command, flags: self.flags, positional: self.positional }))
    }

    fn find_command(&self, name: &str) -> Option<&'static Command> {
        self.program.commands.iter().find(|command| command.name == name)
    }

    fn unknown(&self, what: &str, text: &str) -> Failure {
        Failure::new(format_args!("unknown {what}"), text, self.see_help())
    }

    fn refused(&self, error: &lexopt::Error) -> Failure {
        match error {
            lexopt::Error::MissingValue { option: Some(option) } => {
                Failure::new("missing value", option, self.see_help())
            }
            lexopt::Error::UnexpectedValue { option, value } => Failure::new(
                "takes no value",
                format_args!("{option}={}", value.to_string_lossy()),
                self.see_help(),
            ),
            other => Failure::new("bad argument", other, self.see_help()),
        }
    }

    fn see_help(&self) -> String {
        match self.command {
            Some(command) if !command.name.is_empty() => {
                format!("see '{} {} --help'", self.program.name, command.name)
            }
            _ => format!("see '{} --help'", self.program.name),
        }
    }
}

fn find_flag(command: &'static Command, name: &str) -> Option<&'static Flag> {
    command.flags.iter().chain(&COMMON).find(|flag| flag.name == name)
}

fn value<T: Value>(place: &str, text: &OsStr) -> Result<T, Failure> {
    T::parse_os(text).ok_or_else(|| {
        let text = if text.is_empty() { "''".into() } else { text.to_string_lossy() };
        let place = format_args!("{place} {text}");
        Failure::new("bad value", place, format_args!("{} is expected", T::EXPECTED))
    })
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
