//! An event that cannot be read stops its own key and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use journal::dead_letters::{self, RetryError};
use journal::{Failure, Projection, Recorded, follower};
use projections::{AsOf, balances, statements};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::world::{World, broker, cheer, until};

/// The balances with a fault: a cheer of 13 is not folded.
struct Faulty {
    mended: Arc<dyn Projection>,
    panics: bool,
}

impl Faulty {
    fn balances(panics: bool) -> Arc<dyn Projection> {
        let all = projections::all();
        let mended = all.into_iter().find(|projection| projection.name() == balances::NAME);
        Arc::new(Faulty { mended: mended.expect("the balances"), panics })
    }
}

#[async_trait]
impl Projection for Faulty {
    fn name(&self) -> &'static str {
        self.mended.name()
    }

    fn version(&self) -> i32 {
        self.mended.version()
    }

    fn aggregates(&self) -> &'static [&'static str] {
        self.mended.aggregates()
    }

    fn tables(&self) -> &'static [&'static str] {
        self.mended.tables()
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        self.mended.create(connection).await
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[&Recorded],
    ) -> Result<(), Failure> {
        let unlucky = batch.iter().find(|event| event.payload.get().contains("Cheer13"));
        match unlucky {
            None => self.mended.apply(connection, batch).await,
            Some(event) if self.panics => panic!("event {} brings bad luck", event.position),
            Some(event) => {
                let (position, reason) = (event.position, "it brings bad luck".to_owned());
                Err(Failure::Poison { position, reason })
            }
        }
    }
}

/// Writes an event of `viewer` that is JSON and no account's event.
async fn write_nonsense(world: &World, viewer: &str) -> i64 {
    write(world, viewer, "credited", r#"{"credited": {"points": "many"}}"#).await
}

/// Writes an event of `viewer` as a bug or a hand in the database would: at the next position, with the head moved.
async fn write(world: &World, viewer: &str, event_type: &str, payload: &str) -> i64 {
    sqlx::query_scalar(
        "WITH moved AS (UPDATE head SET position = position + 1 RETURNING position)
         INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version,
                             payload, metadata, position, event_id, command_id, recorded_at, hash)
         SELECT 'account', $1,
                1 + (SELECT count(*) FROM events WHERE aggregate_type = 'account' AND aggregate_id = $1),
                $2, '1.0', $3::json, '{}', position,
                gen_random_uuid(), gen_random_uuid(), clock_timestamp(), sha256('nonsense')
         FROM moved RETURNING position",
    )
    .bind(viewer)
    .bind(event_type)
    .bind(payload)
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

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_with_a_mended_fold_closes_the_letters_and_folds_nothing_twice() {
    let world = World::start().await;
    let mut deciding = world.parts();
    deciding.processor();
    deciding.relay();
    let stop = CancellationToken::new();
    let faulty = Faulty::balances(false);
    let mended = projections::all().into_iter().find(|p| p.name() == balances::NAME);
    let mended = mended.expect("the balances");
    let folding = follower::run(
        world.pool.clone(),
        broker(&world.servers),
        vec![faulty.clone()],
        stop.clone(),
    );
    let folding = tokio::spawn(folding);
    let asker = world.asker().await;
    for (key, bits) in [("a1", 10), ("a2", 13), ("a3", 7)] {
        asker.ask(cheer("5001", key, bits)).await;
    }
    let open = "SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL";
    until("two events are parked", async || world.count(open).await == 2).await;
    let letter = world.count("SELECT min(id) FROM dead_letters").await;

    let failed = follower::rebuild(&world.pool, faulty, |_, _| {}).await;
    assert!(failed.is_err(), "a rebuild passed over what it cannot fold");
    assert_eq!(world.count(open).await, 2);
    follower::rebuild(&world.pool, mended, |_, _| {}).await.expect("rebuilt");
    assert_eq!(world.count(open).await, 0);
    let again = dead_letters::retry(&world.pool, &asker.publisher, letter, None).await;
    assert!(matches!(again, Err(RetryError::Resolved(_))), "{again:?}");

    // The one that folded before finds the new tables by itself, and its key is not parked any more.
    asker.ask(cheer("5001", "a4", 5)).await;
    let available = "SELECT available FROM projections.balances WHERE account = '5001'";
    until("all four are in the balance", async || world.count(available).await == 35).await;
    assert_eq!(world.count(open).await, 0);
    stop.cancel();
    folding.await.expect("no panic").expect("no failure");
    deciding.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_a_mended_fold_folds_what_waited_once_while_news_come() {
    let world = World::start().await;
    let mut deciding = world.parts();
    deciding.processor();
    deciding.relay();
    let stop = CancellationToken::new();
    let faulty = vec![Faulty::balances(true)];
    let folding = follower::run(world.pool.clone(), broker(&world.servers), faulty, stop.clone());
    let folding = tokio::spawn(folding);
    let asker = world.asker().await;
    for (key, bits) in [("a1", 10), ("a2", 13), ("a3", 7)] {
        asker.ask(cheer("5001", key, bits)).await;
        asker.ask(cheer("5002", &format!("other-{key}"), 1)).await;
    }
    let open = "SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL";
    until("the panic has parked its key", async || world.count(open).await == 2).await;
    let available = |viewer: &str| {
        format!(
            "SELECT COALESCE(sum(available), 0)::bigint FROM projections.balances
             WHERE account = '{viewer}'"
        )
    };
    until("others go on", async || world.count(&available("5002")).await == 3).await;
    stop.cancel();
    folding.await.expect("no panic").expect("no failure");
    // Two rebuilds at once can park the same event twice; it is folded once all the same.
    sqlx::query(
        "INSERT INTO dead_letters (source, name, key, command_id, position, reason, payload)
         SELECT source, name, key, command_id, position, reason, payload FROM dead_letters",
    )
    .execute(&world.pool)
    .await
    .expect("a second letter each");

    let mut parts = world.parts();
    parts.follower();
    let letter = world.count("SELECT min(id) FROM dead_letters").await;
    dead_letters::retry(&world.pool, &asker.publisher, letter, None).await.expect("to be retried");
    // It is retried however much there is to do.
    let busy = async {
        for n in 0.. {
            asker.ask(cheer("5002", &format!("busy-{n}"), 1)).await;
        }
    };
    let retried = until("the key is folded", async || world.count(open).await == 0);
    tokio::select! {
        () = busy => {}
        () = retried => {}
    }
    assert_eq!(world.count(&available("5001")).await, 30);
    parts.stop().await;
    deciding.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_overflows_ends_no_process() {
    let world = World::start().await;
    let least = format!(
        r#"{{"held": {{"entry": "5f3c0000-0000-5000-8000-000000000001", "points": {},
            "purpose": "a test", "expires_at": "2025-06-15T15:06:40Z"}}}}"#,
        i64::MIN
    );
    let position = write(&world, "5001", "held", &least).await;
    let parts = world.run();
    let asker = world.asker().await;
    let dead = asker.ask(cheer("5001", "a1", 1)).await;
    assert_eq!(dead.decision, journal::Decision::Dead);
    asker.ask(cheer("5002", "b1", 2)).await;
    assert_eq!(world.available("5002").await, 2);
    let parked = format!(
        "SELECT count(*) FROM dead_letters WHERE source = 'projection' AND name = 'balances'
         AND position = {position} AND reason LIKE '%do not fit%'"
    );
    assert_eq!(world.count(&parked).await, 1);
    parts.stop().await;
}
