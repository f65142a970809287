//! The feed on a whole Tapedeck: every alert once and in order, whatever becomes of its readers.

mod restored;
mod slow;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use gateways::cli::serve::Role;
use gateways::http::keys::Scope;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::http::Serving;
use crate::world::{Asker, PATIENCE, cheer, until};

/// A reader over server-sent events.
struct Sse {
    /// Ends with the connection, in good order or not.
    body: futures::stream::BoxStream<'static, bytes::Bytes>,
    buffer: BytesMut,
}

impl Sse {
    async fn open(serving: &Serving, key: &str, query: &str, after: Option<i64>) -> Self {
        let mut request =
            serving.client.get(serving.url(&format!("/feed{query}"))).bearer_auth(key);
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after.to_string());
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let body =
            response.bytes_stream().scan((), |(), read| std::future::ready(read.ok())).boxed();
        Sse { body, buffer: BytesMut::new() }
    }

    /// The next envelope; `None` when the server has closed.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.buffer.split_to(end + 2);
                let block = std::str::from_utf8(&block).expect("text");
                let data = block.lines().find_map(|line| line.strip_prefix("data: "));
                let envelope: Value =
                    serde_json::from_str(data.expect("a data line")).expect("JSON");
                let id = block.lines().find_map(|line| line.strip_prefix("id: "));
                let control = envelope["mode"] == "control";
                assert_eq!(id.is_none(), control, "only alerts move Last-Event-ID");
                return Some(envelope);
            }
            let read = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("in time");
            self.buffer.extend_from_slice(&read?);
        }
    }

    /// The next alert, past pings.
    async fn alert(&mut self) -> Value {
        let alert = async {
            loop {
                let envelope = self.next().await.expect("the feed is open");
                if envelope["type"] != "ping" {
                    return envelope;
                }
            }
        };
        tokio::time::timeout(PATIENCE, alert).await.expect("more than pings")
    }
}

async fn cheers(asker: &Asker, from: i64, count: i64) -> i64 {
    let sent = (from..from + count).map(|n| asker.ask(cheer("5001", &format!("cheer-{n}"), n)));
    let outcomes = futures::future::join_all(sent).await;
    outcomes.iter().filter_map(journal::Outcome::last_position).max().expect("positions")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_says_hello_and_then_what_happens() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::FeedRead]).await;
    let asker = serving.world.asker().await;
    let old = cheers(&asker, 1, 1).await;
    until("the feed has come to the first alert", async || {
        let poll = serving.request(Method::GET, &key, "/feed?poll=1").send().await;
        let line = poll.expect("an answer").text().await.expect("text");
        let hello: Value = serde_json::from_str(&line).expect("hello alone");
        hello["position"].as_i64() >= Some(old)
    })
    .await;

    let mut feed = Sse::open(&serving, &key, "", None).await;
    let hello = feed.next().await.expect("hello");
    assert_eq!((&hello["type"], &hello["mode"]), (&json!("hello"), &json!("control")));
    assert_eq!(hello["data"]["resumed"], false);
    assert_eq!(
        (&hello["data"]["after"], &hello["data"]["ping_ms"]),
        (&Value::Null, &json!(10_000))
    );
    let new = cheers(&asker, 2, 1).await;
    let alert = feed.alert().await;
    assert_eq!((&alert["type"], &alert["mode"]), (&json!("cheer"), &json!("live")));
    assert_eq!((&alert["position"], &alert["data"]["bits"]), (&json!(new), &json!(2)));
    assert_eq!(alert["data"]["viewer"]["id"], "5001");

    let mut feed = Sse::open(&serving, &key, "", Some(old - 1)).await;
    assert_eq!(feed.next().await.expect("hello")["data"]["resumed"], true);
    for position in [old, new] {
        let alert = feed.alert().await;
        assert_eq!((&alert["mode"], &alert["position"]), (&json!("replay"), &json!(position)));
    }

    let mut raids = Sse::open(&serving, &key, "?types=raid,follow&after=0", None).await;
    raids.next().await.expect("hello");
    cheers(&asker, 3, 1).await;
    // Nothing but a ping comes to one who wants no cheers.
    assert_eq!(raids.next().await.expect("a ping")["type"], "ping");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_and_returns_gets_every_alert_once() {
    const ALERTS: i64 = 600;
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::FeedRead]).await;
    let asker = serving.world.asker().await;
    let writing = async {
        for from in (1..=ALERTS).step_by(20) {
            cheers(&asker, from, 20).await;
        }
    };
    let reading = async {
        let (mut after, mut seen) = (0, Vec::new());
        let mut stay = 1;
        while seen.len() < ALERTS as usize {
            let mut feed = Sse::open(&serving, &key, "", Some(after)).await;
            feed.next().await.expect("hello");
            stay = stay * 3 % 47 + 1;
            for _ in 0..stay.min(ALERTS as usize - seen.len()) {
                let alert = feed.alert().await;
                let position = alert["position"].as_i64().expect("a position");
                assert!(position > after, "in order and none twice");
                after = position;
                seen.push(alert["id"].as_str().expect("an id").to_owned());
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(writing, reading);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), ALERTS as usize);

    // The same alerts over the two other ways, from the beginning.
    let lines = serving.request(Method::GET, &key, "/feed?poll=1&after=0");
    let lines = lines.send().await.expect("an answer").text().await.expect("text");
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["type"], "hello");
    let ids = |envelopes: &[Value]| -> Vec<String> {
        envelopes.iter().filter_map(|e| e["id"].as_str()).map(str::to_owned).collect()
    };
    assert_eq!(ids(&lines), seen);
    let mut socket = websocket(&serving, &key, "?after=0").await.expect("a connection");
    let mut envelopes = Vec::new();
    while ids(&envelopes).len() < seen.len() {
        envelopes.push(socket_envelope(&mut socket).await);
    }
    assert_eq!(envelopes[0]["type"], "hello");
    assert_eq!(ids(&envelopes), seen);
    serving.stop().await;
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

