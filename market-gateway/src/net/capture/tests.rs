//! Captures made here, spoiled in every way, read back.

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::mold::{Packet, PacketWriter, session_id};

/// An Ethernet frame with `tags` VLAN tags around a UDP datagram over IPv4 with `options` words of options.
fn frame(tags: usize, options: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(payload.len() + 8).unwrap();
    let header = 20 + 4 * usize::from(options);
    let mut frame = vec![0; 12];
    frame.extend([0x81, 0x00, 0, 7].repeat(tags));
    frame.extend([0x08, 0x00, 0x45 + options, 0]);
    frame.extend((u16::try_from(header).unwrap() + udp_length).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 239, 1, 1, 1]);
    frame.extend(vec![0; header - 20]);
    frame.extend([0, 9]);
    frame.extend(port.to_be_bytes());
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame.extend([0; 3]); // padding of short frames
    frame
}

fn raw_ipv6(port: u16, payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(payload.len() + 8).unwrap();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(udp_length.to_be_bytes());
    packet.extend([17, 64]);
    packet.extend([7; 32]);
    packet.extend([0, 9]);
    packet.extend(port.to_be_bytes());
    packet.extend(udp_length.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// A capture of frames, each with its time in nanoseconds.
fn pcap(magic: u32, big_endian: bool, link: u32, frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let word = |number: u32| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let unit = if magic == 0xA1B2_3C4D { 1 } else { 1_000 };
    let mut file = [word(magic), word(0x0004_0002), word(0), word(0), word(65_535), word(link)].concat();
    for (time, frame) in frames {
        let length = u32::try_from(frame.len()).unwrap();
        let (seconds, rest) = (time / 1_000_000_000, time % 1_000_000_000 / unit);
        let numbers = [u32::try_from(seconds).unwrap(), u32::try_from(rest).unwrap(), length, length];
        file.extend(numbers.map(word).concat());
        file.extend(frame);
    }
    file
}

const NANO: u32 = 0xA1B2_3C4D;
const MICRO: u32 = 0xA1B2_C3D4;

fn packets(files: Vec<Vec<u8>>) -> Packets {
    let open = |file| Pcap::new(Box::new(Cursor::new(file))).expect("a known link type");
    Packets::new(files.into_iter().map(open).collect())
}

fn all(packets: &mut Packets) -> Vec<(usize, u64, Vec<u8>)> {
    std::iter::from_fn(|| packets.next_packet().map(|p| (p.line, p.time.0, p.payload.to_vec()))).collect()
}

#[test]
fn either_byte_order_and_resolution_reads() {
    for (magic, big_endian) in [(NANO, false), (NANO, true), (MICRO, false), (MICRO, true)] {
        let file = pcap(magic, big_endian, 1, &[(5_000_001_000, frame(0, 0, 9, b"one"))]);
        assert_eq!(all(&mut packets(vec![file])), [(0, 5_000_001_000, b"one".to_vec())]);
    }
}

#[test]
fn tags_options_and_other_links_read() {
    for frame in [frame(1, 0, 9, b"x"), frame(2, 3, 9, b"x")] {
        assert_eq!(all(&mut packets(vec![pcap(NANO, false, 1, &[(1, frame)])])), [(0, 1, b"x".to_vec())]);
    }
    let (ethernet, ipv6) = (frame(0, 0, 9, b"x"), raw_ipv6(9, b"x"));
    let cooked = [vec![0; 14], ethernet[12..].to_vec()].concat();
    for (link, frame) in [(113, cooked), (101, ethernet[14..].to_vec()), (101, ipv6)] {
        assert_eq!(all(&mut packets(vec![pcap(NANO, false, link, &[(1, frame)])])), [(0, 1, b"x".to_vec())]);
    }
    assert!(Pcap::new(Box::new(Cursor::new(pcap(NANO, false, 147, &[])))).is_none());
}

#[test]
fn lines_are_merged_by_time_and_told_apart_by_file_and_destination() {
    let a = pcap(
        NANO,
        false,
        1,
        &[(1, frame(0, 0, 1, b"a")), (4, frame(0, 0, 2, b"d")), (3, frame(0, 0, 1, b"e"))],
    );
    let b = pcap(NANO, false, 1, &[(2, frame(0, 0, 1, b"b")), (3, frame(0, 0, 1, b"c"))]);
    let read = all(&mut packets(vec![a, b]));
    let order: Vec<_> = read.iter().map(|(line, _, payload)| (*line, payload[0])).collect();
    assert_eq!(order, [(0, b'a'), (1, b'b'), (1, b'c'), (2, b'd'), (0, b'e')]);
}

#[test]
fn what_is_no_datagram_is_counted() {
    let mut fragment = frame(0, 0, 9, b"x");
    fragment[20] |= 0x20;
    let mut tcp = frame(0, 0, 9, b"x");
    tcp[23] = 6;
    let mut longer = frame(0, 0, 9, b"x");
    longer[39] = 200;
    let short = frame(0, 0, 9, b"x")[..30].to_vec();
    let frames = [fragment, tcp, longer, short].map(|frame| (1, frame));
    let mut packets = packets(vec![pcap(NANO, false, 1, &frames)]);
    assert_eq!(all(&mut packets), []);
    assert_eq!(packets.counters(), PacketCounters { other: 1, fragments: 1, malformed: 2 });
}

#[test]
fn a_record_of_impossible_length_ends_the_capture() {
    let mut file = pcap(NANO, false, 1, &[(1, frame(0, 0, 9, b"x"))]);
    file.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
    let mut packets = packets(vec![file]);
    assert_eq!(all(&mut packets).len(), 1);
    let ending = packets.files().next().unwrap().ending();
    assert!(matches!(ending, Some(PcapEnding::Nonsense { length: u32::MAX })));
}

#[test]
fn packets_without_session_and_number_are_one_session() {
    let datagram = |messages: &[&[u8]]| {
        let mut writer = PacketWriter::new(1_000);
        writer.begin(&session_id([0; 10]), 0);
        messages.iter().for_each(|message| assert!(writer.push(message)));
        frame(1, 0, 9, writer.datagram())
    };
    let file = pcap(NANO, false, 1, &[(1, datagram(&[b"a", b"b"])), (2, datagram(&[b"c"]))]);
    let read = all(&mut packets(vec![file]));
    let parsed: Vec<_> = read.iter().map(|(_, _, payload)| Packet::parse(payload).unwrap()).collect();
    assert_eq!((parsed[0].sequence, parsed[1].sequence, parsed[1].end()), (1, 3, 4));
    assert!(parsed[0].session == parsed[1].session && !parsed[0].session.is_blank());
}

proptest! {
    #[test]
    fn spoiled_captures_end(
        bytes in prop::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
    ) {
        let frames: Vec<_> = (0..5).map(|i| (i, frame(1, 1, 9, b"payload"))).collect();
        let mut file = pcap(NANO, false, 1, &frames);
        let from = 24 + at.index(file.len() - 24);
        let to = (from + bytes.len()).min(file.len());
        file[from..to].copy_from_slice(&bytes[..to - from]);
        file.truncate(24 + cut.index(file.len() - 23));
        let mut packets = packets(vec![file]);
        prop_assert!(all(&mut packets).len() <= 200);
        prop_assert!(packets.files().all(|file| file.ending().is_some()));
    }
}

fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn opened(name: &str, bytes: &[u8]) -> Result<&'static str, CaptureError> {
    let (_folder, path) = written(name, bytes);
    Capture::open(&path).map(|capture| match capture {
        Capture::Day(_) => "day",
        Capture::Packets(_) => "packets",
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn contents_say_what_a_file_is_and_its_name_only_where_they_do_not() {
    let (capture, day) = (pcap(NANO, false, 1, &[]), b"\0\x0CS\0\0\0\0\0\0\0\0\0\0O\0\0".to_vec());
    assert_eq!(opened("lies.itch50", &gzip(&capture)).unwrap(), "packets");
    assert_eq!(opened("01302020.NASDAQ_ITCH50.gz", b"\0\x05noise").unwrap(), "day");
    assert_eq!(opened("no name", &gzip(&day)).unwrap(), "day");
    assert_eq!(opened("empty.itch50", b"").unwrap(), "day");
    assert!(matches!(opened("x.pcap", b"\x0A\x0D\x0D\x0A"), Err(CaptureError::Pcapng { .. })));
    assert!(matches!(opened("x.pcap", b""), Err(CaptureError::Unknown { .. })));
    assert!(matches!(
        opened("x.pcap", &pcap(NANO, false, 147, &[])),
        Err(CaptureError::LinkType { number: 147, .. })
    ));
    assert!(matches!(opened("x.itch50.gz", b"\x1F\x8B\x08\0cut"), Err(CaptureError::Unreadable { .. })));
}

#[test]
fn a_cut_day_file_is_known_by_one_of_its_own_names() {
    let mut day = day_file::Writer::new(Vec::new());
    (1..=20u8).for_each(|i| day.message(&[i; 9]).unwrap());
    let day = day.finish().unwrap();
    let (_folder, path) = written("day.itch50", &day);
    let whole = identities(&path).unwrap();
    assert_eq!(whole.len(), IDENTITY);
    for messages in 1..=20 {
        let (_folder, path) = written("day.itch50", &day[..(messages * 11 + 5).min(day.len())]);
        let cut = identities(&path).unwrap();
        assert!(whole.contains(&cut[0]));
        assert!(messages < IDENTITY || cut == whole);
    }
}

#[test]
fn a_compressed_bomb_takes_no_room() {
    let file = gzip(&[pcap(NANO, false, 1, &[]), vec![0; 3 << 20]].concat());
    let (_folder, path) = written("bomb.pcap.gz", &file);
    let Ok(Capture::Packets(bomb)) = Capture::open(&path) else { panic!("a capture") };
    let mut packets = Packets::new(vec![bomb]);
    assert!(packets.next_packet().is_none());
    assert_eq!(packets.counters().malformed, (3 << 20) / 16);
}
