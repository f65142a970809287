//! Overlays that die, come back, and say nothing.

use gateways::stage::WhenUnknown;
use serde_json::json;
use uuid::Uuid;

use super::page::{Memory, Page, alive};
use super::{OVERLAY, audited, cheers, comes_to, row, serving, serving_with};
use crate::world::until;

#[tokio::test(flavor = "multi_thread")]
async fn one_that_dies_before_it_shows_and_comes_back_is_told_again() {
    let serving = serving().await;
    let key = serving.key(&OVERLAY).await;
    let query = format!("?overlay={}", Uuid::new_v4());
    let mut page = Page::open(serving.listen, &key, &query).await;
    let [alert] = cheers(&serving.world, "died", 5..6).await.try_into().expect("one");
    assert_eq!(page.told(alert).await, 1);
    drop(page);
    // What it comes back to is over, or ends soon; it shows nothing of it and says nothing.
    let mut back = Page::open(serving.listen, &key, &query).await;
    let again = |state: &serde_json::Value| state["playing"]["attempt"] == 2;
    back.until("the second attempt", again).await;
    assert_eq!(back.shows(alert).await, 2);
    comes_to(&serving.world, alert, "shown").await;
    let requeued = "SELECT count(*) FROM events WHERE event_type = 'requeued'";
    assert_eq!(serving.world.count(requeued).await, 1);
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_told_too_late_says_so_and_is_told_again() {
    let serving = serving().await;
    let key = serving.key(&OVERLAY).await;
    let mut page = Page::open(serving.listen, &key, "").await;
    let [alert] = cheers(&serving.world, "late", 5..6).await.try_into().expect("one");
    assert_eq!(page.told(alert).await, 1);
    page.say(json!({"type": "missed", "alert": alert, "attempt": 1})).await;
    page.until("the second attempt", |state| state["playing"]["attempt"] == 2).await;
    assert_eq!(page.shows(alert).await, 2);
    comes_to(&serving.world, alert, "shown").await;
    // Of what was shown, such a word means nothing.
    page.say(json!({"type": "missed", "alert": alert, "attempt": 2})).await;
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_told_and_never_returns_leaves_an_unknown_row() {
    let serving = serving_with(|config| config.stage.unknown_after_ms = 6_000).await;
    let key = serving.key(&OVERLAY).await;
    let mut page = Page::open(serving.listen, &key, "").await;
    let alerts = cheers(&serving.world, "never", 5..7).await;
    page.told(alerts[0]).await;
    drop(page);
    comes_to(&serving.world, alerts[0], "unknown").await;
    let (_, attempts, reason) = row(&serving.world, alerts[0]).await.expect("a row");
    assert_eq!(attempts, 1, "it is not shown again by itself");
    assert!(reason.is_some_and(|reason| reason.contains("nothing")));
    // What waits behind it goes on with the next overlay.
    let mut other = Page::open(serving.listen, &key, "").await;
    other.shows(alerts[1]).await;
    comes_to(&serving.world, alerts[1], "shown").await;
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_no_alert_missed_has_the_unknown_shown_again() {
    let serving = serving_with(|config| {
        config.stage.when_unknown = WhenUnknown::Requeue;
        config.stage.unknown_after_ms = 6_000;
    })
    .await;
    let key = serving.key(&OVERLAY).await;
    let mut page = Page::open(serving.listen, &key, "").await;
    let [alert] = cheers(&serving.world, "again", 5..6).await.try_into().expect("one");
    page.told(alert).await;
    drop(page);
    let mut other = Page::open(serving.listen, &key, "").await;
    other.until("it plays again", |state| state["playing"]["attempt"] == 2).await;
    other.shows(alert).await;
    comes_to(&serving.world, alert, "shown").await;
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_painted_and_died_says_so_when_it_is_back_in_time() {
    let serving = serving_with(|config| {
        config.stage.seconds.insert("cheer".to_owned(), 5.0);
        config.stage.painted_within_ms = 5_000;
        config.stage.unknown_after_ms = 20_000;
    })
    .await;
    let key = serving.key(&OVERLAY).await;
    let query = format!("?overlay={}", Uuid::new_v4());
    let mut page = Page::open(serving.listen, &key, &query).await;
    let [alert] = cheers(&serving.world, "back", 5..6).await.try_into().expect("one");
    page.told(alert).await;
    drop(page);
    let mut back = Page::open(serving.listen, &key, &query).await;
    assert_eq!(back.shows(alert).await, 1, "the same attempt");
    comes_to(&serving.world, alert, "shown").await;
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_destroyed_and_made_again_all_the_time_loses_and_doubles_nothing() {
    const ALERTS: i64 = 40;
    let serving = serving().await;
    let key = serving.key(&OVERLAY).await;
    let (overlay, memory) = (Uuid::new_v4(), Memory::default());
    let mut page = alive(serving.listen, &key, overlay, &memory);
    let alerts = cheers(&serving.world, "d", 1..ALERTS + 1).await;
    let count = "SELECT count(*) FROM projections.showings WHERE state IN";
    let (mut destroyed, mut before) = (0, 0);
    until("all are over", async || {
        // At every second alert that begins, wherever it is by then.
        let begun = "SELECT count(*) FROM projections.showings WHERE attempts > 0";
        let begun = serving.world.count(begun).await;
        if begun >= before + 2 {
            (destroyed, before) = (destroyed + 1, begun);
            page = alive(serving.listen, &key, overlay, &memory);
        }
        let over = format!("{count} ('shown', 'unknown', 'expired')");
        serving.world.count(&over).await == ALERTS
    })
    .await;
    drop(page);
    assert!(destroyed >= 10, "{destroyed} times");
    let paintings = memory.paintings();
    for alert in &alerts {
        assert_eq!(row(&serving.world, *alert).await.expect("a row").0, "shown");
        assert_eq!(paintings.get(alert), Some(&1), "{alert} was painted once");
    }
    audited(&serving.world).await;
    serving.stop().await;
}
