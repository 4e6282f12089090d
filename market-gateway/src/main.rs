//! `market-gateway`: brings a market onto a bus, or simulates one.

mod command;

use bus::program::{Command, Flag, Program, run};
use std::process::ExitCode;

static PROGRAM: Program = Program {
    name: "market-gateway",
    about: "brings a market onto a bus, or simulates one",
    commands: &[Command {
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
            Flag::value("rate", "R", "messages a second").default("20k"),
            Flag::value("seed", "N", "seed of the market; else the bus directory's own, or 1"),
            Flag::value("for", "D", "end the session after this time; else at the first Ctrl-C"),
            Flag::value("truth", "FILE", "day file of what the session really sent"),
            Flag::switch("perfect", "lose, repeat and reorder nothing"),
        ],
        examples: &[
            "market-gateway simulate --mold 127.0.0.1:31001 --mold 127.0.0.1:31002 --rerequest 127.0.0.1:31003",
            "market-gateway simulate --mold 239.1.1.1:31001 --interface 10.0.0.7 --rate 100k --for 10s",
        ],
        run: command::simulate::run,
    }],
    later: &[],
};

fn main() -> ExitCode {
    run(&PROGRAM)
}
