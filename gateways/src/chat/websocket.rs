//! The chat over a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::feed::PROTOCOL;
use crate::http::State as AppState;
use crate::http::actor::Actor;
use crate::http::auth::Asker;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::keys::Scope;

/// A reader says nothing but control frames; what is larger is not one of ours.
const HEARD_BYTES_MAX: usize = 4_096;
/// How long one frame may take to leave.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// What may wait for the socket in this process.
const WAITING_BYTES_MAX: usize = 128 * 1024;
/// After this much silence a reader is told that we are there.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING: Utf8Bytes = Utf8Bytes::from_static(r#"{"type":"ping"}"#);
/// How often a reader's key is looked at, and how long a look may take.
const KEY_EVERY: Duration = Duration::from_secs(5);
const KEY_LIMIT: Duration = Duration::from_secs(1);

/// The chat as it is to be shown, over a WebSocket: one frame per text.
///
/// First `{"type":"hello","build","ping_ms"}`, then the last 50 lines that were not deleted, then what is said and deleted
/// from then on: `line`, `deleted`, `cleared_viewer`, `cleared`; and `ping` in silence. Who falls too far behind is cut, and sees the last lines again when
/// they return. Browsers, which cannot send headers here, offer the subprotocols `tapedeck.v1` and `bearer.<key>`.
#[utoipa::path(
    get, path = "/chat/ws", tag = "chat",
    responses((status = 101, description = "Frames `{type, …}`"), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn chat_ws(
    State(app): State<AppState>,
    asker: Asker,
    mut parts: Parts,
) -> Result<Response, ApiError> {
    let actor = Arc::clone(asker.require(Scope::FeedRead)?);
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app)
        .await
        .map_err(|error| ApiError::bad_request(error.body_text()))?;
    let place = app.chat.places().try_acquire_owned().map_err(|_| {
        ApiError::unavailable("the chat has all the readers it can have; come back later")
    })?;
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .max_message_size(HEARD_BYTES_MAX)
        .write_buffer_size(0)
        .max_write_buffer_size(WAITING_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let (sink, heard) = socket.split();
        tokio::select! {
            () = send_all(sink, &app) => {}
            () = listen(heard) => {}
            () = revoked(&app, &actor) => {}
        }
        drop(place);
    }))
}

/// Sends frames until one cannot leave, or the reader is too far behind.
async fn send_all(mut sink: SplitSink<WebSocket, Message>, app: &AppState) {
    let (lines, mut next) = app.chat.join();
    let ping_ms = PING_EVERY.as_millis() as u64;
    let hello = json!({"type": "hello", "build": env!("CARGO_PKG_VERSION"), "ping_ms": ping_ms});
    for text in std::iter::once(hello.to_string().into()).chain(lines) {
        if !send(&mut sink, Message::Text(text)).await {
            return;
        }
    }
    loop {
        let frame = tokio::select! {
            () = app.stop.cancelled() => break,
            frame = timeout(PING_EVERY, next.recv()) => frame,
        };
        let message = match frame {
            Ok(Ok(text)) => Message::Text(text),
            Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => break,
            Err(_) => Message::Text(PING),
        };
        if !send(&mut sink, message).await {
            return;
        }
    }
    let close = CloseFrame { code: close_code::AGAIN, reason: "bye".into() };
    send(&mut sink, Message::Close(Some(close))).await;
}

async fn send(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> bool {
    matches!(timeout(SEND_LIMIT, sink.send(message)).await, Ok(Ok(())))
}

/// Ends when what the reader came with is good no more. Where that cannot be known now, the reader stays.
async fn revoked(app: &AppState, actor: &Actor) {
    let mut looks = tokio::time::interval(KEY_EVERY);
    loop {
        looks.tick().await;
        if matches!(timeout(KEY_LIMIT, app.is_still_good(actor)).await, Ok(Ok(false))) {
            return;
        }
    }
}

/// Reads until the other side leaves; pings are answered on the way.
async fn listen(mut heard: SplitStream<WebSocket>) {
    while let Some(Ok(message)) = heard.next().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}
