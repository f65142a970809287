//! The journal on its own: decided once, recorded once, published at its position, whoever dies.

use std::time::Duration;

use domain::account::Account;
use journal::Decision;
use journal::broker::Role;
use journal::streams::{self, StreamsFile};
use sqlx::{Connection, PgConnection};

use crate::world::{Parts, World, broker, cheer, hold, until};

mod leases;
mod letters;
mod many;
mod reading;
mod relaying;
mod unknown;
mod unread;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_cancelled_while_a_transaction_begins_leaves_it_to_nobody() {
    let world = World::start().await;
    let pool = journal::pool::options().max_connections(1);
    let pool = pool.connect(&world.servers.database_url).await.expect("connected");
    let mut holder = PgConnection::connect(&world.servers.database_url).await.expect("connected");
    let begun = "SELECT count(*) FROM pg_locks
                 WHERE locktype = 'advisory' AND objid = 7 AND NOT granted";
    for _ in 0..3 {
        let hold = sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut holder).await;
        hold.expect("held");
        // As a request that is dropped when its client hangs up: the server goes on, nobody waits.
        let begins = pool.begin_with("BEGIN READ ONLY; SELECT pg_advisory_xact_lock(7)");
        tokio::select! {
            _ = begins => panic!("nobody lets it begin"),
            () = until("it is in the middle", async || world.count(begun).await == 1) => {}
        }
        let free = sqlx::query("SELECT pg_advisory_unlock(7)").execute(&mut holder).await;
        free.expect("let go");
        let written = sqlx::query("DELETE FROM dead_letters WHERE id < 0").execute(&pool).await;
        written.expect("it may write");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_becomes_an_event_a_message_and_a_balance() {
    let world = World::start().await;
    let parts = world.run();
    let outcome = world.asker().await.ask(cheer("5001", "m1", 150)).await;
    assert_eq!(outcome.decision, Decision::Accepted);
    assert_eq!(
        (outcome.first_position, outcome.event_types),
        (Some(1), vec!["credited".to_owned()])
    );
    assert_eq!(world.available("5001").await, 150);
    world.relayed().await;
    let (events, recorded) = (world.events().await, world.recorded().await);
    assert_eq!(serde_json::to_string(&events).unwrap(), serde_json::to_string(&recorded).unwrap());
    assert_eq!(events[0].content().link(&journal::recorded::GENESIS), events[0].hash);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_is_decided_once_in_a_batch_in_the_next_and_after_a_restart() {
    let world = World::start().await;
    let publisher = world.publisher().await;
    for _ in 0..3 {
        publisher.send(&cheer("5001", "m1", 100)).await.expect("stored");
    }
    let parts = world.run();
    let asker = world.asker().await;
    let first = asker.ask(cheer("5001", "m1", 100)).await;
    assert_eq!(first.first_position, Some(1));
    parts.stop().await;
    let parts = world.run();
    let again = asker.ask(cheer("5001", "m1", 100)).await;
    assert_eq!((again.first_position, again.decided_at), (Some(1), first.decided_at));
    assert_eq!(world.available("5001").await, 100);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_after_many_new_commands_is_known() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    // One batch each, so many that the processor takes what comes for new.
    for n in 0..100 {
        let outcome = asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
        assert_eq!(outcome.first_position, Some(n + 1));
    }
    for n in [0, 99, 50] {
        let again = asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
        assert_eq!(again.first_position, Some(n + 1));
    }
    assert_eq!(asker.ask(cheer("5001", "new", 1)).await.first_position, Some(101));
    assert_eq!(world.available("5001").await, 101);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decided_is_kept_and_stops_nobody() {
    let world = World::start().await;
    let gateway = world.broker.client(Role::Gateway).await.expect("the gateway gets in");
    let parts = world.run();
    let mut bad = cheer("5001", "bad", 1);
    bad.command =
        serde_json::value::to_raw_value(&serde_json::json!({"credit": {"points": "x"}})).unwrap();
    let mut unknown = cheer("5001", "unknown", 1);
    unknown.aggregate_type = "generation".to_owned();
    let mut misnamed = cheer("5001", "misnamed", 1);
    misnamed.id = domain::entry_id("test", "another name");
    let publisher = world.publisher().await;
    for envelope in [&bad, &unknown, &misnamed] {
        publisher.send(envelope).await.expect("stored");
    }
    for (subject, payload) in [
        ("cmd.63.account.5001.credit", "not json"),
        ("cmd.99.account.5001.credit", "{}"),
        ("cmd.nonsense", "\u{0}"),
    ] {
        gateway.request(subject, payload.into()).await.expect("stored");
    }
    let outcome = world.asker().await.ask(cheer("5001", "good", 7)).await;
    assert_eq!(outcome.decision, Decision::Accepted);
    until("all six are dead letters", async || {
        world.count("SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL").await == 6
    })
    .await;
    assert_eq!(
        world.count("SELECT count(*) FROM command_outcomes WHERE outcome = 'dead'").await,
        6
    );
    assert_eq!(world.available("5001").await, 7);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_decided_on_retry() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let good = cheer("5001", "m1", 40);
    let mut bad = good.clone();
    bad.command = serde_json::value::to_raw_value(&serde_json::json!({"credit": {}})).unwrap();
    assert_eq!(asker.ask(bad).await.decision, Decision::Dead);
    assert_eq!(
        asker.ask(good.clone()).await.decision,
        Decision::Dead,
        "a repetition is not a retry"
    );
    let letter = world.count("SELECT id FROM dead_letters").await;
    journal::dead_letters::retry(&world.pool, &asker.publisher, letter, Some(vec![good.clone()]))
        .await
        .expect("sent again");
    until("the letter is resolved", async || {
        world.count("SELECT count(*) FROM dead_letters WHERE resolved_at IS NOT NULL").await == 1
    })
    .await;
    assert_eq!(world.available("5001").await, 40);
    assert_eq!(asker.ask(good).await.decision, Decision::Accepted);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processors_share_the_partitions_and_a_dead_one_is_replaced() {
    let world = World::start().await;
    let mut first = world.parts();
    first.processor();
    let owners = "SELECT count(DISTINCT owner) FROM partitions WHERE lease_until > now()";
    until("the first owns something", async || world.count(owners).await == 1).await;
    let mut second = world.parts();
    second.processor();
    until("both own something", async || world.count(owners).await == 2).await;
    until("each has half", async || {
        world.count("SELECT max(n) FROM (SELECT count(*) n FROM partitions GROUP BY owner) x").await
            == 32
    })
    .await;
    drop(first);
    let died_at = std::time::Instant::now();
    until("the second owns all", async || {
        world.count("SELECT max(n) FROM (SELECT count(*) n FROM partitions GROUP BY owner) x").await
            == 64
    })
    .await;
    assert!(died_at.elapsed() < Duration::from_secs(3 + 5), "took {:?}", died_at.elapsed());
    let asker = world.asker().await;
    for viewer in 0..64 {
        let outcome = asker.ask(cheer(&viewer.to_string(), &format!("m{viewer}"), 1)).await;
        assert_eq!(outcome.decision, Decision::Accepted);
    }
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_cannot_commit() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "m1", 1)).await;
    // Another process takes every partition over, as it may when this one was paused for longer than its lease.
    sqlx::query(
        "UPDATE partitions SET owner = gen_random_uuid(), epoch = epoch + 1,
                lease_until = clock_timestamp() + interval '4 seconds'",
    )
    .execute(&world.pool)
    .await
    .expect("taken over");
    asker.publisher.send(&cheer("5001", "m2", 1)).await.expect("stored");
    let decided = "SELECT count(*) FROM command_outcomes";
    let leased =
        "SELECT count(*) FROM partitions WHERE lease_until > clock_timestamp() AND owner NOT IN
                  (SELECT owner FROM processors)";
    until("the other's lease has ended", async || {
        let fenced = world.count(decided).await == 1;
        let still_leased = world.count(leased).await > 0;
        assert!(fenced || !still_leased, "a former owner committed");
        !still_leased
    })
    .await;
    until("the command is decided after that", async || world.count(decided).await == 2).await;
    assert_eq!(world.available("5001").await, 2);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_events_stream_is_filled_again() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    for n in 0..20 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    world.relayed().await;
    let before = world.events().await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    admin.delete_stream("EVENTS").await.expect("deleted");
    world.relayed().await;
    let after = world.events().await;
    assert_eq!(serde_json::to_string(&before).unwrap(), serde_json::to_string(&after).unwrap());
    asker.ask(cheer("5001", "last", 1)).await;
    assert_eq!(world.available("5001").await, 21);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commands_stream_made_anew_is_read_from_its_beginning() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    for n in 0..20 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    admin.delete_stream("COMMANDS").await.expect("deleted");
    streams::apply(&admin, &StreamsFile::built_in().unwrap()).await.expect("made anew");
    // Sequences start again at 1, below every cursor.
    assert_eq!(asker.ask(cheer("5001", "after", 1)).await.first_position, Some(21));
    assert_eq!(asker.ask(cheer("5001", "m3", 1)).await.first_position, Some(4));
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_hundred_concurrent_holds_gets_the_last_points() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "m1", 200)).await;
    let holds = (0..100).map(|n| asker.ask(hold("5001", &format!("h{n}"), 200)));
    let outcomes = futures::future::join_all(holds).await;
    let held = outcomes.iter().filter(|outcome| outcome.event_types == ["held"]).count();
    let declined = outcomes.iter().filter(|outcome| outcome.event_types == ["declined"]).count();
    assert_eq!((held, declined), (1, 99));
    assert_eq!(world.available("5001").await, 0);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_postgres_es_loads_the_same_state() {
    use cqrs_es::Aggregate;
    use cqrs_es::persist::PersistedEventRepository;
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    for n in 0..250 {
        asker.publisher.send(&cheer("5001", &format!("m{n}"), n)).await.expect("stored");
    }
    asker.ask(hold("5001", "h1", 300)).await;
    let stock = postgres_es::PostgresEventRepository::new(world.pool.clone());
    let mut account = Account::default();
    for event in stock.get_events::<Account>("5001").await.expect("stock reads our events") {
        account.apply(serde_json::from_value(event.payload).expect("an event of an account"));
    }
    assert_eq!((account.credits, account.held), ((0..250).sum::<i64>(), 300));
    assert_eq!(account.available, world.available("5001").await);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_restarting_loses_and_doubles_nothing() {
    let mut world = World::start().await;
    let parts = world.run();
    let publisher = world.publisher().await;
    let sender = tokio::spawn(async move {
        for n in 0..2_000 {
            publisher
                .send(&cheer(&(n % 7).to_string(), &format!("m{n}"), 1))
                .await
                .expect("stored");
        }
    });
    until("some are decided", async || {
        world.count("SELECT count(*) FROM command_outcomes").await > 100
    })
    .await;
    world.servers.kill_postgres().await.expect("killed");
    world.servers.start_postgres().await.expect("started again");
    sender.await.expect("all were sent");
    until("all are decided", async || {
        let count =
            sqlx::query_scalar("SELECT count(*) FROM command_outcomes").fetch_one(&world.pool);
        matches!(count.await, Ok(2_000_i64))
    })
    .await;
    assert_eq!(world.head().await, 2_000);
    world.caught_up().await;
    assert_eq!(world.count("SELECT sum(available)::bigint FROM projections.balances").await, 2_000);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_restarting_loses_and_doubles_nothing() {
    let mut world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let mut sent = 0;
    for round in 0..3 {
        for n in 0..100 {
            let envelope = cheer("5001", &format!("{round}-{n}"), 1);
            // As a gateway's caller would: not acknowledged means send it again.
            while asker.publisher.send(&envelope).await.is_err() {}
            sent += 1;
        }
        world.servers.kill_nats().await.expect("killed");
        world.servers.start_nats().await.expect("started again");
    }
    until("all are decided", async || world.head().await == sent).await;
    assert_eq!(world.available("5001").await, sent);
    world.relayed().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_a_dump_decides_again_what_came_after_it() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    for n in 0..30 {
        asker.ask(cheer("5001", &format!("before{n}"), 1)).await;
    }
    world.caught_up().await;
    let dump = world.servers.data.join("dump.sql");
    let program =
        |name: &str| std::process::Command::new(world.servers.postgres_programs.join(name));
    let run = |mut command: std::process::Command| {
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut command = program("pg_dump");
    command.arg("-Fc").arg("-f").arg(&dump).arg(&world.servers.admin_database_url);
    run(command);
    for n in 0..30 {
        asker.ask(cheer("5001", &format!("after{n}"), 1)).await;
    }
    world.relayed().await;
    let epoch = journal::head::read(&world.pool).await.unwrap().epoch;
    parts.stop().await;
    world.pool.close().await;
    let mut command = program("pg_restore");
    command.args(["--clean", "--if-exists", "--exit-on-error", "-d"]);
    command.arg(&world.servers.admin_database_url).arg(&dump);
    run(command);
    let world = World {
        pool: crate::world::pool(&world.servers.database_url).await,
        broker: broker(&world.servers),
        servers: world.servers,
    };
    assert_eq!(world.head().await, 30);
    let parts = world.run();
    until("what came after the dump is decided again", async || world.head().await == 60).await;
    assert_eq!(world.available("5001").await, 60);
    until("EVENTS follows the restored history", async || {
        journal::head::read(&world.pool).await.unwrap().epoch != epoch
    })
    .await;
    // The old one ended with the same number.
    let recorded = world.recorded().await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    until("EVENTS ends as the restored history does", async || {
        let Ok(stream) = admin.get_stream("EVENTS").await else { return false };
        let Ok(last) = stream.get_raw_message(60).await else { return false };
        let last: journal::Recorded = serde_json::from_slice(&last.payload).expect("an event");
        last.hash == recorded[59].hash
    })
    .await;
    let events = world.events().await;
    assert_eq!(serde_json::to_string(&events).unwrap(), serde_json::to_string(&recorded).unwrap());
    parts.stop().await;
}
