//! Twitch's chat over IRC, on plain TCP and over WebSocket: logging in, joining, and all that is said about a channel. What
//! is said, and how connections end, is the test's to tell.

mod connection;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use chrono::Utc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

pub const TOKEN: &str = "a-token-of-irc-that-must-be-seen-nowhere";
pub const LOGIN: &str = "tapedeckbot";
/// The one channel there is, and whose it is.
pub const CHANNEL: &str = "goldenreel";
pub const ROOM: &str = "1000";

pub struct Irc {
    shared: Arc<Shared>,
    address: SocketAddr,
    websocket: SocketAddr,
    _servers: [AbortOnDropHandle<()>; 2],
}

#[derive(Default)]
struct Shared(Mutex<All>);

#[derive(Default)]
struct All {
    clients: BTreeMap<u64, Client>,
    connections: u64,
    /// What clients said, line by line.
    heard: Vec<String>,
}

struct Client {
    orders: mpsc::UnboundedSender<Order>,
    joined: BTreeSet<String>,
}

/// What a connection is to do.
enum Order {
    Say(String),
    /// Ends without a goodbye.
    Cut,
    /// Says nothing any more, and stays.
    Hush,
}

impl Irc {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::clone(&shared);
        let plain = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(connection::over_tcp(Arc::clone(&state), stream));
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let websocket = listener.local_addr().expect("an address");
        let router = Router::new().route("/", get(upgrade)).with_state(Arc::clone(&shared));
        let web = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        let servers = [plain, web].map(AbortOnDropHandle::new);
        Irc { shared, address, websocket, _servers: servers }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn websocket_port(&self) -> u16 {
        self.websocket.port()
    }

    /// Says a line to whoever has joined. To how many?
    pub fn says(&self, line: &str) -> usize {
        self.order(|client| client.joined.contains(CHANNEL), || Order::Say(line.to_owned()))
    }

    pub fn reconnect(&self) {
        self.order(|_| true, || Order::Say(":tmi.twitch.tv RECONNECT".to_owned()));
    }

    pub fn ping(&self) {
        self.order(|_| true, || Order::Say("PING :tmi.twitch.tv".to_owned()));
    }

    pub fn cut(&self) {
        self.order(|_| true, || Order::Cut);
    }

    pub fn hush(&self) {
        self.order(|_| true, || Order::Hush);
    }

    /// How many connections there ever were.
    pub fn connections(&self) -> u64 {
        self.shared.all().connections
    }

    /// How many have joined and are there.
    pub fn joined(&self) -> usize {
        let all = self.shared.all();
        all.clients.values().filter(|client| client.joined.contains(CHANNEL)).count()
    }

    /// What clients said, since this was last asked.
    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.all().heard)
    }

    fn order(&self, whom: impl Fn(&Client) -> bool, order: impl Fn() -> Order) -> usize {
        let all = self.shared.all();
        let told = all.clients.values().filter(|client| whom(client));
        told.filter(|client| client.orders.send(order()).is_ok()).count()
    }
}

/// A line of a viewer as Twitch says it, with `tags` beside those that every line has.
pub fn privmsg(id: &str, viewer: &str, text: &str, tags: &str) -> String {
    let now = Utc::now().timestamp_millis();
    let login = format!("viewer_{viewer}");
    format!(
        "@badge-info=;badges=;client-nonce=x;color=;display-name=Viewer_{viewer};emotes=;first-msg=0;flags=;\
         id={id};mod=0;returning-chatter=0;room-id={ROOM};subscriber=0;tmi-sent-ts={now};turbo=0;\
         user-id={viewer};user-type=;{tags} \
         :{login}!{login}@{login}.tmi.twitch.tv PRIVMSG #{CHANNEL} :{text}"
    )
}

async fn upgrade(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols(["irc"]).on_upgrade(move |socket| connection::over_websocket(shared, socket))
}

impl Shared {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().expect("whole")
    }
}
