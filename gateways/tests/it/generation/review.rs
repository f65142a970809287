//! Review before show: what is made waits for somebody, and is shown, given back, or runs out.

use gateways::cli::serve::Role;
use gateways::http::keys::Scope;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::Serving;
use crate::processes::Site;
use crate::redemption::audited;
use crate::world::{PATIENCE, World, until};

async fn reviewing() -> (Serving, String) {
    let serving = Serving::with(&Role::ALL, |config| config.generation.review = true).await;
    let key = serving.key(&[Scope::Admin]).await;
    let credit = json!({"points": 1_000, "note": "a test"});
    serving.post(&key, "/accounts/5001/credits", "points", credit).await;
    (serving, key)
}

/// A request that is made and waits.
async fn presented(serving: &Serving, key: &str, subject: &str) -> Uuid {
    let body = json!({"viewer": "5001", "request": format!("ghost of {subject}")});
    serving.post(key, "/generations", subject, body).await;
    let mut found = Value::Null;
    until("it waits for review", async || {
        let list = serving.get(key, "/generations?stage=presented").await.1;
        found = list["generations"][0].clone();
        found["wish"]["ghost"]["subject"] == subject
    })
    .await;
    serving.world.caught_up().await;
    assert!(found["picture"]["content"].is_string(), "somebody can look at it: {found}");
    assert!(found["settlement"].is_null() && found["ended_at"].is_null(), "{found}");
    found["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

async fn points(serving: &Serving, key: &str) -> (i64, i64) {
    let account = serving.get(key, "/accounts/5001").await.1;
    let of = |name: &str| account[name].as_i64().expect("points");
    (of("available"), of("held"))
}

async fn ghosts_shown(serving: &Serving) -> i64 {
    serving.world.caught_up().await;
    serving.world.count("SELECT count(*) FROM projections.alerts WHERE kind = 'ghost'").await
}

async fn review(serving: &Serving, key: &str, request: Uuid, verb: &str) -> (u16, Value) {
    let path = format!("/generations/{request}/{verb}");
    let once = Uuid::new_v4().to_string();
    let (status, body) = serving.post(key, &path, &once, json!({"reason": "not here"})).await;
    (status.as_u16(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewed_picture_is_shown_and_paid_for_only_once_it_is_approved() {
    let (serving, key) = reviewing().await;
    let request = presented(&serving, &key, "a toaster").await;
    assert_eq!((points(&serving, &key).await, ghosts_shown(&serving).await), ((800, 200), 0));
    let (status, _) = review(&serving, &key, request, "approve").await;
    assert_eq!(status, 201);
    until("it is paid for", async || points(&serving, &key).await == (800, 0)).await;
    until("it is shown", async || ghosts_shown(&serving).await == 1).await;
    for verb in ["approve", "reject", "cancel"] {
        let (status, body) = review(&serving, &key, request, verb).await;
        assert_eq!((status, &body["error"]["code"]), (409, &json!("ended")), "{verb}");
    }

    let request = presented(&serving, &key, "a kettle").await;
    let (status, _) = review(&serving, &key, request, "reject").await;
    assert_eq!(status, 201);
    until("the points are back", async || points(&serving, &key).await == (800, 0)).await;
    let (status, body) = review(&serving, &key, request, "approve").await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("ended")));
    serving.world.caught_up().await;
    let one = serving.get(&key, &format!("/generations/{request}")).await.1;
    assert_eq!(one["generation"]["stage"], "rejected", "{one}");
    assert_eq!(ghosts_shown(&serving).await, 1);
    let told = "SELECT count(*) FROM projections.alerts
                WHERE kind = 'notice' AND data::jsonb->>'reason' = 'rejected'";
    until("the viewer is told", async || serving.world.count(told).await == 1).await;
    let path = format!("/generations/{request}/retry");
    let (status, _) = serving.post(&key, &path, "retry", json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "what was rejected is not made again");

    // Two at once decide differently: one of them does.
    let request = presented(&serving, &key, "a spoon").await;
    let (one, other) = tokio::join!(
        review(&serving, &key, request, "approve"),
        review(&serving, &key, request, "reject"),
    );
    let mut both = [one.0, other.0];
    both.sort_unstable();
    assert_eq!(both, [201, 409]);
    until("its points are settled", async || points(&serving, &key).await.1 == 0).await;
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_nobody_looks_at_in_time_gives_its_points_back() {
    let (serving, key) = reviewing().await;
    let request = presented(&serving, &key, "a toaster").await;
    // Whoever holds the timer finds the hold due: its time is over.
    let due = "UPDATE projections.holds SET expires_at = clock_timestamp()";
    let owner = sqlx::PgPool::connect(&serving.world.servers.admin_database_url).await;
    sqlx::query(due).execute(&owner.expect("the admin gets in")).await.expect("an hour passes");
    until("the points are back", async || points(&serving, &key).await == (1_000, 0)).await;
    let (status, body) = review(&serving, &key, request, "approve").await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("ended")));
    let path = format!("/generations/{request}");
    until("the list shows it", async || {
        serving.get(&key, &path).await.1["generation"]["settlement"] == "released"
    })
    .await;
    assert_eq!(ghosts_shown(&serving).await, 0);
    let told = "SELECT count(*) FROM projections.alerts
                WHERE kind = 'notice' AND data::jsonb->>'reason' = 'expired'";
    assert_eq!(serving.world.count(told).await, 1, "that it took too long");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_whose_maker_died_once_it_was_noted_still_waits_for_its_review() {
    let world = World::start().await;
    let site = Site::new(&world.servers, &world.pool).await;
    let serve = || {
        let roles = Role::ALL.map(|role| role.to_string()).join(",");
        let mut command = site.serve("reviewing", &roles);
        command.env("TAPEDECK_GENERATION__REVIEW", "true");
        command
    };
    let mut doomed = serve().env("TAPEDECK_CRASH_AT", "making.noted").spawn().expect("it starts");
    site.answers().await;
    let client = reqwest::Client::new();
    for (path, body) in [
        ("/api/v1/accounts/5001/credits", json!({"points": 200, "note": "a test"})),
        ("/api/v1/generations", json!({"viewer": "5001", "request": "ghost of a toaster"})),
    ] {
        let request = client.post(site.url(path)).bearer_auth(&site.key).json(&body);
        let answer = request.header("Idempotency-Key", path).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }
    let ended = tokio::time::timeout(PATIENCE, doomed.wait()).await.expect("it dies in time");
    assert!(!ended.expect("a status").success(), "it died");
    let admin = sqlx::PgPool::connect(&world.servers.admin_database_url).await.expect("connected");
    for over in [
        "UPDATE partitions SET lease_until = clock_timestamp() WHERE lease_until > clock_timestamp()",
        "UPDATE generation_leases SET lease_until = clock_timestamp()",
    ] {
        sqlx::query(over).execute(&admin).await.expect("its leases are over");
    }
    let mut healthy = serve().spawn().expect("it starts again");
    let reported = "SELECT count(*) FROM events WHERE event_type IN ('presented', 'completed')";
    until("it is reported", async || world.count(reported).await == 1).await;
    let presented = "SELECT count(*) FROM events WHERE event_type = 'presented'";
    assert_eq!(world.count(presented).await, 1, "nobody has approved of it");
    assert_eq!(world.count("SELECT count(*) FROM generation_makings").await, 1, "drawn once");
    healthy.kill().await.expect("killed");
}
