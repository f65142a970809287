//! The HTTP API on a whole Tapedeck: keys, positions, commands and their refusals.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gateways::cli::serve::{Ready, Role, serve};
use gateways::config::{Config, RequestsPerMinute, Source};
use gateways::http::keys::{self, Scope};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{PATIENCE, World, cheer, until};

pub const BROADCASTER: &str = "1000";

/// `tapedeck serve` in this process, on servers of its own.
pub struct Serving {
    pub world: World,
    pub listen: SocketAddr,
    metrics_listen: SocketAddr,
    pub client: reqwest::Client,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Serving {
    pub async fn start() -> Self {
        Self::undirected(|_| {}).await
    }

    /// Everything but the director: a stage that opens is an event that most tests do not count.
    pub async fn undirected(change: impl FnOnce(&mut Config)) -> Self {
        let roles = Role::ALL.into_iter().filter(|role| *role != Role::Directing);
        Self::with(&roles.collect::<Vec<_>>(), change).await
    }

    pub async fn with(roles: &[Role], change: impl FnOnce(&mut Config)) -> Self {
        let world = World::start().await;
        let mut config = Config {
            database_url: world.servers.database_url.clone(),
            owner_database_url: Some(world.servers.owner_database_url.clone()),
            nats_url: world.servers.nats_url.clone(),
            nats_passwords: world.servers.nats_passwords.clone(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            broadcaster_id: BROADCASTER.to_owned(),
            eventsub_secret: "a secret for tests".to_owned(),
            pictures_folder: Some(world.servers.data.join("pictures")),
            sealing_key_file: Some(world.servers.data.join("sealing.key")),
            requests_per_minute: RequestsPerMinute { anonymous: 0, user: 0, service: 0 },
            ..Config::default()
        };
        change(&mut config);
        let stop = CancellationToken::new();
        let (said, ready) = oneshot::channel();
        let (roles, stopped) = (roles.to_vec(), stop.clone());
        let task = tokio::spawn(async move {
            serve(config, &roles, stopped, |ready: Ready| {
                let _ = said.send(ready);
            })
            .await
        });
        let Ok(ready) = ready.await else {
            panic!("it did not start: {:?}", task.await);
        };
        let listen = ready.listen.expect("the gateway listens");
        let metrics_listen = ready.metrics_listen;
        Serving { world, listen, metrics_listen, client: reqwest::Client::new(), stop, task }
    }

    pub async fn key(&self, scopes: &[Scope]) -> String {
        keys::issue(&self.world.pool, "tester", scopes).await.expect("a key").1
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.listen)
    }

    pub fn request(&self, method: Method, key: &str, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth(key).timeout(PATIENCE)
    }

    pub async fn get(&self, key: &str, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, key, path)).await
    }

    /// Posts a command until it is decided: where that took too long (202), the same again tells what became of it.
    pub async fn post(
        &self,
        key: &str,
        path: &str,
        once: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let mut told = (StatusCode::ACCEPTED, Value::Null);
        until(&format!("{path} is decided"), async || {
            told = self.post_once(key, path, once, body.clone()).await;
            told.0 != StatusCode::ACCEPTED
        })
        .await;
        told
    }

    pub async fn post_once(
        &self,
        key: &str,
        path: &str,
        once: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        answer(self.request(Method::POST, key, path).header("Idempotency-Key", once).json(&body))
            .await
    }

    /// What Prometheus reads under this name, over all labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.metrics_listen);
        let text =
            self.client.get(url).send().await.expect("an answer").text().await.expect("text");
        let values = text.lines().filter(|line| line.starts_with(name));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a good end");
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("an answer");
    (response.status(), response.json().await.expect("JSON"))
}

