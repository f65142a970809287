//! Clients that do not read, or talk too much.

use futures::{SinkExt, StreamExt};
use gateways::http::keys::Scope;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::page::Page;
use super::{OVERLAY, audited, comes_to, direct, directed, serving};
use crate::world::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_reads_is_cut_and_delays_nobody() {
    let serving = serving().await;
    let (key, admin) = (serving.key(&OVERLAY).await, serving.key(&[Scope::Admin]).await);
    directed(&serving, &admin, "pause", json!({})).await;
    // Large states.
    let message = "x".repeat(3_900);
    let long = json!({"type": "cheer", "data": {"message": message}});
    directed(&serving, &admin, "test", long).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut silent = socket.connect(serving.listen).await.expect("it listens");
    let overlay = Uuid::new_v4();
    let request = format!(
        "GET /api/v1/stages/main/ws?overlay={overlay} HTTP/1.1\r\nHost: tapedeck\r\n\
         Authorization: Bearer {key}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    silent.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(silent.read_u8().await.expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    let mut page = Page::open(serving.listen, &key, "").await;
    let busy = async {
        for n in 0.. {
            let what = if n % 2 == 0 { "mute" } else { "unmute" };
            direct(&serving, &admin, what, json!({"what": "sound"})).await;
            let muted = n % 2 == 0;
            page.until("the last word", |state| state["muted"]["sound"] == muted).await;
            let gone =
                sqlx::query_scalar("SELECT gone_at IS NOT NULL FROM overlays WHERE overlay = $1");
            if gone.bind(overlay).fetch_one(&serving.world.pool).await.expect("a row") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, busy).await.expect("it is cut");
    directed(&serving, &admin, "resume", json!({})).await;
    let alert = page.state["next"]["id"].as_str().expect("an id").parse().expect("an id");
    page.shows(alert).await;
    comes_to(&serving.world, alert, "shown").await;
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_talks_too_much_or_too_long_is_cut() {
    let serving = serving().await;
    let key = serving.key(&OVERLAY).await;
    let mut noisy = Page::open(serving.listen, &key, "").await;
    noisy.until("a state", |_| true).await;
    let (mut sink, mut heard) = noisy.into_socket().split();
    let talking = async {
        loop {
            let word =
                r#"{"type":"painted","alert":"00000000-0000-0000-0000-000000000001","attempt":1}"#;
            if sink.send(Message::text(word)).await.is_err() {
                return;
            }
        }
    };
    let hearing = async {
        let mut bye = None;
        while let Some(Ok(message)) = heard.next().await {
            if let Message::Text(text) = message
                && text.contains("bye")
            {
                bye = Some(text);
            }
        }
        bye
    };
    let both = async { tokio::join!(talking, hearing).1 };
    let bye = tokio::time::timeout(PATIENCE, both).await.expect("it is cut");
    assert!(bye.is_none_or(|bye| bye.contains("noisy")), "a word, where it still reads");

    let mut long = Page::open(serving.listen, &key, "").await;
    long.until("a state", |_| true).await;
    long.say(json!({"type": "x".repeat(5_000)})).await;
    while let Some(frame) = long.frame().await {
        assert_ne!(frame["type"], "clock", "nothing is answered");
    }
    assert_eq!(serving.world.count("SELECT count(*) FROM dead_letters").await, 0);
    serving.stop().await;
}
