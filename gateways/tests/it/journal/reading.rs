//! Commands are read to the last, whatever becomes of what reads them.

use futures::TryStreamExt;
use journal::broker::Role;

use crate::world::{World, cheer, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_whose_consumer_is_removed_goes_on() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "before", 1)).await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let commands = admin.get_stream("COMMANDS").await.expect("COMMANDS is there");
    for n in 0..3 {
        let consumers: Vec<String> =
            commands.consumer_names().try_collect().await.expect("they have names");
        assert!(!consumers.is_empty(), "nobody reads");
        for consumer in consumers {
            commands.delete_consumer(&consumer).await.expect("it can be removed");
        }
        asker.ask(cheer("5001", &format!("after-{n}"), 1)).await;
    }
    assert_eq!(world.available("5001").await, 4);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bytes_than_are_asked_for_at_once_are_all_read() {
    let world = World::start().await;
    let publisher = world.publisher().await;
    for n in 0..24 {
        let mut command = cheer("5001", &format!("large-{n}"), 1);
        command.origin.raw = Some("x".repeat(1_000_000));
        publisher.send(&command).await.expect("stored");
    }
    let parts = world.run();
    until("all are decided", async || world.head().await == 24).await;
    world.asker().await.ask(cheer("5001", "small", 1)).await;
    assert_eq!(world.available("5001").await, 25);
    parts.stop().await;
}
