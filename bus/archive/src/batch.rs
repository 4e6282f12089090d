//! Record batches, version 2 (Kafka's `message-format`), written uncompressed.
//!
//! ```text
//! base offset i64 · length i32 · leader epoch i32 · magic i8 = 2 · CRC-32C u32 of all that follows ·
//! attributes i16 · last offset delta i32 · base timestamp i64 · max timestamp i64 ·
//! producer id i64 · producer epoch i16 · base sequence i32 · record count i32 · records
//! ```
//! A record is a varint length, attributes, timestamp and offset deltas, key, value and headers, all varint-counted.

/// Bytes before the first record.
const HEADER: usize = 61;

/// Where the length counts from, the CRC stands, and the CRC counts from.
const AFTER_LENGTH: usize = 12;
const CRC: usize = 17;
const AFTER_CRC: usize = 21;

/// The attributes of a record, its deltas and its counts take at most this much beside key, value and headers.
const RECORD_OVERHEAD: usize = 1 + 5 + 10 + 5 + 5 + 5 + 5;

/// One record as a consumer sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    /// Offset in the partition.
    pub(crate) offset: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: i64,
    /// Key, if it has one.
    pub(crate) key: Option<&'a [u8]>,
    /// Value.
    pub(crate) value: &'a [u8],
    /// Headers in order: name and value.
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
}

impl Record<'_> {
    /// An upper bound of its encoded bytes, close enough to fill a budget with.
    fn size_bound(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
        RECORD_OVERHEAD + self.key.map_or(0, <[u8]>::len) + self.value.len() + headers
    }
}

/// Batches within a budget at the end of a buffer, one for each epoch that is met.
#[derive(Debug)]
pub(crate) struct Batches<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the first record comes even if it exceeds the budget.
    at_least_one: bool,
    records: usize,
    batch: Option<Batch>,
}

impl<'a> Batches<'a> {
    /// Up to `budget` bytes at the end of `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>, budget: usize, at_least_one: bool) -> Self {
        let start = out.len();
        Self { out, start, end: start.saturating_add(budget), at_least_one, records: 0, batch: None }
    }

    /// Whether nothing was added so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.len() == self.start
    }

    /// Adds a record of a leader epoch. Offsets must adjoin. False: it does not fit.
    pub(crate) fn push(&mut self, epoch: i32, record: &Record<'_>) -> bool {
        let begins = self.batch.as_ref().is_none_or(|batch| batch.epoch != epoch);
        let size = record.size_bound() + if begins { HEADER } else { 0 };
        let is_due = self.at_least_one && self.records == 0;
        if self.out.len() + size > self.end && !is_due {
            return false;
        }
        if begins {
            self.finish_batch();
        }
        let batch = self.batch.get_or_insert_with(|| Batch::begin(self.out, epoch, record));
        batch.push(self.out, record);
        self.records += 1;
        true
    }

    /// Adds an empty batch of the offsets from `from` to before `to`, as compaction leaves one in Kafka. False: it does not
    /// fit.
    pub(crate) fn skip(&mut self, from: i64, to: i64) -> bool {
        if self.out.len() + HEADER > self.end && !(self.at_least_one && self.is_empty()) {
            return false;
        }
        self.finish_batch();
        // More offsets than a batch can have are led past all the same: what counts is its last one.
        let last_delta = i32::try_from(to - 1 - from).unwrap_or(i32::MAX);
        let start = self.out.len();
        self.out.resize(start + HEADER, 0);
        let head = Head {
            base_offset: to - 1 - i64::from(last_delta),
            // Of no epoch that a client could compare with another.
            epoch: -1,
            last_delta,
            base_timestamp: -1,
            max_timestamp: -1,
            count: 0,
        };
        head.write(&mut self.out[start..]);
        true
    }

    /// Completes the last batch and returns the number of records.
    pub(crate) fn finish(mut self) -> usize {
        self.finish_batch();
        self.records
    }

    fn finish_batch(&mut self) {
        if let Some(batch) = self.batch.take() {
            batch.finish(self.out);
        }
    }
}

/// A batch under construction at the end of a buffer.
#[derive(Debug)]
struct Batch {
    start: usize,
    epoch: i32,
    base_offset: u64,
    base_timestamp: i64,
    max_timestamp: i64,
    count: u32,
}

impl Batch {
    /// Makes room for the header of a batch that begins with `first`.
    fn begin(out: &mut Vec<u8>, epoch: i32, first: &Record<'_>) -> Self {
        let start = out.len();
        out.resize(start + HEADER, 0);
        let (base_offset, base_timestamp) = (first.offset, first.timestamp);
        Self { start, epoch, base_offset, base_timestamp, max_timestamp: base_timestamp, count: 0 }
    }

    fn push(&mut self, out: &mut Vec<u8>, record: &Record<'_>) {
        assert_eq!(record.offset, self.base_offset + u64::from(self.count), "the offsets of a batch adjoin");
        let time_delta = record.timestamp - self.base_timestamp;
        put_varint(out, length(body_size(record, time_delta, self.count)));
        put_record(out, record, time_delta, self.count);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.count += 1;
    }

