//! Its connections: welcome, signs of life, and all the ways in which they end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Order, Shared, frame};
use crate::sandbox::{QUEUE_MAX, status};

/// How long an end that was not agreed on may take.
const LAST: Duration = Duration::from_secs(1);
/// Whoever says anything is closed, so nothing large is read.
const HEARD_MAX: usize = 65_536;
const NEVER: Duration = Duration::from_secs(86_400);

pub async fn open(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let refused = {
        let mut all = shared.all();
        if all.is_away || all.is_shut { Some(503) } else { all.refused.pop_front() }
    };
    if let Some(refused) = refused {
        return status(refused).into_response();
    }
    let asked = query.get("keepalive_timeout_seconds").map(|seconds| seconds.parse::<u64>());
    if asked.is_some_and(|asked| asked.is_err()) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let upgrade = upgrade.max_message_size(HEARD_MAX).max_frame_size(HEARD_MAX);
    upgrade.on_upgrade(move |socket| serve(shared, socket, query))
}

async fn serve(shared: Arc<Shared>, mut socket: WebSocket, query: HashMap<String, String>) {
    let (orders, received) = mpsc::channel(QUEUE_MAX);
    let orders_here = orders.clone();
    let former = query.get("reconnect");
    // Whoever counts the connections, or has sessions go on elsewhere, finds this one there from its first moment.
    let id = {
        let mut all = shared.all();
        all.connections += 1;
        let id = match former {
            Some(id) if all.may_go_on(id) => Some(id.clone()),
            Some(_) => None,
            None => Some(format!("session-{}{}", shared.options.mark, all.connections)),
        };
        if let Some(id) = &id {
            // From the welcome on everything is said here.
            all.hushed.remove(id);
            all.sessions.insert(id.clone(), orders);
        }
        id
    };
    let Some(id) = id else { return end(&mut socket, 4007).await };
    let session = json!({
        "id": id, "status": "connected", "connected_at": Utc::now(),
        "keepalive_timeout_seconds": shared.options.keepalive_s, "reconnect_url": null,
    });
    let welcome = frame("session_welcome", json!({ "session": session }));
    let mut connection = Connection { shared, id, received, hushed: false };
    let ended = match socket.send(Message::text(welcome)).await {
        Ok(()) => connection.run(&mut socket, former.is_none()).await,
        Err(_) => None,
    };
    connection.gone(&orders_here, ended);
    if let Some(code) = ended {
        end(&mut socket, code).await;
    }
}

struct Connection {
    shared: Arc<Shared>,
    id: String,
    received: mpsc::Receiver<Order>,
    hushed: bool,
}

impl Connection {
    /// Until it ends: with a code, if we end it in good order.
    async fn run(&mut self, socket: &mut WebSocket, fresh: bool) -> Option<u16> {
        let keepalive = Duration::from_secs(self.shared.options.keepalive_s);
        let mut said = Instant::now();
        let mut unused =
            Instant::now() + if fresh { self.shared.options.unused_after } else { NEVER };
        let mut left = Instant::now() + NEVER;
        loop {
            let silence = said + if self.hushed { NEVER } else { keepalive };
            let text = tokio::select! {
                // What was ordered is done first.
                biased;
                order = self.received.recv() => match order {
                    Some(Order::Say(text)) if !self.hushed => text,
                    Some(Order::Say(_)) => continue,
                    Some(Order::Leave(text)) => {
                        left = Instant::now() + self.shared.options.grace;
                        if self.hushed { continue }
                        text
                    }
                    Some(Order::Close(code)) => return Some(code),
                    Some(Order::Hush) => { self.hushed = true; continue }
                    Some(Order::Ping) => {
                        let _ = socket.send(Message::Ping(Bytes::from_static(b"are you there"))).await;
                        continue;
                    }
                    Some(Order::Cut) | None => return None,
                },
                heard = socket.recv() => match heard {
                    Some(Ok(Message::Pong(_))) => continue,
                    Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_))) => return Some(4001),
                    Some(Ok(Message::Close(_))) => {
                        // The answer to a goodbye leaves when it is read on.
                        let _ = tokio::time::timeout(LAST, socket.recv()).await;
                        return None;
                    }
                    Some(Err(_)) | None => return None,
                },
                () = sleep_until(left) => {
                    left = Instant::now() + NEVER;
                    if self.shared.all().reconnecting.remove(&self.id).is_some() { return Some(4004) }
                    continue;
                }
                () = sleep_until(silence) => frame("session_keepalive", json!({})),
                () = sleep_until(unused) => {
                    unused = Instant::now() + NEVER;
                    if self.is_used() { continue }
                    return Some(4003);
                }
            };
            said = Instant::now();
            if socket.send(Message::text(text)).await.is_err() {
                return None;
            }
        }
    }

    fn is_used(&self) -> bool {
        let all = self.shared.all();
        let ours = |sub: &&super::Sub| sub.transport["session_id"] == self.id.as_str();
        all.conduits.uses(&self.id)
            || all.subs.iter().filter(ours).any(|sub| sub.status == "enabled")
    }

    /// Its subscriptions end with it, unless it goes on elsewhere.
    fn gone(&self, orders: &mpsc::Sender<Order>, code: Option<u16>) {
        let mut all = self.shared.all();
        let here = all.sessions.get(&self.id).is_some_and(|now| now.same_channel(orders));
        if !here {
            return;
        }
        all.sessions.remove(&self.id);
        all.hushed.remove(&self.id);
        if all.reconnecting.contains_key(&self.id) && code.is_none() {
            return;
        }
        let status = match code {
            Some(4000) => "websocket_internal_error",
            Some(4001) => "websocket_received_inbound_traffic",
            Some(4002) => "websocket_failed_ping_pong",
            Some(4003) => "websocket_connection_unused",
            Some(4004) => "websocket_failed_to_reconnect",
            Some(4005) => "websocket_network_timeout",
            Some(4006) => "websocket_network_error",
            _ => "websocket_disconnected",
        };
        all.ends_shards(&self.id, status);
        for sub in all.subs.iter_mut() {
            if sub.transport["session_id"] == self.id.as_str() && sub.status == "enabled" {
                sub.status = status.to_owned();
            }
        }
    }
}

async fn end(socket: &mut WebSocket, code: u16) {
    let frame = CloseFrame { code, reason: "as documented".into() };
    let _ = socket.send(Message::Close(Some(frame))).await;
    // The other side agrees.
    let _ = tokio::time::timeout(LAST, socket.recv()).await;
}
