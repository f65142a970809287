//! Golden VCR's four queues, as a program reads them that was written against that system.

use std::sync::Arc;

use async_nats::jetstream;
use chrono::Utc;
use domain::broadcast::{Broadcast, Command, Moment};
use domain::entry_id;
use futures::StreamExt;
use gateways::golden_vcr::{self, GoldenVcr, STREAM};
use journal::publication::{self, EVENT_ID, POSITION};
use journal::{Envelope, ViewerName};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::http::{BROADCASTER, Serving};
use crate::world::{Asker, PATIENCE, REFUSED_AFTER, World, broker, cheer, origin, until};

/// A message, with what stands beside it.
#[derive(Clone, Debug, PartialEq)]
struct Message {
    subject: String,
    position: i64,
    event: String,
    body: Value,
}

/// All messages there are.
async fn messages(world: &World) -> Vec<Message> {
    let admin = world.broker.jetstream(journal::broker::Role::Admin).await.expect("in");
    let stream = admin.get_stream(STREAM).await.expect("the stream is there");
    let state = &stream.cached_info().state;
    let mut messages = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.expect("every message is there");
        let header = |name| message.headers.get(name).expect("a header").as_str().to_owned();
        messages.push(Message {
            subject: message.subject.to_string(),
            position: header(POSITION).parse().expect("a position"),
            event: header(EVENT_ID),
            body: serde_json::from_slice(&message.payload).expect("JSON"),
        });
    }
    messages
}

async fn said_all(world: &World) {
    until("all is said", async || {
        let position = "SELECT coalesce(min(position), -1) FROM publications";
        world.count(position).await == world.head().await
    })
    .await;
}

async fn tell(asker: &Asker, name: &str, command: Command) {
    let envelope = Envelope::new::<Broadcast>(BROADCASTER, &command, origin(name));
    let mut envelope = envelope.expect("a good address");
    let name = ViewerName { id: "5001".to_owned(), login: None, name: Some("ReelDeal".to_owned()) };
    envelope.names.push(name);
    asker.ask(envelope).await;
}

fn start() -> Command {
    let (entry, live_id) = (entry_id("test", "live"), "live-1".to_owned());
    Command::Start { entry, live_id, at: Utc::now(), resume_within_s: 900 }
}

