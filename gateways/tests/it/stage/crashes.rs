//! The director dies at each of its steps, and so does the process that serves the overlay.

use std::net::SocketAddr;

use gateways::cli::serve::Role;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::page::{Memory, alive};
use super::{OVERLAY, audited, cheers, opened, quick, row};
use crate::http::Serving;
use crate::processes::Site;
use crate::world::{PATIENCE, World, until};

/// How many alerts each round plays.
const ALERTS: i64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_directs_dies_anywhere_and_every_alert_is_painted_once() {
    let roles: Vec<Role> = Role::ALL.into_iter().filter(|role| *role != Role::Directing).collect();
    let serving = Serving::with(&roles, quick).await;
    let world = &serving.world;
    let site = Site::new(&world.servers, &world.pool).await;
    let key = serving.key(&OVERLAY).await;
    let memory = Memory::default();
    let _page = alive(serving.listen, &key, Uuid::new_v4(), &memory);
    let mut all = Vec::new();
    for point in ["stage.decided", "stage.sent", "stage.seen"] {
        // The first time is the opening of the stage, in the first round.
        for times in 1..=3 {
            let crash_at = format!("{point}@{times}");
            let direct = || hurried(site.serve(&crash_at, "directing"));
            let mut doomed = direct().env("TAPEDECK_CRASH_AT", &crash_at).spawn().expect("begun");
            opened(world).await;
            all.extend(cheers(world, &crash_at, 1..ALERTS + 1).await);
            died(&mut doomed, &crash_at).await;
            let mut healthy = direct().spawn().expect("it starts again");
            all_shown(world, &all).await;
            healthy.kill().await.expect("killed");
        }
    }
    let paintings = memory.paintings();
    for alert in &all {
        assert_eq!(paintings.get(alert), Some(&1), "{alert} was painted once");
    }
    audited(world).await;
    let doubles = "SELECT count(*) FROM events WHERE event_type = 'shown'";
    assert_eq!(world.count(doubles).await, all.len() as i64);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_serves_an_overlay_dies_anywhere_and_every_alert_is_painted_once() {
    let world = World::start().await;
    let parts = world.run();
    let site = Site::new(&world.servers, &world.pool).await;
    let key = gateways::http::keys::issue(&world.pool, "obs", &OVERLAY).await.expect("a key").1;
    let mut director = hurried(site.serve("director", "directing,processes")).spawn().expect("up");
    opened(&world).await;
    let listen = SocketAddr::from(([127, 0, 0, 1], site.port));
    let memory = Memory::default();
    let _page = alive(listen, &key, Uuid::new_v4(), &memory);
    let mut all = Vec::new();
    for point in ["stage.noted", "stage.painted"] {
        for times in 1..=2 {
            let crash_at = format!("{point}@{times}");
            let serve = || hurried(site.serve(&crash_at, "gateway"));
            let mut doomed = serve().env("TAPEDECK_CRASH_AT", &crash_at).spawn().expect("begun");
            all.extend(cheers(&world, &crash_at, 1..ALERTS + 1).await);
            died(&mut doomed, &crash_at).await;
            let mut healthy = serve().spawn().expect("it starts again");
            all_shown(&world, &all).await;
            healthy.kill().await.expect("killed");
        }
    }
    let paintings = memory.paintings();
    for alert in &all {
        assert_eq!(paintings.get(alert), Some(&1), "{alert} was painted once");
    }
    audited(&world).await;
    director.kill().await.expect("killed");
    parts.stop().await;
}

/// With the times of these tests.
fn hurried(mut command: Command) -> Command {
    for (key, value) in [
        ("LEAD_MS", "50"),
        ("GAP_MS", "30"),
        ("PAINTED_WITHIN_MS", "5000"),
        // Longer than a process takes to start again.
        ("UNKNOWN_AFTER_MS", "60000"),
        ("ATTEMPTS_MAX", "20"),
        ("SECONDS__CHEER", "0.3"),
    ] {
        command.env(format!("TAPEDECK_STAGE__{key}"), value);
    }
    command
}

async fn died(doomed: &mut Child, crash_at: &str) {
    let ended = tokio::time::timeout(PATIENCE, doomed.wait()).await;
    let ended = ended.unwrap_or_else(|_| panic!("it never passed {crash_at}")).expect("a status");
    assert!(!ended.success(), "{crash_at}: {ended}");
}

async fn all_shown(world: &World, alerts: &[Uuid]) {
    let shown = "SELECT count(*) FROM projections.showings WHERE state = 'shown'";
    let over = format!("{shown} OR state IN ('unknown', 'expired', 'skipped', 'cleared')");
    until("all are over", async || world.count(&over).await == alerts.len() as i64).await;
    for alert in alerts {
        let (state, attempts, reason) = row(world, *alert).await.expect("a row");
        assert_eq!(state, "shown", "{alert} after {attempts}: {reason:?}");
    }
}
