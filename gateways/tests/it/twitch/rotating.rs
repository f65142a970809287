//! Another secret for webhooks, while Twitch posts all the time: nothing is refused that is Twitch's own, nothing counts
//! twice, and the old secret is good for nothing once its grace is over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use gateways::config::{CONNECT_FILE, Config};
use gateways::sealing::Sealer;
use gateways::twitch::Versions;
use gateways::twitch::eventsub::Transport;
use gateways::twitch::secrets::listed::{self, Listed};
use gateways::twitch::secrets::twins;
use gateways::twitch::signature::{self, Authentic};
use tokio::process::Command;

use super::*;
use crate::processes::{Process, Site};

const ROLES: &str = "gateway,eventsub,processor,relay,projections";
const SENDERS: usize = 4;
const PACE: Duration = Duration::from_millis(25);
const CHEER: &str = "channel.cheer";

/// What both processes and the command line are told.
fn configured(mut command: Command, fake: &fake::EventSub) -> Command {
    command.env_remove("DATABASE_URL").env_remove("NATS_URL");
    for (key, value) in [
        ("PUBLIC_URL", "https://tapes.example"),
        ("TWITCH__CLIENT_ID", CLIENT),
        ("TWITCH__HELIX_URL", &fake.base_url()),
        ("TWITCH__EVENTSUB__TOKEN", TOKEN),
        ("TWITCH__EVENTSUB__TRANSPORT", "webhook"),
        ("TWITCH__EVENTSUB__SECRET_GRACE_S", "10"),
    ] {
        command.env(format!("TAPEDECK_{key}"), value);
    }
    command
}

