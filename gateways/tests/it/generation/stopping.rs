//! Workers that stop, or stand still.

use gateways::generation::lease::first_in_line;

use super::*;
use crate::world::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_taker_that_freezes_in_line_does_not_hold_up_the_others() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let worker = scene.worker(Studio::new([]), options()).await;
    // It is first in line, and its host is cut off: it neither goes on nor hangs up.
    let frozen = first_in_line(&scene.world.pool).await.expect("first in line");
    let taken = tokio::time::timeout(Duration::from_secs(4), worker.take()).await;
    let refused = taken.expect("nobody waits in line for ever").expect_err("the line stands");
    assert!(refused.to_string().contains("lock timeout"), "{refused}");

    let mut leased = None;
    until("the frozen one is thrown out", async || match worker.take().await {
        Ok(Taken::Lease(lease)) => {
            leased = Some(lease);
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
