//! From one way of being told to another, and what is told neither way.

use gateways::twitch::eventsub::posted::Beat;
use gateways::twitch::eventsub::{Transport, gaps::NOBODY};
use journal::broker;

use super::subscribing::tokened;
use super::*;

impl Desk {
    /// Waits until everything is told in this one way.
    async fn told(&self, transport: Transport) {
        let all = async || {
            let mut subs = self.fake.subs();
            // Of a session that has ended, Twitch goes on listing what was subscribed to.
            subs.retain(|sub| sub.status != "websocket_disconnected");
            let is_here = |sub: &fake::Sub| sub.transport["method"] == transport.name();
            subs.len() == KINDS && subs.iter().all(is_here)
        };
        until("all is subscribed to", all).await;
        self.fake.challenges_are_answered();
        self.looked().await;
        until("all of it is known", async || self.row().await.kinds.len() == KINDS).await;
    }

    async fn lasting(&self) -> usize {
        let list = gaps::list(&self.world.pool, true, Page::of(500)).await;
        list.expect("PostgreSQL answers").gaps.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_webhooks_tell_is_not_told_over_the_websocket_as_well() {
    let (mut desk, parts) =
        Desk::with(Options::default(), |settings| settings.transport = Transport::Webhook).await;
    let listener = desk.listen();
    until("they are made", async || desk.fake.subs().len() == KINDS).await;
    desk.told(Transport::Webhook).await;
    listener.stop().await;

    // Nothing is told twice: as long as the webhooks cannot be removed, nobody listens, and why is known.
    desk.eventsub.settings.transport = Transport::Websocket;
    let listener = desk.listen();
    until("it is known why", async || {
        let row = desk.row().await;
        row.state == "connecting" && row.why.is_some_and(|why| why.contains("client_secret"))
    })
    .await;
    listener.stop().await;
    assert_eq!((desk.fake.connections(), desk.fake.enabled()), (0, KINDS));

    desk.fake.calls();
    desk.eventsub.application = Some(desk.eventsub.credentials.clone());
    let listener = desk.listen();
    desk.told(Transport::Websocket).await;
    let calls = desk.fake.calls();
    let last_removed = calls.iter().rposition(|call| call.starts_with("DELETE"));
    let first_made = calls.iter().position(|call| call.starts_with("POST"));
    assert!(last_removed.is_some() && last_removed < first_made, "{calls:?}");
    assert!(desk.cheers("m-1"));
    desk.credited(1).await;
    let gap = desk.gaps(1).await.pop().expect("a gap");
    assert!(gap.reason == NOBODY && gap.kinds.len() == KINDS, "{gap:?}");
    listener.stop().await;

    // And back: what was heard until then is in no gap.
    let heard_at = desk.row().await.heard_at.expect("something was heard");
    desk.eventsub.settings.transport = Transport::Webhook;
    let listener = desk.listen();
    desk.told(Transport::Webhook).await;
    let gap = desk.gaps(2).await.pop().expect("a gap");
    assert_eq!((gap.reason.as_str(), gap.since), ("told by webhooks from now on", heard_at));
    listener.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_webhook_is_taken_in_a_gap_lasts() {
    let (desk, parts) =
        Desk::with(Options::default(), |settings| settings.transport = Transport::Webhook).await;
    let listener = desk.listen();
    until("they are made", async || desk.fake.subs().len() == KINDS).await;
    desk.told(Transport::Webhook).await;
    assert_eq!(desk.lasting().await, 0);

    // The last that was heard of whoever answers webhooks is long ago.
    let heard_at: DateTime<Utc> = sqlx::query_scalar(
        "UPDATE eventsub_feeds SET heard_at = now() - interval '10 minutes' RETURNING heard_at",
    )
    .fetch_one(&desk.world.pool)
    .await
    .expect("a row");
    until("a gap lasts", async || desk.lasting().await > 0).await;
    // That Twitch would tell everything ends nothing, as long as nobody listens.
    desk.looked().await;
    assert!(desk.lasting().await > 0);

    let mut config = Config { broadcaster_id: BROADCASTER.to_owned(), ..Config::default() };
    config.twitch.eventsub = desk.eventsub.settings.clone();
    let (_configs, configs) = watch::channel(Arc::new(config));
    let nats = desk.world.broker.client(broker::Role::Gateway).await.expect("NATS");
    let stop = CancellationToken::new();
    let beat = Beat { pool: desk.world.pool.clone(), nats, configs };
    let again = Utc::now();
    let beats = tokio::spawn(beat.run(stop.clone()));
    let gap = desk.gaps(1).await.pop().expect("a gap");
    assert_eq!((gap.since, gap.kinds.len()), (heard_at, KINDS), "{gap:?}");
    assert!(gap.until >= Some(again), "{gap:?}");
    stop.cancel();
    beats.await.expect("no panic").expect("a good end");
    listener.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twitch_does_not_have_any_more_was_not_told() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let listener = desk.listen();
    desk.subscribed().await;
    desk.looked().await;
    let cheers = desk.fake.subs().into_iter().find(|sub| sub.kind == "channel.cheer");
    let cheers = cheers.expect("it is subscribed to");
    // As another program with the same account may do it: nobody is told.
    tokened(&desk.fake).delete(&cheers.id).await.expect("it is removed");
    let removed_at = Utc::now();
    assert!(!desk.cheers("m-1"));
    desk.looked().await;
    let gap = desk.gaps(1).await.pop().expect("a gap");
    assert_eq!(gap.kinds, ["channel.cheer"]);
    assert!(gap.since <= removed_at && gap.until >= Some(removed_at), "{gap:?}");
    assert!(desk.cheers("m-2"));
    desk.credited(1).await;
    listener.stop().await;
    parts.stop().await;
}
