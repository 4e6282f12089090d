//! What programs say: results on stdout, notes, progress and errors on stderr.

use super::Failure;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Writes one line to stderr: as it is on a terminal, else after `note: `.
pub fn note(text: &str) {
    let prefix = if io::stderr().is_terminal() { "" } else { "note: " };
    stderr_line(&format!("{prefix}{}", one_line(text)));
}

/// Writes the one line of a failure, or of what is incomplete, to stderr.
pub fn error(program: &str, line: &str) {
    stderr_line(&format!("{program}: {}", one_line(line)));
}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A closed stderr loses the line and nothing else: nobody is left to tell.
fn stderr_line(line: &str) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Prints one JSON object on one line.
pub fn print_json(object: &impl Serialize) -> Result<(), Failure> {
    let mut out = Output::stdout();
    out.json(object)?;
    out.flush()
}

/// Prints a text and a line end.
pub fn print_line(text: &str) -> Result<(), Failure> {
    let mut out = Output::stdout();
    out.line(text)?;
    out.flush()
}

/// Stdout for many lines, buffered. A reader that went away is no fault: the failure it gives ends the program
/// quietly with exit code 0.
#[derive(Debug)]
pub struct Output<W: Write = io::Stdout> {
    out: BufWriter<W>,
}

impl Output {
    /// The process's stdout.
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }
}

impl<W: Write> Output<W> {
    /// The same lines to another place, such as a file.
    pub fn to(place: W) -> Self {
        Self { out: BufWriter::with_capacity(64 * 1024, place) }
    }

    /// Writes a text and a line end.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.write_all(b"\n")).map_err(refused)
    }

    /// Writes one JSON object on one line.
    pub fn json(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, object).map_err(|error| refused(error.into()))?;
        self.out.write_all(b"\n").map_err(refused)
    }

    /// Hands on what is buffered. To be called before waiting for more and at the end.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(refused)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "its shape is that of map_err")]
fn refused(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::closed(),
        _ => Failure::new("cannot write", format_args!("output ({error})"), "make room or write elsewhere"),
    }
}

/// The meaning of a text, shown by its colour on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Well: green.
    Good,
    /// To be looked at: yellow.
    Warning,
    /// Wrong: red.
    Bad,
    /// Beside the point: dim.
    Aside,
}

impl Tone {
    /// `text` in its colour where stdout is a terminal that wants colours, else as it is.
    pub fn paint(self, text: &str) -> String {
        let unwanted = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
        let colours = io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
            && !unwanted("TERM", "dumb");
        let code = match self {
            Self::Good => 32,
            Self::Warning => 33,
            Self::Bad => 31,
            Self::Aside => 2,
        };
        if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Tells how far long work has come: one line that is rewritten on a terminal, else a note at most each two seconds.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    next: Instant,
    shown: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Nothing shown yet. Short work never shows anything.
    pub fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, next: Instant::now() + Self::pause(terminal), shown: false }
    }

    fn pause(terminal: bool) -> Duration {
        if terminal { Duration::from_millis(100) } else { Duration::from_secs(2) }
    }

    /// Shows the text that `describe` gives, if it is time to.
    pub fn show(&mut self, describe: impl FnOnce() -> String) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + Self::pause(self.terminal);
        if self.terminal {
            self.shown = true;
            let _ = write!(io::stderr().lock(), "\r\x1b[2K{}", one_line(&describe()));
        } else {
            note(&describe());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_and_objects_are_one_line_each() {
        let mut bytes = Vec::new();
        let mut out = Output::to(&mut bytes);
        out.line("first").unwrap();
        out.json(&serde_json::json!({"text": "a\nb"})).unwrap();
        out.flush().unwrap();
        drop(out);
        assert_eq!(String::from_utf8(bytes).unwrap(), "first\n{\"text\":\"a\\nb\"}\n");
    }

    #[test]
    fn a_reader_that_went_away_ends_quietly() {
        let mut out = Output::to(Closed);
        out.line("nobody reads this").unwrap();
        assert!(out.flush().unwrap_err().closed);
    }

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(one_line("a\n b\r\n\nc"), "a b c");
    }
}
