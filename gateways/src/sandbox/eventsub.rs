//! Twitch's EventSub: the WebSocket server and the list of subscriptions, with their limits. What goes wrong is told
//! beforehand for calls, and done at once to connections.

mod api;
mod conduits;
mod posting;
mod socket;
mod sub;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::sub::frame;
use super::twitch::{self, Twitch};
use super::{Server, keep, locked};

pub use self::sub::Sub;

pub const TOKEN: &str = "a-token-of-eventsub-that-must-be-seen-nowhere";
pub const CLIENT: &str = "a-client-of-eventsub";

/// How it is made easier to test than the real one, and nothing else.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whatever the client asks for, which can be no less than 10.
    pub keepalive_s: u64,
    /// 10 seconds at Twitch.
    pub unused_after: Duration,
    /// How long a session that is told to reconnect is kept: 30 seconds at Twitch.
    pub grace: Duration,
    pub page: usize,
    pub cost_each: i64,
    pub cost_max: i64,
    /// Begins the names of sessions and subscriptions, where those of two runs must differ.
    pub mark: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            keepalive_s: 10,
            unused_after: Duration::from_secs(10),
            grace: Duration::from_secs(30),
            page: 100,
            cost_each: 0,
            cost_max: 10_000,
            mark: String::new(),
        }
    }
}

/// What it does with a call.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Status(u16),
    /// 429 with no call left, and more from the next second on.
    Limit,
    /// Does what it is asked, and then answers 500.
    DoAndFail,
}

pub struct EventSub {
    shared: Arc<Shared>,
    server: Server,
}

struct Shared {
    options: Options,
    all: Mutex<All>,
}

/// Says whether an access token is good.
type Judge = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Default)]
struct All {
    /// Without one, [`TOKEN`] of [`CLIENT`] is good and no other.
    judge: Option<Judge>,
    subs: Vec<Sub>,
    conduits: conduits::Conduits,
    /// By id, how to reach whoever is connected.
    sessions: BTreeMap<String, mpsc::Sender<Order>>,
    /// Sessions that say nothing any more.
    hushed: BTreeSet<String>,
    /// Sessions that were told to reconnect, and until when they may.
    reconnecting: BTreeMap<String, Instant>,
    calls: Vec<String>,
    deeds: VecDeque<(&'static str, Deed)>,
    forbidden: BTreeSet<String>,
    connections: u64,
    made: u64,
    /// Nobody reaches it.
    is_away: bool,
    /// Nobody who is not connected gets in.
    is_shut: bool,
    /// What becomes of the next connections: they are refused with these statuses.
    refused: VecDeque<u16>,
    told_nobody: Vec<DateTime<Utc>>,
    /// The secret of each webhook, where its host is found, and what came of what was posted.
    secrets: BTreeMap<String, String>,
    hosts: posting::Hosts,
    posted: posting::Posted,
}

/// What a connection is to do.
enum Order {
    Say(String),
    /// Says that it is to go on elsewhere, and ends if it did not within the grace.
    Leave(String),
    Close(u16),
    /// Ends without a goodbye.
    Cut,
    /// Says nothing any more, and stays.
    Hush,
    Ping,
}

impl EventSub {
    pub async fn start(options: Options) -> io::Result<Self> {
        let others = Router::new()
            .route("/oauth2/validate", get(api::validate))
            // As the mock server of Twitch's own command line has it.
            .route("/auth/validate", get(api::validate))
            .route("/helix/users", get(api::users));
        Self::serve(0, options, others, None).await
    }

    /// One at whose address all else of Twitch is as well, and that takes what it grants.
    pub async fn start_beside(options: Options, twitch: &Twitch) -> io::Result<Self> {
        Self::start_with(0, options, twitch, Router::new()).await
    }

