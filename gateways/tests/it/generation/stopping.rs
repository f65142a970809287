//! Workers that stop, or stand still.

use gateways::generation::lease::first_in_line;
use gateways::generation::run;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::world::{PATIENCE, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_taker_that_freezes_in_line_does_not_hold_up_the_others() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let worker = scene.worker(Studio::new([]), options()).await;
    // It is first in line, and its host is cut off: it neither goes on nor hangs up.
    let mut frozen = first_in_line(&scene.world.pool).await.expect("first in line");
    // Not thrown out before somebody has waited behind it.
    const LIMIT: &str = "idle_in_transaction_session_timeout";
    let limit = sqlx::query_scalar("SELECT current_setting($1)").bind(LIMIT);
    let limit: String = limit.fetch_one(&mut *frozen).await.expect("a limit");
    let set = async |frozen: &mut sqlx::PgConnection, to: &str| {
        let set = sqlx::query("SELECT set_config($1, $2, true)").bind(LIMIT).bind(to);
        set.execute(frozen).await.expect("set");
    };
    set(&mut frozen, "10min").await;
    let taken = tokio::time::timeout(PATIENCE, worker.take(1)).await;
    let refused = taken.expect("nobody waits in line for ever").expect_err("the line stands");
    assert!(refused.to_string().contains("lock timeout"), "{refused}");
    assert_ne!(limit, "0", "who freezes is thrown out");
    set(&mut frozen, &limit).await;

    let mut leased = None;
    until("the frozen one is thrown out", async || match worker.take(1).await {
        Ok(Taken::Leases(mut leases)) => {
            leased = leases.pop();
            true
        }
        _ => false,
    })
    .await;
    worker.work(&leased.expect("a lease")).await.expect("worked off");
    assert_eq!(scene.stage(request).await, "completed");
    drop(frozen);
    parts.stop().await;
}

/// Runs a worker until its provider has been asked, and then stops it while it waits for the answer.
async fn stopped_while_making(scene: &Scene) {
    let studio = Studio::at_a_cost(40, [Deed::Wait, Deed::Wait]);
    let worker = scene.worker(studio.clone(), options()).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(worker, stop.clone()));
    until("both are ordered", async || studio.orders().len() == 2).await;
    stop.cancel();
    running.await.expect("no panic").expect("a good end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_gives_its_leases_back_and_spends_no_attempt() {
    let (scene, parts) = Scene::start().await;
    let (one, other) = (scene.funded("toaster").await, scene.funded("kettle").await);
    // As often as workers may die over a request, and more often than the breaker allows.
    for _ in 0..3 {
        stopped_while_making(&scene).await;
        assert_eq!(scene.world.count("SELECT count(*) FROM generation_leases").await, 0);
    }
    let state = scene.state(&options().limits, 40).await;
    assert_eq!((state.standing, state.spent_micros), (Standing::Open, 6 * 40));
    // Nobody waits for a lease to be over.
    let worker = scene.worker(Studio::at_a_cost(40, []), options()).await;
    for request in [one, other] {
        assert_eq!(turn(&worker).await, request);
        let generation = scene.one(request).await.generation;
        assert_eq!((generation.stage.as_str(), generation.attempts), ("completed", 0));
    }
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_gives_back_nothing_of_anybody_elses() {
    let (scene, parts) = Scene::start().await;
    scene.funded("toaster").await;
    let worker = scene.worker(Studio::new([]), options()).await;
    let leased = lease(&worker).await;
    let other = scene.worker(Studio::new([]), options()).await;
    assert_eq!(other.give_all_back().await.expect("an answer"), 0);
    assert!(is_idle(&other).await, "the lease is not over");
    worker.work(&leased).await.expect("worked off");
    parts.stop().await;
}
