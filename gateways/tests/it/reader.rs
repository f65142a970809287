//! What a program of others can do with the password of the user `reader`: read events, and nothing else.

use async_nats::jetstream::{self, consumer};
use futures::StreamExt;
use journal::Recorded;

use crate::world::{PATIENCE, REFUSED_AFTER, World, cheer};

async fn reader(world: &World) -> async_nats::Client {
    let password = world.servers.nats_passwords["reader"].clone();
    async_nats::ConnectOptions::with_user_and_password("reader".to_owned(), password)
        .custom_inbox_prefix("_INBOX.reader")
        .connect(&world.servers.nats_url)
        .await
        .expect("the reader gets in")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_others_gets_what_happens_and_what_it_missed() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "missed", 1)).await;
    world.relayed().await;
    let client = reader(&world).await;
    let mut happening = client.subscribe("evt.>").await.expect("allowed");
    client.flush().await.expect("the server has heard it");
    asker.ask(cheer("5001", "live", 2)).await;
    let live = tokio::time::timeout(PATIENCE, happening.next()).await.expect("in time");
    let live: Recorded = serde_json::from_slice(&live.expect("open").payload).expect("an event");
    let events = jetstream::new(client).get_stream("EVENTS").await.expect("allowed");
    let missed = events.get_raw_message(live.position as u64 - 1).await.expect("allowed");
    let missed: Recorded = serde_json::from_slice(&missed.payload).expect("an event");
    assert_eq!((missed.position, live.position), (1, 2));
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_others_can_make_and_touch_no_consumer_and_send_no_command() {
    let world = World::start().await;
    let ours = world.broker.jetstream(journal::broker::Role::Follower).await.expect("allowed");
    let ours = ours.get_stream("EVENTS").await.expect("allowed");
    let named = consumer::pull::Config {
        name: Some("ours".to_owned()),
        inactive_threshold: PATIENCE,
        ..Default::default()
    };
    let mut consumer = ours.create_consumer(named).await.expect("allowed");

    let client = reader(&world).await;
    jetstream::new(client.clone()).get_stream("EVENTS").await.expect("allowed");
    let mut theirs = jetstream::new(client);
    theirs.set_timeout(REFUSED_AFTER);
    let events = theirs.get_stream_no_info("EVENTS").await.expect("a name");
    events.create_consumer(consumer::pull::Config::default()).await.expect_err("no consumer");
    let push = consumer::push::Config {
        name: Some("push".to_owned()),
        deliver_subject: "cmd.0.account.5001.credit".to_owned(),
        ..Default::default()
    };
    events.create_consumer(push).await.expect_err("no deliveries to other subjects");
    events.get_consumer::<consumer::pull::Config>("ours").await.expect_err("not ours");
    assert!(events.delete_consumer("ours").await.is_err(), "not ours");
    let sent = theirs.publish("cmd.0.account.5001.credit", "{}".into()).await.expect("buffered");
    sent.await.expect_err("no commands");
    consumer.info().await.expect("ours is as it was");
}
