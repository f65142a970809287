//! Webhooks as Twitch posts them, into the real router and a real JetStream: a 2xx is a promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use domain::rules::Rules;
use gateways::chat::Lines;
use gateways::simulate::{
    Deed, Delivery, ExpectedAlert, Night, Options, Pace, Report, Scene, Viewer, play,
};
use gateways::twitch::signature::{MESSAGE_SIGNATURE, MESSAGE_TIMESTAMP, MESSAGE_TYPE};
use gateways::twitch::{Inbound, Secret, Secrets, Webhook, retranslate, router};
use journal::broker::Role;
use reqwest::{Client, Response, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{PATIENCE, World, until};

const BROADCASTER: &str = "1000";

fn secret() -> Secret {
    Secret::new("between-twitch-and-us").expect("a good secret")
}

/// The router on a port of its own, as one process of gateways serves it.
async fn listen(world: &World) -> Url {
    let inbound = Inbound {
        secrets: Secrets::new(Some(secret())),
        rules: Arc::new(Rules::default()),
        broadcaster_id: Some(BROADCASTER.to_owned()),
        listening: Default::default(),
    };
    let lines = Lines::start(&world.broker).await.expect("the chat's user gets in");
    let (publisher, pool) = (world.publisher().await, world.pool.clone());
    let router = router(Webhook { inbound, publisher, lines, pool, versions: None });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    Url::parse(&format!("http://{address}/webhooks/twitch")).expect("a URL")
}

async fn post(to: &Url, delivery: Delivery) -> Response {
    let client = Client::builder().no_proxy().build().expect("a client");
    let request = client.post(to.clone()).body(delivery.body).timeout(Duration::from_secs(30));
    let headers = delivery.headers.into_iter();
    let request = headers.fold(request, |request, (name, value)| request.header(name, value));
    request.send().await.expect("an answer")
}

/// How the answer begins when only the head of a request is sent: it announces the body, and nothing of that follows.
async fn answer_to_head(to: &Url, delivery: &Delivery) -> String {
    let address = to.socket_addrs(|| None).expect("an address")[0];
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    let headers: String =
        delivery.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (path, length) = (to.path(), delivery.body.len());
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.expect("sent");
    let mut status = [0; 12];
    let answered = connection.read_exact(&mut status);
    tokio::time::timeout(PATIENCE, answered).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&status).into_owned()
}

/// `body` as a message of `message_type`, signed now.
fn message(message_type: &str, message_id: &str, body: &str) -> Delivery {
    let kind = ("channel.cheer", "1");
    let mut delivery = Delivery::signed(&secret(), message_id, kind, Utc::now(), body.to_owned());
    for (name, value) in &mut delivery.headers {
        if *name == MESSAGE_TYPE {
            *value = message_type.to_owned();
        }
    }
    delivery
}

fn cheer(message_id: &str, viewer: &str, bits: i64) -> Delivery {
    let deed = Deed::Cheer {
        viewer: Some(Viewer::new(viewer, "reeldeal", "ReelDeal")),
        bits,
        message: "for the toaster".into(),
    };
    let night = Night::script(0, 1).for_broadcaster(BROADCASTER);
    let scene = Scene { deed, message_id: message_id.to_owned(), ..night.scenes[0].clone() };
    night.delivery(&scene, &secret(), Utc::now())
}

async fn perform(night: &Arc<Night>, to: &Url, duplicates: u32) -> Report {
    let (to, secret) = (to.clone(), secret());
    let options = Options { to, secret, pace: Pace::Max, senders: 8, duplicates };
    play(night.clone(), &options, |_| ()).await.expect("a client")
}

/// Waits until every command of COMMANDS is decided. One processor decides them in the order of the stream.
async fn decided(world: &World) {
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    until("the cursor is at the end of COMMANDS", async || {
        let Ok(stream) = admin.get_stream("COMMANDS").await else { return false };
        let last = stream.cached_info().state.last_sequence as i64;
        world.count("SELECT MAX(cursor) FROM partitions").await == last
    })
    .await;
}

