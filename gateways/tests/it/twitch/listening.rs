//! Connections that end in every way there is, and go on where Twitch lets them.

use gateways::audit;

use super::*;
use crate::world::PATIENCE;

/// The audit agrees, and its report, which is given, says how many gaps there were.
pub async fn audited(world: &World, gaps: usize) -> String {
    let parts = world.run();
    world.caught_up().await;
    world.relayed().await;
    let progress = audit::Progress::hidden();
    let options = audit::Options { everything: true, patience: PATIENCE, ..Default::default() };
    let report = audit::run(&world.pool, &world.broker, &options, &progress).await;
    let report = report.expect("an audit");
    let text = report.text();
    assert!(report.agrees, "{text}");
    assert!(text.contains(&format!("{gaps} gap")), "{text}");
    parts.stop().await;
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_over_another_connection_and_nothing_is_missed_or_told_twice() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let listener = desk.listen();
    desk.subscribed().await;
    desk.fake.calls();
    let mut told = 0;
    for round in 0..3 {
        let connections = desk.fake.connections();
        if round == 1 {
            // The new address does not answer at first.
            desk.fake.refuses([500, 503]);
        }
        desk.fake.reconnect();
        until("the new connection is welcome", async || {
            assert!(desk.cheers(&format!("{round}-{told}")), "somebody is told all the while");
            told += 1;
            desk.fake.connections() > connections
        })
        .await;
        for _ in 0..20 {
            assert!(desk.cheers(&format!("{round}-{told}")));
            told += 1;
        }
    }
    desk.credited(told).await;
    desk.gaps(0).await;
    assert_eq!(desk.fake.calls(), Vec::<String>::new(), "nothing had to be subscribed to again");
    assert_eq!(desk.fake.enabled(), KINDS);
    listener.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_finds_no_way_on_in_time_is_lost_and_begins_again() {
    let grace = std::time::Duration::from_secs(1);
    let (desk, parts) = Desk::start(Options { grace, ..Options::default() }).await;
    let listener = desk.listen();
    desk.subscribed().await;
    assert!(desk.cheers("before"));
    desk.credited(1).await;
    // Twice while the session lasts, and once more when it does not.
    desk.fake.refuses([500; 3]);
    desk.fake.reconnect();
    let gap = desk.gaps(1).await.remove(0);
    assert_eq!(gap.reason, "closed by Twitch: 4004, the time to reconnect was over");
    assert!(desk.cheers("after"));
    desk.credited(2).await;
    listener.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_pings_and_news_end_no_connection_and_what_is_too_large_does() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let listener = desk.listen();
    desk.subscribed().await;
    for nonsense in [
        "",
        "{}",
        "null",
        "not JSON \u{0}",
        r#"{"metadata":{"message_id":"1","message_type":"session_party","message_timestamp":"2026-11-21T20:15:00Z"},"payload":{}}"#,
        r#"{"metadata":{"message_id":"2","message_type":"session_reconnect","message_timestamp":"2026-11-21T20:15:00Z"},"payload":{"session":{"reconnect_url":"http://127.0.0.1:1/"}}}"#,
        r#"{"metadata":{"message_id":"3","message_type":"notification","message_timestamp":"2026-11-21T20:15:00Z"},"payload":{"subscription":5}}"#,
    ] {
        desk.fake.say(nonsense);
    }
    desk.fake.ping();
    assert!(desk.cheers("after"));
    desk.credited(1).await;
    assert_eq!(desk.fake.connections(), 1);
    desk.fake.say(&format!("\"{}\"", "x".repeat(2 * 1024 * 1024)));
    let gap = desk.gaps(1).await.remove(0);
    assert!(gap.reason.starts_with("the connection broke"), "{}", gap.reason);
    assert!(desk.cheers("again"));
    desk.credited(2).await;
    listener.stop().await;
    parts.stop().await;
}
