//! What cannot be decided or recorded leaves one letter, which is closed when it could be after all.

use journal::broker::Role;
use journal::{Decision, Envelope, ViewerName, dead_letters};

use crate::world::{World, cheer, until};

const OPEN: &str = "SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL";

/// `envelope` with a command that nobody understands.
fn spoilt(envelope: &Envelope) -> Envelope {
    let nonsense = serde_json::json!({"credit": {}});
    let command = serde_json::value::to_raw_value(&nonsense).expect("JSON");
    Envelope { command, ..envelope.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_closed_by_a_retry_whose_command_was_decided_before() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let (kept, other) = (cheer("5001", "kept", 40), cheer("5001", "other", 2));
    assert_eq!(asker.ask(spoilt(&kept)).await.decision, Decision::Dead);
    assert_eq!(asker.ask(other.clone()).await.decision, Decision::Accepted);
    let letter = world.count("SELECT id FROM dead_letters").await;
    let instead = Some(vec![other]);
    dead_letters::retry(&world.pool, &asker.publisher, letter, instead).await.expect("sent again");
    until("the letter is closed", async || world.count(OPEN).await == 0).await;
    assert_eq!(world.available("5001").await, 2);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_commands_sent_instead_each_dead_one_keeps_a_letter() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    assert_eq!(asker.ask(spoilt(&cheer("5001", "kept", 40))).await.decision, Decision::Dead);
    let letter = world.count("SELECT id FROM dead_letters").await;
    let (good, bad) = (cheer("5001", "good", 3), cheer("5001", "bad", 4));
    let instead = Some(vec![good, spoilt(&bad)]);
    dead_letters::retry(&world.pool, &asker.publisher, letter, instead).await.expect("sent again");
    until("both are decided", async || {
        world.count("SELECT count(*) FROM command_outcomes").await == 3
    })
    .await;
    assert_eq!(world.count(OPEN).await, 1);
    let letter = world.count("SELECT id FROM dead_letters WHERE resolved_at IS NULL").await;
    let instead = Some(vec![bad]);
    dead_letters::retry(&world.pool, &asker.publisher, letter, instead).await.expect("sent again");
    until("the letter is closed", async || world.count(OPEN).await == 0).await;
    assert_eq!(world.available("5001").await, 7);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_database_refuses_stops_its_own_command_only() {
    let world = World::start().await;
    let publisher = world.publisher().await;
    // All in one batch, as nobody decides yet.
    for n in 0..50 {
        let mut envelope = cheer("5001", &format!("m{n}"), 1);
        if n == 33 {
            let name = Some("a\0b".to_owned());
            envelope.names = vec![ViewerName { id: "5001".to_owned(), login: None, name }];
        }
        publisher.send(&envelope).await.expect("stored");
    }
    let parts = world.run();
    until("all are decided", async || {
        world.count("SELECT count(*) FROM command_outcomes").await == 50
    })
    .await;
    assert_eq!((world.count(OPEN).await, world.available("5001").await), (1, 49));
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_no_publisher_may_send_is_a_dead_letter_and_no_subject() {
    let world = World::start().await;
    let parts = world.run();
    let gateway = world.broker.client(Role::Gateway).await.expect("the gateway gets in");
    let mut envelope = cheer("5001", "m1", 1);
    envelope.aggregate_id = "a b\0.>".to_owned();
    let partition = journal::command::partition_of("account", &envelope.aggregate_id);
    let payload = serde_json::to_vec(&envelope).expect("JSON");
    gateway
        .request(format!("cmd.{partition}.account.5001.credit"), payload.into())
        .await
        .expect("stored");
    world.asker().await.ask(cheer("5002", "m2", 2)).await;
    until("it is a dead letter", async || world.count(OPEN).await == 1).await;
    assert_eq!((world.head().await, world.available("5002").await), (1, 2));
    world.relayed().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_are_gone_before_they_were_decided_are_a_dead_letter() {
    let world = World::start().await;
    let publisher = world.publisher().await;
    for n in 0..10 {
        publisher.send(&cheer("5001", &format!("m{n}"), 1)).await.expect("stored");
    }
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let commands = admin.get_stream("COMMANDS").await.expect("COMMANDS is there");
    commands.purge().sequence(8).await.expect("the first seven are gone");
    let parts = world.run();
    until("the rest is decided", async || world.head().await == 3).await;
    until("what is missing is noticed", async || world.count(OPEN).await == 1).await;
    let position = world.count("SELECT position FROM dead_letters WHERE name = 'missing'").await;
    assert_eq!(position, 1);
    parts.stop().await;
}
