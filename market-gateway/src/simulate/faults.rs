//! What goes wrong on the way: packets lost, repeated and overtaken, drawn from a seed and counted.

use std::collections::VecDeque;

use super::random::{Random, mix};

/// How often packets of a line go wrong, in 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Packets lost on one line, independently of the others.
    pub lost: u32,
    /// Packets sent twice.
    pub repeated: u32,
    /// Packets overtaken by one to three later ones.
    pub overtaken: u32,
    /// Messages whose packets are lost on every line, so that only a re-request brings them.
    pub lost_everywhere: u32,
}

impl Faults {
    /// A perfect network.
    pub const NONE: Self = Self { lost: 0, repeated: 0, overtaken: 0, lost_everywhere: 0 };
    /// A network on a bad day: one packet in a hundred is lost, repeated or overtaken, and now and then a message on
    /// all lines.
    pub const BAD_DAY: Self = Self { lost: 50, repeated: 25, overtaken: 25, lost_everywhere: 2 };

    /// Whether message `number` is lost on every line.
    pub(super) fn loses_everywhere(&self, seed: u64, number: u64) -> bool {
        mix(&[seed, number]) % 10_000 < u64::from(self.lost_everywhere)
    }
}

/// What became of the packets of one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct LineCounters {
    /// Packets with messages that were made for the line.
    pub packets: u64,
    /// Of these, not sent.
    pub lost: u64,
    /// Sent twice.
    pub repeated: u64,
    /// Sent after later ones.
    pub overtaken: u64,
    /// Not sent because the socket refused.
    pub refused: u64,
}

/// The network of one line.
#[derive(Debug)]
pub(super) struct Network {
    faults: Faults,
    random: Random,
    /// Packets that wait until so many others have passed.
    held: VecDeque<(u32, Vec<u8>)>,
    pub(super) counters: LineCounters,
}

impl Network {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, random: Random::new(seed), held: VecDeque::new(), counters: LineCounters::default() }
    }

    /// Decides what becomes of a packet, and calls `send` for whatever is to be sent now. `doomed` packets are lost.
    pub(super) fn carry(&mut self, packet: &[u8], doomed: bool, send: &mut dyn FnMut(&[u8]) -> bool) {
        self.counters.packets += 1;
        let fate = self.random.below(10_000);
        let Faults { lost, repeated, overtaken, .. } = self.faults;
        if doomed || fate < lost {
            self.counters.lost += 1;
        } else if fate < lost + repeated {
            self.counters.repeated += 1;
            self.send(packet, send);
            self.send(packet, send);
        } else if fate < lost + repeated + overtaken {
            self.counters.overtaken += 1;
            self.held.push_back((1 + self.random.below(3), packet.to_vec()));
            return;
        } else {
            self.send(packet, send);
        }
        self.pass(send);
    }

    /// Sends all that waits.
    pub(super) fn flush(&mut self, send: &mut dyn FnMut(&[u8]) -> bool) {
        while let Some((_, packet)) = self.held.pop_front() {
            self.send(&packet, send);
        }
    }

    /// A packet has passed those that wait.
    fn pass(&mut self, send: &mut dyn FnMut(&[u8]) -> bool) {
        self.held.iter_mut().for_each(|(others, _)| *others = others.saturating_sub(1));
        while self.held.front().is_some_and(|(others, _)| *others == 0) {
            if let Some((_, packet)) = self.held.pop_front() {
                self.send(&packet, send);
            }
        }
    }

    fn send(&mut self, packet: &[u8], send: &mut dyn FnMut(&[u8]) -> bool) {
        if !send(packet) {
            self.counters.refused += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(faults: Faults, packets: u32) -> (Vec<u32>, LineCounters) {
        let mut network = Network::new(faults, 11);
        let mut sent = Vec::new();
        let mut send = |packet: &[u8]| {
            sent.push(u32::from_le_bytes(packet.try_into().unwrap()));
            true
        };
        for number in 0..packets {
            network.carry(&number.to_le_bytes(), false, &mut send);
        }
        network.flush(&mut send);
        (sent, network.counters)
    }

    #[test]
    fn a_perfect_network_changes_nothing() {
        let (sent, counters) = carried(Faults::NONE, 1_000);
        assert!(sent.into_iter().eq(0..1_000));
        assert_eq!(counters, LineCounters { packets: 1_000, ..LineCounters::default() });
    }

    #[test]
    fn what_is_counted_is_what_happened() {
        let faults = Faults { lost: 1_000, repeated: 1_000, overtaken: 1_000, lost_everywhere: 0 };
        let (sent, counters) = carried(faults, 10_000);
        let mut times = vec![0u64; 10_000];
        sent.iter().for_each(|&number| times[number as usize] += 1);
        let of = |n| times.iter().filter(|&&t| t == n).count() as u64;
        assert_eq!((of(0), of(2), counters.packets), (counters.lost, counters.repeated, 10_000));
        assert!(counters.lost > 800 && counters.repeated > 800 && counters.overtaken > 800, "{counters:?}");
        assert!(sent.windows(2).filter(|pair| pair[1] < pair[0]).count() > 500);
        // Nothing waits for longer than three others and those that wait with it.
        let mut newest = 0;
        for &number in &sent {
            newest = newest.max(number);
            assert!(newest - number < 16, "{number} came after {newest}");
        }
    }

    #[test]
    fn the_same_seed_brings_the_same_faults() {
        assert_eq!(carried(Faults::BAD_DAY, 5_000), carried(Faults::BAD_DAY, 5_000));
    }

    #[test]
    fn a_doomed_packet_is_lost() {
        let mut network = Network::new(Faults::NONE, 1);
        network.carry(b"x", true, &mut |_| panic!("sent"));
        assert_eq!(network.counters.lost, 1);
    }
}
