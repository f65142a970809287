//! Its list of subscriptions, as Helix has it: pages, costs, limits, and what is asked wrongly.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde_json::{Value, json};

use super::{All, CLIENT, Deed, Shared, Sub, TOKEN, keep, posting};

/// How many one connection may have, and how many of one type and condition there may be.
const OF_A_SESSION_MAX: usize = 300;
const OF_A_CONDITION_MAX: usize = 3;
const CALL_CHARS_MAX: usize = 200;
const FILTERS: [&str; 4] = ["status", "type", "user_id", "subscription_id"];

/// Whether a token is good, which clients ask each hour, or before each call.
pub async fn validate(headers: HeaderMap) -> Response {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    let good = ["OAuth", "Bearer"].iter().any(|word| given == Some(&format!("{word} {TOKEN}")));
    if !good {
        let body = json!({"status": 401, "message": "invalid access token"});
        return (StatusCode::UNAUTHORIZED, body.to_string()).into_response();
    }
    let body = json!({
        "client_id": CLIENT, "login": "goldenreel", "scopes": ["bits:read"], "user_id": "1000",
        "expires_in": 14_400,
    });
    let json = [("content-type", "application/json")];
    (StatusCode::OK, json, body.to_string()).into_response()
}

/// Who is called a login: there is one whom nobody has seen yet.
pub async fn users(headers: HeaderMap, Query(query): Query<Vec<(String, String)>>) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("authorization") != Some(&format!("Bearer {TOKEN}"))
        || header("client-id") != Some(CLIENT)
    {
        return failure(401, "Invalid OAuth token");
    }
    let newcomer = json!({"id": "5003", "login": "newcomer", "display_name": "NewComer",
                          "profile_image_url": ""});
    let is_asked = |(key, value): &(String, String)| match key.as_str() {
        "id" => value == "5003",
        _ => key == "login" && value == "newcomer",
    };
    let found = query.iter().any(is_asked);
    let data: Vec<Value> = found.then_some(newcomer).into_iter().collect();
    let answer = json!({"data": data}).to_string();
    with_limits(796, (StatusCode::OK, answer).into_response())
}

pub async fn list(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let all = match begin(&shared, &headers, "GET") {
        Ok((all, _)) => all,
        Err(refused) => return refused,
    };
    if FILTERS.iter().filter(|filter| query.contains_key(**filter)).count() > 1 {
        return failure(400, "only one filter may be given");
    }
    let from =
        query.get("after").map_or(Some(0), |after| after.strip_prefix("page-")?.parse().ok());
    let Some(from) = from else { return failure(400, "the cursor is not good") };
    let is = |filter: &str, value: &str| query.get(filter).is_none_or(|wanted| wanted == value);
    let chosen = all.subs.iter().filter(|sub| is("status", &sub.status) && is("type", &sub.kind));
    let chosen: Vec<&Sub> = chosen.collect();
    let until = (from + shared.options.page).min(chosen.len());
    let listed = chosen.get(from..until).unwrap_or_default();
    let data: Vec<Value> = listed.iter().map(|sub| sub.listed()).collect();
    let more = until < chosen.len();
    let pagination = if more { json!({"cursor": format!("page-{until}")}) } else { json!({}) };
    let mut answer = all.sums(&shared);
    (answer["data"], answer["pagination"]) = (json!(data), pagination);
    with_limits(799, (StatusCode::OK, answer.to_string()).into_response())
}

