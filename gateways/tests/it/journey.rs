//! A night of 5,000 signed webhooks while everything is killed at random: nothing is lost, nothing is doubled.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::Utc;
use gateways::simulate::{ExpectedAlert, Night, Shown, watch};
use journal::crash::{MANY_POINTS, POINTS, SOME_POINTS};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::process::Child;
use tokio_util::task::AbortOnDropHandle;

use self::beside::Beside;
use crate::processes::{BROADCASTER, Process, Site};
use crate::world::{PATIENCE, World, until};

mod beside;
mod recovery;

const NOTIFICATIONS: usize = 5_000;
const SENDERS: usize = 8;
/// So many are taken between two deaths, on average.
const EVERY: usize = 100;
const SEED: u64 = 20_261_121;

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_webhooks_survive_the_death_of_everything() {
    let mut world = World::start().await;
    let site = Arc::new(Site::new(&world.servers, &world.pool).await);
    let night = Arc::new(Night::script(SEED, NOTIFICATIONS).for_broadcaster(BROADCASTER));
    let mut random = StdRng::seed_from_u64(SEED);
    let messages = messages(&night, &mut random);

    let mut processes = start(&site);
    site.answers().await;
    let shown: Arc<Mutex<Vec<Shown>>> = Arc::default();
    let seen = shown.clone();
    let watching = watch(site.url("/api/v1/feed"), site.key.clone(), 0, move |alert| {
        seen.lock().expect("no panic").push(alert);
    });
    let _watcher = AbortOnDropHandle::new(tokio::spawn(watching));

    let total = messages.len();
    let taken = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn(send_all(site.clone(), night.clone(), messages, taken.clone()));
    let taken = async || taken.load(Ordering::Acquire);
    let nats_kills = kill_at_random(&mut world, &mut processes, &mut random, total, taken).await;
    let requests = sending.await.expect("all are delivered in the end");

    let expected_points = night.expected_points();
    until("every command is decided", async || {
        processes.iter_mut().for_each(Process::supervise);
        decided(&world).await
    })
    .await;
    world.caught_up().await;
    assert_eq!(balances(&world).await, expected_points);

    let mut expected = night.expected_alerts();
    expected.sort();
    until("the feed has shown as many alerts as it must", async || {
        shown.lock().expect("no panic").len() >= expected.len()
    })
    .await;
    world.relayed().await;
    site.audit().await;
    let shown = shown.lock().expect("no panic").clone();
    let ids: BTreeSet<_> = shown.iter().map(|alert| alert.id).collect();
    assert_eq!(ids.len(), shown.len(), "an alert was shown twice");
    assert!(shown.is_sorted_by_key(|alert| alert.position), "alerts were shown out of order");
    let mut found: Vec<ExpectedAlert> = shown.iter().filter_map(ExpectedAlert::of).collect();
    found.sort();
    assert_eq!(found, expected);
    let kills: u32 = processes.iter().map(|process| process.kills).sum();
    println!(
        "{NOTIFICATIONS} notifications, {total} deliveries, {requests} requests, {} alerts, \
         {kills} processes and {nats_kills} nats-servers killed",
        found.len()
    );
    assert!(kills >= 10 && nats_kills >= 2, "the night was too calm to prove anything");
}

/// What is told of a scene, by its number, under an id.
type Message = (usize, String);

/// Every notification one to three times, under its second id too where it has one, all in random order.
fn messages(night: &Night, random: &mut StdRng) -> Vec<Message> {
    let mut messages = Vec::new();
    for (n, scene) in night.scenes.iter().enumerate() {
        for _ in 0..random.random_range(1..=3) {
            messages.push((n, scene.message_id.clone()));
        }
        messages.extend(scene.second_message_id.iter().map(|second| (n, second.clone())));
    }
    messages.shuffle(random);
    messages
}

