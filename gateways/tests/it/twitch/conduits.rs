//! A conduit whose shards are shared between processes: one dies, one leaves, and Twitch forgets it altogether.

use gateways::twitch::eventsub::Transport;
use gateways::twitch::eventsub::conduits::assign::Step;
use gateways::twitch::eventsub::conduits::rows::{Adopted, Rows, Shard};
use uuid::Uuid;

use super::*;

/// With what a conduit is asked about itself.
const ALL: usize = KINDS + 1;
/// One process of two holds two of them, one after the other: while it is gone, some of what happens is told to nobody.
const SHARDS: usize = 3;

async fn desk() -> (Desk, Parts) {
    let change = |settings: &mut Settings| {
        (settings.transport, settings.shards) = (Transport::Conduit, SHARDS as i32);
    };
    Desk::with(Options { keepalive_s: 1, ..Options::default() }, change).await
}

impl Desk {
    async fn shards(&self) -> Vec<Shard> {
        let (pool, broadcaster) = (self.world.pool.clone(), BROADCASTER.to_owned());
        Rows { pool, broadcaster }.shards().await.unwrap_or_default()
    }

    /// Waits until every shard is told to somebody, of so many processes, and everything is subscribed to.
    async fn shared_by(&self, processes: usize) {
        until(&format!("{processes} processes share all shards"), async || {
            let rows = self.shards().await;
            let holders: std::collections::BTreeSet<_> =
                rows.iter().filter_map(|row| row.holder).collect();
            let is_told = |row: &Shard| row.session.is_some() && row.session == row.assigned;
            let enabled = self.fake.shards();
            let enabled = enabled.iter().flatten().filter(|shard| shard.status == "enabled");
            let report = "SELECT count(*) FROM eventsub_feeds WHERE state = 'connected'
                          AND cardinality(kinds) = 19 AND heard_at IS NOT NULL";
            rows.len() == SHARDS
                && rows.iter().all(|row| is_told(row) && row.heard_at.is_some())
                && enabled.count() == SHARDS
                && holders.len() == processes
                && self.fake.sessions() == SHARDS
                && self.fake.enabled() == ALL
                && self.world.count(report).await == 1
        })
        .await;
    }

    /// The last shard goes from whoever holds it to another and back, between two beats; perhaps it is lost meanwhile, and
    /// nothing is known to have been heard since then.
    async fn goes_and_comes_back(&self, lost: Option<DateTime<Utc>>) {
        let query = "UPDATE eventsub_shards
             SET session = NULL, assigned = CASE WHEN $1 IS NULL THEN assigned END, lost_at = $1
             WHERE shard = (SELECT max(shard) FROM eventsub_shards)";
        let query = sqlx::query(query).bind(lost).execute(&self.world.pool);
        assert_eq!(query.await.expect("PostgreSQL").rows_affected(), 1);
    }

    /// Nothing that nobody was told is in no gap.
    fn every_loss_is_known(&self, gaps: &[Gap], many: usize) {
        let untold = self.fake.told_nobody();
        assert_eq!(untold.len(), many, "so much was told to nobody");
        for at in untold {
            let within = |gap: &&Gap| gap.since <= at && gap.until.is_some_and(|until| at <= until);
            assert!(gaps.iter().any(|gap| within(&gap)), "{at} is in none of {gaps:#?}");
        }
    }

