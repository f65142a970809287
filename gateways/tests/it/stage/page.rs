//! An overlay as the page in OBS is one: it shows what plays, says so, and comes back when it was cut.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::world::PATIENCE;

/// A connection that does what a test tells it.
pub struct Page {
    socket: tokio_tungstenite::WebSocketStream<TcpStream>,
    pub hello: Value,
    /// The last state it was told.
    pub state: Value,
}

impl Page {
    pub async fn open(listen: SocketAddr, key: &str, query: &str) -> Self {
        Self::try_open(listen, key, query).await.expect("a connection")
    }

    pub async fn try_open(
        listen: SocketAddr,
        key: &str,
        query: &str,
    ) -> Result<Self, tungstenite::Error> {
        let url = format!("ws://{listen}/api/v1/stages/main/ws{query}");
        let mut request = url.into_client_request()?;
        let protocols = format!("tapedeck.v1, bearer.{key}").parse().expect("a header");
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocols);
        let stream = TcpStream::connect(listen).await?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        let mut page = Page { socket, hello: Value::Null, state: Value::Null };
        page.hello = page.frame().await.ok_or(tungstenite::Error::ConnectionClosed)?;
        Ok(page)
    }

    /// The next frame; `None` when the server has gone.
    pub async fn frame(&mut self) -> Option<Value> {
        loop {
            let read = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("in time");
            match read?.ok()? {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    if frame["type"] == "state" {
                        self.state = frame.clone();
                    }
                    return Some(frame);
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// The first state that `is` so, the last one included.
    pub async fn until(&mut self, what: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
        let reading = async {
            while self.state.is_null() || !is(&self.state) {
                self.frame().await.unwrap_or_else(|| panic!("cut before {what}"));
            }
            self.state.clone()
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("never: {what}"))
    }

    /// Waits until it is told that `alert` plays, and of which attempt.
    pub async fn told(&mut self, alert: Uuid) -> i64 {
        let is = |state: &Value| {
            let playing = &state["playing"];
            playing["alert"]["id"] == json!(alert) && playing["shown"] == false
        };
        let state = self.until(&format!("{alert} plays"), is).await;
        state["playing"]["attempt"].as_i64().expect("a number")
    }

    /// The bare connection.
    pub fn into_socket(self) -> tokio_tungstenite::WebSocketStream<TcpStream> {
        self.socket
    }

    pub async fn say(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.expect("sent");
    }

    pub async fn paint(&mut self, alert: Uuid, attempt: i64) {
        self.say(json!({"type": "painted", "alert": alert, "attempt": attempt})).await;
    }

    /// Waits for `alert`, and says that it is on the screen.
    pub async fn shows(&mut self, alert: Uuid) -> i64 {
        let attempt = self.told(alert).await;
        self.paint(alert, attempt).await;
        attempt
    }
}

/// What a page keeps over its death: what it has painted, and how often.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<HashMap<(Uuid, i64), u32>>>);

impl Memory {
    /// How often each alert was painted, in all attempts together.
    pub fn paintings(&self) -> HashMap<Uuid, u32> {
        let mut paintings = HashMap::new();
        for ((alert, _), times) in self.0.lock().expect("whole").iter() {
            *paintings.entry(*alert).or_default() += times;
        }
        paintings
    }

    /// Whether this is the first time.
    fn paints(&self, alert: Uuid, attempt: i64) -> bool {
        let mut painted = self.0.lock().expect("whole");
        let first = !painted.contains_key(&(alert, attempt));
        if first {
            painted.insert((alert, attempt), 1);
        }
        first
    }
}

/// A page that shows everything by itself until it is dropped, and comes back whenever it is cut.
pub fn alive(
    listen: SocketAddr,
    key: &str,
    overlay: Uuid,
    memory: &Memory,
) -> AbortOnDropHandle<()> {
    let (key, memory) = (key.to_owned(), memory.clone());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut again = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            again.tick().await;
            let query = format!("?overlay={overlay}");
            let Ok(mut page) = Page::try_open(listen, &key, &query).await else { continue };
            while let Some(frame) = page.frame().await {
                let playing = &frame["playing"];
                let Some(attempt) = playing["attempt"].as_i64() else { continue };
                let id = playing["alert"]["id"].as_str().expect("an id").parse();
                let alert: Uuid = id.expect("an id");
                let now = chrono::Utc::now().timestamp_millis();
                let over = playing["ends_ms"].as_i64().expect("a time") <= now;
                let shown = playing["shown"] == true;
                let known = memory.0.lock().expect("whole").contains_key(&(alert, attempt));
                if shown {
                    continue;
                }
                let deed = if over && !known { "missed" } else { "painted" };
                if deed == "painted" {
                    memory.paints(alert, attempt);
                }
                let said = json!({"type": deed, "alert": alert, "attempt": attempt});
                if page.socket.send(Message::text(said.to_string())).await.is_err() {
                    break;
                }
            }
        }
    }))
}