/// Two of each part but the gateway, whose address there is only once.
fn start(site: &Arc<Site>) -> Vec<Process> {
    let parts = [
        ("gateway", "gateway"),
        ("processor-1", "processor,processes"),
        ("processor-2", "processor,processes"),
        ("relay-1", "relay,projections"),
        ("relay-2", "relay,projections"),
    ];
    let process = |(name, roles): (&'static str, &'static str)| {
        let site = site.clone();
        Process::start(move || site.serve(name, roles))
    };
    parts.into_iter().map(process).collect()
}

/// Delivers as Twitch does: what is not answered with 2xx is sent again. Counts what is taken.
async fn send_all(
    site: Arc<Site>,
    night: Arc<Night>,
    messages: Vec<Message>,
    taken: Arc<AtomicUsize>,
) -> usize {
    let client =
        reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("a client");
    let messages = Arc::new(messages);
    let next = Arc::new(AtomicUsize::new(0));
    let senders = (0..SENDERS).map(|_| {
        let (site, client, night) = (site.clone(), client.clone(), night.clone());
        let (messages, next, taken) = (messages.clone(), next.clone(), taken.clone());
        tokio::spawn(async move {
            let mut requests = 0;
            while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
                requests += send(&site, &client, &night, message).await;
                taken.fetch_add(1, Ordering::Release);
            }
            requests
        })
    });
    let requests = futures::future::join_all(senders.collect::<Vec<_>>()).await;
    requests.into_iter().map(|count| count.expect("no sender panics")).sum()
}

/// How many requests it took.
async fn send(site: &Site, client: &reqwest::Client, night: &Night, message: &Message) -> usize {
    let (secret, (n, id)) = (site.secret(), message);
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    let (mut requests, since) = (0, Instant::now());
    loop {
        requests += 1;
        assert!(since.elapsed() < PATIENCE, "a delivery was never taken");
        // Signed anew each time: what is old is not taken.
        let delivery = night.delivery_as(&night.scenes[*n], id, &secret, Utc::now());
        let mut request = client.post(site.url("/webhooks/twitch")).body(delivery.body);
        for (name, value) in delivery.headers {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return requests,
            Ok(answer) => assert!(answer.status().is_server_error(), "{}", answer.status()),
            Err(_) => {}
        }
        pause.tick().await;
    }
}

/// Kills a process every now and then, and the nats-server, until nearly all is delivered: after some were taken and not after
/// some time, so that a slow machine is not killed before it has started. Gives how many nats-servers.
async fn kill_at_random(
    world: &mut World,
    processes: &mut [Process],
    random: &mut StdRng,
    total: usize,
    taken: impl AsyncFn() -> usize,
) -> u32 {
    let (mut kills, mut after) = (0, 0);
    for round in 1.. {
        after += random.random_range(1..=2 * EVERY);
        if after >= total {
            break;
        }
        until("some more are taken", async || {
            processes.iter_mut().for_each(Process::supervise);
            taken().await >= after
        })
        .await;
        if round % 7 == 0 {
            world.servers.kill_nats().await.expect("killed");
            world.servers.start_nats().await.expect("started again");
            kills += 1;
            continue;
        }
        let victim = random.random_range(0..processes.len());
        processes[victim].replace().await;
        // Some die while they begin.
        if random.random_ratio(1, 4) {
            processes[victim].replace().await;
        }
    }
    kills
}

/// Whether every partition has been read to the end of COMMANDS.
async fn decided(world: &World) -> bool {
    let admin =
        world.broker.jetstream(journal::broker::Role::Admin).await.expect("the admin gets in");
    let Ok(stream) = admin.get_stream("COMMANDS").await else { return false };
    let last = stream.cached_info().state.last_sequence;
    world.count("SELECT min(cursor) FROM partitions").await
        == i64::try_from(last).expect("a sequence")
}

async fn balances(world: &World) -> BTreeMap<String, i64> {
    let rows =
        sqlx::query_as("SELECT account, available FROM projections.balances WHERE credits > 0");
    let rows: Vec<(String, i64)> = rows.fetch_all(&world.pool).await.expect("balances answer");
    rows.into_iter().collect()
}

/// All that a process can be.
const ALL: &str = "gateway,processor,relay,projections,processes";
/// The signal of a process that aborts itself.
const ABORTED: i32 = 6;

