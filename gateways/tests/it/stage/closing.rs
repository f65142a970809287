//! A stage that the configuration does not name any more.

use std::sync::Arc;

use domain::alerting::Kind;
use domain::entry_id;
use domain::stage::Command;
use gateways::stage::director::Director;
use gateways::stage::{Settings, commands};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cheers;
use crate::processes::Site;
use crate::world::{World, at, broker, until};

async fn states(world: &World, stage: &str) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT kind, state FROM projections.showings WHERE stage = $1 ORDER BY position",
    )
    .bind(stage)
    .fetch_all(&world.pool)
    .await
    .expect("the query is right")
}

async fn are_open(world: &World, stages: &[&str]) {
    until(&format!("{stages:?} are open"), async || {
        let open: Vec<String> =
            sqlx::query_scalar("SELECT stage FROM projections.stages ORDER BY stage")
                .fetch_all(&world.pool)
                .await
                .unwrap_or_default();
        open == stages
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_not_named_any_more_collects_nothing_and_begins_empty_when_it_is_again() {
    let world = World::start().await;
    let parts = world.run();
    let with = |names: &[&str], close_after_s: u32| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Arc::new(Settings { names, close_after_s, ..Settings::default() })
    };
    let named = |names: &[&str]| with(names, 0);
    let (running, settings) = watch::channel(named(&["main", "side"]));
    let publisher = world.publisher().await;
    let (pool, broker) = (world.pool.clone(), broker(&world.servers));
    let stop = CancellationToken::new();
    let directing = tokio::spawn(Director { pool, broker, publisher, settings }.run(stop.clone()));
    are_open(&world, &["main", "side"]).await;
    cheers(&world, "before", 1..3).await;
    let (entry, actor) = (entry_id("test", "paid"), "a test".to_owned());
    let paid = Command::Test { entry, kind: Kind::Ghost, data: Default::default(), actor };
    let paid = commands::directed("side", &paid, at()).expect("an address");
    world.asker().await.ask(paid).await;

    // Misspelled for a moment: nothing is lost.
    running.send_replace(with(&["main", "sied"], 300));
    are_open(&world, &["main", "side", "sied"]).await;
    running.send_replace(named(&["main", "side"]));
    are_open(&world, &["main", "side"]).await;
    let row = |kind: &str, state: &str| (kind.to_owned(), state.to_owned());
    let all = [row("cheer", "waiting"), row("cheer", "waiting"), row("ghost", "waiting")];
    assert_eq!(states(&world, "side").await, all);

    running.send_replace(named(&["main"]));
    are_open(&world, &["main"]).await;
    let over = [row("cheer", "expired"), row("cheer", "expired"), row("ghost", "unknown")];
    assert_eq!(states(&world, "side").await, over);
    cheers(&world, "meanwhile", 3..4).await;
    world.caught_up().await;
    assert_eq!(states(&world, "side").await, over, "it is for the other stage alone");
    assert_eq!(states(&world, "main").await, [(); 3].map(|()| row("cheer", "waiting")));

    running.send_replace(named(&["main", "side"]));
    are_open(&world, &["main", "side"]).await;
    cheers(&world, "after", 4..5).await;
    world.caught_up().await;
    let [one, two, three] = over;
    assert_eq!(states(&world, "side").await, [one, two, three, row("cheer", "waiting")]);
    stop.cancel();
    directing.await.expect("no panic").expect("a good end");
    world.caught_up().await;
    world.relayed().await;
    Site::new(&world.servers, &world.pool).await.audit().await;
    parts.stop().await;
}