/// Every endpoint of the API and the scope it wants, as the design has them.
const ENDPOINTS: [(&str, &str, Scope); 53] = [
    ("get", "/accounts/{viewer}", Scope::AccountsRead),
    ("get", "/accounts/{viewer}/statement", Scope::AccountsRead),
    ("get", "/accounts/{viewer}/statement/broadcasts", Scope::AccountsRead),
    ("get", "/accounts/{viewer}/statement/proof", Scope::AccountsRead),
    ("post", "/accounts/{viewer}/credits", Scope::AccountsWrite),
    ("post", "/accounts/{viewer}/reversals", Scope::AccountsWrite),
    ("get", "/leaderboard", Scope::AccountsRead),
    ("post", "/accounts/{viewer}/gifts", Scope::AccountsWrite),
    ("delete", "/viewers/{viewer}/names", Scope::Admin),
    ("post", "/grants", Scope::AccountsWrite),
    ("get", "/grants", Scope::AccountsRead),
    ("post", "/grants/{id}/undo", Scope::AccountsWrite),
    ("get", "/accounts/{viewer}/holds", Scope::AccountsRead),
    ("post", "/accounts/{viewer}/holds", Scope::HoldsWrite),
    ("post", "/accounts/{viewer}/holds/{hold}/capture", Scope::HoldsWrite),
    ("post", "/accounts/{viewer}/holds/{hold}/release", Scope::HoldsWrite),
    ("get", "/broadcasts", Scope::BroadcastsRead),
    ("get", "/broadcasts/current", Scope::BroadcastsRead),
    ("get", "/broadcasts/{number}", Scope::BroadcastsRead),
    ("post", "/broadcasts/current/screenings", Scope::BroadcastsWrite),
    ("delete", "/broadcasts/current/screenings", Scope::BroadcastsWrite),
    ("get", "/tapes", Scope::BroadcastsRead),
    ("get", "/tapes/{id}", Scope::BroadcastsRead),
    ("get", "/tapes/{id}/screenings", Scope::BroadcastsRead),
    ("get", "/alerts", Scope::AlertsRead),
    ("get", "/generations", Scope::GenerationsRead),
    ("post", "/generations", Scope::GenerationsWrite),
    ("get", "/generations/{request}", Scope::GenerationsRead),
    ("post", "/generations/{request}/cancel", Scope::GenerationsWrite),
    ("post", "/generations/{request}/retry", Scope::GenerationsWrite),
    ("post", "/generations/{request}/approve", Scope::GenerationsWrite),
    ("post", "/generations/{request}/reject", Scope::GenerationsWrite),
    ("get", "/commands/{id}", Scope::CommandsRead),
    ("get", "/feed", Scope::FeedRead),
    ("get", "/feed/ws", Scope::FeedRead),
    ("get", "/stages/{name}", Scope::AlertsRead),
    ("get", "/stages/{name}/alerts", Scope::AlertsRead),
    ("post", "/stages/{name}/pause", Scope::StageDirect),
    ("post", "/stages/{name}/resume", Scope::StageDirect),
    ("post", "/stages/{name}/skip", Scope::StageDirect),
    ("post", "/stages/{name}/clear", Scope::StageDirect),
    ("post", "/stages/{name}/replay", Scope::StageDirect),
    ("post", "/stages/{name}/prioritise", Scope::StageDirect),
    ("post", "/stages/{name}/mute", Scope::StageDirect),
    ("post", "/stages/{name}/unmute", Scope::StageDirect),
    ("post", "/stages/{name}/test", Scope::StageDirect),
    ("get", "/chat/ws", Scope::FeedRead),
    ("get", "/replies", Scope::CommandsRead),
    ("get", "/configuration", Scope::CommandsRead),
    ("get", "/eventsub", Scope::EventsubRead),
    ("post", "/eventsub/sync", Scope::EventsubWrite),
    ("get", "/twitch/users", Scope::AccountsRead),
    ("get", "/twitch/games", Scope::BroadcastsRead),
];

/// The endpoint that wants one of two: see `stage::who_may`.
const EITHER: (&str, &str) = ("get", "/stages/{name}/ws");

/// The endpoints that want no key.
const PUBLIC: [(&str, &str); 3] =
    [("get", "/pictures/{content}"), ("get", "/login"), ("get", "/login/callback")];

