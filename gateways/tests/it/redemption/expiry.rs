//! What nobody captured or released in time is given back.

use chrono::TimeDelta;
use domain::entry_id;
use gateways::expiry::Timer;
use journal::Decision;
use projections::{Page, holds};
use uuid::Uuid;

use super::{audited, cheer, comes_to, complete, events, funded, now, points, run};
use crate::world::{World, at, hold, until};

const RELEASED: &str = "SELECT count(*) FROM events WHERE event_type = 'released'";
const COMMANDS: &str = "SELECT count(*) FROM command_outcomes";

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_released_when_its_time_is_over_and_not_before() {
    let world = World::start().await;
    let parts = run(&world).await;
    let asker = world.asker().await;
    asker.ask(cheer("5001", "points", 100)).await;
    for n in 0..3 {
        asker.ask(hold("5001", &format!("hold-{n}"), 10)).await;
    }
    world.caught_up().await;
    let page = holds::of(&world.pool, "5001", Page::of(2)).await.expect("a page");
    let ids: Vec<Uuid> = page.holds.iter().map(|hold| hold.id).collect();
    assert_eq!(ids, [entry_id("test", "hold-2"), entry_id("test", "hold-1")], "newest first");
    let rest = Page { before: page.before, limit: Some(2) };
    let rest = holds::of(&world.pool, "5001", rest).await.expect("a page");
    assert_eq!((rest.holds.len(), rest.before), (1, None));
    assert_eq!(rest.holds[0].id, entry_id("test", "hold-0"));
    let due = at() + TimeDelta::hours(1);
    let mut timer = Timer::default();
    let early = due - TimeDelta::milliseconds(1);
    let next = timer.round(&world.pool, &asker.publisher, early).await.expect("a round");
    assert_eq!(next, Some(due));
    let next = timer.round(&world.pool, &asker.publisher, due).await.expect("a round");
    assert_eq!(next, None);
    until("all are released", async || world.count(RELEASED).await == 3).await;
    assert_eq!(points(&world, "5001").await, (100, 0, 0));
    let reason = world
        .count("SELECT count(*) FROM events WHERE payload->'released'->>'reason' = 'expired'")
        .await;
    assert_eq!(reason, 3);
    audited(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_timers_and_one_that_begins_again_release_a_hold_once() {
    let world = World::start().await;
    // Nobody folds yet what the timers do: each sees the hold as open, again and again.
    let mut parts = world.parts();
    parts.processor();
    parts.relay();
    let mut folding = world.parts();
    folding.follower();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "points", 100)).await;
    asker.ask(hold("5001", "hold", 10)).await;
    world.caught_up().await;
    folding.stop().await;
    let due = at() + TimeDelta::hours(1);
    let before = world.count(COMMANDS).await;
    let mut one = Timer::default();
    for minutes in 0..3 {
        let now = due + TimeDelta::minutes(minutes);
        one.round(&world.pool, &asker.publisher, now).await.expect("a round");
        Timer::default().round(&world.pool, &asker.publisher, now).await.expect("a round");
    }
    // Whatever they sent comes before this.
    asker.ask(cheer("5001", "last", 1)).await;
    assert_eq!(world.count(COMMANDS).await, before + 2);
    let mut folding = world.parts();
    folding.follower();
    assert_eq!(points(&world, "5001").await, (101, 0, 0));
    folding.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_hold_is_due_is_cancelled_and_its_points_come_back() {
    let world = World::start().await;
    let parts = run(&world).await;
    let asker = world.asker().await;
    let request = funded(&world, &asker, "5001", "slow").await;
    world.caught_up().await;
    let mut timer = Timer::default();
    let next = timer.round(&world.pool, &asker.publisher, now()).await.expect("a round");
    assert!(next.is_some_and(|due| due > now() + TimeDelta::minutes(50)), "{next:?}");
    assert_eq!(events(&world, "cancelled").await, 0);
    let late = now() + TimeDelta::hours(2);
    timer.round(&world.pool, &asker.publisher, late).await.expect("a round");
    comes_to(&world, "settled", 1).await;
    comes_to(&world, "cancelled", 1).await;
    assert_eq!(points(&world, "5001").await, (200, 0, 0));
    let too_late = asker.ask(complete(request, "too-late")).await;
    assert_eq!(too_late.decision, Decision::Rejected);
    audited(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_completed_just_before_its_hold_is_due_is_captured() {
    let world = World::start().await;
    let mut runs = world.parts();
    runs.processes(super::redemption()).await;
    let parts = world.run();
    let asker = world.asker().await;
    let request = funded(&world, &asker, "5001", "close").await;
    world.caught_up().await;
    runs.stop().await;
    // Completed, and not captured yet, as nobody runs the process.
    asker.ask(complete(request, "in-time")).await;
    let late = now() + TimeDelta::hours(2);
    Timer::default().round(&world.pool, &asker.publisher, late).await.expect("a round");
    let mut runs = world.parts();
    runs.processes(super::redemption()).await;
    comes_to(&world, "settled", 1).await;
    audited(&world).await;
    assert_eq!(events(&world, "cancelled").await, 0);
    assert_eq!(points(&world, "5001").await, (0, 0, 200));
    parts.stop().await;
    runs.stop().await;
}
