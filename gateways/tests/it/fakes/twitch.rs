//! Twitch's authorization server and the parts of Helix that logging in needs, as id.twitch.tv and api.twitch.tv answer
//! them: codes are good once and for one redirect URI, scopes are a list, failures are `{status, message}`.

mod device;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub const CLIENT_ID: &str = "tapedeckclient0123456789abcdef";
pub const CLIENT_SECRET: &str = "clientsecretseennowhere0123456";
pub const REDIRECT: &str = "http://localhost/api/v1/login/callback";
/// Who sits before the browser.
const PERSON: &str = "x-person";

pub struct Twitch {
    state: Shared,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

type Shared = Arc<Mutex<World>>;

#[derive(Default)]
struct World {
    /// Display names by user id.
    people: BTreeMap<String, String>,
    moderators: Vec<String>,
    codes: HashMap<String, Code>,
    devices: HashMap<String, device::Asked>,
    /// What whoever asks for a device code hears first, once each.
    words: VecDeque<&'static str>,
    /// Who says yes to every device code.
    yes_of: Option<String>,
    refreshed: usize,
    /// What was said in chat: by whom, and what.
    said: Vec<(String, String)>,
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
    pub async fn start() -> Self {
        let state = Shared::default();
        for (id, name) in [
            ("1000", "TapeHost"),
            ("5001", "ReelDeal"),
            ("5002", "Static"),
            ("7", "Mod"),
            ("9000", "TapeBot"),
        ] {
            state.lock().expect("whole").people.insert(id.to_owned(), name.to_owned());
        }
        let router = routes(&state);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Twitch { state, address, _server: AbortOnDropHandle::new(server) }
    }

    /// What it answers, to be answered elsewhere too.
    pub fn routes(&self) -> Router {
        routes(&self.state)
    }

    /// Says whether an access token is good.
    pub fn judge(&self) -> impl Fn(&str) -> bool + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move |access| {
            let world = state.lock().expect("whole");
            world.grants.iter().any(|grant| grant.access == access && grant.access_is_good)
        }
    }

    pub fn id_url(&self) -> String {
        format!("http://{}/oauth2", self.address)
    }

    pub fn helix_url(&self) -> String {
        format!("http://{}/helix", self.address)
    }

    /// A person at Twitch says yes to what a browser was sent there with; where Twitch sends it back to.
    pub async fn consent(&self, location: &str, person: &str) -> String {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.build().expect("a client");
        let answer = client.get(location).header(PERSON, person).send().await.expect("an answer");
        let back = answer.headers().get(header::LOCATION).map(|url| url.to_str().expect("text"));
        back.unwrap_or_else(|| panic!("{}", answer.status())).to_owned()
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

    pub fn moderate(&self, moderators: &[&str]) {
        self.world().moderators = moderators.iter().map(|id| (*id).to_owned()).collect();
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

    fn world(&self) -> MutexGuard<'_, World> {
        self.state.lock().expect("whole")
    }
}

impl World {
    fn secret(&mut self) -> String {
        let secret = Uuid::new_v4().simple().to_string()[2..].to_owned();
        self.secrets.push(secret.clone());
        secret
    }

