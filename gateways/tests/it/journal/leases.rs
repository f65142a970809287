//! Renewals that fail half-way: whatever became of them, no command is passed over.

use sqlx::Connection;

use crate::world::{World, cheer, until};

/// Refuses, at COMMIT, every change of a partition that `changes` describes, until the row of `refused` is deleted.
async fn refuse_renewals(world: &World, changes: &str) {
    let url = &world.servers.owner_database_url;
    let mut owner = sqlx::PgConnection::connect(url).await.expect("the owner gets in");
    let statements = format!(
        "CREATE TABLE refused AS SELECT true AS refused;
         GRANT SELECT, DELETE ON refused TO tapedeck;
         CREATE SEQUENCE refusals;
         GRANT SELECT ON refusals TO tapedeck;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
         BEGIN
             IF EXISTS (SELECT FROM public.refused) THEN
                 PERFORM nextval('public.refusals');
                 RAISE EXCEPTION 'the commit of a renewal is refused';
             END IF;
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON partitions DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN ({changes}) EXECUTE FUNCTION refuse();"
    );
    sqlx::raw_sql(&statements).execute(&mut owner).await.expect("a trigger");
    owner.close().await.expect("closed");
}

async fn until_refused(world: &World) {
    until("a renewal is refused", async || {
        world.count("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refusals").await > 0
    })
    .await;
}

async fn refuse_no_more(world: &World) {
    sqlx::query("DELETE FROM refused").execute(&world.pool).await.expect("deleted");
}

/// Sends a command to every partition, and more, so that who skips one reads past it.
async fn cheer_everywhere(world: &World, round: &str) {
    let publisher = world.publisher().await;
    let sends = (0..300).map(async |viewer: i32| {
        let envelope = cheer(&viewer.to_string(), &format!("{round}-{viewer}"), 1);
        publisher.send(&envelope).await.expect("stored");
    });
    futures::future::join_all(sends).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_not_committed_skips_no_command() {
    let world = World::start().await;
    let mut first = world.parts();
    first.processor();
    world.asker().await.ask(cheer("5001", "before", 1)).await;
    until("every cursor has passed it", async || {
        world.count("SELECT min(cursor) FROM partitions").await == 1
    })
    .await;
    refuse_renewals(&world, "OLD.owner IS NOT NULL AND NEW.owner IS NULL").await;
    let mut second = world.parts();
    second.processor();
    until_refused(&world).await;
    cheer_everywhere(&world, "released").await;
    until("some are decided by the one that could not release", async || world.head().await > 1)
        .await;
    refuse_no_more(&world).await;
    until("all are decided", async || world.head().await == 301).await;
    until("each has half", async || {
        world.count("SELECT max(n) FROM (SELECT count(*) n FROM partitions GROUP BY owner) x").await
            == 32
    })
    .await;
    cheer_everywhere(&world, "shared").await;
    until("all are decided by the two", async || world.head().await == 601).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taking_that_is_not_committed_skips_no_command() {
    let world = World::start().await;
    let taking = "OLD.owner IS DISTINCT FROM NEW.owner AND NEW.owner IS NOT NULL";
    refuse_renewals(&world, taking).await;
    let mut parts = world.parts();
    parts.processor();
    until_refused(&world).await;
    cheer_everywhere(&world, "taken").await;
    refuse_no_more(&world).await;
    until("all are decided", async || world.head().await == 300).await;
    parts.stop().await;
}
