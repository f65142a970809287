//! Connections that end in every way there is, and go on where Twitch lets them.

use chrono::{DateTime, Utc};
use gateways::audit;

use super::*;
use crate::world::PATIENCE;

/// Signs of life each second, so that their loss is seen soon.
fn lively() -> Options {
    Options { keepalive_s: 1, ..Options::default() }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Code(u16),
    Cut,
    Silence,
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_connection_ends_what_was_told_is_there_once_and_the_gap_is_exact_to_the_second()
{
    let (desk, parts) = Desk::start(lively()).await;
    let listener = desk.listen();
    desk.subscribed().await;
    let codes = [4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007].map(Ending::Code);
    let mut told = 0;
    let mut gaps: Vec<(DateTime<Utc>, DateTime<Utc>)> = Vec::new();
    for (n, ending) in codes.into_iter().chain([Ending::Cut, Ending::Silence]).enumerate() {
        for id in ["first", "first", "second"] {
            assert!(desk.cheers(&format!("{n}-{id}")), "{ending:?}");
        }
        told += 2;
        desk.credited(told).await;
        let connections = desk.fake.connections();
        let lost_at = Utc::now();
        match ending {
            Ending::Code(code) => desk.fake.close(code),
            Ending::Cut => desk.fake.cut(),
            Ending::Silence => desk.fake.hush(),
        }
        until("somebody is there again", async || desk.fake.connections() > connections).await;
        until("all is told again", async || {
            let tells = desk.fake.subs().into_iter().filter(|sub| {
                sub.status == "enabled"
                    && sub.transport["session_id"] == format!("session-{}", connections + 1)
            });
            tells.count() == KINDS
        })
        .await;
        gaps.push((lost_at, Utc::now()));
    }
    let found = desk.gaps(gaps.len()).await;
    for (gap, (since, until)) in found.iter().zip(&gaps) {
        assert_eq!(gap.kinds.len(), KINDS, "{gap:?}");
        assert!(gap.since <= *until && gap.until.expect("over") >= *since, "{gap:?}");
        // A connection that fell silent may have been dead since its last word, a second before.
        let silent = gap.reason.starts_with("keepalive lost");
        let before = chrono::TimeDelta::milliseconds(if silent { 2_500 } else { 1_500 });
        let late = gap.since - *since;
        assert!(late >= -before && late < before, "{gap:?} began at {since}");
        assert!(close(gap.until.expect("over"), *until), "{gap:?} ended at {until}");
    }
    let reasons: Vec<&str> = found.iter().map(|gap| gap.reason.as_str()).collect();
    assert_eq!(reasons[2], "closed by Twitch: 4002, failed ping-pong");
    assert!(reasons[8].contains("connection"), "{reasons:?}");
    assert!(reasons[9].starts_with("keepalive lost"), "{reasons:?}");
    listener.stop().await;
    parts.stop().await;
    audited(&desk.world, found.len()).await;
}

/// The audit agrees, and its report says how many gaps there were.
pub async fn audited(world: &World, gaps: usize) {
    let parts = world.run();
    world.caught_up().await;
    world.relayed().await;
    let progress = audit::Progress::hidden();
    let options = audit::Options { patience: PATIENCE, ..Default::default() };
    let report = audit::run(&world.pool, &world.broker, &options, &progress).await;
    let report = report.expect("an audit");
    assert!(report.agrees, "{}", report.text());
    let text = report.text();
    assert!(text.contains(&format!("{gaps} gap")), "{text}");
    parts.stop().await;
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
