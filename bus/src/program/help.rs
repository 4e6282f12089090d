//! The text of `--help`, from a program's declaration.

use super::arguments::{COMMON, Command, Flag, Program};

const EXIT_CODES: &str = "\
Exit codes:
  0  good
  1  ran, and data is lost, damaged, divergent or incomplete
  2  could not run: a bad argument, a missing file, refused, unsupported; or ended at once by a second signal
";

/// The help of a whole program: all commands with their flags.
pub(super) fn program(program: &Program) -> String {
    let mut text = format!("{}: {}\n\nUsage:\n", program.name, program.about);
    for command in program.commands {
        text += &format!("  {}\n", usage(program, command));
    }
    for command in program.commands {
        text += &format!("\n{}: {}\n", full_name(program, command), command.about);
        text += &table(&rows(command));
    }
    text + "\nFlags of every command:\n"
        + &table(&flag_rows(&COMMON))
        + "\n"
        + EXIT_CODES
        + &examples(program.commands)
}

/// The help of one command.
pub(super) fn command(program: &Program, command: &Command) -> String {
    let own = match rows(command) {
        rows if rows.is_empty() => String::new(),
        rows => format!("\nArguments and flags:\n{}", table(&rows)),
    };
    format!("{}: {}\n\nUsage: {}\n", full_name(program, command), command.about, usage(program, command))
        + &own
        + "\nFlags of every command:\n"
        + &table(&flag_rows(&COMMON))
        + "\n"
        + EXIT_CODES
        + &examples(std::slice::from_ref(command))
}

fn full_name(program: &Program, command: &Command) -> String {
    format!("{} {}", program.name, command.name).trim_end().to_owned()
}

fn usage(program: &Program, command: &Command) -> String {
    let mut text = full_name(program, command);
    if let Some(positional) = &command.positional {
        let many = if positional.at_most > 1 { "…" } else { "" };
        text += &match positional.at_least {
            0 => format!(" [{}{many}]", positional.name),
            _ => format!(" {}{many}", positional.name),
        };
    }
    for flag in command.flags {
        text += &if flag.required { format!(" {}", written(flag)) } else { format!(" [{}]", written(flag)) };
        if flag.repeated {
            text.push('…');
        }
    }
    text
}

fn written(flag: &Flag) -> String {
    flag.value.map_or_else(|| format!("--{}", flag.name), |value| format!("--{} {value}", flag.name))
}

fn rows(command: &Command) -> Vec<(String, String)> {
    let positional = command.positional.iter().map(|p| (p.name.to_owned(), p.about.to_owned()));
    positional.chain(flag_rows(command.flags)).collect()
}

fn flag_rows(flags: &[Flag]) -> Vec<(String, String)> {
    let meaning = |flag: &Flag| match flag.default {
        Some(default) => format!("{} (default {default})", flag.about),
        None => flag.about.to_owned(),
    };
    flags.iter().map(|flag| (written(flag), meaning(flag))).collect()
}

/// Two columns; the second begins where the longest first ends.
fn table(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(left, right)| format!("  {left:width$}  {right}\n")).collect()
}

fn examples(commands: &[Command]) -> String {
    let lines: String =
        commands.iter().flat_map(|command| command.examples).map(|line| format!("  {line}\n")).collect();
    if lines.is_empty() { lines } else { format!("\nExamples:\n{lines}") }
}
