//! Points from one viewer to another: on both sides or on neither, wherever it is interrupted.

use std::sync::Arc;

use domain::account::{Account, Command, Facts};
use domain::{entry_id, giving};
use gateways::cli::serve::Role;
use gateways::http::keys::Scope;
use journal::{Decision, Envelope};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{audit_agrees, connect, tapedeck, text};
use crate::http::Serving;
use crate::processes::Site;
use crate::world::{PATIENCE, World, at, cheer, origin, to_account, until};

fn gift(from: &str, to: &str, points: i64, key: &str) -> Envelope {
    let command = giving::begin(entry_id("test", key), to, points, at());
    Envelope::new::<Account>(from, &command, origin(key)).expect("a good address")
}

async fn code_of(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_given_and_arrive_or_stay_where_they_were() {
    let serving = Serving::start().await;
    let world = &serving.world;
    connect(world);
    let key = serving.key(&[Scope::AccountsWrite, Scope::HoldsWrite]).await;
    let asker = world.asker().await;
    asker.ask(cheer("5001", "a", 100)).await;
    let gifts = "/accounts/5001/gifts";
    let give = json!({"to": "5002", "points": 40});
    let (status, given) = serving.post(&key, gifts, "g-1", give.clone()).await;
    assert_eq!((status, &given["status"]), (StatusCode::CREATED, &json!("arrived")), "{given}");
    let (status, again) = serving.post(&key, gifts, "g-1", give).await;
    assert_eq!((status, &again["gift"]), (StatusCode::CREATED, &given["gift"]), "{again}");
    let (status, other) =
        serving.post(&key, gifts, "g-1", json!({"to": "5003", "points": 40})).await;
    assert_eq!((status, code_of(&other).await), (StatusCode::CONFLICT, "idempotency_key"));
    let (status, poor) =
        serving.post(&key, gifts, "g-2", json!({"to": "5002", "points": 61})).await;
    assert_eq!((status, code_of(&poor).await), (StatusCode::CONFLICT, "declined"));
    for wrong in [json!({"to": "5001", "points": 1}), json!({"to": "5002", "points": 0})] {
        let (status, _) = serving.post(&key, gifts, "g-3", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let spoof = json!({"points": 1, "purpose": "gift: to 5003"});
    let (status, refused) = serving.post(&key, "/accounts/5001/holds", "h", spoof).await;
    assert_eq!(code_of(&refused).await, "reserved_purpose", "{status}");
    let hold = given["gift"].as_str().expect("an id");
    let capture = format!("/accounts/5001/holds/{hold}/capture");
    let (status, _) = serving.post(&key, &capture, "c", Value::Null).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "nobody but the process ends the hold of a gift");

    let full = Command::Credit {
        entry: entry_id("test", "full"),
        points: i64::MAX,
        rules: 1,
        facts: Facts::Manual { note: "all there is".to_owned(), actor: "a test".to_owned() },
    };
    asker.ask(to_account("5004", "full", full)).await;
    let (_, full) = serving.post(&key, gifts, "g-4", json!({"to": "5004", "points": 5})).await;
    assert_eq!(full["status"], "given_back", "{full}");
    let output = tapedeck(world, &["give", "5001", "5003", "10", "--id", "bet-17"]).await;
    assert!(output.status.success(), "{}", text(&output));
    let output = tapedeck(world, &["give", "5001", "5003", "10", "--id", "bet-17"]).await;
    assert!(output.status.success(), "{}", text(&output));
    for (other, was) in [
        (["give", "5001", "5003", "11"], "a gift of 10 points to 5003"),
        (["give", "5001", "5002", "10"], "a gift of 10 points to 5003"),
        (["give", "5002", "5003", "10"], "a gift of viewer 5001"),
    ] {
        let output = tapedeck(world, &[&other[..], &["--id", "bet-17"]].concat()).await;
        let words = text(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(was) && words.contains("nothing was given now"), "{words}");
    }
    let output = tapedeck(world, &["give", "5001", "5003", "999"]).await;
    assert!(!output.status.success() && text(&output).contains("fewer"), "{}", text(&output));

    let held = "SELECT COALESCE(sum(held), 0)::bigint FROM projections.balances";
    until("nothing is held", async || {
        world.caught_up().await;
        world.count(held).await == 0
    })
    .await;
    assert_eq!((world.available("5001").await, world.available("5002").await), (50, 40));
    assert_eq!(world.available("5003").await, 10);
    let statement = text(&tapedeck(world, &["statement", "5002"]).await);
    assert!(statement.contains("a gift of viewer 5001"), "{statement}");
    audit_agrees(world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gift_that_is_not_decided_yet_cannot_be_taken_back_behind_itself() {
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Processor);
    let serving = Serving::with(&roles.collect::<Vec<_>>(), |_| {}).await;
    let world = &serving.world;
    connect(world);
    let key = serving.key(&[Scope::AccountsWrite, Scope::HoldsWrite]).await;
    let publisher = world.publisher().await;
    publisher.send(&cheer("5001", "a", 100)).await.expect("stored");
    let give = json!({"to": "5002", "points": 40});
    let (status, given) = serving.post_once(&key, "/accounts/5001/gifts", "g", give).await;
    assert_eq!(status, StatusCode::ACCEPTED, "nobody decides: {given}");
    let gift: Uuid = given["command_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let of_gift = format!("/accounts/5001/holds/{gift}");
    let ends = [("release", json!({"reason": "mine"})), ("capture", json!({}))];
    for (verb, body) in &ends {
        let path = format!("{of_gift}/{verb}");
        let (status, refused) = serving.post(&key, &path, verb, body.clone()).await;
        assert_eq!((status, code_of(&refused).await), (StatusCode::CONFLICT, "not_held"), "{verb}");
    }
    // Whoever may send commands past the API stands behind the gift's hold, and is refused by the account itself.
    let (entry, reason) = (entry_id("test", "r"), "mine".to_owned());
    let release = Command::Release { entry, hold: gift, reason };
    publisher.send(&to_account("5001", "r", release)).await.expect("stored");

    let mut parts = world.parts();
    parts.processor();
    until("the gift has arrived and is spent", async || {
        world.count("SELECT count(*) FROM events WHERE event_type = 'captured'").await == 1
    })
    .await;
    let outcome = journal::outcome::find(&world.pool, entry).await.expect("an answer");
    let outcome = outcome.expect("it is decided");
    assert_eq!(outcome.decision, Decision::Rejected);
    assert!(outcome.reason.is_some_and(|words| words.contains("is a gift on its way")));
    for (verb, body) in &ends {
        let path = format!("{of_gift}/{verb}");
        let (status, refused) = serving.post(&key, &path, verb, body.clone()).await;
        let code = code_of(&refused).await;
        assert_eq!((status, code), (StatusCode::FORBIDDEN, "hold_of_gift"), "{verb}");
    }
    world.caught_up().await;
    assert_eq!((world.available("5001").await, world.available("5002").await), (60, 40));
    audit_agrees(world).await;
    parts.stop().await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_gifts_at_once_around_nothing_lose_and_make_no_point() {
    let serving = Serving::start().await;
    let world = &serving.world;
    connect(world);
    let asker = Arc::new(world.asker().await);
    for viewer in ["5001", "5002", "5003"] {
        asker.ask(cheer(viewer, viewer, 50)).await;
    }
    let gifts = (0..100).map(|n| {
        let viewer = |n: usize| ["5001", "5002", "5003"][n % 3];
        let envelope = gift(viewer(n), viewer(n + 1 + n / 50), 7, &format!("g-{n}"));
        let asker = Arc::clone(&asker);
        async move { asker.ask(envelope).await }
    });
    futures::future::join_all(gifts).await;
    until("nothing is on its way", async || {
        world.count(
            "SELECT count(*) FILTER (WHERE event_type = 'held') - count(*) FILTER (WHERE event_type = 'captured')
             FROM events",
        )
        .await
            == 0
    })
    .await;
    world.caught_up().await;
    let sums = "SELECT sum(available)::bigint FROM projections.balances WHERE available >= 0";
    assert_eq!(world.count(sums).await, 150);
    audit_agrees(world).await;
    serving.stop().await;
}

/// The takes of the process: what was cheered, held, credited, captured.
const TAKES: [u32; 4] = [1, 2, 3, 4];

#[tokio::test(flavor = "multi_thread")]
async fn dying_at_any_step_of_a_gift_changes_nothing() {
    let world = World::start().await;
    connect(&world);
    let parts = world.run();
    let asker = world.asker().await;
    let site = Site::new(&world.servers, &world.pool).await;
    let mut rounds = 0;
    for point in journal::crash::POINTS.into_iter().filter(|point| point.starts_with("process.")) {
        for take in TAKES {
            rounds += 1;
            let (giver, receiver) = (format!("{}", 7_000 + rounds), format!("{}", 8_000 + rounds));
            let crash_at = format!("{point}/giving@{take}");
            let serve = || site.serve(point, "processes");
            let mut doomed =
                serve().env("TAPEDECK_CRASH_AT", &crash_at).spawn().expect("it starts");
            until("it has a position", async || {
                world.count("SELECT count(*) FROM processes WHERE name = 'giving'").await == 1
            })
            .await;
            asker.ask(cheer(&giver, &giver, 30)).await;
            let seen = world.head().await;
            if take > 1 {
                // A take that failed and is done again counts again, so that it may die before.
                tokio::select! {
                    () = answered(&world, seen) => {}
                    _ = doomed.wait() => {}
                }
            }
            asker.ask(gift(&giver, &receiver, 30, &format!("{giver}-gift"))).await;
            let ended = tokio::time::timeout(PATIENCE, doomed.wait()).await;
            let ended = ended.unwrap_or_else(|_| panic!("it never passed {crash_at}"));
            assert!(!ended.expect("a status").success(), "{crash_at}");
            let mut healthy = serve().spawn().expect("it starts again");
            until("the gift has arrived and is spent", async || {
                let captured = "SELECT count(*) FROM events WHERE event_type = 'captured'";
                world.count(captured).await == i64::from(rounds)
            })
            .await;
            answered(&world, world.head().await).await;
            healthy.kill().await.expect("killed");
            let both = (world.available(&giver).await, world.available(&receiver).await);
            assert_eq!(both, (0, 30), "{crash_at}");
        }
    }
    assert_eq!(rounds, 12);
    assert_eq!(world.head().await, 4 * i64::from(rounds), "four events each, and nothing else");
    audit_agrees(&world).await;
    parts.stop().await;
}

/// Waits until the process has answered everything up to `position`.
async fn answered(world: &World, position: i64) {
    until("it has answered", async || {
        world.count("SELECT position FROM processes WHERE name = 'giving'").await >= position
    })
    .await;
}