    /// The same at a port, or for 0 at a free one, with whatever else is to be answered there.
    pub async fn start_with(
        port: u16,
        options: Options,
        twitch: &Twitch,
        others: Router,
    ) -> io::Result<Self> {
        let judge: Judge = Arc::new(twitch.judge());
        Self::serve(port, options, twitch.routes().merge(others), Some(judge)).await
    }

    async fn serve(
        port: u16,
        options: Options,
        others: Router,
        judge: Option<Judge>,
    ) -> io::Result<Self> {
        let all = Mutex::new(All { judge, ..All::default() });
        let shared = Arc::new(Shared { options, all });
        let list = get(api::list).post(api::create).delete(api::delete);
        let router = Router::new()
            .route("/ws", get(socket::open))
            .route("/helix/eventsub/subscriptions", list.clone())
            .route("/eventsub/subscriptions", list)
            .merge(conduits::routes())
            .with_state(Arc::clone(&shared))
            .merge(others);
        let server = Server::start(port, router).await?;
        Ok(EventSub { shared, server })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn port(&self) -> u16 {
        self.address().port()
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/helix", self.address())
    }

    /// Where it is asked whether a token is good.
    pub fn id_url(&self) -> String {
        format!("http://{}/oauth2", self.address())
    }

    pub fn websocket_url(&self) -> String {
        format!("ws://{}/ws", self.address())
    }

    /// Something happens: it is told to whoever subscribes to it, under this message id. To how many?
    pub fn tell(&self, message_id: &str, kind: &str, event: &Value) -> usize {
        let mut all = self.shared.all();
        let mut told = 0;
        for sub in all.subs.iter().filter(|sub| sub.kind == kind && sub.status == "enabled") {
            let frame = sub.frame(message_id, "notification", Some(event));
            told += usize::from(all.say(sub, frame));
        }
        if told == 0 {
            keep(&mut all.told_nobody, Utc::now());
        }
        told
    }

    /// When something happened that nobody was told.
    pub fn told_nobody(&self) -> Vec<DateTime<Utc>> {
        self.shared.all().told_nobody.clone()
    }

    /// Takes a right away, and says so: over a connection, or by a request.
    pub fn revoke(&self, kind: &str, status: &str) {
        let mut all = self.shared.all();
        let mut revoked = Vec::new();
        for sub in all.subs.iter_mut().filter(|sub| sub.kind == kind && sub.status == "enabled") {
            sub.status = status.to_owned();
            revoked.push(sub.clone());
        }
        for sub in revoked {
            let frame = sub.frame(&format!("revoked-{}", sub.id), "revocation", None);
            all.say(&sub, frame);
            if let Some(secret) = all.secrets.get(&sub.id).cloned() {
                tokio::spawn(posting::revocation(Arc::clone(&self.shared), sub, secret));
            }
        }
    }

    /// Has every session go on over another connection.
    pub fn reconnect(&self) {
        let mut all = self.shared.all();
        let sessions: Vec<String> = all.sessions.keys().cloned().collect();
        for id in sessions {
            let url = format!("ws://{}/ws?reconnect={id}", self.address());
            let session = json!({"id": id, "status": "reconnecting", "connected_at": Utc::now(),
                "keepalive_timeout_seconds": null, "reconnect_url": url});
            let frame = frame("session_reconnect", json!({ "session": session }));
            all.order(&id, Order::Leave(frame));
            all.reconnecting.insert(id, Instant::now() + self.shared.options.grace);
        }
    }

    pub fn close(&self, code: u16) {
        self.shared.all().order_all(|| Order::Close(code));
    }

    pub fn cut(&self) {
        self.shared.all().order_all(|| Order::Cut);
    }

    /// Nobody reaches it from now on, or everybody again.
    pub fn is_away(&self, is_away: bool) {
        self.shared.all().is_away = is_away;
        if is_away {
            self.cut();
        }
    }

    /// Nobody who is not connected gets in from now on, or everybody again.
    pub fn shuts(&self, is_shut: bool) {
        self.shared.all().is_shut = is_shut;
    }

    pub fn hush(&self) {
        let mut all = self.shared.all();
        all.order_all(|| Order::Hush);
        all.hushed = all.sessions.keys().cloned().collect();
    }

    pub fn ping(&self) {
        self.shared.all().order_all(|| Order::Ping);
    }

    /// Says something as it is, over every connection.
    pub fn say(&self, text: &str) {
        self.shared.all().order_all(|| Order::Say(text.to_owned()));
    }

    /// What it does with the next calls of this method.
    pub fn does(&self, method: &'static str, deeds: impl IntoIterator<Item = Deed>) {
        let deeds = deeds.into_iter().map(|deed| (method, deed));
        self.shared.all().deeds.extend(deeds);
    }

    /// The next connections are answered with these statuses.
    pub fn refuses(&self, statuses: impl IntoIterator<Item = u16>) {
        self.shared.all().refused.extend(statuses);
    }

    pub fn forbids(&self, kind: &str) {
        self.shared.all().forbidden.insert(kind.to_owned());
    }

    pub fn allows(&self, kind: &str) {
        self.shared.all().forbidden.remove(kind);
    }

    /// Puts one on the list, as if somebody had made it before.
    pub fn has(&self, sub: Sub) {
        self.shared.all().subs.push(sub);
    }

    pub fn subs(&self) -> Vec<Sub> {
        self.shared.all().subs.clone()
    }

    /// How many of its subscriptions tell somebody who is there.
    pub fn enabled(&self) -> usize {
        self.subs().iter().filter(|sub| sub.status == "enabled").count()
    }

    /// Every webhook answers its challenge.
    pub fn challenges_are_answered(&self) {
        let mut all = self.shared.all();
        let pending = |sub: &&mut Sub| sub.status == "webhook_callback_verification_pending";
        all.subs.iter_mut().filter(pending).for_each(|sub| sub.status = "enabled".to_owned());
    }

    /// The calls since this was last asked: `GET`, `POST channel.cheer`, `DELETE <id>`.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.all().calls)
    }

