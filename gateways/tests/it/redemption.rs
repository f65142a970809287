//! The process `redemption` on real servers: what a viewer asks for ends with its points captured or released, once.

mod api;
mod crashes;
mod expiry;
mod told;

use chrono::{DateTime, Utc};
use domain::account::{self, Account, Facts};
use domain::chat_request::{Prices, Wish};
use domain::entry_id;
use domain::generation::{Command, Generation, Picture};
use domain::redemption::request_id;
use journal::{Decision, Envelope, Process};
use projections::AsOf;
use projections::balances::{self, Sums};
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;

use crate::processes::Site;
use crate::world::{Asker, Parts, World, cheer, origin, until};

const VIEWER: &str = "5001";
const GHOST: &str = "Cheer200 ghost of a toaster";

/// Everything that a request passes, in this process.
pub async fn run(world: &World) -> Parts {
    let mut parts = world.run();
    parts.processes(redemption()).await;
    until("it has a position", async || {
        world.count("SELECT count(*) FROM processes WHERE name = 'redemption'").await == 1
    })
    .await;
    parts
}

pub fn redemption() -> Vec<Arc<dyn Process>> {
    gateways::processes::all(watch::channel(Prices::default()).1)
}

/// A cheer with a message of its own.
fn cheer_saying(viewer: &str, key: &str, bits: i64, message: &str) -> Envelope {
    let facts = Facts::Cheer { bits, message: message.to_owned() };
    let entry = entry_id("test", key);
    let command = account::Command::Credit { entry, points: bits, rules: 1, facts };
    Envelope::new::<Account>(viewer, &command, origin(key)).expect("a good address")
}

/// A request that costs 200 points, from outside Twitch: its id, and the command that submits it.
pub fn submit(viewer: &str, key: &str) -> (Uuid, Envelope) {
    let entry = entry_id("test", key);
    let command = Command::Submit {
        entry,
        viewer: viewer.to_owned(),
        wish: Wish::Ghost { subject: "a spoon".to_owned() },
        price: 200,
        prices: 1,
        at: now(),
        retry_of: None,
        state: None,
    };
    let request = request_id(entry);
    (request, to_request(request, key, &command))
}

fn to_request(request: Uuid, key: &str, command: &Command) -> Envelope {
    Envelope::new::<Generation>(&request.to_string(), command, origin(key)).expect("an address")
}

fn complete(request: Uuid, key: &str) -> Envelope {
    let picture = Picture {
        content: "ab".repeat(32),
        media_type: "image/png".to_owned(),
        background: "#000000".to_owned(),
        name: None,
        cost_micros: 40_000,
    };
    to_request(request, key, &Command::Complete { entry: entry_id("test", key), picture })
}

fn refuse(request: Uuid, key: &str) -> Envelope {
    let (code, reason) = ("moderation_blocked".to_owned(), "it is not allowed".to_owned());
    to_request(request, key, &Command::Refuse { entry: entry_id("test", key), code, reason })
}

fn fail(request: Uuid, key: &str) -> Envelope {
    let reason = "three attempts failed".to_owned();
    to_request(request, key, &Command::Fail { entry: entry_id("test", key), reason })
}

fn now() -> DateTime<Utc> {
    Utc::now()
}

/// How many events of requests have this type.
async fn events(world: &World, event_type: &str) -> i64 {
    let query = "SELECT count(*) FROM events WHERE aggregate_type = 'generation' AND event_type =";
    world.count(&format!("{query} '{event_type}'")).await
}

pub async fn comes_to(world: &World, event_type: &str, count: i64) {
    until(event_type, async || events(world, event_type).await >= count).await;
    assert_eq!(events(world, event_type).await, count, "{event_type}");
}

/// The request of this viewer's only hold.
async fn request_of(world: &World, viewer: &str) -> Uuid {
    world.caught_up().await;
    sqlx::query_scalar("SELECT id FROM projections.holds WHERE viewer = $1")
        .bind(viewer)
        .fetch_one(&world.pool)
        .await
        .expect("one hold")
}

async fn sums(world: &World, viewer: &str) -> Sums {
    world.caught_up().await;
    balances::of(&world.pool, viewer, AsOf::Now).await.expect("an answer").sums
}

