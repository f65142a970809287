//! The process dies on its way, and nobody can tell.

use std::process::Stdio;
use std::sync::Arc;

use super::{GHOST, audited, cheer_saying, comes_to, complete, points, request_of};
use crate::processes::Site;
use crate::world::{PATIENCE, World};

/// Which batch of events the process dies at: what was cheered, submitted, held, completed, captured. Each is followed
/// by a command; the fourth, funded, is not.
const BATCHES: [u32; 5] = [1, 2, 3, 5, 6];

#[tokio::test(flavor = "multi_thread")]
async fn dying_before_and_after_any_command_of_a_request_changes_nothing() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let site = Arc::new(Site::new(&world.servers, &world.pool).await);
    let points_of_it = journal::crash::POINTS.into_iter().filter(|p| p.starts_with("process."));
    let mut rounds = 0;
    for point in points_of_it {
        for batch in BATCHES {
            rounds += 1;
            let viewer = (7_000 + rounds).to_string();
            let serve = || site.serve(point, "processes");
            let crash_at = format!("{point}@{batch}");
            let mut doomed =
                serve().env("TAPEDECK_CRASH_AT", &crash_at).spawn().expect("it starts");
            started(&world).await;
            asker.ask(cheer_saying(&viewer, &viewer, 200, GHOST)).await;
            let mut healthy = None;
            if batch <= 3 {
                died(&mut doomed, &crash_at).await;
                healthy = Some(serve().spawn().expect("it starts again"));
            }
            comes_to(&world, "funded", rounds).await;
            let request = request_of(&world, &viewer).await;
            asker.ask(complete(request, &format!("{viewer}-done"))).await;
            if batch > 3 {
                died(&mut doomed, &crash_at).await;
                healthy = Some(serve().stdin(Stdio::null()).spawn().expect("it starts again"));
            }
            comes_to(&world, "settled", rounds).await;
            assert_eq!(points(&world, &viewer).await, (0, 0, 200), "{crash_at}");
            audited(&world).await;
            healthy.expect("started").kill().await.expect("killed");
        }
    }
    assert_eq!(rounds, 15);
    // The same seven events for each of them, and nothing else.
    assert_eq!(world.head().await, 7 * rounds);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);
    parts.stop().await;
}

async fn died(doomed: &mut tokio::process::Child, crash_at: &str) {
    let ended = tokio::time::timeout(PATIENCE, doomed.wait()).await;
    let ended = ended.unwrap_or_else(|_| panic!("it never passed {crash_at}")).expect("a status");
    assert!(!ended.success(), "{crash_at}: {ended}");
}

/// Waits until the process has a position: what comes now is for it.
async fn started(world: &World) {
    crate::world::until("it has a position", async || {
        world.count("SELECT count(*) FROM processes").await == 1
    })
    .await;
}