    /// How many connections there ever were.
    pub fn connections(&self) -> u64 {
        self.shared.all().connections
    }

    /// How many sessions are connected.
    pub fn sessions(&self) -> usize {
        self.shared.all().sessions.len()
    }
}

impl Shared {
    fn all(&self) -> MutexGuard<'_, All> {
        locked(&self.all)
    }
}

impl All {
    /// Whether a request comes with a good token, and of the application that it is of.
    fn takes(&self, bearer: Option<&str>, client: Option<&str>) -> Result<(), &'static str> {
        let given = bearer.and_then(|bearer| bearer.strip_prefix("Bearer ")).unwrap_or_default();
        let (is_good, wanted) = match &self.judge {
            Some(judge) => (judge(given), twitch::CLIENT_ID),
            None => (given == TOKEN, CLIENT),
        };
        match (is_good, client == Some(wanted)) {
            (false, _) => Err("Invalid OAuth token"),
            (_, false) => Err("Client ID and OAuth token do not match"),
            _ => Ok(()),
        }
    }

    /// Whether a session goes on over another connection, which it may once.
    fn may_go_on(&mut self, session: &str) -> bool {
        self.reconnecting.remove(session).is_some_and(|until| Instant::now() < until)
    }

    fn say(&self, sub: &Sub, text: String) -> bool {
        let session = match sub.transport["conduit_id"].as_str() {
            Some(conduit) => self.conduits.session(conduit),
            None => sub.transport["session_id"].as_str(),
        };
        let session = session.unwrap_or_default();
        self.order(session, Order::Say(text)) && !self.hushed.contains(session)
    }

    fn order(&self, session: &str, order: Order) -> bool {
        self.sessions.get(session).is_some_and(|session| session.try_send(order).is_ok())
    }

    fn order_all(&self, order: impl Fn() -> Order) {
        for session in self.sessions.values() {
            let _ = session.try_send(order());
        }
    }
}
