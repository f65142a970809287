//! Twitch's Helix: saying something in chat, as `POST /chat/messages` answers it. What goes wrong is told beforehand, for
//! each call; told nothing, it takes what it is given, and drops the same words of a sender as the real one does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub const TOKEN: &str = "a-token-that-must-be-seen-nowhere";
pub const CLIENT: &str = "a-client-id";
pub const SENDER: &str = "9000";

/// What it does with a call.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Status(u16),
    /// 429, to be asked again in so many seconds.
    Limit(i64),
    Drop(&'static str),
    /// Takes the words, and never says so.
    TakeAndHang,
    Garbage,
}

pub struct Helix {
    state: Arc<Shared>,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    deeds: Mutex<VecDeque<Deed>>,
    asked: Mutex<Vec<String>>,
    said: Mutex<Vec<String>>,
}

impl Helix {
    pub async fn start() -> Self {
        let state = Arc::new(Shared::default());
        let router =
            Router::new().route("/helix/chat/messages", post(say)).with_state(Arc::clone(&state));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Helix { state, address, _server: AbortOnDropHandle::new(server) }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/helix", self.address)
    }

    /// What it does with the next calls.
    pub fn does(&self, deeds: impl IntoIterator<Item = Deed>) {
        self.state.deeds.lock().expect("whole").extend(deeds);
    }

    /// The words of every call that was allowed.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().expect("whole").clone()
    }

    /// What is in the chat.
    pub fn said(&self) -> Vec<String> {
        self.state.said.lock().expect("whole").clone()
    }
}

async fn say(State(state): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return failure(401, "Invalid OAuth token");
    }
    if header("client-id") != Some(CLIENT) {
        return failure(401, "Client ID and OAuth token do not match");
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
    let known = ["broadcaster_id", "sender_id", "message"];
    let keys = asked.as_object().map(|all| all.keys().all(|key| known.contains(&key.as_str())));
    if keys != Some(true) || text("broadcaster_id").is_empty() || text("sender_id") != SENDER {
        return failure(400, "The request is not as it must be");
    }
    let words = text("message");
    match words.chars().count() {
        0 => return failure(400, "The message is empty"),
        1..=500 => {}
        _ => return failure(422, "The message is too large"),
    }
    state.asked.lock().expect("whole").push(words.clone());
    let deed = state.deeds.lock().expect("whole").pop_front();
    match deed {
        Some(Deed::Status(status)) => failure(status, &words),
        Some(Deed::Limit(seconds)) => {
            let reset = (chrono::Utc::now().timestamp() + seconds).to_string();
            let mut answer = failure(429, "Too many requests");
            answer.headers_mut().insert("ratelimit-reset", reset.parse().expect("a header"));
            answer
        }
        Some(Deed::Drop(code)) => dropped(code, &words),
        Some(Deed::Garbage) => (StatusCode::OK, "\u{0}<html>").into_response(),
        Some(Deed::TakeAndHang) => {
            state.said.lock().expect("whole").push(words);
            std::future::pending().await
        }
        None => {
            let mut said = state.said.lock().expect("whole");
            if said.contains(&words) {
                return dropped("msg_duplicate", &words);
            }
            said.push(words);
            let id = format!("twitch-{}", said.len());
            let one = json!({"message_id": id, "is_sent": true, "drop_reason": null});
            (StatusCode::OK, json!({"data": [one]}).to_string()).into_response()
        }
    }
}

/// A 200 that says that nothing was sent, and quotes what was not.
fn dropped(code: &str, words: &str) -> Response {
    let reason = json!({"code": code, "message": format!("Your message was not sent: {words}")});
    let one = json!({"message_id": "", "is_sent": false, "drop_reason": reason});
    (StatusCode::OK, json!({"data": [one]}).to_string()).into_response()
}

fn failure(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let body = json!({"error": "no", "status": status.as_u16(), "message": message});
    (status, body.to_string()).into_response()
}