pub async fn create(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, version) = (text(&asked["type"]), text(&asked["version"]));
    let (mut all, deed) = match begin(&shared, &headers, &format!("POST {kind}")) {
        Ok(begun) => begun,
        Err(refused) => return refused,
    };
    let (condition, mut transport) = (asked["condition"].clone(), asked["transport"].clone());
    if version.is_empty() || condition.as_object().is_none_or(|all| all.is_empty()) {
        return failure(400, "the type, version or condition is not good");
    }
    if all.forbidden.contains(&kind) {
        return failure(403, "subscription missing proper authorization");
    }
    let mut signed_with = String::new();
    let status = match transport["method"].as_str() {
        Some("websocket") => {
            let session = text(&transport["session_id"]);
            if !all.sessions.contains_key(&session) {
                return failure(
                    400,
                    "websocket transport session does not exist or has disconnected",
                );
            }
            let of_it = |sub: &&Sub| sub.transport["session_id"] == session.as_str();
            if all.subs.iter().filter(of_it).count() >= OF_A_SESSION_MAX {
                return limited("number of websocket subscriptions exceeded");
            }
            "enabled"
        }
        Some("conduit") => {
            if !all.conduits.has(&text(&transport["conduit_id"])) {
                return failure(400, "there is no such conduit");
            }
            "enabled"
        }
        Some("webhook") => {
            let secret = text(&transport["secret"]);
            let callback = text(&transport["callback"]);
            if !(10..=100).contains(&secret.len()) || !callback.starts_with("https://") {
                return failure(400, "the callback or the secret is not good");
            }
            if let Some(all) = transport.as_object_mut() {
                all.remove("secret");
            }
            signed_with = secret;
            "webhook_callback_verification_pending"
        }
        _ => return failure(400, "the transport is not good"),
    };
    let same = |sub: &&Sub| {
        sub.kind == kind && sub.version == version && without_empty(&sub.condition) == condition
    };
    if all.subs.iter().filter(same).any(|sub| sub.transport == transport) {
        return failure(409, "subscription already exists");
    }
    if status != "enabled" && all.subs.iter().filter(same).count() >= OF_A_CONDITION_MAX {
        return limited("maximum subscriptions with type and condition exceeded");
    }
    let cost = shared.options.cost_each;
    if all.cost() + cost > shared.options.cost_max {
        return limited("the maximum total cost would be exceeded");
    }
    all.made += 1;
    let sub = Sub {
        id: format!("sub-{}{}", shared.options.mark, all.made),
        status: status.to_owned(),
        kind,
        version,
        condition,
        transport,
        cost,
        created_at: Utc::now(),
    };
    all.subs.push(sub.clone());
    if status != "enabled" {
        all.secrets.insert(sub.id.clone(), signed_with.clone());
        tokio::spawn(posting::challenge(Arc::clone(&shared), sub.clone(), signed_with));
    }
    if let Some(Deed::DoAndFail) = deed {
        return failure(500, "something went wrong");
    }
    let mut answer = all.sums(&shared);
    answer["data"] = json!([sub.listed()]);
    with_limits(798, (StatusCode::ACCEPTED, answer.to_string()).into_response())
}

pub async fn delete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Some(id) = query.get("id") else { return failure(400, "no id") };
    let mut all = match begin(&shared, &headers, &format!("DELETE {id}")) {
        Ok((all, _)) => all,
        Err(refused) => return refused,
    };
    let before = all.subs.len();
    all.subs.retain(|sub| sub.id != *id);
    match before == all.subs.len() {
        true => failure(404, "there is no such subscription"),
        false => with_limits(797, StatusCode::NO_CONTENT.into_response()),
    }
}

/// Notes the call, which begins with its method, and does to it what was told beforehand.
#[expect(clippy::result_large_err, reason = "it is the answer")]
pub fn begin<'a>(
    shared: &'a Shared,
    headers: &HeaderMap,
    call: &str,
) -> Result<(MutexGuard<'a, All>, Option<Deed>), Response> {
    let (mut all, method) = (shared.all(), call.split(' ').next());
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Whoever has no token can call it as well, by whatever name.
    keep(&mut all.calls, call.chars().take(CALL_CHARS_MAX).collect());
    if all.is_away {
        return Err(failure(503, "upstream connect error"));
    }
    if let Err(words) = all.takes(header("authorization"), header("client-id")) {
        return Err(failure(401, words));
    }
    let at = all.deeds.iter().position(|(of, _)| Some(*of) == method);
    match at.and_then(|at| all.deeds.remove(at)) {
        Some((_, Deed::Status(status))) => Err(failure(status, "something went wrong")),
        Some((_, Deed::Limit)) => Err(with_limits(0, failure(429, "Too Many Requests"))),
        other => Ok((all, other.map(|(_, deed)| deed))),
    }
}

impl All {
    fn cost(&self) -> i64 {
        let counts = ["enabled", "webhook_callback_verification_pending"];
        let counted = self.subs.iter().filter(|sub| counts.contains(&sub.status.as_str()));
        counted.map(|sub| sub.cost).sum()
    }

    fn sums(&self, shared: &Shared) -> Value {
        let (total, cost, max) = (self.subs.len(), self.cost(), shared.options.cost_max);
        json!({"data": [], "total": total, "total_cost": cost, "max_total_cost": max})
    }
}

fn without_empty(condition: &Value) -> Value {
    let mut condition = condition.clone();
    if let Some(all) = condition.as_object_mut() {
        all.retain(|_, value| value.as_str() != Some(""));
    }
    condition
}

/// A limit that is not the one of calls in a minute.
fn limited(message: &str) -> Response {
    with_limits(700, failure(429, message))
}

pub fn with_limits(left: u32, mut answer: Response) -> Response {
    let json = axum::http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert("content-type", json);
    let reset = Utc::now().timestamp() + 1;
    let limits = [
        ("ratelimit-limit", 800),
        ("ratelimit-remaining", i64::from(left)),
        ("ratelimit-reset", reset),
    ];
    for (name, value) in limits {
        answer.headers_mut().insert(name, value.into());
    }
    answer
}

pub fn failure(status: u16, message: &str) -> Response {
    let status = super::super::status(status);
    let error = status.canonical_reason().unwrap_or_default();
    let body = json!({"error": error, "status": status.as_u16(), "message": message});
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}