/// The points at which a process can be told to die, each once on its way through a hundred webhooks and what is beside them.
#[tokio::test(flavor = "multi_thread")]
async fn dying_at_any_statement_of_the_commit_and_the_relay_changes_nothing() {
    let world = World::start().await;
    let site = Arc::new(Site::new(&world.servers, &world.pool).await);
    let publisher = world.publisher().await;
    let mut given: BTreeMap<String, i64> = BTreeMap::new();
    for (n, point) in POINTS.into_iter().chain(SOME_POINTS).enumerate() {
        let (night, messages) = short_night(n, 120, &mut given);
        let beside = Beside::new(n, &mut given);
        let mut doomed = doomed(&site, point, ALL);
        site.answers().await;
        let sending = tokio::spawn(send_all(site.clone(), night, messages, Arc::default()));
        let dying = async {
            dies(&world, &mut doomed, point).await;
            site.serve(point, ALL).spawn().expect("started again")
        };
        let (mut healthy, ()) = futures::join!(dying, beside.send(&world, &publisher));
        sending.await.expect("all are delivered");
        comes_out(&world, &given, point).await;
        beside.came_out(&world, point).await;
        healthy.kill().await.expect("killed");
    }
    site.audit().await;
}

/// The same, where so many commands have waited that their rows are copied in, table after table.
#[tokio::test(flavor = "multi_thread")]
async fn dying_at_any_statement_of_a_commit_of_many_changes_nothing() {
    let world = World::start().await;
    let site = Arc::new(Site::new(&world.servers, &world.pool).await);
    let mut given: BTreeMap<String, i64> = BTreeMap::new();
    for (n, point) in MANY_POINTS.into_iter().enumerate() {
        // More than enough for half the partitions, where the one that is killed has not lost its own yet.
        let (night, messages) = short_night(n, 800, &mut given);
        let mut gateway = site.serve(point, "gateway").spawn().expect("started");
        site.answers().await;
        send_all(site.clone(), night, messages, Arc::default()).await;
        gateway.kill().await.expect("killed");
        dies(&world, &mut doomed(&site, point, ALL), point).await;
        let mut healthy = site.serve(point, ALL).spawn().expect("started again");
        comes_out(&world, &given, point).await;
        healthy.kill().await.expect("killed");
    }
    site.audit().await;
}

/// So many webhooks, each once, and what they add to the points that are given.
fn short_night(
    n: usize,
    count: usize,
    given: &mut BTreeMap<String, i64>,
) -> (Arc<Night>, Vec<Message>) {
    let night = Arc::new(Night::script(n as u64, count).for_broadcaster(BROADCASTER));
    for (viewer, points) in night.expected_points() {
        *given.entry(viewer).or_default() += points;
    }
    let ids = night.scenes.iter().map(|scene| scene.message_id.clone());
    let messages = ids.enumerate().collect();
    (night, messages)
}

fn doomed(site: &Site, point: &str, roles: &str) -> Child {
    site.serve(point, roles).env("TAPEDECK_CRASH_AT", point).spawn().expect("started")
}

/// Waits until the process has died at `point`. One that ended in another way, or elsewhere, was never there.
async fn dies(world: &World, doomed: &mut Child, point: &str) {
    let died = tokio::time::timeout(PATIENCE, doomed.wait()).await;
    let died = died.unwrap_or_else(|_| panic!("it never passed {point}")).expect("a status");
    assert_eq!(died.signal(), Some(ABORTED), "{point}: {died}");
    let log = world.servers.data.join(format!("{point}.log"));
    let log = std::fs::read_to_string(log).expect("its log");
    assert!(log.contains(&format!("dying at {point},")), "it died elsewhere than at {point}");
}

async fn comes_out(world: &World, given: &BTreeMap<String, i64>, point: &str) {
    until("every command is decided", async || decided(world).await).await;
    world.caught_up().await;
    world.relayed().await;
    assert_eq!(balances(world).await, *given, "after dying at {point}");
}
