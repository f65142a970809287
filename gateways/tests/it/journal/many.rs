//! Commits of so many commands that their rows are copied in.

use futures::future::join_all;
use futures::{FutureExt, TryStreamExt};
use journal::broker::Role;
use journal::{Decision, Envelope, Outcome};
use sqlx::{Connection, PgConnection};

use crate::world::{Asker, World, cheer, until};

const MANY: i64 = 200;

/// Has `commands` decided in one batch: all wait behind one whose commit is held up.
async fn together(world: &World, asker: &Asker, commands: Vec<Envelope>) -> Vec<Outcome> {
    let mut held_up = world.pool.begin().await.expect("begun");
    sqlx::query("SELECT FROM head FOR UPDATE").execute(&mut *held_up).await.expect("locked");
    let before = read(world).await;
    let count = commands.len() as u64;
    let first = asker.ask(cheer("first", &format!("first-{before}"), 1));
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let waiting = until("its commit waits", async || world.count(waits).await == 1);
    let all = async {
        waiting.await;
        let all = join_all(commands.into_iter().map(|command| asker.ask(command)));
        let are_read = until("all are read", async || read(world).await == before + 1 + count);
        let (outcomes, ()) = futures::join!(
            all,
            are_read.then(|()| async {
                held_up.rollback().await.expect("let go");
            })
        );
        outcomes
    };
    futures::join!(first, all).1
}

/// The last of COMMANDS that a processor was given.
async fn read(world: &World) -> u64 {
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let stream = admin.get_stream("COMMANDS").await.expect("it is there");
    let consumers: Vec<_> = stream.consumers().try_collect().await.expect("they are listed");
    consumers.iter().map(|consumer| consumer.delivered.stream_sequence).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_among_many_new_commands_is_known() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    // One batch each, so many that the processor takes what comes for new.
    for n in 0..100 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    let mut many: Vec<_> = (0..MANY).map(|n| cheer("5002", &format!("n{n}"), 1)).collect();
    many.insert(100, cheer("5001", "m50", 1));
    let outcomes = together(&world, &asker, many).await;
    assert!(outcomes.iter().all(|outcome| outcome.decision == Decision::Accepted));
    assert_eq!(outcomes[100].first_position, Some(51));
    assert_eq!((world.available("5001").await, world.available("5002").await), (100, MANY));
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_commands_the_one_that_the_database_refuses_is_a_dead_letter() {
    for (table, refused) in [
        ("events", "metadata::text NOT LIKE '%refused%'"),
        ("command_outcomes", "aggregate_id <> 'refused' OR outcome = 'dead'"),
    ] {
        let world = World::start().await;
        let mut admin = PgConnection::connect(&world.servers.admin_database_url).await;
        let admin = admin.as_mut().expect("the superuser gets in");
        let constraint = format!("ALTER TABLE {table} ADD CONSTRAINT never CHECK ({refused})");
        sqlx::query(&constraint).execute(&mut *admin).await.expect("changed");
        let parts = world.run();
        let asker = world.asker().await;
        let mut many: Vec<_> = (0..MANY).map(|n| cheer("5002", &format!("n{n}"), 1)).collect();
        many.insert(77, cheer("refused", "refused", 1));
        let outcomes = together(&world, &asker, many).await;
        let dead = outcomes.iter().filter(|outcome| outcome.decision == Decision::Dead).count();
        assert_eq!((dead, outcomes[77].decision), (1, Decision::Dead), "{table}");
        assert_eq!(world.available("5002").await, MANY);
        let letters = "SELECT count(*) FROM dead_letters WHERE reason LIKE '%never%'";
        assert_eq!(world.count(letters).await, 1);
        parts.stop().await;
    }
}
