//! Both ways of receiving keep the same promises; sockets are real ones on loopback with ports from the system.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bus::clock::Clock;
use market_gateway::net::{Backend, Counters, OpenError, PacketSource, Stamps, UdpConfig, UdpSource, Wait};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PATIENCE: Duration = Duration::from_secs(20);

/// Lines on loopback and a sender that can reach them.
struct Wire {
    source: UdpSource,
    sender: UdpSocket,
    lines: Vec<SocketAddrV4>,
}

#[derive(Debug, PartialEq, Eq)]
struct Received {
    line: usize,
    time: u64,
    bytes: Vec<u8>,
}

impl Wire {
    fn new(config: UdpConfig) -> Self {
        let any = SocketAddrV4::new(LOOPBACK, 0);
        let source = UdpSource::open(&UdpConfig { lines: vec![any, any], ..config }).unwrap();
        let lines = source.addresses().unwrap();
        Self { source, sender: UdpSocket::bind((LOOPBACK, 0)).unwrap(), lines }
    }

    fn send(&self, line: usize, bytes: &[u8]) {
        assert_eq!(self.sender.send_to(bytes, self.lines[line]).unwrap(), bytes.len());
    }

    /// Polls until `count` packets came, then makes sure that no more are there.
    fn receive(&mut self, count: usize) -> Vec<Received> {
        let mut received = Vec::new();
        poll_until(&mut self.source, &mut received, |received, _| received.len() >= count);
        for _ in 0..8 {
            poll(&mut self.source, &mut received);
        }
        assert_eq!(received.len(), count);
        received
    }
}

fn poll(source: &mut UdpSource, received: &mut Vec<Received>) {
    let before = received.len();
    let mut keep = |packet: market_gateway::net::Packet<'_>| {
        received.push(Received {
            line: packet.line,
            time: packet.receive_time.0,
            bytes: packet.bytes.to_vec(),
        });
    };
    let handed = source.poll(&mut keep).unwrap();
    assert_eq!(handed, received.len() - before);
}

fn poll_until(
    source: &mut UdpSource,
    received: &mut Vec<Received>,
    done: impl Fn(&[Received], Counters) -> bool,
) {
    let began = Instant::now();
    while !done(received, source.counters()) {
        assert!(began.elapsed() < PATIENCE, "got {} packets, {:?}", received.len(), source.counters());
        poll(source, received);
    }
}

fn bytes(received: &[Received], line: usize) -> Vec<&[u8]> {
    received.iter().filter(|r| r.line == line).map(|r| r.bytes.as_slice()).collect()
}

/// The configurations under which everything must hold: both backends, all ways of waiting, stamping and filtering.
fn configurations() -> Vec<UdpConfig> {
    let mut all = Vec::new();
    for backend in [Backend::IoUring, Backend::Recvmmsg] {
        for wait in [Wait::Spin, Wait::BALANCED] {
            for (stamps, source) in
                [(Stamps::Process, None), (Stamps::Kernel, None), (Stamps::Process, Some(LOOPBACK))]
            {
                all.push(UdpConfig { backend, wait, stamps, source, ..UdpConfig::default() });
            }
        }
    }
    all
}

/// Runs `test` under each configuration that this machine permits.
fn everywhere(test: impl Fn(UdpConfig)) {
    for config in configurations() {
        let line = vec![SocketAddrV4::new(LOOPBACK, 0)];
        match UdpSource::open(&UdpConfig { lines: line, ..config.clone() }) {
            Err(OpenError::Ring(refused)) => eprintln!("not tried: {refused}"),
            _ => test(config),
        }
    }
}

#[test]
fn packets_keep_their_order_and_their_boundaries() {
    everywhere(|config| {
        let mut wire = Wire::new(config);
        let sent: Vec<Vec<u8>> = (0..100u8).map(|i| vec![i; usize::from(i) * 7 + 1]).collect();
        for packet in &sent {
            wire.send(0, packet);
            wire.send(1, &packet[..1]);
        }
        let received = wire.receive(200);
        assert_eq!(bytes(&received, 0), sent);
        assert_eq!(bytes(&received, 1), sent.iter().map(|p| &p[..1]).collect::<Vec<_>>());
    });
}

