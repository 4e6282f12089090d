//! The binary: `archive serve`.

use archive::{Counts, Lost, Server};
use bus::program::{self, Arguments, Command, Exit, Failure, Flag, Program, Stop};
use bus::{Bus, Gate, Start};
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

static ARCHIVE: Program = Program {
    name: "archive",
    about: "the Kafka side of a bus",
    commands: &[Command {
        name: "serve",
        about: "lets Kafka consumers that assign partitions read the bus, each topic T also as T.json; takes nothing; messages that \
                the journal lost are refused once, and who asks again, or ended at that and begins there again, goes on \
                behind them; ends with 1 if consumers met lost messages, or if a topic was gone, or \
                another bus's, at the start; who asks for what retention has removed is told \
                OFFSET_OUT_OF_RANGE and goes on as its auto.offset.reset says: earliest where the topic begins now, \
                latest at its end",
        positional: None,
        flags: &[Flag::value("listen", "ADDR", "address and port; port 0 takes a free one")
            .default("127.0.0.1:9092")],
        examples: &[
            "archive serve --listen 127.0.0.1:9092",
            "kcat -b 127.0.0.1:9092 -C -t market-data.json -o beginning -e",
        ],
        run: serve,
    }],
    later: &["replicate", "verify"],
};

fn main() -> ExitCode {
    program::run(&ARCHIVE)
}

/// What `--json` prints at the end.
#[derive(Serialize)]
struct Summary {
    kafka: String,
    connections: u64,
    turned_away: u64,
    gave_way: u64,
    fetches: u64,
    records: u64,
    refused_writes: u64,
    malformed: u64,
    passed_over: u64,
}

fn serve(arguments: &Arguments) -> Result<Exit, Failure> {
    let stop = Stop::on_signals();
    let (bus, address) = (Bus::open(arguments.existing_bus()?)?, arguments.get("listen")?);
    let server = Server::start(bus.clone(), address)?;
    let address = server.address();
    announce(address);
    tell_topics(&bus)?;
    let is_astray = tell_astray(&bus)?;
    let mut told = BTreeSet::new();
    while !stop.sleep(Duration::from_secs(1)) {
        tell_lost(&server, &mut told);
    }
    tell_lost(&server, &mut told);
    let counts = server.stop();
    let has_lost = is_astray || !told.is_empty() || counts.passed_over > 0;
    conclude(arguments, address, counts)?;
    Ok(if has_lost { Exit::Fault } else { Exit::Good })
}

fn announce(address: SocketAddr) {
    program::note(&format!("Kafka consumers read this bus at {address}"));
    if !address.ip().is_loopback() {
        program::note("there is no authentication: whoever reaches this address may read everything");
    }
}

/// Tells what is not served, and why.
fn tell_topics(bus: &Bus) -> Result<(), Failure> {
    let topics = bus.topics()?;
    if topics.is_empty() {
        let place = bus.directory().display();
        program::note(&format!(
            "no topics yet: {place}; each is served once its publisher has made it there"
        ));
    }
    for topic in topics {
        if let Err(error) = bus.reader(&topic, Start::Oldest, Gate::Durable) {
            program::note(&format!("not served until that is mended: {error}"));
        }
    }
    Ok(())
}

/// Tells which topics are gone, or another's in their place, which is served all the same. Whether there are any.
fn tell_astray(bus: &Bus) -> Result<bool, Failure> {
    bus.topics_doubt().iter().for_each(|doubt| program::note(&doubt.to_string()));
    let topics = bus.topics()?.into_iter().chain(bus.topics_gone().unwrap_or_default());
    let astray = Vec::from_iter(topics.filter_map(|topic| bus.astray(&topic)));
    astray.iter().for_each(|line| program::note(line));
    Ok(!astray.is_empty())
}

/// Tells what consumers met and was lost, each range once.
fn tell_lost(server: &Server, told: &mut BTreeSet<Lost>) {
    for lost in server.lost() {
        if told.insert(lost.clone()) {
            let Lost { topic, from, to } = lost;
            program::note(&format!(
                "{topic}: messages {from} to before {to} are lost: a consumer is refused them once, and asking again, \
                 or beginning there again if it ended, goes on behind them; run `replay verify`"
            ));
        }
    }
}

fn conclude(arguments: &Arguments, address: SocketAddr, counts: Counts) -> Result<(), Failure> {
    let Counts {
        connections,
        turned_away,
        gave_way,
        requests,
        refused_writes,
        malformed,
        records,
        passed_over,
    } = counts;
    let fetches = requests.fetch;
    if arguments.json() {
        let kafka = address.to_string();
        return program::print_json(&Summary {
            kafka,
            connections,
            turned_away,
            gave_way,
            fetches,
            records,
            refused_writes,
            malformed,
            passed_over,
        });
    }
    program::note(&format!(
        "{records} records in {fetches} fetches of {connections} connections; refused: {refused_writes} writes, \
         {malformed} malformed requests, {turned_away} connections; {gave_way} silent ones gave way; passed over: {passed_over} lost messages"
    ));
    Ok(())
}
