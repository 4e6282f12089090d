//! Who was told that messages are lost. A consumer is refused them once and then led past them. Many, kcat among them, end
//! at the error, so that one that comes back to where it was refused counts as the same. One that comes there by reading
//! does not: it may be another, since most clients share a name.

use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Topics of a connection of which it is remembered. Beyond, all is forgotten and told anew.
const MOST_TOPICS: usize = 32;
/// Consumers that left, and how long one may stay away: it is then told anew.
const MOST_DEPARTED: usize = 1024;
const LONGEST_AWAY: Duration = Duration::from_secs(600);

/// A consumer, as far as Kafka knows one that is in no group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) host: IpAddr,
    /// Its `client.id`.
    pub(crate) id: Bytes,
}

/// What one connection was told.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    departed: &'a Departed,
    pub(crate) client: Client,
    topics: HashMap<String, Telling>,
    /// Topics of which it was given records.
    read: HashSet<String>,
}

/// Where a consumer was last told of lost messages in a topic.
#[derive(Debug, Clone, Copy)]
struct Telling {
    offset: i64,
    /// Whether it was then led past them.
    is_used: bool,
}

impl<'a> Told<'a> {
    pub(crate) fn new(departed: &'a Departed, host: IpAddr) -> Self {
        Self {
            departed,
            client: Client { host, id: Bytes::new() },
            topics: HashMap::new(),
            read: HashSet::new(),
        }
    }

    /// Notes that the client is told that the message at `offset` of a topic is lost.
    pub(crate) fn tell(&mut self, topic: &str, offset: i64) {
        self.note(topic, Telling { offset, is_used: false });
    }

    /// Notes that the client was given records of a topic.
    pub(crate) fn give(&mut self, topic: &str) {
        if self.read.len() < MOST_TOPICS && !self.read.contains(topic) {
            self.read.insert(topic.to_owned());
        }
    }

    /// Whether the client was told on this connection that the message at `offset` of a topic is lost; it is then led past it.
    /// All that counts where the topic begins there: anybody may begin there.
    pub(crate) fn was_told(&mut self, topic: &str, offset: i64) -> bool {
        let is_here = self.topics.get(topic).is_some_and(|telling| telling.offset == offset);
        self.lead_past(topic, offset, is_here)
    }

    /// Whether the client knows that the message at `offset` of a topic is lost, also where it was told on an earlier
    /// connection and comes back; it is then led past it.
    pub(crate) fn knows(&mut self, topic: &str, offset: i64) -> bool {
        let has_read = self.read.contains(topic) || self.read.len() >= MOST_TOPICS;
        self.was_told(topic, offset) || {
            let returns = !has_read && self.departed.returns(&self.client, topic, offset);
            self.lead_past(topic, offset, returns)
        }
    }

    fn lead_past(&mut self, topic: &str, offset: i64, knows: bool) -> bool {
        if knows {
            self.note(topic, Telling { offset, is_used: true });
        }
        knows
    }

    fn note(&mut self, topic: &str, telling: Telling) {
        if self.topics.len() >= MOST_TOPICS {
            self.topics.clear();
        }
        self.topics.insert(topic.to_owned(), telling);
    }
}

impl Drop for Told<'_> {
    /// What the client was told and did not use waits for its return.
    fn drop(&mut self) {
        for (topic, telling) in self.topics.drain().filter(|(_, telling)| !telling.is_used) {
            let (client, offset, since) = (self.client.clone(), telling.offset, Instant::now());
            self.departed.add(Absent { client, topic, offset, since });
        }
    }
}

/// Consumers that left at the error.
#[derive(Debug, Default)]
pub(crate) struct Departed(Mutex<VecDeque<Absent>>);

#[derive(Debug)]
struct Absent {
    client: Client,
    topic: String,
    offset: i64,
    since: Instant,
}

impl Departed {
    fn add(&self, absent: Absent) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_DEPARTED {
            all.pop_front();
        }
        all.push_back(absent);
    }

    /// Whether such a consumer left here; one that comes back is no longer away.
    fn returns(&self, client: &Client, topic: &str, offset: i64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|absent| absent.since.elapsed() < LONGEST_AWAY);
        let is_it =
            |absent: &Absent| absent.client == *client && absent.topic == topic && absent.offset == offset;
        let found = all.iter().position(is_it);
        found.and_then(|at| all.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client<'a>(departed: &'a Departed, host: u8, id: &'static str) -> Told<'a> {
        let mut told = Told::new(departed, IpAddr::from([127, 0, 0, host]));
        told.client.id = Bytes::from_static(id.as_bytes());
        told
    }

    #[test]
    fn who_comes_back_is_known_once_and_nobody_else_is() {
        let departed = Departed::default();
        let mut told = client(&departed, 1, "a");
        told.tell("quotes", 7);
        assert!(
            told.knows("quotes", 7) && told.knows("quotes", 7),
            "on its own connection as often as it asks"
        );
        assert!(!told.knows("quotes", 8) && !told.knows("trades", 7));
        drop(told);
        assert!(!client(&departed, 1, "a").knows("quotes", 7), "it was led past and does not wait for more");

        client(&departed, 1, "a").tell("quotes", 7);
        for (host, id, topic, offset) in
            [(2, "a", "quotes", 7), (1, "b", "quotes", 7), (1, "a", "trades", 7), (1, "a", "quotes", 8)]
        {
            assert!(!client(&departed, host, id).knows(topic, offset), "{host} {id} {topic} {offset}");
        }
        assert!(client(&departed, 1, "a").knows("quotes", 7));
        assert!(!client(&departed, 1, "a").knows("quotes", 7), "once");
    }

    #[test]
    fn who_may_be_another_is_told_although_one_of_its_name_left() {
        let departed = Departed::default();
        client(&departed, 1, "a").tell("quotes", 7);
        let mut reading = client(&departed, 1, "a");
        reading.give("quotes");
        assert!(!reading.knows("quotes", 7), "it came there by reading");
        reading.tell("quotes", 7);
        assert!(reading.knows("quotes", 7), "on its own connection it was told");
        let mut reading_much = client(&departed, 1, "a");
        (0..=MOST_TOPICS).for_each(|n| reading_much.give(&n.to_string()));
        assert!(!reading_much.knows("quotes", 7), "what it has read is no longer known");
        assert!(!client(&departed, 1, "a").was_told("quotes", 7), "anybody may begin at the beginning");
        assert!(client(&departed, 1, "a").knows("quotes", 7));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let departed = Departed::default();
        let names: Vec<String> = (0..=MOST_DEPARTED).map(|n| format!("topic-{n}")).collect();
        for name in &names {
            client(&departed, 1, "a").tell(name, 7);
        }
        assert!(!client(&departed, 1, "a").knows(&names[0], 7), "the oldest is told anew");
        assert!(client(&departed, 1, "a").knows(&names[1], 7));
        let mut told = client(&departed, 1, "a");
        names.iter().for_each(|name| told.tell(name, 7));
        assert!(told.topics.len() <= MOST_TOPICS);
    }
}