#[test]
fn a_burst_beyond_the_buffers_is_received_whole() {
    everywhere(|config| {
        let mut wire = Wire::new(UdpConfig { buffers: 16, ..config });
        for round in 0..3u32 {
            for i in 0..300u32 {
                wire.send(0, &(round * 300 + i).to_le_bytes());
            }
            let received = wire.receive(300);
            let numbers = bytes(&received, 0).into_iter().map(|b| u32::from_le_bytes(b.try_into().unwrap()));
            assert!(numbers.eq(round * 300..(round + 1) * 300));
        }
        let ring = wire.source.backend() == "io_uring";
        assert_eq!(wire.source.counters().starved > 0, ring, "{:?}", wire.source.counters());
    });
}

#[test]
fn many_lines_share_few_buffers() {
    const LINES: usize = 64;
    everywhere(|config| {
        let any = SocketAddrV4::new(LOOPBACK, 0);
        let config = UdpConfig { lines: vec![any; LINES], buffers: 8, ..config };
        let mut source = UdpSource::open(&config).unwrap();
        let (lines, sender) = (source.addresses().unwrap(), UdpSocket::bind((LOOPBACK, 0)).unwrap());
        for round in 0..4u8 {
            for line in &lines {
                sender.send_to(&[round], line).unwrap();
            }
        }
        let mut received = Vec::new();
        poll_until(&mut source, &mut received, |received, _| received.len() == 4 * LINES);
        for line in 0..LINES {
            assert_eq!(bytes(&received, line), [[0], [1], [2], [3]]);
        }
        let (counters, ring) = (source.counters(), source.backend() == "io_uring");
        assert_eq!((counters.starved > 0, counters.overflowed), (ring, 0), "{counters:?}");
    });
}

#[test]
fn empty_datagrams_arrive_and_receiving_goes_on() {
    everywhere(|config| {
        let mut wire = Wire::new(config);
        let sent: [&[u8]; 6] = [b"a", b"", b"", b"b", b"", b"c"];
        for packet in sent {
            wire.send(0, packet);
            assert_eq!(wire.receive(1)[0].bytes, packet);
        }
        for packet in sent {
            wire.send(1, packet);
        }
        assert_eq!(bytes(&wire.receive(6), 1), sent);
    });
}

#[test]
fn oversize_datagrams_are_dropped_and_counted() {
    everywhere(|config| {
        let longest = config.longest;
        let mut wire = Wire::new(config);
        for length in [longest, longest + 1, longest + 200, 9_000, 65_507, longest - 1] {
            wire.send(0, &vec![7; length]);
        }
        let received = wire.receive(2);
        assert_eq!(received.iter().map(|r| r.bytes.len()).collect::<Vec<_>>(), [longest, longest - 1]);
        poll_until(&mut wire.source, &mut Vec::new(), |_, counters| counters.oversize == 4);
    });
}

#[test]
fn jumbo_datagrams_arrive_where_asked_for() {
    everywhere(|config| {
        let mut wire = Wire::new(UdpConfig { longest: 9_000, buffers: 64, ..config });
        for length in [9_000, 1, 8_999] {
            wire.send(1, &vec![3; length]);
        }
        assert_eq!(wire.receive(3).iter().map(|r| r.bytes.len()).collect::<Vec<_>>(), [9_000, 1, 8_999]);
    });
}

#[test]
fn packets_of_strangers_are_dropped_and_counted() {
    everywhere(|config| {
        let mut wire = Wire::new(UdpConfig { source: Some(Ipv4Addr::new(127, 0, 0, 9)), ..config });
        wire.send(0, b"from elsewhere");
        poll_until(&mut wire.source, &mut Vec::new(), |_, counters| counters.strangers == 1);
        wire.sender = UdpSocket::bind("127.0.0.9:0").unwrap();
        wire.send(0, b"from the venue");
        assert_eq!(wire.receive(1)[0].bytes, b"from the venue");
        assert_eq!(wire.source.counters(), Counters { packets: 1, strangers: 1, ..Counters::default() });
    });
}

#[test]
fn stamps_lie_between_sending_and_now() {
    everywhere(|config| {
        let kernel = config.stamps == Stamps::Kernel;
        let clock = Clock::new();
        let now = || if kernel { system_time() } else { clock.now().0 };
        let mut wire = Wire::new(config);
        let before = now();
        wire.send(0, b"stamp me");
        let received = wire.receive(1);
        let after = now();
        assert!((before..=after).contains(&received[0].time), "{before} {} {after}", received[0].time);
    });
}

