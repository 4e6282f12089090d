//! `market-gateway`: brings a market onto a bus, or simulates one.

mod command;

use bus::program::{Command, Flag, Positional, Program, run};
use std::process::ExitCode;

static PROGRAM: Program = Program {
    name: "market-gateway",
    about: "brings a market onto a bus, or simulates one",
    commands: &[RUN, REPLAY, SIMULATE],
    later: &[],
};

const RUN: Command = Command {
    name: "run",
    about: "receives one or two redundant MoldUDP64 lines, and a FIX drop copy, into the topics of a bus",
    positional: None,
    flags: &[
        Flag::value("mold", "ADDR", "a line: a multicast group or a local address; one or two")
            .required()
            .repeated(),
        Flag::value("rerequest", "ADDR", "server of re-requests"),
        Flag::value(
            "interface",
            "IP",
            "address of the interface on which multicast groups are joined; refused where no line is one",
        ),
        Flag::value(
            "fix",
            "ADDR",
            "the venue's drop copy; with --sender and --target; executions go to the topic trades, our numbers to session",
        ),
        Flag::value("sender", "ID", "our name in the FIX session (SenderCompID)"),
        Flag::value("target", "ID", "the venue's name in the FIX session (TargetCompID)"),
        Flag::switch(
            "reset-numbers",
            "both sides of the FIX session begin again at 1 (ResetSeqNumFlag), once; for a venue that did so by itself: \
             ask it for what it sent meanwhile",
        ),
        Flag::value("source", "IP", "the only address whose packets count"),
        Flag::value("stamps", "WHO", "who stamps packets: process or kernel"),
        Flag::value(
            "config",
            "FILE",
            "its parts [gateway], and [bus]: memory, cores of gateway and write-out, topics market-data and trades (TOML); the \
             engine's part [risk] may stand there, and unknown keys are refused in all of them",
        ),
        Flag::switch("until-end", "leave when the session ended and every gap is closed or given up"),
        Flag::value("for", "D", "leave after this time"),
    ],
    examples: &[
        "market-gateway run --mold 239.1.1.1:31001 --mold 239.1.1.2:31001 --rerequest 10.0.0.9:31002 --interface 10.0.0.7",
        "market-gateway run --mold 127.0.0.1:31001 --fix 127.0.0.1:31004 --sender DESK --target EXCHANGE --until-end",
    ],
    run: command::run::run,
};

const REPLAY: Command = Command {
    name: "replay",
    about: "captures and message logs into the journals, on the way that sockets take",
    positional: Some(Positional {
        name: "FILE",
        about: ".itch50 day files and .pcap captures, plain or .gz; several captures are redundant lines",
        at_least: 0,
        at_most: 64,
    }),
    flags: &[
        Flag::value("rerequest", "FILE", "day file that answers re-requests"),
        Flag::value("fix-log", "FILE", "FIX message log, whose executions go to the topic trades"),
        Flag::value("session", "ID", "name of a day file's session; of captures, the only session to take"),
        Flag::value("date", "D", "date of the session as YYYYMMDD; else the day of the first packet"),
        Flag::value("speed", "max or N", "as fast as possible, or a multiple of the recorded pace")
            .default("max"),
    ],
    examples: &[
        "market-gateway replay 12302019.NASDAQ_ITCH50.gz --date 20191230",
        "market-gateway replay line-a.pcap line-b.pcap --rerequest day.itch50",
    ],
    run: command::replay::run,
};

const SIMULATE: Command = Command {
    name: "simulate",
    about: "the simulated exchange: lines that lose, repeat and reorder, re-requests, a drop copy",
    positional: None,
    flags: &[
        Flag::value("mold", "ADDR", "where a line is sent to: an address or a multicast group")
            .required()
            .repeated(),
        Flag::value("rerequest", "ADDR", "where re-requests are answered"),
        Flag::value("fix", "ADDR", "where the FIX drop copy is served; its name there is EXCHANGE"),
        Flag::value("interface", "IP", "address of the interface that multicast groups are sent through"),
        Flag::value("rate", "R", "messages a second, 1 to 100M").default("20k"),
        Flag::value("seed", "N", "seed of the market; else the bus directory's own, or 1"),
        Flag::value("for", "D", "end the session after this time; else at the first Ctrl-C"),
        Flag::value(
            "truth",
            "FILE",
            "day file of what the session really sent; refused where it holds anything else",
        ),
        Flag::switch("perfect", "lose, repeat and reorder nothing"),
    ],
    examples: &[
        "market-gateway simulate --mold 127.0.0.1:31001 --mold 127.0.0.1:31002 --rerequest 127.0.0.1:31003",
        "market-gateway simulate --mold 239.1.1.1:31001 --interface 10.0.0.7 --rate 100k --for 10s",
    ],
    run: command::simulate::run,
};

fn main() -> ExitCode {
    run(&PROGRAM)
}
