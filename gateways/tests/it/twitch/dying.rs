//! Processes that end, in good order or not, and servers that are away.

use gateways::twitch::eventsub::record;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_on_a_death_knows_since_when_nobody_listened() {
    let (desk, parts) = Desk::start(Options { keepalive_s: 1, ..Options::default() }).await;
    let first = desk.listen();
    desk.subscribed().await;
    assert!(desk.cheers("before"));
    desk.credited(1).await;
    let credited_at = Utc::now();
    let mut heard_at = None;
    until("it is written down what was heard", async || {
        let feed = record::find(&desk.world.pool, BROADCASTER).await.expect("PostgreSQL answers");
        heard_at = feed.filter(|feed| feed.kinds.len() == KINDS).and_then(|feed| feed.heard_at);
        heard_at >= Some(credited_at)
    })
    .await;
    // Another process waits for its turn meanwhile.
    let second = desk.listen();
    first.dies().await;
    let died_at = Utc::now();
    until("the second process listens", async || desk.fake.connections() == 2).await;
    desk.subscribed().await;
    let again_at = desk.fake.subs().iter().map(|sub| sub.created_at).max().expect("some");
    let gap = desk.gaps(1).await.remove(0);
    assert_eq!((gap.reason.as_str(), gap.kinds.len()), ("nobody was listening", KINDS));
    // Nothing was known to be well after the last sign of life, which is written down each second.
    assert!(Some(gap.since) >= heard_at && gap.since <= died_at, "{gap:?} {heard_at:?}");
    let over = gap.until.expect("over");
    assert!(over >= again_at && over <= Utc::now(), "{gap:?} {again_at}");
    assert!(desk.cheers("after"));
    desk.credited(2).await;

    // In good order, nothing that was told before the goodbye is in the gap.
    assert!(desk.cheers("last"));
    let stopped_at = Utc::now();
    second.stop().await;
    let left_at = Utc::now();
    desk.credited(3).await;
    until("nobody is there", async || desk.fake.sessions() == 0).await;
    assert!(!desk.cheers("missed"));
    let third = desk.listen();
    let gap = desk.gaps(2).await.remove(1);
    assert!(gap.since >= stopped_at && gap.since <= left_at, "{gap:?} {stopped_at}");
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