fn system_time() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

#[test]
fn answers_to_requests_are_a_further_line() {
    everywhere(|config| {
        let server = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        let SocketAddr::V4(rerequest) = server.local_addr().unwrap() else { unreachable!() };
        let mut wire = Wire::new(UdpConfig { rerequest: Some(rerequest), ..config });
        assert!(wire.source.request(b"please").unwrap());
        let mut request = [0; 16];
        let (length, client) = server.recv_from(&mut request).unwrap();
        assert_eq!(&request[..length], b"please");
        server.send_to(b"here", client).unwrap();
        let received = wire.receive(1);
        assert_eq!((received[0].line, received[0].bytes.as_slice()), (2, b"here".as_slice()));
        assert_eq!(client.port(), wire.lines[2].port());
    });
}

#[test]
fn a_request_without_a_server_is_not_sent() {
    let wire = Wire::new(UdpConfig::default());
    assert!(!wire.source.request(b"anyone?").unwrap());
}

#[test]
fn a_multicast_group_is_joined_on_the_interface_asked_for() {
    everywhere(|config| {
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 77, 1, 2), 0);
        let mut source =
            UdpSource::open(&UdpConfig { lines: vec![group], interface: Some(LOOPBACK), ..config }).unwrap();
        let address = source.addresses().unwrap()[0];
        // A socket bound to an interface's address sends to groups through that interface.
        let sender = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        sender.send_to(b"to all", address).unwrap();
        sender.send_to(b"to one", (LOOPBACK, address.port())).unwrap();
        let mut received = Vec::new();
        poll_until(&mut source, &mut received, |received, _| !received.is_empty());
        for _ in 0..8 {
            poll(&mut source, &mut received);
        }
        assert_eq!(bytes(&received, 0), [b"to all"]);
    });
}

#[test]
fn what_the_kernel_drops_is_counted() {
    everywhere(|config| {
        let mut wire = Wire::new(UdpConfig { queue: 4_096, ..config });
        const SENT: u64 = 2_000;
        for _ in 0..SENT {
            wire.send(0, &[1; 100]);
        }
        poll_until(&mut wire.source, &mut Vec::new(), |_, c| c.packets + c.dropped == SENT);
        assert!(wire.source.counters().dropped > 0);
    });
}

#[test]
fn a_source_may_move_to_the_thread_that_polls_it() {
    everywhere(|config| {
        let mut wire = Wire::new(config);
        wire.send(0, b"moved");
        std::thread::spawn(move || assert_eq!(wire.receive(1)[0].bytes, b"moved")).join().unwrap();
    });
}

/// Refuses the system call with `error` from now on, on the calling thread alone, as a container would.
fn refuse(call: libc::c_long, error: libc::c_int) {
    let statement = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | error as u32, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: plain numbers; forbids this thread to gain privileges.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: `program` points to four statements, which the kernel checks and copies.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0);
}

#[test]
fn where_io_uring_is_refused_packets_come_through_recvmmsg_and_the_reason_is_told() {
    for call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register] {
        for (error, reason) in [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS"), (libc::ENOMEM, "ENOMEM")] {
            std::thread::spawn(move || {
                refuse(call, error);
                let mut wire = Wire::new(UdpConfig::default());
                assert_eq!(wire.source.backend(), "recvmmsg");
                let told = wire.source.fallback().unwrap().to_string();
                assert!(told.contains(reason), "{told}");
                wire.send(0, b"all the same");
                assert_eq!(wire.receive(1)[0].bytes, b"all the same");
                let demanded = UdpConfig { backend: Backend::IoUring, ..UdpConfig::default() };
                assert!(matches!(UdpSource::open(&demanded), Err(OpenError::Ring(_))));
            })
            .join()
            .unwrap();
        }
    }
}

#[test]
fn an_address_in_use_is_refused_by_name() {
    let wire = Wire::new(UdpConfig::default());
    let taken = wire.lines[0];
    let Err(error) = UdpSource::open(&UdpConfig { lines: vec![taken], ..UdpConfig::default() }) else {
        panic!("bound twice")
    };
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}
