//! `market-gateway run` and a venue that begins its numbers again by itself: refused with the remedy, and the remedy helps.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use bus::event::Time;
use market_gateway::fix::framing::{Framed, frame};
use market_gateway::fix::writer::{Header, Writer};
use serde_json::Value;

/// The venue's end of a connection.
struct Venue {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Venue {
    /// Waits until `gateway` connects.
    fn accept(listener: &TcpListener, gateway: &mut Child) -> Self {
        let stream = loop {
            assert_eq!(gateway.try_wait().unwrap(), None, "it ended by itself");
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// The next message, its fields one after the other; empty at the end of the connection.
    fn hear(&mut self) -> String {
        let mut chunk = [0; 1_024];
        loop {
            if let Framed::Message(length) = frame(&self.unread) {
                let message = self.unread.drain(..length).collect();
                return String::from_utf8(message).unwrap().replace('\u{1}', "|");
            }
            match self.stream.read(&mut chunk).unwrap() {
                0 => return String::new(),
                count => self.unread.extend(&chunk[..count]),
            }
        }
    }

    fn expect(&mut self, fields: &[&str]) {
        let heard = self.hear();
        fields.iter().for_each(|field| assert!(heard.contains(field), "no {field} in {heard:?}"));
    }

    fn say(&mut self, kind: &str, number: u64, fields: &[(u32, &str)]) {
        let mut out = Vec::new();
        let (kind, time) = (kind.as_bytes(), Time(1_000_000_000));
        let header = Header { kind, sender: b"VENUE", target: b"US", number, time, original: None };
        let mut writer = Writer::new(&mut out, &header);
        fields.iter().for_each(|(tag, value)| {
            writer.text(*tag, value.as_bytes());
        });
        writer.finish();
        self.stream.write_all(&out).unwrap();
    }

    fn logon(&mut self, more: &[(u32, &str)]) {
        self.say("A", 1, &[&[(98, "0"), (108, "30")], more].concat());
    }

    fn fill(&mut self, number: u64, execution: &str) {
        let order = [(37, "O"), (17, execution), (150, "F"), (39, "2"), (55, "BUSBAR"), (54, "1")];
        let trade = [(31, "101.25"), (32, "5"), (151, "0"), (14, "5"), (60, "20260102-03:04:05")];
        self.say("8", number, &[&order[..], &trade].concat());
    }

    /// All that was said until now has been dealt with.
    fn settle(&mut self, number: u64) {
        self.say("1", number, &[(112, "done?")]);
        self.expect(&["|35=0|", "|112=done?|"]);
    }

    /// Answers the Logout of a gateway that was told to end.
    fn part(&mut self, gateway: Child, number: u64) -> Output {
        terminate(&gateway);
        self.expect(&["|35=5|"]);
        self.say("5", number, &[]);
        gateway.wait_with_output().unwrap()
    }
}

fn terminate(gateway: &Child) {
    assert!(Command::new("kill").args(["-TERM", &gateway.id().to_string()]).status().unwrap().success());
}

fn start(bus: &Path, listener: &TcpListener, more: &[&str]) -> Child {
    let line = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let venue = listener.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
    command.args(["run", "--json", "--mold", &line, "--fix", &venue, "--sender", "US", "--target", "VENUE"]);
    command.args(more).arg("--bus").arg(bus).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_venue_that_began_again_is_refused_with_the_remedy_and_the_remedy_helps() {
    let place = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();

    let mut gateway = start(place.path(), &listener, &[]);
    let mut venue = Venue::accept(&listener, &mut gateway);
    venue.expect(&["|35=A|", "|34=1|"]);
    venue.logon(&[]);
    venue.fill(2, "E1");
    venue.fill(3, "E2");
    venue.settle(4);
    let first = venue.part(gateway, 5);
    assert_eq!((first.status.code(), &summary(&first)["fix"]["published"]), (Some(0), &Value::from(2)));

    let mut gateway = start(place.path(), &listener, &[]);
    let mut venue = Venue::accept(&listener, &mut gateway);
    venue.expect(&["|35=A|"]);
    venue.logon(&[]);
    venue.expect(&["|35=5|", "|58=MsgSeqNum too low, expecting 4 but received 1|"]);
    assert_eq!(venue.hear(), "", "the gateway has closed");
    terminate(&gateway);
    let refused = gateway.wait_with_output().unwrap();
    let notes = String::from_utf8(refused.stderr.clone()).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{notes}");
    assert!(notes.contains("received 1; if the venue began again at 1"), "{notes}");
    assert!(notes.contains("start once with --reset-numbers"), "{notes}");
    let of_drop_copy = notes.lines().filter(|line| line.contains("drop copy")).count();
    assert_eq!(of_drop_copy, 1, "the reason, and nothing that contradicts it: {notes}");

    let mut gateway = start(place.path(), &listener, &["--reset-numbers"]);
    let mut venue = loop {
        // What the gateway before this one had begun may still be in the queue.
        let mut venue = Venue::accept(&listener, &mut gateway);
        if venue.hear().contains("|141=Y|") {
            break venue;
        }
    };
    venue.logon(&[(141, "Y")]);
    venue.fill(2, "E2");
    venue.fill(3, "E3");
    venue.settle(4);
    drop(venue);
    let mut venue = Venue::accept(&listener, &mut gateway);
    let again = venue.hear();
    assert!(again.contains("|35=A|") && !again.contains("|141="), "{again}");
    venue.say("A", 5, &[(98, "0"), (108, "30")]);
    venue.fill(6, "E4");
    venue.settle(7);
    let last = venue.part(gateway, 8);
    assert_eq!(last.status.code(), Some(0), "{}", String::from_utf8_lossy(&last.stderr));
    let fix = &summary(&last)["fix"];
    assert_eq!((&fix["published"], &fix["duplicates"]), (&Value::from(2), &Value::from(1)), "{fix}");
    assert_eq!(fix["logons"], 2, "{fix}");
}
