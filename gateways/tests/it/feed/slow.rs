//! Readers that are slower than the feed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::StreamExt;
use gateways::cli::serve::Role;
use gateways::http::keys::Scope;
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{Sse, cheers};
use crate::http::Serving;
use crate::world::{PATIENCE, until};

/// A reader whose kernel takes little in advance. Asked in HTTP/1.0, the answer has no chunks.
async fn narrow(serving: &Serving, key: &str) -> Sse {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut stream = socket.connect(serving.listen).await.expect("it listens");
    let request = format!("GET /api/v1/feed HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&head));
    let body = futures::stream::unfold(stream, |mut stream| async {
        let mut bytes = BytesMut::with_capacity(1_024);
        let read = stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0);
        read.map(|_| (bytes.freeze(), stream))
    });
    Sse { body: body.boxed(), buffer: BytesMut::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_is_cut_and_delays_nobody() {
    const ALERTS: i64 = 5_000;
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::FeedRead]).await;
    let asker = serving.world.asker().await;
    let unread_before = serving.metric("tapedeck_http_unread_connections_total").await;

    let mut silent = TcpStream::connect(serving.listen).await.expect("it listens");
    let request = format!(
        "GET /api/v1/feed HTTP/1.1\r\nHost: tapedeck\r\nAuthorization: Bearer {key}\r\n\r\n"
    );
    silent.write_all(request.as_bytes()).await.expect("sent");
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut feed = Sse::open(&serving, &key, "", None).await;
        feed.next().await.expect("hello");
        readers.push(tokio::spawn(async move {
            let mut positions = Vec::new();
            while positions.len() < ALERTS as usize {
                let alert = feed.alert().await;
                assert_eq!(alert["type"], "cheer", "a reader that reads is not cut: {alert}");
                positions.push(alert["position"].as_i64().expect("a position"));
            }
            positions
        }));
    }
    for from in (1..=ALERTS).step_by(250) {
        cheers(&asker, from, 250).await;
    }
    for reader in readers {
        let positions = reader.await.expect("it read everything");
        assert!(positions.is_sorted(), "in order");
        assert_eq!(positions.iter().collect::<BTreeSet<_>>().len(), ALERTS as usize);
    }
    // Of this connection and no other: who reads again is not cut.
    let (ours, theirs) = (serving.listen.port(), silent.local_addr().expect("bound").port());
    until("the silent reader is cut", async || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
        let ends = format!("0100007F:{ours:04X} 0100007F:{theirs:04X} 01 ");
        !table.contains(&ends)
    })
    .await;
    let unread = serving.metric("tapedeck_http_unread_connections_total").await;
    assert!(unread > unread_before, "it is counted");
    // What had left before the cut is whole, and the rest comes to one who returns.
    let mut sent = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut sent)).await.expect("closed");
    let sent = String::from_utf8_lossy(&sent);
    let before: Vec<i64> =
        sent.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert!(before.len() < ALERTS as usize, "it was cut before the end");
    let whole = sent.matches("\n\n").count().saturating_sub(2);
    let mut seen: Vec<i64> = before.into_iter().take(whole).collect();
    let mut feed = Sse::open(&serving, &key, "", Some(seen.last().copied().unwrap_or(0))).await;
    feed.next().await.expect("hello");
    while seen.len() < ALERTS as usize {
        seen.push(feed.alert().await["position"].as_i64().expect("a position"));
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), ALERTS as usize);
    assert!(seen.is_sorted(), "in order");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_falls_far_behind_is_told_so_and_goes_on_when_it_returns() {
    const ALERTS: i64 = 6_000;
    let serving = Serving::with(&[Role::Gateway, Role::Processor, Role::Relay], |_| {}).await;
    let key = serving.key(&[Scope::FeedRead]).await;
    let asker = serving.world.asker().await;
    let mut feed = narrow(&serving, &key).await;
    feed.next().await.expect("hello");
    for from in (1..=ALERTS).step_by(500) {
        cheers(&asker, from, 500).await;
    }
    // All come at once, so that it is too far behind long before it could be cut for its silence.
    let mut folding = serving.world.parts();
    folding.follower();
    let last = serving.world.head().await;
    let (mut seen, mut read_at) = (Vec::new(), Instant::now());
    until("the hub has handed on all", async || {
        // It is slow and not silent: whoever takes nothing at all for ten seconds is left.
        if read_at.elapsed() >= Duration::from_secs(1) {
            for _ in 0..10 {
                let envelope = feed.next().await.expect("it is open");
                if envelope["type"] == "cheer" {
                    seen.push(envelope["position"].as_i64().expect("a position"));
                }
            }
            read_at = Instant::now();
        }
        let poll = serving.request(Method::GET, &key, "/feed?poll=1").send().await;
        let hello = poll.expect("an answer").text().await.expect("text");
        let hello: Value = serde_json::from_str(&hello).expect("hello alone");
        hello["position"].as_i64() >= Some(last)
    })
    .await;
    let reason = loop {
        let envelope = feed.next().await.expect("bye comes before the end");
        match envelope["type"].as_str() {
            Some("cheer") => seen.push(envelope["position"].as_i64().expect("a position")),
            Some("bye") => break envelope["data"]["reason"].clone(),
            other => assert_eq!(other, Some("ping")),
        }
    };
    assert_eq!(reason, "slow");
    assert!(feed.next().await.is_none(), "closed after bye");
    assert!(seen.len() < ALERTS as usize);
    let mut feed = Sse::open(&serving, &key, "", seen.last().copied()).await;
    feed.next().await.expect("hello");
    while seen.len() < ALERTS as usize {
        seen.push(feed.alert().await["position"].as_i64().expect("a position"));
    }
    assert!(seen.is_sorted());
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), ALERTS as usize);
    folding.stop().await;
    serving.stop().await;
}