/// Those that want somebody, whatever their scopes; `login/` tests them.
const OF_SOMEBODY: [(&str, &str); 6] = [
    ("get", "/session"),
    ("delete", "/session"),
    ("post", "/session/refresh"),
    ("post", "/service-token"),
    ("get", "/me/feed"),
    ("get", "/me/feed/ws"),
];

/// A body that each endpoint understands.
pub fn body_for(path: &str) -> Value {
    match path.rsplit('/').next() {
        Some("gifts") => json!({"to": "5002", "points": 5}),
        Some("grants") => json!({"note": "a test", "viewers": ["5001"], "points": 5}),
        Some("undo") => json!({"note": "a test"}),
        Some("credits") => json!({"points": 5, "note": "a test"}),
        Some("reversals") => json!({"entry": Uuid::nil(), "note": "a test"}),
        Some("holds") => json!({"points": 5, "purpose": "a test"}),
        Some("release") => json!({"reason": "a test"}),
        Some("generations") => json!({"viewer": "5001", "request": "ghost of a test"}),
        Some("cancel" | "reject") => json!({"reason": "a test"}),
        Some("screenings") => json!({"tape": "a test"}),
        Some("service-token") => json!({}),
        Some("skip" | "clear") => json!({}),
        Some("replay" | "prioritise") => json!({"alert": Uuid::nil()}),
        Some("mute" | "unmute") => json!({"what": "sound"}),
        Some("test") => json!({"type": "cheer"}),
        _ => Value::Null,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_is_described_and_wants_its_own_scope() {
    let serving = Serving::start().await;
    let url = serving.url("/openapi.json");
    let document: Value =
        serving.client.get(url).send().await.expect("an answer").json().await.expect("JSON");
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| (method.clone(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    let mut expected: BTreeSet<_> =
        ENDPOINTS.map(|(method, path, _)| (method.to_owned(), path.to_owned())).into();
    for (method, path) in PUBLIC.into_iter().chain(OF_SOMEBODY).chain([EITHER]) {
        expected.insert((method.to_owned(), path.to_owned()));
    }
    assert_eq!(described, expected);

    let revoked = serving.key(&[Scope::Admin]).await;
    keys::revoke(&serving.world.pool, "tester").await.expect("revoked");
    for (method, path, scope) in ENDPOINTS {
        let url = path
            .replace("{viewer}", "5001")
            .replace("{number}", "1")
            .replace("{name}", "main")
            .replace("{hold}", &Uuid::nil().to_string())
            .replace("{request}", &Uuid::nil().to_string())
            .replace("{id}", &Uuid::nil().to_string());
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let ask = async |key: &str| {
            let request = serving
                .request(method.clone(), key, &url)
                .header("Idempotency-Key", Uuid::new_v4().to_string());
            let body = body_for(path);
            let request = if method == Method::POST { request.json(&body) } else { request };
            let response = request.send().await.expect("an answer");
            let status = response.status();
            assert!(response.headers().contains_key("x-request-id"));
            status
        };
        assert_eq!(ask("").await, StatusCode::UNAUTHORIZED, "{path} without a key");
        assert_eq!(ask("tdk_0_x").await, StatusCode::UNAUTHORIZED, "{path} with a wrong key");
        assert_eq!(ask(&revoked).await, StatusCode::UNAUTHORIZED, "{path} with a revoked key");
        let others: Vec<Scope> = Scope::ALL
            .into_iter()
            .filter(|other| *other != scope && *other != Scope::Admin)
            .collect();
        let without = serving.key(&others).await;
        assert_eq!(ask(&without).await, StatusCode::FORBIDDEN, "{path} without {scope}");
        let with = ask(&serving.key(&[scope]).await).await;
        assert!(
            with != StatusCode::UNAUTHORIZED && with != StatusCode::FORBIDDEN,
            "{path} with {scope}: {with}"
        );
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_is_answered_with_its_position_and_a_query_can_wait_for_it() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::AccountsWrite, Scope::AccountsRead, Scope::CommandsRead]).await;
    let body = json!({"points": 500, "note": "won the tape trivia"});
    let (status, credited) = serving.post(&key, "/accounts/5001/credits", "trivia-1", body).await;
    assert_eq!((status, &credited["status"]), (StatusCode::CREATED, &json!("accepted")));
    assert_eq!(credited["events"], json!(["credited"]));
    let position = credited["position"].as_i64().expect("a position");

    let path = format!("/accounts/5001?min_position={position}");
    let (_, account) = serving.get(&key, &path).await;
    assert_eq!(account["available"], 500, "{account}");
    assert!(account["position"].as_i64() >= Some(position));
    let (_, before) = serving.get(&key, &format!("/accounts/5001?as_of={}", position - 1)).await;
    assert_eq!((&before["available"], &before["position"]), (&json!(0), &json!(position - 1)));

    let path = format!("/accounts/5001/statement?min_position={position}&limit=1");
    let (_, statement) = serving.get(&key, &path).await;
    let entry = &statement["entries"][0];
    assert_eq!(entry["note"], "won the tape trivia", "{statement}");
    assert_eq!((&entry["actor"], &entry["source"]), (&json!("tester"), &json!("api")));
    assert_eq!((&entry["entry"], &entry["total"]), (&credited["command_id"], &json!(500)));

    let id = credited["command_id"].as_str().expect("an id");
    let (status, outcome) = serving.get(&key, &format!("/commands/{id}")).await;
    assert_eq!((status, &outcome["position"]), (StatusCode::OK, &json!(position)));
    let (status, _) = serving.get(&key, &format!("/commands/{}", Uuid::nil())).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_points_share_a_place_of_the_leaderboard() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::AccountsWrite, Scope::AccountsRead, Scope::HoldsWrite]).await;
    let mut position = 0;
    for (viewer, points) in [("5001", 70), ("5002", 90), ("5003", 70), ("5004", 10)] {
        let path = format!("/accounts/{viewer}/credits");
        let body = json!({"points": points, "note": "a test"});
        let (_, credited) = serving.post(&key, &path, viewer, body).await;
        position = credited["position"].as_i64().expect("a position");
    }
    let hold = json!({"points": 80, "purpose": "a test"});
    let (_, held) = serving.post(&key, "/accounts/5002/holds", "hold", hold).await;
    position = position.max(held["position"].as_i64().expect("a position"));

    let places = async |query: &str| -> Vec<(i64, String, i64)> {
        let path = format!("/leaderboard?min_position={position}{query}");
        let (status, board) = serving.get(&key, &path).await;
        assert_eq!(status, StatusCode::OK, "{board}");
        let places = board["places"].as_array().expect("places");
        let number = |value: &Value| value.as_i64().expect("a number");
        let place = |place: &Value| {
            let viewer = place["viewer"]["id"].as_str().expect("an id").to_owned();
            (number(&place["place"]), viewer, number(&place["points"]))
        };
        places.iter().map(place).collect()
    };
    let of = |place, viewer: &str, points| (place, viewer.to_owned(), points);
    let [first, second, third] = [of(1, "5002", 90), of(2, "5001", 70), of(2, "5003", 70)];
    let all = [first.clone(), second.clone(), third, of(4, "5004", 10)];
    assert_eq!(places("").await, all);
    assert_eq!(places("&limit=2").await, [first, second]);
    assert_eq!(places("&by=available").await[0], of(1, "5001", 70));
    for wrong in ["limit=0", "limit=101", "by=luck"] {
        let (status, _) = serving.get(&key, &format!("/leaderboard?{wrong}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_is_one_command_and_never_another() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::Admin]).await;
    let other = serving.key(&[Scope::Admin]).await;
    let five = || json!({"points": 5, "note": "five"});
    let (first, created) = serving.post(&key, "/accounts/5001/credits", "k", five()).await;
    let (again, repeated) = serving.post(&key, "/accounts/5001/credits", "k", five()).await;
    assert_eq!((first, again), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(created, repeated, "the same answer");

    let six = json!({"points": 6, "note": "five"});
    let hold = json!({"points": 5, "purpose": "five"});
    for (path, body) in [
        ("/accounts/5001/credits", six),
        ("/accounts/5002/credits", five()),
        ("/accounts/5001/holds", hold),
    ] {
        let (status, refused) = serving.post(&key, path, "k", body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{refused}");
        assert_eq!(refused["error"]["code"], "idempotency_key");
    }
    // Another caller's key of the same text is another command.
    let (status, _) = serving.post(&other, "/accounts/5001/credits", "k", five()).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(serving.world.available("5001").await, 10);

    let without = serving.request(Method::POST, &key, "/accounts/5001/credits").json(&five());
    let (status, refused) = answer(without).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("idempotency_key"))
    );
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_decided_in_time_is_answered_202_and_decided_later() {
    let serving = Serving::with(&[Role::Gateway, Role::Projections], |_| {}).await;
    let key = serving.key(&[Scope::Admin]).await;
    let request = serving
        .request(Method::POST, &key, "/accounts/5001/credits")
        .header("Idempotency-Key", "early")
        .json(&json!({"points": 5, "note": "nobody decides yet"}));
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let path = location.strip_prefix("/api/v1").expect("below the API").to_owned();
    assert_eq!(serving.get(&key, &path).await.0, StatusCode::NOT_FOUND);

    let parts = serving.world.run();
    until("the command is decided", async || serving.get(&key, &path).await.0 == StatusCode::OK)
        .await;
    let (_, outcome) = serving.get(&key, &path).await;
    assert_eq!(outcome["status"], "accepted");
    parts.stop().await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_holds_at_once_never_hold_more_than_there_is() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::Admin]).await;
    let credit = json!({"points": 1_000, "note": "a thousand"});
    serving.post(&key, "/accounts/5001/credits", "thousand", credit).await;
    let holds = (0..100).map(|n| {
        let (serving, key) = (&serving, &key);
        async move {
            let body = json!({"points": 30, "purpose": "an image"});
            serving.post(key, "/accounts/5001/holds", &format!("hold-{n}"), body).await
        }
    });
    let answers = futures::future::join_all(holds).await;
    let held: Vec<&Value> = answers
        .iter()
        .filter(|(status, _)| *status == StatusCode::CREATED)
        .map(|(_, b)| b)
        .collect();
    let declined = answers.iter().filter(|(status, body)| {
        *status == StatusCode::CONFLICT && body["error"]["code"] == "declined"
    });
    assert_eq!((held.len(), declined.count()), (33, 67), "{answers:?}");

    let hold = |n: usize| held[n]["command_id"].as_str().expect("an id").to_owned();
    let path = |n, what| format!("/accounts/5001/holds/{}/{what}", hold(n));
    let (captured, _) = serving.post(&key, &path(0, "capture"), "capture", Value::Null).await;
    let reason = json!({"reason": "could not be made"});
    let (released, body) = serving.post(&key, &path(1, "release"), "release", reason.clone()).await;
    assert_eq!((captured, released), (StatusCode::CREATED, StatusCode::CREATED));
    let (again, refused) = serving.post(&key, &path(1, "release"), "release-2", reason).await;
    assert_eq!((again, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("not_held")));
    let (_, account) =
        serving.get(&key, &format!("/accounts/5001?min_position={}", body["position"])).await;
    let sums = ["available", "held", "total", "captured"].map(|sum| account[sum].as_i64());
    assert_eq!(sums, [Some(40), Some(930), Some(970), Some(30)], "{account}");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_reversed_once_and_only_while_its_points_are_there() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::Admin]).await;
    let credit = async |once: &str| {
        let body = json!({"points": 100, "note": once});
        serving.post(&key, "/accounts/5001/credits", once, body).await.1["command_id"].clone()
    };
    let reverse = async |viewer: &str, entry: &Value, once: &str| {
        let body = json!({"entry": entry, "note": "wrong viewer"});
        let (status, body) =
            serving.post(&key, &format!("/accounts/{viewer}/reversals"), once, body).await;
        (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let (one, two) = (credit("one").await, credit("two").await);
    let created = (StatusCode::CREATED, String::new());
    assert_eq!(reverse("5001", &one, "r1").await, created);
    assert_eq!(reverse("5001", &one, "r1").await, created, "the same again");
    let (status, code) = reverse("5001", &one, "r2").await;
    assert_eq!((status, code.as_str()), (StatusCode::CONFLICT, "already_reversed"));
    let (status, code) = reverse("5002", &two, "r3").await;
    assert_eq!((status, code.as_str()), (StatusCode::NOT_FOUND, "not_found"));

    let hold = json!({"points": 50, "purpose": "an image"});
    let (_, held) = serving.post(&key, "/accounts/5001/holds", "hold", hold).await;
    let (status, code) = reverse("5001", &two, "r4").await;
    assert_eq!((status, code.as_str()), (StatusCode::CONFLICT, "declined"), "half of it is held");
    let (status, code) = reverse("5001", &held["command_id"], "r5").await;
    assert_eq!((status, code.as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "not_reversible"));
    assert_eq!(serving.world.available("5001").await, 50);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screening_needs_a_live_channel_and_is_seen_in_the_broadcast() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::Admin]).await;
    let tape = || json!({"tape": "Tape 42"});
    let path = "/broadcasts/current/screenings";
    let (status, refused) = serving.post(&key, path, "s0", tape()).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("not_live")));

    go_live(&serving).await;
    let (status, started) = serving.post(&key, path, "s1", tape()).await;
    assert_eq!(status, StatusCode::CREATED, "{started}");
    let (status, refused) = serving.post(&key, path, "s2", tape()).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("same_tape")));
    let current = format!("/broadcasts/current?min_position={}", started["position"]);
    let (_, on) = serving.get(&key, &current).await;
    assert_eq!((&on["live"], &on["screening"]["tape"]), (&json!(true), &json!("Tape 42")));

    let end = serving.request(Method::DELETE, &key, path).header("Idempotency-Key", "e1");
    let (status, ended) = answer(end).await;
    assert_eq!((status, &ended["events"]), (StatusCode::CREATED, &json!(["screening_ended"])));
    let (_, one) =
        serving.get(&key, &format!("/broadcasts/1?min_position={}", ended["position"])).await;
    assert!(one["broadcast"]["screenings"][0]["ended_at"].is_string(), "{one}");
    let (_, all) = serving.get(&key, "/broadcasts").await;
    assert_eq!(all["broadcasts"][0]["number"], 1);
    assert_eq!(serving.get(&key, "/broadcasts/7").await.0, StatusCode::NOT_FOUND);
    serving.stop().await;
}

