//! The feed over a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::time::timeout;

use super::envelope::Frame;
use super::reader::Frames;

/// The subprotocol that carries envelopes.
pub const PROTOCOL: &str = "tapedeck.v1";

/// A reader says nothing but control frames; what is larger is not one of ours.
const HEARD_BYTES_MAX: usize = 4_096;
/// How long one frame may take to leave.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// What may wait for the socket in this process.
const WAITING_BYTES_MAX: usize = 128 * 1024;

/// `place` is held for as long as there is a reader.
pub(super) fn answer<R: Frames, P: Send + 'static>(
    upgrade: WebSocketUpgrade,
    reader: R,
    place: P,
) -> Response {
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(HEARD_BYTES_MAX)
        .write_buffer_size(0)
        .max_write_buffer_size(WAITING_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            let (sink, heard) = socket.split();
            tokio::select! {
                () = send_all(sink, reader) => {}
                () = listen(heard) => {}
            }
            drop(place);
        })
}

/// Sends frames until there are no more or one cannot leave.
async fn send_all<R: Frames>(mut sink: SplitSink<WebSocket, Message>, mut reader: R) {
    while let Some(frame) = reader.next().await {
        if !send(&mut sink, &frame).await {
            return;
        }
    }
    let close = CloseFrame { code: close_code::AGAIN, reason: "bye".into() };
    let _ = timeout(SEND_LIMIT, sink.send(Message::Close(Some(close)))).await;
}

async fn send(sink: &mut SplitSink<WebSocket, Message>, frame: &Arc<Frame>) -> bool {
    matches!(timeout(SEND_LIMIT, sink.send(Message::Text(frame.text()))).await, Ok(Ok(())))
}

/// Reads until the other side leaves; pings are answered on the way.
async fn listen(mut heard: SplitStream<WebSocket>) {
    while let Some(Ok(message)) = heard.next().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}
