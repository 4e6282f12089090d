//! What breaks the rules is closed and counted, and nobody else notices.

use crate::client::{Client, PATIENCE, Served, decode, fetch_request, frame, one, publish_orders, serve};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, FetchRequest, MetadataRequest};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Sends bytes on a connection of their own and waits until the listener closes it.
fn closes(served: &Served, bytes: &[u8]) {
    let mut client = served.client();
    client.send_bytes(bytes);
    assert_eq!(client.receive_bytes(), None, "{bytes:?}");
}

#[test]
fn broken_frames_are_closed_and_counted() {
    let served = serve();
    publish_orders(&mut served.market(), 1, 3);
    let valid = frame(ApiKey::Fetch as i16, 11, 1, &fetch_request("market-data", 0, 1 << 20));
    let mut counts_too_much = valid.clone();
    let count = counts_too_much.windows(15).position(|w| w == b"\0\0\0\x01\0\x0bmarket-da").unwrap();
    counts_too_much[count..count + 4].copy_from_slice(&i32::MAX.to_be_bytes());
    let mut unknown_version = valid.clone();
    unknown_version[7] = 13;
    let mut unknown_api = valid.clone();
    unknown_api[4..6].copy_from_slice(&999_i16.to_be_bytes());
    let truncated = [&(valid.len() as i32 - 4 - 9).to_be_bytes(), &valid[4..valid.len() - 9]].concat();
    let cases = [
        &[0, 0, 0, 0][..],
        &[0, 0, 0, 3, 1, 2, 3],
        &[255; 8],
        &[127, 255, 255, 255, 0, 1],
        b"GET / HTTP/1.1\r\n\r\n",
        &counts_too_much,
        &unknown_version,
        &unknown_api,
        &truncated,
    ];
    for bytes in cases {
        closes(&served, bytes);
    }
    assert_eq!(served.client().read_all("market-data").len(), 3);
    assert_eq!(served.server.stop().malformed, cases.len() as u64);
}

#[test]
fn a_silent_client_holds_nobody() {
    let served = serve();
    publish_orders(&mut served.market(), 1, 3);
    let _silent = TcpStream::connect(served.server.address()).unwrap();
    let mut half = served.client();
    half.send_bytes(&[0, 0, 1]);
    let mut waiting = served.client();
    waiting.send(11, &fetch_request("market-data", 3, 1 << 20).with_max_wait_ms(i32::MAX));
    assert_eq!(served.client().read_all("market-data").len(), 3);
    // All of them are let go at the stop.
    served.server.stop();
    assert_eq!(half.receive_bytes(), None);
}

#[test]
fn connections_are_bounded() {
    let served = serve();
    let mut held = hold(&served, archive::MOST_CONNECTIONS);
    let mut one_more = served.client();
    assert_eq!(one_more.receive_bytes(), None);
    for client in &mut held {
        client.call(9, &MetadataRequest::default().with_topics(None));
    }
    let counts = served.server.stop();
    let want = (archive::MOST_CONNECTIONS as u64, 1, 0);
    assert_eq!((counts.connections, counts.turned_away, counts.gave_way), want);
}

/// Connections that have asked something, one after the other.
fn hold(served: &Served, count: usize) -> Vec<Client> {
    let held = (0..count).map(|_| {
        let mut client = served.client();
        client.call(3, &ApiVersionsRequest::default());
        client
    });
    held.collect()
}

/// Comes until it is not turned away.
fn come_in(served: &Served) -> Client {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "nobody gives way");
        let mut client = served.client();
        client.send(3, &ApiVersionsRequest::default());
        if client.receive_bytes().is_some() {
            return client;
        }
        // The listener counts the seconds of silence.
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn given_all_connections_taken_expect_the_one_silent_longest_to_give_way() {
    let served = serve();
    let mut half = served.client();
    half.send_bytes(&[0, 0, 1]);
    let mut held = hold(&served, archive::MOST_CONNECTIONS - 1);
    let _come = come_in(&served);
    assert_eq!(half.receive_bytes(), None);
    for client in &mut held {
        client.call(9, &MetadataRequest::default().with_topics(None));
    }
    assert_eq!(served.server.stop().gave_way, 1);
}

#[test]
fn given_consumers_that_wait_for_messages_expect_a_silent_one_to_give_way_before_them() {
    let served = serve();
    let mut market = served.market();
    publish_orders(&mut market, 1, 1);
    let mut waiting = hold(&served, archive::MOST_CONNECTIONS - 1);
    for client in &mut waiting {
        client.send(11, &fetch_request("market-data", 1, 1 << 20).with_max_wait_ms(i32::MAX));
    }
    let mut silent = hold(&served, 1);

    let _come = come_in(&served);
    assert_eq!(silent[0].receive_bytes(), None, "although the others wait longer");
    publish_orders(&mut market, 2, 1);
    for client in &mut waiting {
        assert_eq!(decode(&one(client.receive::<FetchRequest>(11))).len(), 1);
    }
    assert_eq!(served.server.stop().gave_way, 1);
}

#[test]
fn requests_may_be_sent_ahead() {
    let served = serve();
    let mut client = served.client();
    let requests: Vec<u8> = (1..=20)
        .flat_map(|number| frame(ApiKey::ApiVersions as i16, 3, number, &ApiVersionsRequest::default()))
        .collect();
    client.send_bytes(&requests);
    for number in 1..=20_i32 {
        assert_eq!(client.receive_bytes().unwrap()[..4], number.to_be_bytes());
    }
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let served = serve();
    let address = served.server.address();
    let error = archive::Server::start(served.bus.clone(), address).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen: {address}: ")), "{error}");
}
