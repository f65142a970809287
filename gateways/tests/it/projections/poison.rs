//! An event that cannot be read stops its own key and nothing else.

use projections::{AsOf, balances, statements};

use crate::world::{World, cheer, until};

/// Writes an event of `viewer` that is JSON and no account's event, as a bug or a hand in the database would: at the
/// next position, with the head moved.
async fn write_nonsense(world: &World, viewer: &str) -> i64 {
    sqlx::query_scalar(
        "WITH moved AS (UPDATE head SET position = position + 1 RETURNING position)
         INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version,
                             payload, metadata, position, event_id, command_id, recorded_at, hash)
         SELECT 'account', $1,
                1 + (SELECT count(*) FROM events WHERE aggregate_type = 'account' AND aggregate_id = $1),
                'credited', '1.0', '{\"credited\": {\"points\": \"many\"}}', '{}', position,
                gen_random_uuid(), gen_random_uuid(), clock_timestamp(), sha256('nonsense')
         FROM moved RETURNING position",
    )
    .bind(viewer)
    .fetch_one(&world.pool)
    .await
    .expect("written")
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_parks_its_viewer_and_nobody_else() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "a1", 10)).await;
    asker.ask(cheer("5002", "b1", 20)).await;
    parts.stop().await;

    // Nobody decides for this account while its history is broken, so what follows is written as it would have been.
    let poison = write_nonsense(&world, "5001").await;
    let mut parts = world.parts();
    parts.relay();
    parts.follower();
    let mut deciding = world.parts();
    deciding.processor();
    for n in 0..50 {
        asker.ask(cheer("5002", &format!("more-{n}"), 1)).await;
    }
    world.caught_up().await;

    for name in ["balances", "statements"] {
        let query = format!(
            "SELECT count(*) FROM dead_letters WHERE source = 'projection' AND name = '{name}'
             AND key = 'account/5001' AND position = {poison} AND resolved_at IS NULL"
        );
        until("the key is parked", async || world.count(&query).await == 1).await;
    }
    assert_eq!(world.count("SELECT count(DISTINCT key) FROM dead_letters").await, 1);
    let broken = balances::of(&world.pool, "5001", AsOf::Now).await.expect("an answer");
    assert_eq!((broken.sums.available, broken.last_position), (10, Some(1)));
    let fine = balances::of(&world.pool, "5002", AsOf::Now).await.expect("an answer");
    assert_eq!((fine.sums.available, fine.position), (70, world.head().await));
    let page = projections::Page::default();
    let statement = statements::of(&world.pool, "5001", AsOf::Now, page).await.expect("an answer");
    assert_eq!(statement.lines.len(), 1);

    let again = write_nonsense(&world, "5001").await;
    asker.ask(cheer("5002", "last", 1)).await;
    world.caught_up().await;
    let waiting = format!("SELECT count(*) FROM dead_letters WHERE position = {again}");
    until("what comes after waits behind it", async || world.count(&waiting).await >= 2).await;
    assert_eq!(world.available("5002").await, 71);
    deciding.stop().await;
    parts.stop().await;
}
