//! Its conduits: what is subscribed to over one is told to one of its shards, in turn, and to the next where nobody listens to
//! that; where nobody listens to the next either, nobody is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::api::{begin, failure, with_limits};
use super::{All, EventSub, Shared};

/// As many conduits an application may have.
const CONDUITS_MAX: usize = 5;
const SHARDS_MAX: u64 = 20_000;
const DISABLED: &str = "conduit.shard.disabled";

#[derive(Default)]
pub struct Conduits {
    all: BTreeMap<String, Vec<Option<Shard>>>,
    made: usize,
    /// Whose turn it is.
    next: AtomicUsize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    pub session: String,
    pub status: String,
}

pub fn routes() -> Router<Arc<Shared>> {
    let conduits = get(list).post(create).patch(resize).delete(delete);
    Router::new()
        .route("/helix/eventsub/conduits", conduits)
        .route("/helix/eventsub/conduits/shards", get(shards).patch(give))
}

impl EventSub {
    /// Every shard of every conduit.
    pub fn shards(&self) -> Vec<Option<Shard>> {
        self.shared.all().conduits.all.values().flatten().cloned().collect()
    }

    /// Forgets all conduits, with what is subscribed to over them.
    pub fn forgets_conduits(&self) {
        let mut all = self.shared.all();
        all.conduits.all.clear();
        all.subs.retain(|sub| sub.transport["method"] != "conduit");
    }
}

impl Conduits {
    pub fn has(&self, conduit: &str) -> bool {
        self.all.contains_key(conduit)
    }

    /// Whether somebody is told something over this session.
    pub fn uses(&self, session: &str) -> bool {
        self.all.values().flatten().flatten().any(|shard| shard.session == session)
    }

    /// The session whose turn it is, or the next one; nothing where both have ended, or nobody was given them.
    pub fn session(&self, conduit: &str) -> Option<&str> {
        let shards = self.all.get(conduit)?;
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let turns = [n, n.wrapping_add(1)];
        let mut two = turns.iter().filter_map(|n| shards.get(n % shards.len().max(1))?.as_ref());
        two.find(|shard| shard.status == "enabled").map(|shard| shard.session.as_str())
    }
}

impl All {
    /// A session has ended: its shards are disabled, and whoever subscribes to that is told over another.
    pub fn ends_shards(&mut self, session: &str, status: &str) {
        let mut ended = Vec::new();
        for (conduit, shards) in &mut self.conduits.all {
            for (n, shard) in shards.iter_mut().enumerate() {
                if let Some(shard) = shard.as_mut().filter(|shard| shard.session == session) {
                    shard.status = status.to_owned();
                    ended.push((conduit.clone(), n));
                }
            }
        }
        let subs: Vec<_> = self.subs.iter().filter(|sub| sub.kind == DISABLED).cloned().collect();
        for (conduit, n) in ended {
            let transport = json!({"method": "websocket", "session_id": session});
            let event = json!({"conduit_id": conduit, "shard_id": n.to_string(), "status": status,
                "transport": transport});
            for sub in &subs {
                let id = format!("disabled-{conduit}-{n}-{session}");
                let frame = sub.frame(&id, "notification", Some(&event));
                self.say(sub, frame);
            }
        }
    }
}

/// What is done, or why it is not.
type Answer = Result<Response, Response>;

fn listed(id: &str, shards: usize) -> Value {
    json!({"id": id, "shard_count": shards})
}

fn ok(status: StatusCode, body: Value) -> Response {
    with_limits(790, (status, body.to_string()).into_response())
}

fn unknown() -> Response {
    failure(404, "no such conduit")
}

/// How many shards are asked for.
fn count(asked: &Value) -> Option<usize> {
    let count = asked["shard_count"].as_u64().filter(|n| (1..=SHARDS_MAX).contains(n));
    count.map(|count| count as usize)
}

fn no_count() -> Response {
    failure(400, "the number of shards is not good")
}

async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    let (all, _) = begin(&shared, &headers, "GET conduits")?;
    let data = all.conduits.all.iter().map(|(id, shards)| listed(id, shards.len()));
    Ok(ok(StatusCode::OK, json!({"data": data.collect::<Vec<_>>()})))
}

async fn create(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Answer {
    let (mut all, _) = begin(&shared, &headers, "POST conduit")?;
    let asked = serde_json::from_slice(&body).unwrap_or_default();
    let count = count(&asked).ok_or_else(no_count)?;
    if all.conduits.all.len() >= CONDUITS_MAX {
        return Err(with_limits(700, failure(429, "conduit limit reached")));
    }
    all.conduits.made += 1;
    let id = format!("conduit-{}{}", shared.options.mark, all.conduits.made);
    all.conduits.all.insert(id.clone(), vec![None; count]);
    Ok(ok(StatusCode::OK, json!({"data": [listed(&id, count)]})))
}

async fn resize(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Answer {
    let (mut all, _) = begin(&shared, &headers, "PATCH conduit")?;
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = asked["id"].as_str().unwrap_or_default();
    let shards = all.conduits.all.get_mut(id).ok_or_else(unknown)?;
    let count = count(&asked).ok_or_else(no_count)?;
    shards.resize(count, None);
    Ok(ok(StatusCode::OK, json!({"data": [listed(id, count)]})))
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let (mut all, _) = begin(&shared, &headers, "DELETE conduit")?;
    query.get("id").and_then(|id| all.conduits.all.remove(id)).ok_or_else(unknown)?;
    Ok(with_limits(790, StatusCode::NO_CONTENT.into_response()))
}

async fn shards(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let (all, _) = begin(&shared, &headers, "GET shards")?;
    let id = query.get("conduit_id").map(String::as_str).unwrap_or_default();
    let shards = all.conduits.all.get(id).ok_or_else(unknown)?;
    let given = shards.iter().enumerate().filter_map(|(n, shard)| {
        let Shard { session, status } = shard.as_ref()?;
        let transport = json!({"method": "websocket", "session_id": session});
        Some(json!({"id": n.to_string(), "status": status, "transport": transport}))
    });
    Ok(ok(StatusCode::OK, json!({"data": given.collect::<Vec<_>>(), "pagination": {}})))
}

async fn give(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Answer {
    let (mut all, _) = begin(&shared, &headers, "PATCH shards")?;
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = asked["conduit_id"].as_str().unwrap_or_default().to_owned();
    if !all.conduits.has(&id) {
        return Err(unknown());
    }
    let (mut data, mut errors) = (Vec::new(), Vec::new());
    for one in asked["shards"].as_array().cloned().unwrap_or_default() {
        let number = one["id"].as_str().unwrap_or_default();
        let session = one["transport"]["session_id"].as_str().unwrap_or_default().to_owned();
        let is_there = all.sessions.contains_key(&session);
        let is_free = !all.conduits.uses(&session);
        let shards = all.conduits.all.get_mut(&id);
        let shard = shards.zip(number.parse::<usize>().ok()).and_then(|(all, n)| all.get_mut(n));
        let is_same = shard.as_ref().and_then(|shard| shard.as_ref()).map(|shard| &shard.session);
        let is_same = is_same == Some(&session);
        match shard {
            Some(shard) if is_there && (is_free || is_same) => {
                *shard = Some(Shard { session, status: "enabled".to_owned() });
                data.push(
                    json!({"id": number, "status": "enabled", "transport": one["transport"]}),
                );
            }
            _ => errors.push(json!({"id": number, "code": "invalid_parameter",
                "message": "the shard or its session is not good"})),
        }
    }
    Ok(ok(StatusCode::ACCEPTED, json!({"data": data, "errors": errors})))
}