/// Available, held and captured points.
pub async fn points(world: &World, viewer: &str) -> (i64, i64, i64) {
    let sums = sums(world, viewer).await;
    (sums.available, sums.held, sums.captured)
}

/// Waits until nothing follows any more, and proves it all.
pub async fn audited(world: &World) {
    until("nothing is left to follow", async || {
        let position = "SELECT min(position) FROM processes";
        world.count(position).await == world.head().await
    })
    .await;
    world.caught_up().await;
    world.relayed().await;
    Site::new(&world.servers, &world.pool).await.audit().await;
}

pub async fn funded(world: &World, asker: &Asker, viewer: &str, key: &str) -> Uuid {
    asker.ask(cheer(viewer, &format!("{key}-points"), 200)).await;
    let (request, envelope) = submit(viewer, key);
    let before = events(world, "funded").await;
    assert_eq!(asker.ask(envelope).await.decision, Decision::Accepted);
    comes_to(world, "funded", before + 1).await;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_points_decline_a_request_and_take_none() {
    let world = World::start().await;
    let parts = run(&world).await;
    let asker = world.asker().await;
    asker.ask(cheer(VIEWER, "points", 199)).await;
    let (request, envelope) = submit(VIEWER, "too-dear");
    asker.ask(envelope.clone()).await;
    comes_to(&world, "declined", 1).await;
    assert_eq!(points(&world, VIEWER).await, (199, 0, 0));
    // It stays declined, whatever comes later and twice.
    asker.ask(cheer(VIEWER, "more", 1)).await;
    asker.ask(envelope).await;
    assert_eq!(asker.ask(complete(request, "c")).await.decision, Decision::Rejected);
    audited(&world).await;
    assert_eq!((events(&world, "submitted").await, events(&world, "settled").await), (1, 0));
    assert_eq!(points(&world, VIEWER).await, (200, 0, 0));
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_request_ends_its_points_are_captured_or_released_once() {
    let world = World::start().await;
    let parts = run(&world).await;
    let asker = world.asker().await;
    type Ending = fn(Uuid, &str) -> Envelope;
    let endings: [(&str, Ending, (i64, i64, i64)); 3] = [
        ("6001", complete, (0, 0, 200)),
        ("6002", refuse, (200, 0, 0)),
        ("6003", fail, (200, 0, 0)),
    ];
    for (n, (viewer, ending, left)) in (1..).zip(endings) {
        let request = funded(&world, &asker, viewer, viewer).await;
        assert_eq!(points(&world, viewer).await, (0, 200, 0));
        // Said twice, and then contradicted.
        let once = ending(request, &format!("{viewer}-end"));
        assert_eq!(asker.ask(once.clone()).await.decision, Decision::Accepted);
        asker.ask(once).await;
        for (n, other) in [complete, refuse, fail].into_iter().enumerate() {
            let late = other(request, &format!("{viewer}-late-{n}"));
            assert_eq!(asker.ask(late).await.decision, Decision::Rejected);
        }
        comes_to(&world, "settled", n).await;
        assert_eq!(points(&world, viewer).await, left, "{viewer}");
    }
    audited(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_a_dump_repeats_nothing() {
    let world = World::start().await;
    let mut runs = world.parts();
    runs.processes(redemption()).await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer_saying(VIEWER, "first", 200, GHOST)).await;
    comes_to(&world, "funded", 1).await;
    let request = request_of(&world, VIEWER).await;
    let dump = world.dump();

    asker.ask(complete(request, "done")).await;
    asker.ask(cheer_saying("5002", "second", 250, GHOST)).await;
    comes_to(&world, "settled", 1).await;
    comes_to(&world, "funded", 2).await;
    audited(&world).await;
    let head = world.head().await;
    parts.stop().await;
    // The process stays up, and finds its position and history gone back under it.
    world.restore(&dump);
    let parts = world.run();
    // Some partitions are held until the leases of the dump end: requests may be settled before points have moved again.
    until("all is decided again", async || world.head().await >= head).await;
    comes_to(&world, "settled", 1).await;
    comes_to(&world, "funded", 2).await;
    audited(&world).await;
    assert_eq!(world.head().await, head, "the same history again");
    assert_eq!(points(&world, VIEWER).await, (0, 0, 200));
    assert_eq!(points(&world, "5002").await, (50, 200, 0));
    parts.stop().await;
    runs.stop().await;
}
