//! Helix, as far as it tells what was missed: whether a channel is live, who follows, what was redeemed, and who is
//! subscribed. Two rows make a page, so that pages are followed; where the last one ends, `pagination` is empty or not
//! there at all. What somebody has not granted is refused as Twitch refuses it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::twitch::{BROADCASTER, CLIENT_ID, Twitch};
use super::{keep, locked};
use crate::simulate::{Reward, Viewer};

const PAGE: usize = 2;
/// What the channel is called.
const LOGIN: &str = "goldenreel";
const NAME: &str = "GoldenReel";
type Asked = HashMap<String, String>;

pub struct Lists {
    shared: Arc<Shared>,
}

struct Shared {
    judge: Box<dyn Fn(&str) -> bool + Send + Sync>,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    /// Stream id, and since when.
    live: Option<(String, DateTime<Utc>)>,
    /// Title, category and language.
    titled: [String; 3],
    /// Newest first, as Helix has them.
    followers: Vec<Value>,
    /// Each reward, and whether our application made it.
    rewards: Vec<(Value, bool)>,
    redemptions: Vec<Value>,
    subscribers: Vec<String>,
    /// Scopes that nobody has granted.
    lacks: BTreeSet<&'static str>,
    is_down: bool,
    calls: BTreeMap<String, usize>,
}

impl Lists {
    /// Takes what `twitch` grants.
    pub fn of(twitch: &Twitch) -> Self {
        let judge = Box::new(twitch.judge());
        Lists { shared: Arc::new(Shared { judge, all: Mutex::default() }) }
    }

    pub fn routes(&self) -> Router {
        let shared = Arc::clone(&self.shared);
        let judged = axum::middleware::from_fn_with_state(Arc::clone(&shared), judge);
        Router::new()
            .route("/helix/streams", get(streams))
            .route("/helix/channels", get(channels))
            .route("/helix/channels/followers", get(followers))
            .route("/helix/channel_points/custom_rewards", get(rewards))
            .route("/helix/channel_points/custom_rewards/redemptions", get(redemptions))
            .route("/helix/subscriptions", get(subscriptions))
            .layer(judged)
            .with_state(shared)
    }

    /// What is live from now on, under which id and since when.
    pub fn live(&self, live: Option<(&str, DateTime<Utc>)>) {
        self.all().live = live.map(|(id, since)| (id.to_owned(), since));
    }

    /// What the channel calls what it does from now on.
    pub fn titled(&self, title: &str, category: &str) {
        self.all().titled = [title, category, "en"].map(str::to_owned);
    }

    pub fn follow(&self, viewer: &str, at: DateTime<Utc>) {
        let (login, name) = (format!("login{viewer}"), format!("Name{viewer}"));
        self.follows(&Viewer::new(viewer, &login, &name), at);
    }

    /// Somebody whose names are known follows.
    pub fn follows(&self, viewer: &Viewer, at: DateTime<Utc>) {
        let row = json!({"user_id": &*viewer.id, "user_login": &*viewer.login,
            "user_name": &*viewer.name, "followed_at": second(at)});
        let mut all = self.all();
        keep(&mut all.followers, row);
        all.followers.sort_by_key(|row| std::cmp::Reverse(row["followed_at"].to_string()));
    }

    /// A reward that the streamer has made, and not our application, so that nobody tells us again of its redemptions.
    pub fn offers(&self, reward: &Reward) {
        let mut all = self.all();
        if all.rewards.iter().all(|(known, _)| known["id"] != *reward.id) {
            keep(&mut all.rewards, (offered(&reward.id, &reward.title, reward.cost), false));
        }
    }

    pub fn reward(&self, id: &str, is_ours: bool) {
        self.all().rewards.push((offered(id, "Kind rewind", 300), is_ours));
    }

    pub fn redeem(&self, id: &str, viewer: &str, status: &str, at: DateTime<Utc>) {
        let mut all = self.all();
        // Nothing is redeemed where there is no reward.
        let Some((reward, _)) = all.rewards.first() else { return };
        let reward = json!({"id": reward["id"], "title": reward["title"],
            "prompt": reward["prompt"], "cost": reward["cost"]});
        let row = json!({"id": id, "user_id": viewer, "user_login": format!("login{viewer}"),
            "user_name": format!("Name{viewer}"), "user_input": "", "status": status,
            "broadcaster_id": BROADCASTER, "broadcaster_login": LOGIN, "broadcaster_name": NAME,
            "redeemed_at": second(at), "reward": reward});
        all.redemptions.insert(0, row);
    }

