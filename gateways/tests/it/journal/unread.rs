//! EVENTS where a process commits itself what comes in it.

use journal::broker::Role;
use journal::relay;

use crate::world::{World, cheer, until};

/// How many read EVENTS.
async fn readers(world: &World) -> usize {
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let stream = admin.get_stream(relay::EVENTS).await.expect("it is there");
    stream.cached_info().state.consumer_count
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_committed_it_does_not_read_again_until_another_commits() {
    let world = World::start().await;
    let parts = world.run();
    until("EVENTS is read", async || readers(&world).await == 1).await;
    let publisher = world.publisher().await;
    let mut sent = 0;
    let mut give = async || {
        for viewer in 0..64 {
            let cheer = cheer(&format!("viewer-{viewer}"), &format!("m{sent}"), 1);
            publisher.send(&cheer).await.expect("stored");
            sent += 1;
        }
        until("all are decided", async || world.head().await == sent).await;
    };
    until("EVENTS is left unread", async || {
        give().await;
        readers(&world).await == 0
    })
    .await;
    give().await;
    world.relayed().await;
    assert_eq!(readers(&world).await, 0, "it is read again, and nobody else has committed");
    let mut other = world.parts();
    other.processor();
    until("EVENTS is read again", async || {
        give().await;
        readers(&world).await == 1
    })
    .await;
    give().await;
    world.caught_up().await;
    let query = "SELECT sum(available)::bigint FROM projections.balances";
    assert_eq!(world.count(query).await, world.head().await);
    assert!(readers(&world).await <= 1, "readers are left behind");
    other.stop().await;
    parts.stop().await;
}
