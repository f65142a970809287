//! Processes that end, in good order or not, and servers that are away.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_on_a_death_knows_since_when_nobody_listened() {
    let (desk, parts) = Desk::start(Options { keepalive_s: 1, ..Options::default() }).await;
    let first = desk.listen();
    desk.subscribed().await;
    assert!(desk.cheers("before"));
    desk.credited(1).await;
    until("it is written down what was heard", async || {
        let query = "SELECT COUNT(*) FROM eventsub_feeds
                     WHERE cardinality(kinds) = 19 AND heard_at IS NOT NULL";
        desk.world.count(query).await == 1
    })
    .await;
    // Another process waits for its turn meanwhile.
    let second = desk.listen();
    let died_at = Utc::now();
    first.dies().await;
    until("the second process listens", async || desk.fake.connections() == 2).await;
    desk.subscribed().await;
    let followed_at = Utc::now();
    let gap = desk.gaps(1).await.remove(0);
    assert_eq!((gap.reason.as_str(), gap.kinds.len()), ("nobody was listening", KINDS));
    // Nothing was known to be well after the last sign of life, which is a second old at most, and is written down
    // each second.
    let known = died_at - gap.since;
    assert!(known.num_milliseconds() > -1_000 && known.num_milliseconds() < 3_000, "{gap:?}");
    assert!(close(gap.until.expect("over"), followed_at), "{gap:?} {followed_at}");
    assert!(desk.cheers("after"));
    desk.credited(2).await;

    // In good order, nothing that was told before the goodbye is in the gap.
    assert!(desk.cheers("last"));
    let stopped_at = Utc::now();
    second.stop().await;
    desk.credited(3).await;
    until("nobody is there", async || desk.fake.sessions() == 0).await;
    assert!(!desk.cheers("missed"));
    let third = desk.listen();
    let gap = desk.gaps(2).await.remove(1);
    assert!(gap.since >= stopped_at && close(gap.since, stopped_at), "{gap:?} {stopped_at}");
    desk.subscribed().await;
    third.stop().await;
    desk.credited(3).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_servers_are_away_the_connection_is_kept_and_nothing_told_is_lost() {
    let (mut desk, parts) = Desk::start(Options::default()).await;
    let listener = desk.listen();
    desk.subscribed().await;
    assert!(desk.cheers("before"));
    desk.credited(1).await;
    desk.world.servers.kill_nats().await.expect("nats-server is killed");
    for n in 0..200 {
        assert!(desk.cheers(&format!("during-{n}")));
    }
    desk.world.servers.start_nats().await.expect("nats-server comes back");
    desk.credited(201).await;
    // Who listens is decided by PostgreSQL: while it says nothing, what is told waits.
    desk.world.servers.restart_postgres().await.expect("PostgreSQL comes back");
    for n in 0..20 {
        assert!(desk.cheers(&format!("after-{n}")));
    }
    desk.credited(221).await;
    assert_eq!(desk.fake.connections(), 1);
    desk.gaps(0).await;
    listener.stop().await;
    drop(parts);
}
