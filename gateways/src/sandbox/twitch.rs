//! Twitch's authorization server and the parts of Helix that are about people, as id.twitch.tv and api.twitch.tv answer
//! them: codes are good once and for one redirect URI, scopes are a list, failures are `{status, message}`.

mod device;
mod granting;
mod people;
mod speaking;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::lists::with_limits;
use super::{KEPT_MAX, QUEUE_MAX, Server, keep, locked, status};
use crate::simulate::Viewer;

pub use speaking::{Said, Speaker};

pub const CLIENT_ID: &str = "tapedeckclient0123456789abcdef";
pub const CLIENT_SECRET: &str = "clientsecretseennowhere0123456";
/// Where the application has its users sent back to, unless it is registered with another address.
pub const REDIRECT: &str = "http://localhost/api/v1/login/callback";
/// Whose channel it is, and who speaks there for Tapedeck.
pub const BROADCASTER: &str = "1000";
pub const BOT: &str = "9000";

/// All that Twitch has is less.
const SCOPES_BYTES_MAX: usize = 4_096;

pub struct Twitch {
    state: Shared,
    server: Option<Server>,
}

type Shared = Arc<Mutex<World>>;

struct World {
    /// By user id.
    people: BTreeMap<String, Viewer>,
    moderators: Vec<String>,
    redirect: String,
    codes: HashMap<String, Code>,
    devices: HashMap<String, device::Asked>,
    /// What whoever asks for a device code hears first, once each.
    words: VecDeque<&'static str>,
    /// Who says yes to every device code.
    yes_of: Option<String>,
    refreshed: usize,
    /// What was said in chat.
    said: Vec<Said>,
    /// Who hears it at once.
    hearing: Option<mpsc::Sender<Said>>,
    grants: Vec<Grant>,
    is_down: bool,
    /// Our secret was replaced there.
    has_another_secret: bool,
    /// Answers that wait to be let go, by path.
    gates: HashMap<String, Arc<Semaphore>>,
    calls: BTreeMap<String, usize>,
    secrets: Vec<String>,
}

struct Code {
    person: String,
    redirect_uri: String,
    scopes: Vec<String>,
}

struct Grant {
    person: String,
    access: String,
    refresh: String,
    scopes: Vec<String>,
    access_is_good: bool,
    refresh_is_good: bool,
}

impl Twitch {
    /// At an address of its own.
    pub async fn start() -> io::Result<Self> {
        let twitch = Self::unserved();
        let server = Server::start(0, twitch.routes()).await?;
        Ok(Twitch { server: Some(server), ..twitch })
    }

    /// For somebody else to answer at their address.
    pub fn unserved() -> Self {
        Twitch { state: Arc::new(Mutex::new(World::new())), server: None }
    }

    /// What it answers.
    pub fn routes(&self) -> Router {
        routes(&self.state)
    }

    /// Says whether an access token is good.
    pub fn judge(&self) -> impl Fn(&str) -> bool + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move |access| {
            let world = locked(&state);
            world.grants.iter().any(|grant| grant.access == access && grant.access_is_good)
        }
    }

    pub fn id_url(&self) -> String {
        format!("http://{}/oauth2", self.address())
    }

    pub fn helix_url(&self) -> String {
        format!("http://{}/helix", self.address())
    }

    /// From now on it answers 503, or not any more.
    pub fn is_down(&self, is_down: bool) {
        self.world().is_down = is_down;
    }

    /// From now on it wants another secret of our application, or ours again.
    pub fn has_another_secret(&self, has: bool) {
        self.world().has_another_secret = has;
    }

    /// From now on what it answers at `path` waits, one for each permit.
    pub fn holds_back(&self, path: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.world().gates.insert(path.to_owned(), Arc::clone(&gate));
        gate
    }

    /// The hours of all that was granted are over; a refresh gives new ones.
    pub fn hours_pass(&self) {
        self.world().grants.iter_mut().for_each(|grant| grant.access_is_good = false);
    }

    /// Somebody disconnects the application in their settings.
    pub fn disconnect(&self, person: &str) {
        for grant in self.world().grants.iter_mut().filter(|grant| grant.person == person) {
            (grant.access_is_good, grant.refresh_is_good) = (false, false);
        }
    }

    /// How many grants of this person are good.
    pub fn granted(&self, person: &str) -> usize {
        let world = self.world();
        world.grants.iter().filter(|grant| grant.person == person && grant.access_is_good).count()
    }

    pub fn calls(&self, path: &str) -> usize {
        self.world().calls.get(path).copied().unwrap_or_default()
    }

    /// Every code and token that was ever given, and the secret of the application.
    pub fn secrets(&self) -> Vec<String> {
        [self.world().secrets.clone(), vec![CLIENT_SECRET.to_owned()]].concat()
    }

    fn address(&self) -> SocketAddr {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        self.server.as_ref().map_or(nowhere, Server::address)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.state)
    }
}