async fn said(site: &Site, fake: &fake::EventSub, arguments: &[&str]) -> String {
    let output = configured(site.tapedeck(arguments), fake).output().await.expect("it runs");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Waits until every type is told by one subscription, made with the version of this number.
async fn moved(desk: (&World, &fake::EventSub), number: i64) -> Vec<Listed> {
    let (world, fake) = desk;
    let mut found = Vec::new();
    until(&format!("all are made with version {number}"), async || {
        found = listed::list(&world.pool).await.expect("a list");
        let Some(name) = found.iter().find(|one| one.version == number).map(|one| &one.name) else {
            return false;
        };
        let callback = format!("https://tapes.example/webhooks/twitch?v={name}");
        let subs = fake.subs();
        let of_it = |sub: &&fake::Sub| {
            sub.status == "enabled" && sub.transport["callback"] == callback.as_str()
        };
        subs.len() == KINDS && subs.iter().filter(of_it).count() == KINDS
    })
    .await;
    found
}

/// A cheer of one bit that no other is like.
fn unlike(n: i64) -> Value {
    let mut cheer = cheer("5001", 1);
    cheer["message"] = format!("Cheer1 number {n}").into();
    cheer
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_under_load_refuses_nothing_authentic_and_the_old_one_ends_with_its_grace() {
    let world = World::start().await;
    let fake = Arc::new(fake::EventSub::start(Options::default()).await.expect("a fake Twitch"));
    let first = &Site::new(&world.servers, &world.pool).await;
    let second = &first.beside();
    // Nobody chose a secret: it is ours.
    let connect = world.servers.data.join(CONNECT_FILE);
    let text = std::fs::read(&connect).expect("it was written");
    let mut json: Value = serde_json::from_slice(&text).expect("JSON");
    json.as_object_mut().expect("keys").remove("eventsub_secret");
    std::fs::write(&connect, json.to_string()).expect("written");
    let address = |site: &Site| ([127, 0, 0, 1], site.port).into();
    fake.is_found_at(vec![address(first), address(second)]);
    let process = |name: &'static str, site: &Site| {
        let (site, fake) = (site.clone(), Arc::clone(&fake));
        Process::start(move || configured(site.serve(name, ROLES), &fake))
    };
    let mut one = process("one", first);
    first.answers().await;
    let _other = process("other", second);
    second.answers().await;
    moved((&world, &fake), 1).await;

    let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let senders = (0..SENDERS).map(|_| {
        let (fake, stop, told) = (Arc::clone(&fake), Arc::clone(&stop), Arc::clone(&told));
        tokio::spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            while !stop.load(Ordering::Relaxed) {
                pace.tick().await;
                let n = told.fetch_add(1, Ordering::Relaxed);
                fake.post(&format!("cheer-{n}"), CHEER, &unlike(n)).await;
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let words = said(first, &fake, &["eventsub", "rotate"]).await;
    assert!(words.contains("Version 2 is made"), "{words}");
    until("some have followed", async || fake.secrets().len() > KINDS).await;
    // Whoever keeps the subscriptions dies in the middle of it, and comes back.
    one.replace().await;
    moved((&world, &fake), 2).await;
    first.answers().await;
    said(second, &fake, &["eventsub", "rotate"]).await;
    moved((&world, &fake), 3).await;
    stop.store(true, Ordering::Relaxed);
    for sender in join_all(senders).await {
        sender.expect("no panic");
    }

    let posted = fake.posted();
    assert_eq!(posted.refused, Vec::<String>::new(), "something authentic was refused");
    assert_eq!((&posted.given_up, &posted.to_nobody), (&Vec::new(), &Vec::new()));
    assert!(posted.twice > 0, "no deed was told twice, so this proves nothing: {posted:?}");
    let told = told.load(Ordering::Relaxed);
    until("every cheer is credited", async || world.available("5001").await >= told).await;
    assert_eq!(world.available("5001").await, told, "of {posted:?}");

    let mut listed = Vec::new();
    until("the old secrets are over", async || {
        listed = listed::list(&world.pool).await.expect("a list");
        let over = |one: &&Listed| one.until.is_some_and(|until| until < Utc::now());
        listed.iter().filter(over).count() == 2
    })
    .await;
    let secrets: BTreeSet<String> = fake.secrets().into_iter().map(|(_, secret)| secret).collect();
    assert_eq!(secrets.len(), 3);
    let current = fake.secret_of(CHEER).expect("a subscription");
    for (n, secret) in secrets.iter().enumerate() {
        let answers = fake.answers_to(secret, &format!("late-{n}"), &unlike(-1)).await;
        let expected = if *secret == current { 204 } else { 403 };
        assert_eq!(answers, [expected; 2], "version {:?}", listed.get(n).map(|one| one.version));
    }
    let text = said(first, &fake, &["eventsub", "list"]).await;
    assert!(
        text.contains("version 3 (ours) is the one") && text.contains("not believed"),
        "{text}"
    );
    for secret in &secrets {
        assert!(!text.contains(secret), "a secret is shown");
    }
    let doctor = configured(first.tapedeck(&["doctor"]), &fake).output().await.expect("it runs");
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("webhooks are signed with version 3"), "{doctor}");
}

fn sealer(world: &World) -> Sealer {
    Sealer::load_or_make(&world.servers.data.join("sealing.key")).expect("a key")
}

fn versions(world: &World) -> Versions {
    Versions::new(world.pool.clone(), sealer(world), Duration::from_secs(10))
}

/// Whether a process believes what is signed with this secret, once it has looked.
async fn believes(versions: &Versions, secret: &str) -> bool {
    believed_at(versions, secret, Utc::now()).await
}

async fn believed_at(versions: &Versions, secret: &str, at: DateTime<Utc>) -> bool {
    versions.look(std::time::Instant::now()).await.expect("PostgreSQL answers");
    let secret = signature::Secret::new(secret).expect("a good secret");
    versions.secrets().believed(at).any(|believed| *believed == secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_secret_that_is_replaced_is_believed_by_all_until_nothing_is_left_of_it() {
    let world = World::start().await;
    let config = |secret: &str| {
        let mut config = Config { eventsub_secret: secret.to_owned(), ..Config::default() };
        config.twitch.eventsub.token = Secret::new(TOKEN);
        config.twitch.eventsub.transport = Transport::Webhook;
        config
    };
    let [one, two] = ["the first secret", "the second secret"];
    let first = versions(&world);
    first.adopt_of(&config(one)).await.expect("adopted");
    first.adopt_of(&config(one)).await.expect("known");
    let name = |list: &[Listed], version| {
        list.iter().find(|one| one.version == version).expect("a version").name.clone()
    };
    // Believed from the moment it is configured; and what another process makes of it is known to all.
    first.expect(&config(two));
    assert!(believes(&first, two).await && believes(&first, one).await);
    versions(&world).adopt_of(&config(two)).await.expect("adopted");
    for process in [&first, &versions(&world)] {
        assert!(believes(process, one).await && believes(process, two).await);
        assert!(process.overlap(Utc::now()), "subscriptions of both may tell of the same");
    }
    assert!(first.rotate().await.expect("PostgreSQL answers").is_none(), "it is somebody's choice");
    let list = listed::list(&world.pool).await.expect("a list");
    assert_eq!(list.len(), 2);
    let all = BTreeSet::from([name(&list, 1), name(&list, 2)]);
    first.retire(&all).await.expect("nothing is over");
    assert_eq!(listed::list(&world.pool).await.expect("a list")[1].until, None);
    first.retire(&BTreeSet::from([name(&list, 2)])).await.expect("the first is");
    let until_then = listed::list(&world.pool).await.expect("a list")[1].until.expect("an end");
    let shortly_before = until_then - chrono::TimeDelta::milliseconds(1);
    assert!(believed_at(&versions(&world), one, shortly_before).await, "its grace is not over");
    until("its grace is over", async || Utc::now() >= until_then).await;
    for process in [&first, &versions(&world)] {
        assert!(!believes(process, one).await && believes(process, two).await);
        assert!(!process.overlap(Utc::now()));
    }
    // What is in the database shows neither.
    let rows =
        "SELECT count(*) FROM eventsub_secrets WHERE encode(secret, 'escape') LIKE '%secret%'";
    assert_eq!(world.count(rows).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cheers_in_the_same_words_are_two_and_what_is_told_of_them_twice_is_not_four() {
    let world = World::start().await;
    let at = Utc::now();
    let named = async |sub: &str, id: &str, ms: i64| {
        let about = json!({"id": sub, "type": CHEER, "version": "1"});
        let body = json!({"subscription": about, "event": cheer("5001", 1)}).to_string();
        let sent_at = at + chrono::TimeDelta::milliseconds(ms);
        let (kind, version, message_type) = (CHEER, "1", "notification");
        let authentic = Authentic { message_id: id, sent_at, message_type, kind, version };
        let told = twins::told(&authentic, body.as_bytes()).expect("a cheer");
        twins::taken_as(&world.pool, &told, id, sent_at).await.expect("PostgreSQL answers")
    };
    assert_eq!(named("old", "old-1", 0).await, "old-1");
    assert_eq!(named("new", "new-2", 905).await, "old-1", "the only one yet");
    assert_eq!(named("old", "old-2", 900).await, "old-2");
    assert_eq!(named("new", "new-1", 3).await, "old-2", "so that two are two");
    assert_eq!(named("third", "third-2", 901).await, "old-2");
    assert_eq!(named("third", "third-1", 1).await, "old-1");
    assert_eq!(named("new", "new-1", 3).await, "old-2", "posted again, it is still the same");
    assert_eq!(named("new", "new-3", 20_000).await, "new-3", "long after, it is another");
}