fn follow(key: &str) -> Command {
    let moment = Moment::Followed { viewer: "5001".to_owned() };
    Command::Note { entry: entry_id("follow", key), at: Utc::now(), moment }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_said_on_the_four_queues_with_its_event_beside_it() {
    let serving = Serving::undirected(|config| config.compatibility.golden_vcr = true).await;
    let world = &serving.world;
    let asker = world.asker().await;
    // Somebody who listens as programs did, with a password for this alone.
    let password = world.servers.nats_passwords["golden_vcr"].clone();
    let listener =
        async_nats::ConnectOptions::with_user_and_password("golden_vcr".into(), password)
            .custom_inbox_prefix("_INBOX.golden_vcr")
            .connect(&world.servers.nats_url)
            .await
            .expect("the listener gets in");
    let mut heard = listener.subscribe("broadcast-events").await.expect("allowed");
    listener.flush().await.expect("the server has heard it");

    tell(&asker, "live", start()).await;
    let heard = tokio::time::timeout(PATIENCE, heard.next()).await.expect("in time").expect("open");
    let heard: Value = serde_json::from_slice(&heard.payload).expect("JSON");
    assert_eq!(
        (&heard["type"], &heard["broadcast"]["id"]),
        (&json!("broadcast-started"), &json!(1))
    );
    tell(&asker, "follow", follow("once")).await;
    let (entry, tape) = (entry_id("test", "tape"), "88".to_owned());
    let play = Command::StartScreening { entry, tape, at: Utc::now(), card: None };
    tell(&asker, "play", play).await;
    asker.ask(cheer("5001", "points", 200)).await;
    tell(
        &asker,
        "over",
        Command::End { entry: entry_id("test", "end"), live_id: None, at: Utc::now() },
    )
    .await;
    said_all(world).await;
    let ready = serving.client.get(format!("http://{}/readyz", serving.listen));
    let ready: Value = ready.send().await.expect("an answer").json().await.expect("JSON");
    let checks = ready["checks"].as_array().expect("checks");
    assert!(checks.iter().any(|check| check["name"] == golden_vcr::NAME), "{ready}");

    let messages = messages(world).await;
    let events = world.recorded().await;
    let said: Vec<(&str, &str)> = messages
        .iter()
        .map(|said| {
            let kind = said.body["payload"]["type"].as_str().or(said.body["type"].as_str());
            (said.subject.as_str(), kind.expect("a type"))
        })
        .collect();
    assert_eq!(
        said,
        [
            ("twitch-events", "stream-started"),
            ("broadcast-events", "broadcast-started"),
            ("twitch-events", "viewer-followed"),
            ("onscreen-events", "followed"),
            ("broadcast-events", "screening-started"),
            ("onscreen-events", "status"),
            ("twitch-events", "viewer-cheered"),
            ("onscreen-events", "cheered"),
            ("broadcast-events", "screening-finished"),
            ("onscreen-events", "status"),
            ("twitch-events", "stream-ended"),
            ("broadcast-events", "broadcast-finished"),
        ]
    );
    for message in &messages {
        let event = &events[usize::try_from(message.position - 1).expect("a place")];
        assert_eq!(message.event, event.event_id.to_string());
    }
    assert_eq!(messages[2].body["viewer"]["twitch_display_name"], "ReelDeal");
    let [tape, over] = [4, 11].map(|n| &messages[n].body);
    assert_eq!(
        (&tape["screening"]["tape_id"], &tape["broadcast"]),
        (&json!(88), &over["broadcast"])
    );
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_says_nothing_and_begins_where_it_is_switched_on() {
    let serving = Serving::start().await;
    let asker = serving.world.asker().await;
    tell(&asker, "before", follow("before")).await;
    serving.world.caught_up().await;
    assert_eq!(messages(&serving.world).await, []);
    assert_eq!(serving.world.count("SELECT count(*) FROM publications").await, 0);
    let publication = Speaking::start(&serving.world).await;
    tell(&asker, "after", follow("after")).await;
    said_all(&serving.world).await;
    let positions: Vec<i64> =
        messages(&serving.world).await.iter().map(|said| said.position).collect();
    assert_eq!(positions, [2, 2], "history is not said again");
    publication.stop().await;
    serving.stop().await;
}

/// The publication, as another process has it.
struct Speaking {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Speaking {
    async fn start(world: &World) -> Self {
        publication::register(&world.pool, golden_vcr::NAME).await.expect("known");
        let stop = CancellationToken::new();
        let said = Arc::new(GoldenVcr::new(world.pool.clone(), "http://127.0.0.1:8090"));
        let run = publication::run(world.pool.clone(), broker(&world.servers), said, stop.clone());
        Speaking { stop, task: tokio::spawn(run) }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a good end");
    }

    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_twice_wherever_it_dies_and_however_many_speak() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let mut speaking = Speaking::start(&world).await;
    tell(&asker, "live", start()).await;
    said_all(&world).await;
    for n in 0..5 {
        let before: (i64, i64) = sqlx::query_as("SELECT position, sequence FROM publications")
            .fetch_one(&world.pool)
            .await
            .expect("a row");
        for m in 0..10 {
            tell(&asker, "follow", follow(&format!("{n}-{m}"))).await;
        }
        said_all(&world).await;
        speaking.kill().await;
        // It died after it had spoken, and before it had stored that it had.
        sqlx::query("UPDATE publications SET position = $1, sequence = $2")
            .bind(before.0)
            .bind(before.1)
            .execute(&world.pool)
            .await
            .expect("stored");
        let (one, other) = (Speaking::start(&world).await, Speaking::start(&world).await);
        said_all(&world).await;
        other.kill().await;
        speaking = one;
    }
    let said = messages(&world).await;
    let positions: Vec<i64> = said.iter().map(|said| said.position).collect();
    let wanted: Vec<i64> = (1..=51).flat_map(|position| [position, position]).collect();
    assert_eq!(positions, wanted, "two of each, once");
    speaking.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_anew_goes_on_from_the_position() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let speaking = Speaking::start(&world).await;
    for n in 0..3 {
        tell(&asker, "follow", follow(&format!("lost-{n}"))).await;
    }
    said_all(&world).await;
    speaking.stop().await;
    let admin = world.broker.jetstream(journal::broker::Role::Admin).await.expect("in");
    admin.delete_stream(STREAM).await.expect("deleted");
    let file = journal::streams::StreamsFile::built_in().expect("streams.yaml");
    journal::streams::apply(&admin, &file).await.expect("made anew");
    tell(&asker, "follow", follow("new")).await;
    let speaking = Speaking::start(&world).await;
    said_all(&world).await;
    let positions: Vec<i64> = messages(&world).await.iter().map(|said| said.position).collect();
    assert_eq!(positions, [4, 4]);
    speaking.stop().await;
    parts.stop().await;
}

/// W35.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_the_four_queues_can_do_nothing_else() {
    let world = World::start().await;
    let password = world.servers.nats_passwords["golden_vcr"].clone();
    let client = async_nats::ConnectOptions::with_user_and_password("golden_vcr".into(), password)
        .custom_inbox_prefix("_INBOX.golden_vcr")
        .connect(&world.servers.nats_url)
        .await
        .expect("the listener gets in");
    jetstream::new(client.clone()).get_stream(STREAM).await.expect("allowed");
    let mut theirs = jetstream::new(client);
    theirs.set_timeout(REFUSED_AFTER);
    let stream = theirs.get_stream_no_info(STREAM).await.expect("a name");
    theirs.get_stream("EVENTS").await.expect_err("not the journal");
    stream.create_consumer(jetstream::consumer::pull::Config::default()).await.expect_err("none");
    for subject in ["twitch-events", "cmd.0.account.5001.credit"] {
        let sent = theirs.publish(subject, "{}".into()).await.expect("buffered");
        sent.await.expect_err("nothing is said in our name");
    }
}
