//! Discord's webhooks: saying something in a channel, changing it and taking it back, within the limits of each webhook, as
//! discord.com answers. What is not allowed is refused with the codes of the real one.

mod form;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::Utc;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Server, keep, locked, status};
use form::{Form, Refused};

/// The one webhook there is.
pub const WEBHOOK: &str = "1400000000000000001";
pub const TOKEN: &str = "a-webhook-of-discord-that-must-be-seen-nowhere";
const CHANNEL: &str = "1400000000000000002";
const FIRST_MESSAGE: u64 = 1_400_000_000_000_001_000;
/// As others have seen it; the real one publishes no numbers.
const WITHIN: Duration = Duration::from_secs(2);
/// What is said may have files with it, of which only the sizes are kept.
const FILES_BYTES_MAX: usize = 2 * 1_024 * 1_024;
const MOST: u32 = 5;

pub struct Discord {
    shared: Arc<Mutex<World>>,
    server: Option<Server>,
}

struct World {
    said: Vec<(String, Value)>,
    made: u64,
    is_deleted: bool,
    /// Since when, and how many calls.
    window: (Instant, u32),
}

type Shared = Arc<Mutex<World>>;

impl Discord {
    /// At an address of its own.
    pub async fn start() -> io::Result<Self> {
        let discord = Self::unserved();
        let server = Server::start(0, discord.routes()).await?;
        Ok(Discord { server: Some(server), ..discord })
    }

    /// For somebody else to answer at their address.
    pub fn unserved() -> Self {
        let window = (Instant::now(), 0);
        let world = World { said: Vec::new(), made: 0, is_deleted: false, window };
        Discord { shared: Arc::new(Mutex::new(world)), server: None }
    }

    /// What it answers, with and without the version in the path.
    pub fn routes(&self) -> Router {
        let mut router = Router::new();
        for base in ["/api", "/api/v10"] {
            let one = get(one).patch(one).delete(one);
            router = router
                .route(&format!("{base}/webhooks/{{id}}/{{token}}"), post(say))
                .route(&format!("{base}/webhooks/{{id}}/{{token}}/messages/{{message}}"), one);
        }
        router.layer(DefaultBodyLimit::max(FILES_BYTES_MAX)).with_state(Arc::clone(&self.shared))
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// Somebody deletes the webhook.
    pub fn is_deleted(&self) {
        locked(&self.shared).is_deleted = true;
    }

    /// What stands in the channel.
    pub fn said(&self) -> Vec<Value> {
        locked(&self.shared).said.iter().map(|(_, said)| said.clone()).collect()
    }
}

async fn say(
    State(shared): State<Shared>,
    Path((id, token)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut world = locked(&shared);
    world.answer(&id, &token, |world| {
        let form = Form::read(&headers, &body)?;
        form.check(true)?;
        world.made += 1;
        let name = (FIRST_MESSAGE + world.made).to_string();
        let message = form.message(&name, (WEBHOOK, CHANNEL), Utc::now());
        keep(&mut world.said, (name, message.clone()));
        match query.get("wait").is_some_and(|wait| wait == "true" || wait == "1") {
            true => Ok(axum::Json(message).into_response()),
            false => Ok(StatusCode::NO_CONTENT.into_response()),
        }
    })
}

/// Reads what was said, changes it, or takes it back.
async fn one(
    State(shared): State<Shared>,
    Path((id, token, message)): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut world = locked(&shared);
    world.answer(&id, &token, |world| {
        let at = world.find(&message)?;
        if method == Method::DELETE {
            world.said.remove(at);
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let said = &mut world.said[at].1;
        if method == Method::PATCH {
            let form = Form::read(&headers, &body)?;
            form.check(false)?;
            form.change(said, Utc::now());
        }
        Ok(axum::Json(said.clone()).into_response())
    })
}

impl World {
    /// Does `deed` for who may, as often as they may.
    fn answer(
        &mut self,
        id: &str,
        token: &str,
        deed: impl FnOnce(&mut Self) -> Result<Response, Refused>,
    ) -> Response {
        if id != WEBHOOK || self.is_deleted {
            return refused(&Refused::of(404, 10_015, "Unknown Webhook"));
        }
        if token != TOKEN {
            return refused(&Refused::of(401, 50_027, "Invalid Webhook Token"));
        }
        if self.window.0.elapsed() >= WITHIN {
            self.window = (Instant::now(), 0);
        }
        let left = WITHIN.saturating_sub(self.window.0.elapsed());
        if self.window.1 >= MOST {
            return limited(left);
        }
        self.window.1 += 1;
        let calls_left = MOST - self.window.1;
        let answer = deed(self).unwrap_or_else(|why| refused(&why));
        with_limits(answer, calls_left, left)
    }

    fn find(&self, message: &str) -> Result<usize, Refused> {
        let found = self.said.iter().position(|(name, _)| name == message);
        found.ok_or_else(|| Refused::of(404, 10_008, "Unknown Message"))
    }
}

fn refused(why: &Refused) -> Response {
    let mut body = json!({"message": why.message, "code": why.code});
    if let Some((path, what)) = &why.field {
        let error = json!({"code": "BASE_TYPE_BAD_VALUE", "message": what});
        body["errors"] = json!({ *path: {"_errors": [error]} });
    }
    (status(why.status), axum::Json(body)).into_response()
}

fn limited(left: Duration) -> Response {
    let body = json!({"message": "You are being rate limited.", "global": false,
                      "retry_after": left.as_secs_f64()});
    let mut answer = (StatusCode::TOO_MANY_REQUESTS, axum::Json(body)).into_response();
    let seconds = left.as_secs_f64().ceil().max(1.0);
    answer.headers_mut().insert("retry-after", (seconds as u64).into());
    answer.headers_mut().insert("x-ratelimit-scope", HeaderValue::from_static("user"));
    with_limits(answer, 0, left)
}

fn with_limits(mut answer: Response, calls_left: u32, left: Duration) -> Response {
    let reset = (Utc::now() + left).timestamp_micros() as f64 / 1e6;
    for (name, value) in [
        ("x-ratelimit-limit", MOST.to_string()),
        ("x-ratelimit-remaining", calls_left.to_string()),
        ("x-ratelimit-reset", format!("{reset:.3}")),
        ("x-ratelimit-reset-after", format!("{:.3}", left.as_secs_f64())),
        ("x-ratelimit-bucket", "80c17d2f203122d936070c88c8d10f33".to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