/// A WebSocket that gives its key as browsers do.
async fn websocket(
    serving: &Serving,
    key: &str,
    query: &str,
) -> Result<Socket, tungstenite::Error> {
    let url = serving.url(&format!("/feed/ws{query}")).replace("http:", "ws:");
    let mut request = url.into_client_request().expect("a request");
    let protocols = format!("tapedeck.v1, bearer.{key}").parse().expect("a header");
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocols);
    let stream = TcpStream::connect(serving.listen).await.expect("it listens");
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "tapedeck.v1");
    Ok(socket)
}

async fn socket_envelope(socket: &mut Socket) -> Value {
    loop {
        let read = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
        if let Message::Text(text) = read.expect("open").expect("a frame") {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_needs_a_key_and_is_told_when_the_server_stops() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::FeedRead]).await;
    let refused = websocket(&serving, "tdk_0_x", "").await.expect_err("no key");
    assert!(matches!(refused, tungstenite::Error::Http(answer) if answer.status() == 401));

    let mut socket = websocket(&serving, &key, "").await.expect("a connection");
    assert_eq!(socket_envelope(&mut socket).await["type"], "hello");
    socket.send(Message::Ping(bytes::Bytes::from_static(b"there?"))).await.expect("sent");
    let asker = serving.world.asker().await;
    cheers(&asker, 1, 1).await;
    assert_eq!(socket_envelope(&mut socket).await["type"], "cheer");
    let mut feed = Sse::open(&serving, &key, "", None).await;
    feed.next().await.expect("hello");

    let stopping = tokio::spawn(serving.stop());
    let bye = socket_envelope(&mut socket).await;
    assert_eq!((&bye["type"], &bye["data"]["reason"]), (&json!("bye"), &json!("shutdown")));
    assert_eq!(feed.alert().await["type"], "bye");
    assert!(feed.next().await.is_none(), "closed after bye");
    stopping.await.expect("a good end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_reads_no_further_on_a_busy_feed() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::FeedRead]).await;
    let asker = serving.world.asker().await;
    let mut feed = Sse::open(&serving, &key, "", None).await;
    feed.next().await.expect("hello");
    gateways::http::keys::revoke(&serving.world.pool, "tester").await.expect("revoked");
    // Alerts come faster than the pings that silence would bring.
    let busy = async {
        for n in 1.. {
            cheers(&asker, n, 1).await;
        }
    };
    let reading = async {
        loop {
            let envelope = feed.next().await.expect("bye comes before the end");
            assert_ne!(envelope["type"], "ping", "it is busy");
            if envelope["type"] == "bye" {
                return envelope["data"]["reason"].clone();
            }
        }
    };
    let reason = async {
        tokio::select! {
            () = busy => unreachable!("it goes on"),
            reason = reading => reason,
        }
    };
    let reason = tokio::time::timeout(PATIENCE, reason).await.expect("it reads on");
    assert_eq!(reason, "revoked");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_have_a_limited_number_of_places() {
    let serving = Serving::with(&Role::ALL, |config| config.feed_readers_max = 1).await;
    let key = serving.key(&[Scope::FeedRead]).await;
    let mut first = Sse::open(&serving, &key, "", None).await;
    first.next().await.expect("hello");
    let refused = serving.request(Method::GET, &key, "/feed").send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    drop(first);
    until("the place is free again", async || {
        let request =
            serving.request(Method::GET, &key, "/feed?poll=1").timeout(Duration::from_secs(5));
        request.send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
    })
    .await;
    serving.stop().await;
}
