//! Subscriptions: whatever Twitch has, it ends at what is wanted, with no call more than that takes.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use gateways::twitch::calls::Calls;
use gateways::twitch::eventsub::gaps::{Unsent, kept};
use gateways::twitch::eventsub::plan::Place;
use gateways::twitch::eventsub::round::{Order, Report, State, carry_out};
use gateways::twitch::eventsub::subscriptions::Subscriptions;
use gateways::twitch::eventsub::wanted::{Wanted, wanted};

use super::*;
use gateways::sandbox::eventsub::{Deed, Sub};

const CALLBACK: &str = "https://tapes.example/webhooks/twitch";

fn subscriptions(fake: &fake::EventSub, token: &str) -> Subscriptions {
    let credentials = Credentials::fixed(CLIENT, Secret::new(token));
    let base_url = fake.base_url().try_into().expect("a base");
    Subscriptions::new(Calls::new(credentials), base_url, "a secret for tests".to_owned())
}

fn order() -> Order {
    let place = Place::Webhook { callback: CALLBACK.to_owned(), version: None };
    let wanted = wanted(BROADCASTER, BROADCASTER, &[]);
    Order { wanted, place, exclusive: true, fresh: false }
}

/// One that is there already. Twitch writes what a condition leaves out as empty text.
fn sub(id: String, of: &Wanted, status: &str, callback: &str) -> Sub {
    let mut condition = json!(of.condition);
    if of.kind == "channel.raid" {
        condition["from_broadcaster_user_id"] = json!("");
    }
    Sub {
        id,
        status: status.to_owned(),
        kind: of.kind.clone(),
        version: of.version.clone(),
        condition,
        transport: json!({"method": "webhook", "callback": callback}),
        cost: 1,
        created_at: Utc::now() - TimeDelta::days(1),
    }
}

