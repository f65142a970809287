//! Twitch's chat over IRC, on plain TCP and over WebSocket: logging in, joining, saying something within what Twitch takes,
//! and all that is said about a channel. What viewers say, and how connections end, is the test's to tell.

mod connection;
mod speaking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use chrono::Utc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use self::speaking::Spoken;
use super::twitch::{self, Said, Speaker, Twitch};
use super::{Server, locked};
use crate::simulate::Viewer;

pub const TOKEN: &str = "a-token-of-irc-that-must-be-seen-nowhere";
pub const LOGIN: &str = "tapedeckbot";
/// Its user id.
pub const SPEAKER: &str = twitch::BOT;
/// The one channel there is, and whose it is.
pub const CHANNEL: &str = "goldenreel";
pub const ROOM: &str = "1000";
const AFTER_A_FAILURE: Duration = Duration::from_millis(50);

pub struct Irc {
    shared: Arc<Shared>,
    address: SocketAddr,
    websocket: Server,
    _plain: AbortOnDropHandle<()>,
}

/// Says whose an access token is, where it is good.
type Judge = Box<dyn Fn(&str) -> Option<Speaker> + Send + Sync>;
/// Hears what clients say in chat.
type Listener = Box<dyn Fn(Said) + Send + Sync>;

struct Shared {
    /// Besides [`TOKEN`] of [`LOGIN`], which is always good.
    judge: Judge,
    listener: Listener,
    all: Mutex<All>,
}

/// What becomes of a line that a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is not taken, for this reason (`msg-id`), which these words describe.
    Drop(&'static str, &'static str),
    /// It is taken, and the connection is cut before it is said so.
    TakeAndCut,
    /// It is taken, and nothing is said of it.
    TakeAndHush,
    /// The client is told to go on over another connection, and then that it is taken.
    ReconnectAndTake,
}

#[derive(Default)]
struct All {
    clients: BTreeMap<u64, Client>,
    connections: u64,
    /// Nobody reaches it.
    is_away: bool,
    /// What clients said, line by line.
    heard: Vec<String>,
    /// What becomes of the next lines.
    answers: VecDeque<Answer>,
    /// What was said in chat, by user id.
    spoken: BTreeMap<String, Vec<Spoken>>,
}

struct Client {
    orders: mpsc::Sender<Order>,
    joined: BTreeSet<String>,
    /// It is told nothing any more.
    hushed: bool,
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
    pub async fn start() -> io::Result<Self> {
        Self::serve(Box::new(|_| None), Box::new(|_| {})).await
    }

    /// One that takes what this Twitch grants.
    pub async fn start_beside(twitch: &Twitch) -> io::Result<Self> {
        Self::serve(Box::new(twitch.speakers()), Box::new(twitch.listener())).await
    }

    async fn serve(judge: Judge, listener: Listener) -> io::Result<Self> {
        let shared = Arc::new(Shared { judge, listener, all: Mutex::default() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::clone(&shared);
        let plain = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        tokio::spawn(connection::over_tcp(Arc::clone(&state), stream));
                    }
                    // Such as no file being left: others may end meanwhile.
                    Err(_) => tokio::time::sleep(AFTER_A_FAILURE).await,
                }
            }
        });
        let router = Router::new().route("/", get(upgrade)).with_state(Arc::clone(&shared));
        let websocket = Server::start(0, router).await?;
        Ok(Irc { shared, address, websocket, _plain: AbortOnDropHandle::new(plain) })
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn websocket_port(&self) -> u16 {
        self.websocket.address().port()
    }

    /// Says a line to whoever has joined. To how many?
    pub fn says(&self, line: &str) -> usize {
        self.order(
            |client| !client.hushed && client.joined.contains(CHANNEL),
            || Order::Say(line.to_owned()),
        )
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

    /// Nobody reaches it from now on, or everybody again.
    pub fn is_away(&self, is_away: bool) {
        self.shared.all().is_away = is_away;
        if is_away {
            self.cut();
        }
    }

    pub fn hush(&self) {
        self.order(|_| true, || Order::Hush);
        self.shared.all().clients.values_mut().for_each(|client| client.hushed = true);
    }

    /// What becomes of the next lines that clients say; told nothing, they are taken within what Twitch takes.
    pub fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.all().answers.extend(answers);
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
        told.filter(|client| client.orders.try_send(order()).is_ok()).count()
    }
}

/// A line of a viewer as Twitch says it, with `tags` beside those that every line has.
pub fn line(id: &str, viewer: &Viewer, text: &str, tags: &str) -> String {
    let now = Utc::now().timestamp_millis();
    let Viewer { id: user, login, name } = viewer;
    format!(
        "@badge-info=;badges=;client-nonce=x;color=;display-name={name};emotes=;first-msg=0;flags=;\
         id={id};mod=0;returning-chatter=0;room-id={ROOM};subscriber=0;tmi-sent-ts={now};turbo=0;\
         user-id={user};user-type=;{tags} \
         :{login}!{login}@{login}.tmi.twitch.tv PRIVMSG #{CHANNEL} :{text}"
    )
}

async fn upgrade(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.max_message_size(connection::LINE_BYTES_MAX).protocols(["irc"]);
    upgrade.on_upgrade(move |socket| connection::over_websocket(shared, socket))
}

impl Shared {
    fn all(&self) -> MutexGuard<'_, All> {
        locked(&self.all)
    }
}