    pub fn settle(&self, id: &str, status: &str) {
        let mut all = self.all();
        if let Some(row) = all.redemptions.iter_mut().find(|row| row["id"] == id) {
            row["status"] = json!(status);
        }
    }

    pub fn subscribe(&self, viewer: &str) {
        let mut all = self.all();
        if !all.subscribers.iter().any(|known| known == viewer) {
            keep(&mut all.subscribers, viewer.to_owned());
        }
    }

    /// Nobody has granted this, or somebody has after all.
    pub fn lacks(&self, scope: &'static str, is_lacking: bool) {
        let mut all = self.all();
        if is_lacking {
            all.lacks.insert(scope)
        } else {
            all.lacks.remove(scope)
        };
    }

    /// It answers 503, or not any more.
    pub fn is_down(&self, is_down: bool) {
        self.all().is_down = is_down;
    }

    /// How often it was asked for what is at the end of this path.
    pub fn calls(&self, name: &str) -> usize {
        self.all().calls.get(name).copied().unwrap_or_default()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.shared.all()
    }
}

impl Shared {
    fn all(&self) -> MutexGuard<'_, All> {
        locked(&self.all)
    }
}

async fn judge(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let is_down = {
        let mut all = shared.all();
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        *all.calls.entry(name).or_default() += 1;
        all.is_down
    };
    if is_down {
        return (StatusCode::SERVICE_UNAVAILABLE, "upstream connect error").into_response();
    }
    match bearer.is_some_and(|bearer| (shared.judge)(bearer))
        && text("client-id") == Some(CLIENT_ID)
    {
        true => with_limits(next.run(request).await),
        false => failure(401, "Invalid OAuth token"),
    }
}

async fn streams(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    if asked.get("user_id").map(String::as_str) != Some(BROADCASTER) {
        return failure(400, "no user_id");
    }
    let live = shared.all().live.clone();
    let row = live.map(|(id, since)| {
        json!({"id": id, "user_id": BROADCASTER, "user_login": LOGIN, "user_name": NAME,
            "game_id": "1", "game_name": "Retro", "type": "live", "title": "tapes",
            "viewer_count": 5, "started_at": second(since), "language": "en",
            "thumbnail_url": picture("previews-ttv/live_user_goldenreel-{width}x{height}.jpg"),
            "tag_ids": [], "tags": [], "is_mature": false})
    });
    let data: Vec<Value> = row.into_iter().collect();
    axum::Json(json!({"data": data, "pagination": {}})).into_response()
}

async fn channels(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    if asked.get("broadcaster_id").map(String::as_str) != Some(BROADCASTER) {
        return failure(400, "no broadcaster_id");
    }
    let [title, category, language] = shared.all().titled.clone();
    let game_id = if category.is_empty() { "" } else { "509658" };
    let row = json!({"broadcaster_id": BROADCASTER, "broadcaster_login": LOGIN,
        "broadcaster_name": NAME, "broadcaster_language": language, "game_id": game_id,
        "game_name": category, "title": title, "delay": 0, "tags": [],
        "content_classification_labels": [], "is_branded_content": false});
    axum::Json(json!({"data": [row]})).into_response()
}

async fn followers(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let all = shared.all();
    if all.lacks.contains("moderator:read:followers") {
        let total = all.followers.len();
        return axum::Json(json!({"total": total, "data": [], "pagination": {}})).into_response();
    }
    let rows: Vec<&Value> = all.followers.iter().collect();
    page(&asked, &rows, json!({"total": rows.len()}))
}

async fn rewards(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let all = shared.all();
    if all.lacks.contains("channel:read:redemptions") {
        return failure(401, "Missing scope: channel:read:redemptions");
    }
    // Clients in Python write it large.
    let is_true = |only: &String| only.eq_ignore_ascii_case("true");
    let only_ours = asked.get("only_manageable_rewards").is_some_and(is_true);
    let chosen = all.rewards.iter().filter(|(_, is_ours)| *is_ours || !only_ours);
    let data: Vec<&Value> = chosen.map(|(reward, _)| reward).collect();
    // This list has no pages.
    axum::Json(json!({ "data": data })).into_response()
}

