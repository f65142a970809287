//! Chat through a whole `tapedeck serve`: what is said is shown, and what is asked is done and answered, once.

mod asked;
mod changing;
mod replying;
mod shown;

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use chrono::Utc;
use futures::StreamExt;
use gateways::http::keys::Scope;
use gateways::simulate::Delivery;
use gateways::twitch::{Secret, webhook};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::interval;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::http::{BROADCASTER, Serving};
use crate::world::{PATIENCE, until};

const VIEWER: &str = "5001";

/// A line of `viewer`, who is called `viewer-<id>`, as Twitch tells of it.
fn line(id: &str, viewer: &str, text: &str) -> Value {
    json!({
        "broadcaster_user_id": BROADCASTER, "broadcaster_user_login": "goldenreel",
        "broadcaster_user_name": "GoldenReel", "chatter_user_id": viewer,
        "chatter_user_login": format!("viewer-{viewer}"),
        "chatter_user_name": format!("Viewer-{viewer}"), "message_id": id,
        "message": {"text": text, "fragments": [{"type": "text", "text": text}]},
        "message_type": "text", "color": "", "badges": [], "cheer": null,
    })
}

fn with(mut line: Value, key: &str, value: Value) -> Value {
    line[key] = value;
    line
}

/// Posts a notification as Twitch does, again where it could not be stored, and gives the answer's status.
async fn post(serving: &Serving, kind: &str, message_id: &str, event: &Value) -> StatusCode {
    let (since, mut again) = (Instant::now(), interval(Duration::from_millis(50)));
    loop {
        again.tick().await;
        let status = post_once(serving, kind, message_id, event).await;
        if status != StatusCode::SERVICE_UNAVAILABLE || since.elapsed() > PATIENCE {
            return status;
        }
    }
}

async fn post_once(serving: &Serving, kind: &str, message_id: &str, event: &Value) -> StatusCode {
    let secret = Secret::new("a secret for tests").expect("a good secret");
    let body = json!({
        "subscription": {"type": kind, "version": "1", "status": "enabled"}, "event": event,
    });
    let delivery = Delivery::signed(&secret, message_id, (kind, "1"), Utc::now(), body.to_string());
    let url = format!("http://{}{}", serving.listen, webhook::PATH);
    let request = serving.client.post(url).body(delivery.body).timeout(PATIENCE);
    let headers = delivery.headers.into_iter();
    let request = headers.fold(request, |request, (name, value)| request.header(name, value));
    request.send().await.expect("an answer").status()
}

/// Somebody says something, in a line whose id is also the notification's.
async fn says(serving: &Serving, id: &str, viewer: &str, text: &str) {
    let status = post(serving, "channel.chat.message", id, &line(id, viewer, text)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{text}");
}

async fn has_points(serving: &Serving, viewer: &str, points: i64) {
    let key = serving.key(&[Scope::AccountsWrite]).await;
    let body = json!({"points": points, "note": "a test"});
    let path = format!("/accounts/{viewer}/credits");
    let (status, _) = serving.post(&key, &path, &format!("{viewer}-points"), body).await;
    assert_eq!(status, 201);
}

/// Waits until so many replies have ended, and gives all of them, oldest first.
async fn replies(serving: &Serving, ended: usize) -> Vec<Value> {
    let key = serving.key(&[Scope::CommandsRead]).await;
    let mut all = Vec::new();
    until(&format!("{ended} replies have ended"), async || {
        let (status, list) = serving.get(&key, "/replies?limit=500").await;
        if status != StatusCode::OK {
            return false;
        }
        all = list["replies"].as_array().expect("a list").clone();
        all.reverse();
        all.iter().filter(|reply| !reply["ended_at"].is_null()).count() >= ended
    })
    .await;
    all
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

/// The chat overlay's connection.
async fn watching(serving: &Serving) -> Socket {
    let key = serving.key(&[Scope::FeedRead]).await;
    let url = serving.url("/chat/ws").replace("http:", "ws:");
    let mut request = url.into_client_request().expect("a request");
    let protocols = format!("tapedeck.v1, bearer.{key}").parse().expect("a header");
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocols);
    let stream = TcpStream::connect(serving.listen).await.expect("it listens");
    let (mut socket, _) =
        tokio_tungstenite::client_async(request, stream).await.expect("a connection");
    let hello = frame(&mut socket).await;
    assert!(hello["type"] == "hello" && hello["ping_ms"].is_number(), "{hello}");
    socket
}

async fn frame(socket: &mut Socket) -> Value {
    loop {
        let read = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
        if let Message::Text(text) = read.expect("open").expect("a frame") {
            let frame: Value = serde_json::from_str(&text).expect("JSON");
            if frame["type"] != "ping" {
                return frame;
            }
        }
    }
}

/// The words of the next line that we say ourselves.
async fn answer(socket: &mut Socket) -> String {
    loop {
        let frame = frame(socket).await;
        if frame["bot"] == true {
            return frame["parts"][0]["text"].as_str().expect("text").to_owned();
        }
    }
}

async fn balance(serving: &Serving, viewer: &str) -> (i64, i64) {
    serving.world.caught_up().await;
    let query = "SELECT available, captured FROM projections.balances WHERE account = $1";
    let found = sqlx::query_as(query).bind(viewer).fetch_optional(&serving.world.pool).await;
    found.expect("balances answer").unwrap_or_default()
}