/// Every command of COMMANDS is decided, and every projection has folded what came of it.
async fn settled(world: &World) {
    decided(world).await;
    world.caught_up().await;
}

/// Nothing missing, nothing twice: credits as the night says, and each alert once.
async fn assert_it_came_to_what_was_expected(world: &World, night: &Night) {
    let credits: Vec<(String, i64)> =
        sqlx::query_as("SELECT account, credits FROM projections.balances WHERE credits > 0")
            .fetch_all(&world.pool)
            .await
            .expect("balances answer");
    assert_eq!(credits.into_iter().collect::<BTreeMap<_, _>>(), night.expected_points());
    let shown: Vec<(String, Option<String>, Value)> =
        sqlx::query_as("SELECT kind, viewer, data::jsonb FROM projections.alerts")
            .fetch_all(&world.pool)
            .await
            .expect("alerts answer");
    let expected = night.expected_alerts();
    let kind_of = |kind: &str| expected.iter().find(|alert| alert.kind == kind).map(|a| a.kind);
    let amounts = ["bits", "months", "count", "viewers", "level"];
    let mut shown: Vec<ExpectedAlert> = shown
        .into_iter()
        .map(|(kind, viewer, data)| ExpectedAlert {
            kind: kind_of(&kind).unwrap_or_else(|| panic!("an alert {kind} that nobody expects")),
            viewer,
            amount: amounts.iter().find_map(|amount| data[amount].as_i64()).unwrap_or(0),
        })
        .collect();
    let mut expected = expected;
    shown.sort();
    expected.sort();
    assert_eq!(shown, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_delivered_up_to_four_times_and_under_second_ids_happens_once() {
    let world = World::start().await;
    let to = listen(&world).await;
    let parts = world.run();
    let night = Arc::new(Night::script(7, 600));
    let report = perform(&night, &to, 3).await;
    assert!(report.all_accepted(), "{:?}", report.first_failure);
    assert!(report.accepted > 1_200, "{} deliveries", report.accepted);
    settled(&world).await;
    assert_it_came_to_what_was_expected(&world, &night).await;
    let head = world.head().await;
    // The whole night again, as after a restore at Twitch: all of it is known.
    let again = perform(&night, &to, 0).await;
    assert!(again.all_accepted(), "{:?}", again.first_failure);
    settled(&world).await;
    assert_eq!(world.head().await, head);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_the_answer_is_503_and_what_is_sent_again_is_not_lost() {
    let mut world = World::start().await;
    let to = listen(&world).await;
    assert_eq!(post(&to, cheer("m-before", "5001", 1)).await.status(), 204);
    world.servers.kill_nats().await.expect("nats-server is killed");
    let refused = post(&to, cheer("m-during", "5001", 10)).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.text().await.expect("a body"), "");
    // A night begins while nats-server is away; its sender tries again as Twitch does.
    let night = Arc::new(Night::script(8, 60));
    let (report, started) = tokio::join!(perform(&night, &to, 1), world.servers.start_nats());
    started.expect("nats-server comes back");
    assert!(report.all_accepted(), "{:?}", report.first_failure);
    assert_eq!(post(&to, cheer("m-during", "5001", 10)).await.status(), 204);
    let parts = world.run();
    settled(&world).await;
    let query = "SELECT COALESCE(SUM(credits), 0)::bigint FROM projections.balances";
    let expected: i64 = night.expected_points().values().sum();
    assert_eq!(world.count(query).await, expected + 11);
    let alerts = "SELECT COUNT(*) FROM projections.alerts";
    assert_eq!(world.count(alerts).await, night.expected_alerts().len() as i64 + 2);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_translated_is_answered_kept_and_translated_by_a_later_version() {
    let world = World::start().await;
    let to = listen(&world).await;
    let parts = world.run();
    let elsewhere = cheer("m-elsewhere", "5001", 25).body.replace("\"1000\"", "\"2000\"");
    for (message_type, id, body) in [
        ("notification", "m-malformed", "{\"subscription\":"),
        ("notification", "m-zero", "\0"),
        ("notification", "m-elsewhere", elsewhere.as_str()),
        (
            "notification",
            "m-poll",
            r#"{"subscription":{"type":"channel.poll.begin","version":"1"},"event":{"id":"1"}}"#,
        ),
        (
            "revocation",
            "m-revoked",
            r#"{"subscription":{"type":"channel.follow","version":"2","status":"user_removed"}}"#,
        ),
        ("something_new", "m-new", "{}"),
    ] {
        for _ in 0..2 {
            let answer = post(&to, message(message_type, id, body)).await;
            assert_eq!(answer.status(), 204, "{id}");
        }
    }
    settled(&world).await;
    // Of a type that was revoked it is known that nothing more comes of it, and of the others nothing.
    let recorded = world.recorded().await;
    let recorded: Vec<&str> = recorded.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(recorded, ["lost"]);
    let letters: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT reason, payload FROM dead_letters ORDER BY id")
            .fetch_all(&world.pool)
            .await
            .expect("dead letters answer");
    assert_eq!(letters.len(), 6, "{:?}", letters.iter().map(|one| &one.0).collect::<Vec<_>>());
    let (reason, payload) = letters
        .iter()
        .find(|(reason, _)| reason.contains("it is about the channel"))
        .expect("the letter says why");
    assert_eq!(reason, "it is about the channel \"2000\", and this is 1000");
    let kept: Value = serde_json::from_slice(payload).expect("an envelope");
    let envelopes = retranslate(
        kept["origin"]["raw"].as_str().expect("the body"),
        &kept["command"].to_string(),
        &Rules::default(),
        Some("2000"),
        Utc::now(),
    );
    let publisher = world.publisher().await;
    for envelope in envelopes.expect("now it is understood") {
        publisher.send(&envelope).await.expect("stored");
    }
    decided(&world).await;
    assert_eq!(world.available("5001").await, 25);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_twitch_is_believed_and_only_as_much_as_it_may_send() {
    let world = World::start().await;
    let to = listen(&world).await;
    let good = cheer("m-1", "5001", 100);

    let without = |name: &str| {
        let mut delivery = good.clone();
        delivery.headers.retain(|(header, _)| *header != name);
        delivery
    };
    assert_eq!(post(&to, without(MESSAGE_SIGNATURE)).await.status(), 403);
    assert_eq!(post(&to, without(MESSAGE_TIMESTAMP)).await.status(), 403);
    let changed = Delivery { body: good.body.replace("100", "900"), ..good.clone() };
    let forged = post(&to, changed).await;
    assert_eq!(forged.status(), 403);
    assert_eq!(forged.text().await.expect("a body"), "", "the refusal explains itself");
    for minutes in [-11, 11] {
        let sent_at = Utc::now() + TimeDelta::minutes(minutes);
        let kind = ("channel.cheer", "1");
        let stale = Delivery::signed(&secret(), "m-1", kind, sent_at, good.body.clone());
        assert_eq!(post(&to, stale).await.status(), 403);
    }
    let large = message("notification", "m-large", &" ".repeat(1024 * 1024 + 1));
    assert_eq!(answer_to_head(&to, &large).await, "HTTP/1.1 413");
    let largest = message("notification", "m-largest", &"\"".repeat(1024 * 1024));
    assert_eq!(post(&to, largest).await.status(), 204);

    let challenge = json!({
        "challenge": "pogchamp-kappa-360noscope-vohiyo",
        "subscription": {"type": "channel.cheer", "version": "1", "status": "pending"},
    });
    let verification = message("webhook_callback_verification", "m-verify", &challenge.to_string());
    let answer = post(&to, verification).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert_eq!(answer.headers()["content-length"], "32");
    assert_eq!(answer.text().await.expect("a body"), "pogchamp-kappa-360noscope-vohiyo");

    let parts = world.run();
    decided(&world).await;
    assert_eq!(world.head().await, 0, "something was believed");
    assert_eq!(world.count("SELECT COUNT(*) FROM command_outcomes").await, 1);
    assert_eq!(post(&to, good).await.status(), 204);
    decided(&world).await;
    assert_eq!(world.available("5001").await, 100);
    parts.stop().await;
}