async fn redemptions(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let all = shared.all();
    let is = |name: &str, value: &Value| asked.get(name).is_some_and(|asked| *value == **asked);
    let Some((_, is_ours)) = all.rewards.iter().find(|(reward, _)| is("reward_id", &reward["id"]))
    else {
        return failure(404, "there is no such reward");
    };
    if !is_ours {
        return failure(403, "the client did not make this reward");
    }
    if !["CANCELED", "FULFILLED", "UNFULFILLED"].iter().any(|status| is("status", &json!(status))) {
        return failure(400, "no status");
    }
    let mut rows: Vec<&Value> = all.redemptions.iter().collect();
    rows.retain(|row| is("reward_id", &row["reward"]["id"]) && is("status", &row["status"]));
    if asked.get("sort").is_none_or(|sort| sort != "NEWEST") {
        rows.reverse();
    }
    page(&asked, &rows, json!({}))
}

async fn subscriptions(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let all = shared.all();
    if all.lacks.contains("channel:read:subscriptions") {
        return failure(401, "Missing scope: channel:read:subscriptions");
    }
    let rows = all.subscribers.iter().map(|viewer| {
        json!({"broadcaster_id": BROADCASTER, "broadcaster_login": LOGIN,
            "broadcaster_name": NAME, "user_id": viewer, "user_login": format!("login{viewer}"),
            "user_name": format!("Name{viewer}"), "tier": "1000",
            "plan_name": "Channel Subscription (goldenreel)", "is_gift": false, "gifter_id": "",
            "gifter_login": "", "gifter_name": ""})
    });
    let rows: Vec<Value> = rows.collect();
    // One of the first tier is one point.
    let sums = json!({"total": rows.len(), "points": rows.len()});
    page(&asked, &rows.iter().collect::<Vec<_>>(), sums)
}

/// A reward as Helix lists it: nothing of it is limited.
fn offered(id: &str, title: &str, cost: i64) -> Value {
    let image = |size: u8| picture(&format!("custom-reward-images/default-{size}.png"));
    let images = json!({"url_1x": image(1), "url_2x": image(2), "url_4x": image(4)});
    json!({"broadcaster_id": BROADCASTER, "broadcaster_login": LOGIN, "broadcaster_name": NAME,
        "id": id, "title": title, "cost": cost, "prompt": "", "image": null,
        "default_image": images, "background_color": "#00E5CB", "is_enabled": true,
        "is_user_input_required": false, "is_paused": false, "is_in_stock": true,
        "max_per_stream_setting": {"is_enabled": false, "max_per_stream": 0},
        "max_per_user_per_stream_setting": {"is_enabled": false, "max_per_user_per_stream": 0},
        "global_cooldown_setting": {"is_enabled": false, "global_cooldown_seconds": 0},
        "should_redemptions_skip_request_queue": false,
        "redemptions_redeemed_current_stream": null, "cooldown_expires_at": null})
}

/// Where a picture would be.
fn picture(path: &str) -> String {
    format!("https://static-cdn.jtvnw.net/{path}")
}

/// Two rows of them beside their `sums`, and where the next page is.
fn page(asked: &Asked, rows: &[&Value], sums: Value) -> Response {
    let from =
        asked.get("after").map_or(Some(0), |after| after.strip_prefix("page-")?.parse().ok());
    let Some(from) = from else { return failure(400, "the cursor is not good") };
    let until = usize::min(PAGE.saturating_add(from), rows.len());
    let data = rows.get(from..until).unwrap_or_default();
    let mut answer = sums;
    answer["data"] = json!(data);
    if until < rows.len() {
        answer["pagination"] = json!({"cursor": format!("page-{until}")});
    } else if rows.len().is_multiple_of(PAGE) {
        answer["pagination"] = json!({});
    }
    axum::Json(answer).into_response()
}

/// Helix writes whole seconds.
fn second(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// What Helix says of the calls that are left.
pub(super) fn with_limits(mut answer: Response) -> Response {
    let reset = Utc::now().timestamp() + 1;
    let limits =
        [("ratelimit-limit", 800), ("ratelimit-remaining", 790), ("ratelimit-reset", reset)];
    for (name, value) in limits {
        answer.headers_mut().insert(name, value.into());
    }
    answer
}

fn failure(code: u16, message: &str) -> Response {
    let status = super::status(code);
    let error = status.canonical_reason().unwrap_or_default();
    (status, axum::Json(json!({"error": error, "status": code, "message": message})))
        .into_response()
}