/// Starts a broadcast, as a notification would.
async fn go_live(serving: &Serving) {
    use domain::broadcast::{Broadcast, Command};
    let entry = domain::entry_id("test", "live");
    let at = crate::world::at();
    let command = Command::Start { entry, live_id: "live-1".to_owned(), at, resume_within_s: 900 };
    let envelope =
        journal::Envelope::new::<Broadcast>(BROADCASTER, &command, crate::world::origin("live"))
            .expect("a good address");
    serving.world.asker().await.ask(envelope).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_not_reached_in_time_is_said_to_be_ahead() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::AccountsRead]).await;
    let began = Instant::now();
    let (status, body) = serving.get(&key, "/accounts/5001?min_position=999999").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!("behind")));
    assert_eq!(body["error"]["details"]["position"], 0);
    assert!(began.elapsed() >= Duration::from_secs(5), "it waited");
    let (status, body) = serving.get(&key, "/accounts/5001?as_of=999999").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!("behind")));
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_counted_by_its_key_or_its_address() {
    let limits = RequestsPerMinute { anonymous: 1, user: 2, service: 3 };
    let serving = Serving::with(&Role::ALL, |config| config.requests_per_minute = limits).await;
    let reader = serving.key(&[Scope::AccountsRead]).await;
    let writer = serving.key(&[Scope::AccountsRead, Scope::AccountsWrite]).await;
    for (key, limit) in [("", 1), (reader.as_str(), 2), (writer.as_str(), 3)] {
        for left in (0..limit).rev() {
            let request = serving.request(Method::GET, key, "/accounts/5001");
            let response = request.send().await.expect("an answer");
            assert_ne!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(response.headers()["x-ratelimit-limit"], limit.to_string());
            assert_eq!(response.headers()["x-ratelimit-remaining"], left.to_string());
        }
        let request = serving.request(Method::GET, key, "/accounts/5001");
        let refused = request.send().await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.headers().contains_key("retry-after"));
        assert!(refused.headers().contains_key("x-ratelimit-reset"));
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_keys_is_held_up_and_good_keys_are_not() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::AccountsRead]).await;
    assert_eq!(serving.get(&key, "/accounts/5001").await.0, StatusCode::OK);
    // Many at a time: on a busy machine one after the other comes no faster than it is forgiven.
    let guesses = async || {
        let (guess, many) = (async || serving.get(&made_up(), "/accounts/5001").await, 0..100);
        futures::future::join_all(many.map(|_| guess())).await
    };
    let mut guessed = 0;
    let (status, body) = loop {
        let refused = |(status, _): &(StatusCode, Value)| *status != StatusCode::UNAUTHORIZED;
        if let Some(refusal) = guesses().await.into_iter().find(refused) {
            break refusal;
        }
        guessed += 100;
        assert!(guessed < 10_000, "nobody may guess for ever");
    };
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("too_many_requests"))
    );
    assert_eq!(serving.get(&key, "/accounts/5001").await.0, StatusCode::OK);
    let never_seen = serving.key(&[Scope::AccountsRead]).await;
    assert_eq!(serving.get(&never_seen, "/accounts/5001").await.0, StatusCode::OK);
    serving.stop().await;
}