impl World {
    fn new() -> Self {
        World {
            people: people::first(),
            moderators: Vec::new(),
            redirect: REDIRECT.to_owned(),
            codes: HashMap::new(),
            devices: HashMap::new(),
            words: VecDeque::new(),
            yes_of: None,
            refreshed: 0,
            said: Vec::new(),
            hearing: None,
            grants: Vec::new(),
            is_down: false,
            has_another_secret: false,
            gates: HashMap::new(),
            calls: BTreeMap::new(),
            secrets: Vec::new(),
        }
    }

    fn secret(&mut self) -> String {
        let secret = Uuid::new_v4().simple().to_string()[2..].to_owned();
        keep(&mut self.secrets, secret.clone());
        secret
    }

    fn grant(&mut self, person: String, scopes: Vec<String>) -> Value {
        let (access, refresh) = (self.secret(), self.secret());
        let answer = json!({"access_token": access, "refresh_token": refresh, "expires_in": 14_400,
                            "scope": scopes, "token_type": "bearer"});
        let (access_is_good, refresh_is_good) = (true, true);
        let grant = Grant { person, access, refresh, scopes, access_is_good, refresh_is_good };
        keep(&mut self.grants, grant);
        answer
    }

    /// Whose token it is that this request comes with.
    fn asker(&self, headers: &HeaderMap) -> Option<&Grant> {
        let sent = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (_, access) = sent.split_once(' ')?;
        self.grants.iter().find(|grant| grant.access == access && grant.access_is_good)
    }
}

fn routes(state: &Shared) -> Router {
    let counted = axum::middleware::from_fn_with_state(Arc::clone(state), count);
    Router::new()
        .route("/oauth2/authorize", get(granting::authorize))
        .route("/oauth2/device", post(device::begin))
        .route("/oauth2/token", post(granting::token))
        .route("/oauth2/validate", get(granting::validate))
        .route("/oauth2/revoke", post(granting::revoke))
        .route("/helix/users", get(people::users))
        .route("/helix/games", get(people::games))
        .route("/helix/moderation/moderators", get(people::moderators))
        .route("/helix/chat/messages", post(speaking::say))
        .layer(counted)
        .with_state(Arc::clone(state))
}

async fn count(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let is_helix = request.uri().path().starts_with("/helix/");
    let (is_down, gate) = {
        let mut world = locked(&state);
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let gate = world.gates.get(&name).cloned();
        // Only paths that are answered come here, so there are few names.
        *world.calls.entry(name).or_default() += 1;
        (world.is_down, gate)
    };
    if is_down {
        return (StatusCode::SERVICE_UNAVAILABLE, "upstream connect error").into_response();
    }
    let answer = next.run(request).await;
    if let Some(gate) = gate
        && let Ok(permit) = gate.acquire().await
    {
        permit.forget();
    }
    if is_helix { with_limits(answer) } else { answer }
}

/// Helix wants the application named beside the token.
fn helix<'a>(world: &'a World, headers: &HeaderMap) -> Option<&'a Grant> {
    let named = headers.get("client-id").is_some_and(|id| id == CLIENT_ID);
    world.asker(headers).filter(|_| named)
}

fn unauthorized() -> Response {
    let body = json!({"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"});
    (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response()
}

fn failure(code: u16, message: &str) -> Response {
    (status(code), axum::Json(json!({"status": code, "message": message}))).into_response()
}

/// The fields of a form, as a body or a query has them.
fn form(text: &[u8]) -> HashMap<String, String> {
    let mut url = reqwest::Url::parse("http://form").ok();
    if let Some(url) = &mut url {
        url.set_query(std::str::from_utf8(text).ok());
    }
    url.iter().flat_map(|url| url.query_pairs().into_owned()).collect()
}