    fn grant(&mut self, person: String, scopes: Vec<String>) -> Value {
        let (access, refresh) = (self.secret(), self.secret());
        let answer = json!({"access_token": access, "refresh_token": refresh, "expires_in": 14_400,
                            "scope": scopes, "token_type": "bearer"});
        let (access_is_good, refresh_is_good) = (true, true);
        self.grants.push(Grant {
            person,
            access,
            refresh,
            scopes,
            access_is_good,
            refresh_is_good,
        });
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
        .route("/oauth2/authorize", get(authorize))
        .route("/oauth2/device", post(device::begin))
        .route("/oauth2/token", post(token))
        .route("/oauth2/validate", get(validate))
        .route("/oauth2/revoke", post(revoke))
        .route("/helix/users", get(users))
        .route("/helix/moderation/moderators", get(moderators))
        .route("/helix/chat/messages", post(device::say))
        .layer(counted)
        .with_state(Arc::clone(state))
}

async fn count(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let (is_down, gate) = {
        let mut world = state.lock().expect("whole");
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let gate = world.gates.get(&name).cloned();
        *world.calls.entry(name).or_default() += 1;
        (world.is_down, gate)
    };
    match is_down {
        true => (StatusCode::SERVICE_UNAVAILABLE, "upstream connect error").into_response(),
        false => {
            let answer = next.run(request).await;
            if let Some(gate) = gate {
                gate.acquire().await.expect("open").forget();
            }
            answer
        }
    }
}

async fn authorize(
    State(state): State<Shared>,
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let said = |name: &str| asked.get(name).cloned().unwrap_or_default();
    if said("client_id") != CLIENT_ID || said("response_type") != "code" {
        return failure(400, "invalid client");
    }
    if said("redirect_uri") != REDIRECT {
        return failure(400, "Parameter redirect_uri does not match registered URI");
    }
    let mut back = reqwest::Url::parse(REDIRECT).expect("a URL");
    let person = headers.get(PERSON).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if person == "nobody" {
        back.query_pairs_mut()
            .append_pair("error", "access_denied")
            .append_pair("error_description", "The user denied you access")
            .append_pair("state", &said("state"));
        return Redirect::to(back.as_str()).into_response();
    }
    let mut world = state.lock().expect("whole");
    let code = world.secret();
    let scopes: Vec<String> = said("scope").split_whitespace().map(str::to_owned).collect();
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("scope", &scopes.join(" "))
        .append_pair("state", &said("state"));
    let redirect_uri = said("redirect_uri");
    world.codes.insert(code, Code { person: person.to_owned(), redirect_uri, scopes });
    Redirect::to(back.as_str()).into_response()
}

async fn token(
    State(state): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let mut url = reqwest::Url::parse("http://form").expect("a URL");
    url.set_query(std::str::from_utf8(&body).ok());
    let form: HashMap<String, String> = url.query_pairs().into_owned().chain(query).collect();
    let said = |name: &str| form.get(name).cloned().unwrap_or_default();
    let mut world = state.lock().expect("whole");
    if said("grant_type") == device::GRANT_TYPE {
        return device::poll(&mut world, &said);
    }
    let is_ours = said("client_secret") == CLIENT_SECRET && !world.has_another_secret;
    if said("client_id") != CLIENT_ID || !is_ours {
        return failure(403, "invalid client secret");
    }
    match said("grant_type").as_str() {
        "authorization_code" => match world.codes.remove(&said("code")) {
            Some(code) if code.redirect_uri == said("redirect_uri") => {
                axum::Json(world.grant(code.person, code.scopes)).into_response()
            }
            _ => failure(400, "Invalid authorization code"),
        },
        "refresh_token" => {
            let refresh = said("refresh_token");
            let known = world.grants.iter_mut();
            let known = known.rev().find(|grant| grant.refresh == refresh && grant.refresh_is_good);
            let Some(old) = known else { return failure(400, "Invalid refresh token") };
            // The old one is not good any more: who loses the answer has to log in again.
            (old.access_is_good, old.refresh_is_good) = (false, false);
            let (person, scopes) = (old.person.clone(), old.scopes.clone());
            world.refreshed += 1;
            axum::Json(world.grant(person, scopes)).into_response()
        }
        "client_credentials" => {
            let mut answer = world.grant(String::new(), Vec::new());
            let fields = answer.as_object_mut().expect("an object");
            fields.retain(|name, _| name != "refresh_token" && name != "scope");
            fields["expires_in"] = json!(5_011_271);
            axum::Json(answer).into_response()
        }
        _ => failure(400, "invalid grant type"),
    }
}

async fn validate(State(state): State<Shared>, headers: HeaderMap) -> Response {
    let world = state.lock().expect("whole");
    let Some(grant) = world.asker(&headers) else { return failure(401, "invalid access token") };
    if grant.person.is_empty() {
        let body = json!({"client_id": CLIENT_ID, "scopes": null, "expires_in": 5_000_000});
        return axum::Json(body).into_response();
    }
    let login = world.people.get(&grant.person).map(|name| name.to_lowercase());
    axum::Json(json!({"client_id": CLIENT_ID, "login": login, "scopes": grant.scopes,
                      "user_id": grant.person, "expires_in": 5_000}))
    .into_response()
}

async fn revoke(State(state): State<Shared>, body: Bytes) -> Response {
    let mut url = reqwest::Url::parse("http://form").expect("a URL");
    url.set_query(std::str::from_utf8(&body).ok());
    let form: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let mut world = state.lock().expect("whole");
    let token = form.get("token").cloned().unwrap_or_default();
    let known = world.grants.iter_mut().find(|grant| grant.access == token && grant.access_is_good);
    match known {
        Some(grant) if form.get("client_id").is_some_and(|id| id == CLIENT_ID) => {
            (grant.access_is_good, grant.refresh_is_good) = (false, false);
            StatusCode::OK.into_response()
        }
        _ => failure(400, "Invalid token"),
    }
}

async fn users(State(state): State<Shared>, headers: HeaderMap) -> Response {
    let world = state.lock().expect("whole");
    let Some(grant) = helix(&world, &headers) else { return unauthorized() };
    let name = world.people.get(&grant.person).cloned().unwrap_or_default();
    let user = json!({"id": grant.person, "login": name.to_lowercase(), "display_name": name,
                      "type": "", "broadcaster_type": "", "description": "", "view_count": 0,
                      "profile_image_url": "", "offline_image_url": "",
                      "created_at": "2016-12-14T20:32:28Z"});
    axum::Json(json!({"data": [user]})).into_response()
}

/// Two to a page, so that pages are followed.
async fn moderators(
    State(state): State<Shared>,
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let world = state.lock().expect("whole");
    let Some(grant) = helix(&world, &headers) else { return unauthorized() };
    let may = grant.scopes.iter().any(|scope| scope == "moderation:read");
    if !may || asked.get("broadcaster_id") != Some(&grant.person) {
        return unauthorized();
    }
    let from: usize = asked.get("after").and_then(|after| after.parse().ok()).unwrap_or_default();
    let page = world.moderators.iter().skip(from).take(2);
    let data: Vec<Value> = page.map(|id| json!({"user_id": id, "user_login": "x"})).collect();
    let more = from + 2 < world.moderators.len();
    let pagination = if more { json!({"cursor": (from + 2).to_string()}) } else { json!({}) };
    axum::Json(json!({"data": data, "pagination": pagination})).into_response()
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

fn failure(status: u16, message: &str) -> Response {
    let code = StatusCode::from_u16(status).expect("a status");
    (code, axum::Json(json!({"status": status, "message": message}))).into_response()
}