/// A text that looks like a key.
fn made_up() -> String {
    format!("tdk_{}_{}", Uuid::new_v4().simple(), "x".repeat(43))
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_one_shape_and_every_answer_careful_headers() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::Admin]).await;
    let broken = serving.request(Method::POST, &key, "/accounts/5001/credits");
    let broken = broken.header("Idempotency-Key", "x").header("Content-Type", "application/json");
    for (request, status, code) in [
        (serving.request(Method::GET, &key, "/nothing"), 404, "not_found"),
        (serving.request(Method::PUT, &key, "/accounts/5001"), 405, "method_not_allowed"),
        (serving.request(Method::GET, &key, "/broadcasts/one"), 400, "bad_request"),
        (serving.request(Method::GET, &key, "/accounts/a.b"), 400, "bad_request"),
        (serving.request(Method::GET, &key, "/accounts/1?as_of=later"), 400, "bad_request"),
        (serving.request(Method::GET, &key, "/alerts?types=raids"), 400, "bad_request"),
        (serving.request(Method::GET, &key, "/accounts/1?min_positon=1"), 400, "bad_request"),
        (broken.body("{"), 400, "bad_request"),
    ] {
        let response = request.header("x-request-id", "mine-1").send().await.expect("an answer");
        let (found, headers) = (response.status().as_u16(), response.headers().clone());
        let body: Value = response.json().await.expect("JSON");
        assert_eq!((found, &body["error"]["code"]), (status, &json!(code)), "{body}");
        assert!(body["error"]["message"].is_string() && body["error"]["details"].is_object());
        assert_eq!(headers["x-request-id"], "mine-1");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(!headers.contains_key("access-control-allow-origin"), "CORS is off");
    }
    let large = json!({"points": 1, "note": "x".repeat(100_000)});
    let (status, body) = serving.post(&key, "/accounts/5001/credits", "large", large).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large"))
    );
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_names_each_dependency_and_metrics_have_a_listener_of_their_own() {
    let serving = Serving::start().await;
    serving.world.asker().await.ask(cheer("5001", "c", 5)).await;
    let get = async |path: &str| {
        let url = format!("http://{}{path}", serving.listen);
        serving.client.get(url).send().await.expect("an answer")
    };
    assert_eq!(get("/healthz").await.status(), StatusCode::OK);
    let mut ready = Value::Null;
    until("it is ready", async || {
        let answer = get("/readyz").await;
        let is_ready = answer.status() == StatusCode::OK;
        ready = answer.json().await.expect("JSON");
        is_ready
    })
    .await;
    let names: BTreeSet<&str> = ready["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    let expected = [
        "alerts",
        "balances",
        "broadcasts",
        "gaps",
        "generations",
        "giving",
        "grants",
        "holds",
        "nats",
        "postgres",
        "redemption",
        "relay",
        "replies",
        "stages",
        "statements",
        "tapes",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    assert_eq!(get("/metrics").await.status(), StatusCode::NOT_FOUND);
    assert!(serving.metric("tapedeck_http_request_seconds_count").await >= 1.0);
    // Who makes up methods makes no new series of them.
    for made_up in ["AAA1", "AAA2"] {
        let method = Method::from_bytes(made_up.as_bytes()).expect("a token");
        let url = format!("http://{}/healthz", serving.listen);
        serving.client.request(method, url).send().await.expect("an answer");
    }
    let other = serving.metric("tapedeck_http_request_seconds_count{method=\"_OTHER\"").await;
    assert!((other - 2.0).abs() < f64::EPSILON, "{other}");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_when_the_broker_is_away_and_when_it_is_back() {
    let mut serving = Serving::start().await;
    let says = async |serving: &Serving| {
        let url = format!("http://{}/readyz", serving.listen);
        let answer = serving.client.get(url).send().await.expect("an answer");
        let status = answer.status();
        let ready: Value = answer.json().await.expect("JSON");
        let mut checks = ready["checks"].as_array().expect("checks").iter();
        let nats = checks.find(|check| check["name"] == "nats").expect("NATS is named");
        (status, nats["ok"] == true)
    };
    let there = (StatusCode::OK, true);
    until("it is ready", async || says(&serving).await == there).await;
    serving.world.servers.kill_nats().await.expect("killed");
    let away = (StatusCode::SERVICE_UNAVAILABLE, false);
    until("it says that NATS is away", async || says(&serving).await == away).await;
    let alive = serving.client.get(format!("http://{}/healthz", serving.listen)).send().await;
    assert_eq!(alive.expect("an answer").status(), StatusCode::OK);
    serving.world.servers.start_nats().await.expect("started again");
    until("it is ready again", async || says(&serving).await == there).await;
    serving.world.asker().await.ask(cheer("5001", "afterwards", 5)).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_useless_within_seconds() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::AccountsRead]).await;
    assert_eq!(serving.get(&key, "/accounts/5001").await.0, StatusCode::OK);
    keys::revoke(&serving.world.pool, "tester").await.expect("revoked");
    until("the key is refused", async || {
        serving.get(&key, "/accounts/5001").await.0 == StatusCode::UNAUTHORIZED
    })
    .await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_takes_effect_and_a_wrong_one_does_not() {
    let folder = std::env::temp_dir().join(format!("tapedeck-config-{}", Uuid::new_v4().simple()));
    std::fs::create_dir(&folder).expect("a folder");
    let file = folder.join("tapedeck.toml");
    let write = |limit: &str| {
        std::fs::write(&file, format!("[requests_per_minute]\nuser = {limit}\n")).expect("written");
    };
    write("500");
    let source = Source { file: file.clone(), data: folder.clone() };
    let serving = Serving::with(&Role::ALL, |config| {
        config.requests_per_minute.user = 500;
        config.source = Some(source);
    })
    .await;
    let key = serving.key(&[Scope::AccountsRead]).await;
    let limit = async || {
        let request = serving.request(Method::GET, &key, "/accounts/5001");
        let response = request.send().await.expect("an answer");
        response.headers()["x-ratelimit-limit"].to_str().expect("text").to_owned()
    };
    assert_eq!(limit().await, "500");
    write("700");
    until("the new limit holds", async || limit().await == "700").await;
    write("\"many\"");
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_secs(3) {
        assert_eq!(limit().await, "700", "the old one stays");
    }
    write("800");
    until("the corrected one holds", async || limit().await == "800").await;
    serving.stop().await;
    std::fs::remove_dir_all(folder).expect("removed");
}