pub(super) fn tokened(fake: &fake::EventSub) -> Subscriptions {
    subscriptions(fake, TOKEN)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_250_subscriptions_over_pages_those_that_are_wanted_remain_with_as_few_calls_as_can_be()
{
    let fake = fake::EventSub::start(Options { page: 20, cost_each: 1, ..Options::default() })
        .await
        .expect("a fake Twitch");
    let Order { wanted, .. } = order();
    // 5 are well, 4 of these a second time; 3 are dead; 11 are missing; the rest is about others, or sent elsewhere.
    for (n, one) in wanted.iter().enumerate() {
        match n {
            0..5 => fake.has(sub(format!("well-{n}"), one, "enabled", CALLBACK)),
            5..8 => {
                fake.has(sub(format!("dead-{n}"), one, "notification_failures_exceeded", CALLBACK));
            }
            _ => {}
        }
        if n < 4 {
            let mut twin = sub(format!("twin-{n}"), one, "enabled", CALLBACK);
            twin.created_at = Utc::now();
            fake.has(twin);
        }
    }
    let have = fake.subs().len();
    for n in have..250 {
        let of = gateways::twitch::eventsub::wanted::wanted(&format!("{n}"), "1", &[]);
        let callback = if n % 2 == 0 { CALLBACK } else { "https://old.example/webhooks/twitch" };
        let status = if n % 3 == 0 { "authorization_revoked" } else { "enabled" };
        fake.has(sub(format!("orphan-{n}"), &of[n % of.len()], status, callback));
    }
    // Some calls fail, and are made again; some are one too many for this second.
    fake.does("GET", [Deed::Status(500), Deed::Limit]);
    fake.does("POST", [Deed::Status(503), Deed::Limit, Deed::Limit, Deed::DoAndFail]);
    fake.does("DELETE", [Deed::Limit, Deed::DoAndFail]);
    let report = carry_out(&tokened(&fake), &order()).await;

    assert_eq!(report.failed, None, "{report:?}");
    let found: BTreeSet<String> = fake.subs().iter().map(|sub| sub.kind.clone()).collect();
    assert_eq!((fake.subs().len(), found.len()), (KINDS, KINDS));
    let stayed = fake.subs().iter().filter(|sub| sub.id.starts_with("well-")).count();
    assert_eq!(stayed, 5, "what was well was not touched");
    // 13 pages; 14 made; and everything that is not kept removed: no call in vain.
    let made = report.made;
    assert_eq!((made.pages, made.creations, made.deletions), (13, 14, 245), "{report:?}");
    assert_eq!((report.removed, report.left), (245, 0));
    assert_eq!(made.again, 2 + 4 + 1, "those that failed were made once more each");
    assert_eq!(fake.calls().len() as u32, made.all());
    let pending = report.count(State::Pending);
    // One was made though the answer said that it was not: made again, it was there.
    assert_eq!((report.count(State::Enabled), pending), (6, 13), "{report:?}");

    fake.challenges_are_answered();
    let again = carry_out(&tokened(&fake), &order()).await;
    assert_eq!((again.made.all(), again.made.pages), (1, 1), "there was nothing left to do");
    assert_eq!(again.count(State::Enabled), KINDS, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twitch_does_not_give_is_failing_with_the_reason_and_the_rest_is_there() {
    let fake = fake::EventSub::start(Options { cost_each: 1, cost_max: 7, ..Options::default() })
        .await
        .expect("a fake Twitch");
    let Order { wanted, .. } = order();
    fake.forbids("channel.cheer");
    // Three of one type and condition there may be, and three there are, at addresses of others.
    let online = &wanted[0];
    for n in 0..3 {
        let callback = format!("https://other-{n}.example/x");
        fake.has(sub(format!("other-{n}"), online, "user_removed", &callback));
    }
    let shared = Order { exclusive: false, ..order() };
    let report = carry_out(&tokened(&fake), &shared).await;
    let why = |report: &Report, kind: &str| {
        let status = report.statuses.iter().find(|status| status.wanted.kind == kind);
        let status = status.expect("a status").clone();
        (status.state, status.why.unwrap_or_default())
    };
    let (state, words) = why(&report, "channel.cheer");
    assert!(state == State::Failing && words.ends_with("(it needs bits:read)"), "{words}");
    let (state, words) = why(&report, "stream.online");
    assert!(state == State::Failing && words.contains("maximum subscriptions"), "{words}");
    assert_eq!((report.left, report.removed), (3, 0));

    // What others have is ours to remove: then there is room. What costs too much is not even asked for.
    fake.challenges_are_answered();
    fake.calls();
    let report = carry_out(&tokened(&fake), &order()).await;
    fake.challenges_are_answered();
    assert_eq!(report.removed, 3);
    let report_now = carry_out(&tokened(&fake), &order()).await;
    assert!(report_now.cost.total <= report_now.cost.max, "{report_now:?}");
    fake.calls();
    let last = carry_out(&tokened(&fake), &order()).await;
    let asked: Vec<String> = fake.calls();
    assert!(asked.len() <= 2, "{asked:?}: what cannot be had is not asked for over and over");
    assert!(last.statuses.iter().any(|status| {
        status.why.as_deref().is_some_and(|why| why.contains("would cost more than 7"))
    }));

    let wrong = subscriptions(&fake, "another-token");
    let refused = carry_out(&wrong, &order()).await;
    assert!(refused.statuses.is_empty(), "{refused:?}");
    let words = refused.failed.expect("a reason");
    assert!(words.contains("does not take the token") && !words.contains("another-token"));
    assert_eq!(refused.made.all(), 1, "a wrong token is not tried over and over");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_asked_for_again_and_the_gap_lasts_until_it_is_granted() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let listener = desk.listen();
    desk.subscribed().await;
    let revoked_at = Utc::now();
    desk.fake.forbids("channel.cheer");
    desk.fake.revoke("channel.cheer", "authorization_revoked");
    let mut open = Vec::new();
    until("the gap is known", async || {
        let list = gaps::list(&desk.world.pool, true, Page::of(10)).await;
        open = list.map(|list| list.gaps).unwrap_or_default();
        !open.is_empty()
    })
    .await;
    assert_eq!(open[0].kinds, ["channel.cheer"]);
    assert_eq!(open[0].reason, "revoked: authorization_revoked");
    assert!(open[0].since >= revoked_at && open[0].since <= Utc::now(), "{open:?} {revoked_at}");
    until("it is failing", async || {
        let feed = record::find(&desk.world.pool, BROADCASTER).await.expect("a row").expect("one");
        feed.report.is_some_and(|report| report.count(State::Failing) == 1)
    })
    .await;
    assert!(!desk.cheers("missed"));

    let allowed_at = Utc::now();
    desk.fake.allows("channel.cheer");
    let asked = record::ask(&desk.world.pool, BROADCASTER).await.expect("asked").expect("a row");
    let gap = desk.gaps(1).await.remove(0);
    let over = gap.until.expect("over");
    assert!(over >= allowed_at && over <= Utc::now(), "{gap:?}");
    until("it is written down", async || {
        let feed = record::find(&desk.world.pool, BROADCASTER).await.expect("a row").expect("one");
        feed.answered >= asked && feed.kinds.len() == KINDS
    })
    .await;
    assert!(desk.cheers("after"));
    desk.credited(1).await;
    listener.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_ends_where_it_began_by_a_clock_that_was_set_back() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let (kinds, since) = (["channel.cheer".to_owned()], kept(Utc::now()));
    // And another that begins before that clock is back there.
    for many in [1, 2] {
        let mut unsent = Unsent::default();
        unsent.lose(BROADCASTER, &kinds, since, "a test");
        unsent.restore(BROADCASTER, &kinds, since - TimeDelta::hours(1));
        assert!(unsent.send(&desk.eventsub.publisher).await, "NATS takes it");
        let gap = desk.gaps(many).await.pop().expect("one");
        assert_eq!((gap.since, gap.until), (since, Some(since)));
    }
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_twice_before_anything_was_heard_again_is_two_gaps() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let (kinds, since) = (["channel.cheer".to_owned()], kept(Utc::now()));
    let over = |minutes: i64| since + TimeDelta::minutes(minutes);
    for until in [over(1), over(2)] {
        let mut unsent = Unsent::default();
        unsent.lose(BROADCASTER, &kinds, since, "a test");
        unsent.restore(BROADCASTER, &kinds, until);
        assert!(unsent.send(&desk.eventsub.publisher).await, "NATS takes it");
    }
    let gaps = desk.gaps(2).await;
    let gaps: Vec<_> = gaps.iter().map(|gap| (gap.since, gap.until)).collect();
    assert_eq!(gaps, [(since, Some(over(1))), (over(1), Some(over(2)))]);
    parts.stop().await;
}
