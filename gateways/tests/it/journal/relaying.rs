//! The relay: one leader among many processes, and EVENTS as PostgreSQL has it, whatever was done to it.

use journal::broker::Role;
use journal::relay::EVENTS;

use crate::world::{World, cheer, until};

/// The connection that holds the relay's lock; 0 where none does.
async fn leader(world: &World) -> i64 {
    world
        .count(
            "SELECT COALESCE(max(pid), 0)::bigint FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND objsubid = 1
               AND classid = x'74617065'::bigint::oid AND objid = x'6465636b'::bigint::oid",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_whole_processes_that_commit_in_turn_do_not_interrupt_the_relay() {
    let world = World::start().await;
    let (mut one, mut other) = (world.parts(), world.parts());
    for parts in [&mut one, &mut other] {
        parts.processor();
        parts.relay();
    }
    until("each has half of the partitions", async || {
        world.count("SELECT max(n) FROM (SELECT count(*) n FROM partitions GROUP BY owner) x").await
            == 32
    })
    .await;
    until("one relay leads", async || leader(&world).await > 0).await;
    let before = leader(&world).await;
    let publisher = world.publisher().await;
    // Many senders, each waiting for the one before, so that commits stay small and take turns.
    let senders = (0..16).map(async |sender: i32| {
        for n in 0..60 {
            let envelope = cheer(&(sender * 60 + n).to_string(), &format!("m{sender}-{n}"), 1);
            publisher.send(&envelope).await.expect("stored");
        }
    });
    futures::future::join_all(senders).await;
    until("all are decided", async || world.head().await == 960).await;
    world.relayed().await;
    assert_eq!(leader(&world).await, before, "the relay was interrupted");
    one.stop().await;
    other.stop().await;
}