    /// So many cheers, each of which is told to somebody.
    fn all_cheer(&self, name: &str, many: i64) {
        for n in 0..many {
            assert!(self.cheers(&format!("{name}-{n}")), "nobody is told {name}-{n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_of_a_dead_process_goes_on_with_its_gap_and_one_of_who_leaves_without() {
    let (desk, parts) = desk().await;
    let first = desk.listen();
    desk.shared_by(1).await;
    // Whoever is told over a shard says so again, or nobody else would ever get one.
    desk.goes_and_comes_back(None).await;
    let second = desk.listen();
    desk.shared_by(2).await;
    desk.gaps(0).await;
    desk.all_cheer("before", 20);
    desk.credited(20).await;

    // Whoever conducts dies: its shard and its office go on with the other.
    let heard_at = desk.shards().await.iter().filter_map(|shard| shard.heard_at).min();
    first.dies().await;
    let known_at = Utc::now();
    until("Twitch knows", async || desk.fake.sessions() == 1).await;
    let told = (0..12).filter(|n| desk.cheers(&format!("between-{n}"))).count();
    assert_eq!(told, 8, "two of three shards are nobody's");
    desk.shared_by(1).await;
    desk.all_cheer("after", 20);
    desk.credited(48).await;
    let known = desk.gaps(1).await;
    desk.every_loss_is_known(&known, 4);
    let gap = &known[0];
    // Twitch says so first, or nobody is heard of.
    assert!(gap.reason.starts_with("shard "), "{gap:?}");
    assert_eq!(gap.kinds.len(), KINDS, "{gap:?}");
    assert!(Some(gap.since) >= heard_at && gap.since <= known_at, "{gap:?} {heard_at:?}");

    // Who leaves is followed while it listens.
    let third = desk.listen();
    desk.shared_by(2).await;
    desk.fake.calls();
    let leaving = tokio::spawn(second.stop());
    let mut told = 0;
    while !leaving.is_finished() {
        desk.all_cheer(&format!("leaving-{told}"), 1);
        told += 1;
        desk.world.available("5001").await;
    }
    leaving.await.expect("no panic");
    desk.shared_by(1).await;
    desk.credited(48 + told).await;
    desk.gaps(1).await;
    let made = desk.fake.calls().into_iter().filter(|call| call.starts_with("POST")).count();
    assert_eq!(made, 0, "nothing had to be subscribed to again");

    // Twitch has no such conduit any more: there is another, and what was missed is a gap.
    desk.fake.forgets_conduits();
    assert!(!desk.cheers("nobody"));
    let asked = record::ask(&desk.world.pool, BROADCASTER).await;
    assert!(asked.expect("a row").is_some());
    let known = desk.gaps(2).await;
    desk.every_loss_is_known(&known, 5);
    desk.shared_by(1).await;
    desk.all_cheer("again", 10);
    desk.credited(58 + told).await;

    // Its holder was taken for gone, before anything was heard that was not before the last gap: Twitch is told of the
    // same session again, and that is a gap too, though both began at the same moment.
    desk.looked().await;
    desk.goes_and_comes_back(Some(known[1].since)).await;
    desk.shared_by(1).await;
    let known = desk.gaps(3).await;
    assert!(known.iter().all(|gap| gap.kinds.len() == KINDS), "{known:#?}");
    assert!(known[2].since >= known[1].since && known[2].until > known[1].until, "{known:#?}");

    // Another begins to listen that is posted to: what is held beside it would count twice.
    let (pool, broadcaster) = (desk.world.pool.clone(), BROADCASTER.to_owned());
    let row = record::Row { pool, broadcaster, listener: Uuid::new_v4() };
    row.begin(Transport::Webhook, Utc::now()).await.expect("a row");
    until("nobody holds a shard", async || desk.fake.sessions() == 0).await;
    third.stop().await;
    assert_eq!(desk.fake.sessions(), 0, "it said goodbye");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_while_twitch_is_told_of_another_session_is_not_forgotten() -> sqlx::Result<()>
{
    let world = World::start().await;
    let rows = Rows { pool: world.pool.clone(), broadcaster: BROADCASTER.to_owned() };
    let at = |seconds: i64| DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("a time");
    let adopted = Adopted { conduit: "ours", shards: 2, since: None, told_at: None };
    rows.adopt(adopted.clone()).await?;
    let holder = Uuid::from_u128(1);
    rows.hand(&Step { number: 1, from: None, to: Some(holder), is_lost: false }).await?;
    rows.has(1, holder, None, Some("first")).await?;
    rows.given(1, "first", at(10), None).await?;
    rows.heard(1, "first", at(20)).await?;

    // The first ends and the second is there; while Twitch is told of it, somebody finds that more was lost.
    rows.taken(1, &["first".to_owned()], at(20), "it was cut").await?;
    rows.has(1, holder, Some("first"), Some("second")).await?;
    rows.unstored(1, at(15)).await?;
    rows.given(1, "second", at(99), Some(at(20))).await?;
    let row = rows.shards().await?.remove(1);
    assert_eq!((row.assigned.as_deref(), row.lost_at), (Some("second"), Some(at(15))));
    assert_eq!(row.heard_at, Some(at(20)), "only the holder knows what is stored");
    rows.said(1, at(15)).await?;
    // What held the first ends late.
    rows.has(1, holder, Some("first"), None).await?;
    rows.taken(1, &["first".to_owned()], at(1), "late").await?;
    let row = rows.shards().await?.remove(1);
    assert_eq!((row.session.as_deref(), row.lost_at), (Some("second"), None));
    // It goes on under another name, ends, and Twitch had not been told the last one.
    rows.taken(1, &["second".to_owned(), "third".to_owned()], at(40), "it was cut").await?;
    assert_eq!(rows.shards().await?[1].lost_at, Some(at(40)));

    // What Twitch tells a shard before anybody holds it is lost, and so is what one had that there is no more.
    rows.adopt(Adopted { shards: 3, since: Some(at(30)), ..adopted.clone() }).await?;
    let lost = |rows: Vec<Shard>| rows.iter().map(|row| row.lost_at).collect::<Vec<_>>();
    assert_eq!(lost(rows.shards().await?), [None, Some(at(40)), Some(at(30))]);
    rows.adopt(Adopted { shards: 1, ..adopted }).await?;
    assert_eq!(lost(rows.shards().await?), [Some(at(20))]);
    Ok(())
}