    /// Fills the header in.
    fn finish(self, out: &mut [u8]) {
        let head = Head {
            base_offset: self.base_offset.cast_signed(),
            epoch: self.epoch,
            last_delta: self.count.cast_signed() - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            count: self.count,
        };
        head.write(&mut out[self.start..]);
    }
}

/// What the header of a batch says.
struct Head {
    base_offset: i64,
    epoch: i32,
    /// Last offset less the base offset.
    last_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    count: u32,
}

impl Head {
    /// Writes it over the first bytes of `batch`, whose other bytes are final.
    fn write(&self, batch: &mut [u8]) {
        let mut header = Vec::with_capacity(HEADER);
        header.extend(self.base_offset.to_be_bytes());
        header.extend(narrow(batch.len() - AFTER_LENGTH).to_be_bytes());
        header.extend(self.epoch.to_be_bytes());
        header.push(2);
        header.extend([0; AFTER_CRC - CRC]);
        header.extend([0; 2]);
        header.extend(self.last_delta.to_be_bytes());
        header.extend(self.base_timestamp.to_be_bytes());
        header.extend(self.max_timestamp.to_be_bytes());
        header.extend((-1_i64).to_be_bytes());
        header.extend((-1_i16).to_be_bytes());
        header.extend((-1_i32).to_be_bytes());
        header.extend(self.count.to_be_bytes());
        batch[..HEADER].copy_from_slice(&header);
        let crc = crc32c::crc32c(&batch[AFTER_CRC..]);
        batch[CRC..AFTER_CRC].copy_from_slice(&crc.to_be_bytes());
    }
}

fn put_record(out: &mut Vec<u8>, record: &Record<'_>, timestamp_delta: i64, offset_delta: u32) {
    out.push(0);
    put_varint(out, timestamp_delta);
    put_varint(out, i64::from(offset_delta));
    match record.key {
        Some(key) => put_counted(out, key),
        None => put_varint(out, -1),
    }
    put_counted(out, record.value);
    put_varint(out, length(record.headers.len()));
    for (name, value) in record.headers {
        put_counted(out, name.as_bytes());
        put_counted(out, value);
    }
}

fn body_size(record: &Record<'_>, timestamp_delta: i64, offset_delta: u32) -> usize {
    let counted = |bytes: &[u8]| varint_size(length(bytes.len())) + bytes.len();
    let headers: usize =
        record.headers.iter().map(|(name, value)| counted(name.as_bytes()) + counted(value)).sum();
    1 + varint_size(timestamp_delta)
        + varint_size(i64::from(offset_delta))
        + record.key.map_or(1, counted)
        + counted(record.value)
        + varint_size(length(record.headers.len()))
        + headers
}

fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// A zigzag varint, 1 to 10 bytes. Varint and varlong differ in range only.
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn varint_size(value: i64) -> usize {
    let bits = (64 - zigzag(value).leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// A length as the format counts it: signed, 32 bits.
fn narrow(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a batch is smaller than 2 GiB")
}

fn length(bytes: usize) -> i64 {
    i64::from(narrow(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kafka_protocol::records::{RecordBatchDecoder, TimestampType};
    use proptest::prelude::*;

    fn encode(epoch: i32, records: &[Record<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut batches = Batches::new(&mut out, usize::MAX, false);
        assert!(records.iter().all(|record| batches.push(epoch, record)));
        assert_eq!(batches.finish(), records.len());
        out
    }

    /// Two records by hand, byte for byte, but for the CRC, which `crc32c` of the format's range must give.
    #[test]
    fn golden_bytes() {
        let headers: &[(&str, &[u8])] = &[("h", b"1")];
        let records = [
            Record { offset: 7, timestamp: 1_000, key: Some(b"AB"), value: b"xyz", headers },
            Record { offset: 8, timestamp: 999, key: None, value: b"", headers: &[] },
        ];
        let mut want = Vec::new();
        want.extend([0, 0, 0, 0, 0, 0, 0, 7]); // base offset
        want.extend([0, 0, 0, 73]); // length
        want.extend([0, 0, 0, 3]); // leader epoch
        want.push(2); // magic
        want.extend([0, 0, 0, 0]); // CRC, below
        want.extend([0, 0]); // attributes
        want.extend([0, 0, 0, 1]); // last offset delta
        want.extend([0, 0, 0, 0, 0, 0, 3, 232]); // base timestamp
        want.extend([0, 0, 0, 0, 0, 0, 3, 232]); // max timestamp
        want.extend([255; 8 + 2 + 4]); // no producer
        want.extend([0, 0, 0, 2]); // records
        want.extend([30, 0, 0, 0, 4, b'A', b'B', 6, b'x', b'y', b'z', 2, 2, b'h', 2, b'1']);
        want.extend([12, 0, 1, 2, 1, 0, 0]);
        want[11] = (want.len() - 12) as u8;
        let crc = crc32c::crc32c(&want[21..]);
        want[17..21].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(encode(3, &records), want);
        assert_eq!(crc, 0xd0fd_0cd5, "the CRC as computed bit by bit elsewhere");
    }

    #[test]
    fn a_budget_is_kept_but_the_first_record_may_be_due() {
        let record = |offset| Record { offset, timestamp: 0, key: None, value: &[0; 100], headers: &[] };
        for (budget, at_least_one, fit) in [(0, false, 0), (0, true, 1), (250, false, 1), (400, true, 2)] {
            let mut out = vec![7; 30];
            let mut batches = Batches::new(&mut out, budget, at_least_one);
            let taken = (0..5).take_while(|offset| batches.push(1, &record(*offset))).count();
            assert_eq!((taken, batches.finish()), (fit, fit));
            assert!(fit == 1 || out.len() <= 30 + budget);
            assert_eq!(out[..30], [7; 30]);
        }
    }

    /// An empty batch by hand: a client goes on at 12, or behind more than a batch can hold.
    #[test]
    fn skipped_offsets_are_an_empty_batch() {
        let mut out = Vec::new();
        let mut batches = Batches::new(&mut out, 0, true);
        assert!(batches.is_empty() && batches.skip(7, 12));
        assert!(!batches.is_empty() && !batches.skip(12, 13), "the budget is kept");
        assert_eq!(batches.finish(), 0);
        let mut want = vec![0, 0, 0, 0, 0, 0, 0, 7]; // base offset
        want.extend([0, 0, 0, 49]); // length
        want.extend([255; 4]); // no leader epoch
        want.push(2); // magic
        want.extend([0; 4 + 2]); // CRC, below; attributes
        want.extend([0, 0, 0, 4]); // last offset delta
        want.extend([255; 8 + 8 + 8 + 2 + 4]); // no timestamps, no producer
        want.extend([0; 4]); // records
        let crc = crc32c::crc32c(&want[21..]);
        want[17..21].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(out, want);
        let mut out = Vec::new();
        let end = 5 + (1_i64 << 40);
        assert!(Batches::new(&mut out, 61, false).skip(5, end));
        let number = |at: usize| i64::from_be_bytes(*out[at..].first_chunk().expect("bytes"));
        assert_eq!(number(0) + (number(23) >> 32), end - 1);
    }

    #[test]
    fn each_epoch_has_a_batch() {
        let mut out = Vec::new();
        let mut batches = Batches::new(&mut out, usize::MAX, false);
        for (offset, epoch) in [(5, 1), (6, 1), (7, 4)] {
            batches.push(epoch, &Record { offset, timestamp: 9, key: None, value: b"v", headers: &[] });
        }
        batches.finish();
        let sets = RecordBatchDecoder::decode_all(&mut Bytes::from(out)).expect("valid batches");
        let counts: Vec<_> =
            sets.iter().map(|set| (set.records.len(), set.records[0].partition_leader_epoch)).collect();
        assert_eq!(counts, [(2, 1), (1, 4)]);
    }

    prop_compose! {
        fn any_record()(
            timestamp in 0_i64..20_000_000_000_000,
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
            value in proptest::collection::vec(any::<u8>(), 0..200),
            header in proptest::collection::vec(any::<u8>(), 0..20),
        ) -> (i64, Option<Vec<u8>>, Vec<u8>, Vec<u8>) {
            (timestamp, key, value, header)
        }
    }

    proptest! {
        /// What an independent decoder reads is what went in, and no record is larger than its bound.
        #[test]
        fn decodes_to_itself(base in 0_u64..1 << 62, epoch in 0_i32..100, parts in proptest::collection::vec(any_record(), 1..40)) {
            let headers: Vec<[(&str, &[u8]); 2]> =
                parts.iter().map(|p| [("schema", p.3.as_slice()), ("epoch", b"1".as_slice())]).collect();
            let records: Vec<Record<'_>> = parts.iter().zip(&headers).zip(base..).map(|((p, headers), offset)| Record {
                offset, timestamp: p.0, key: p.1.as_deref(), value: &p.2, headers,
            }).collect();
            let bytes = encode(epoch, &records);
            prop_assert!(bytes.len() <= HEADER + records.iter().map(Record::size_bound).sum::<usize>());
            let set = RecordBatchDecoder::decode(&mut Bytes::from(bytes)).expect("a valid batch");
            prop_assert_eq!(set.records.len(), records.len());
            for (got, want) in set.records.iter().zip(&records) {
                prop_assert_eq!(got.offset, want.offset as i64);
                prop_assert_eq!(got.timestamp, want.timestamp);
                prop_assert_eq!(got.timestamp_type, TimestampType::Creation);
                prop_assert_eq!(got.partition_leader_epoch, epoch);
                prop_assert_eq!(got.key.as_deref(), want.key);
                prop_assert_eq!(got.value.as_deref(), Some(want.value));
                prop_assert_eq!(got.headers.len(), 2);
                prop_assert_eq!(got.headers[0].as_deref(), Some(want.headers[0].1));
            }
        }
    }
}
