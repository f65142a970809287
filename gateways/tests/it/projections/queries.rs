//! What the queries answer, now and as of any position, against what is true.

use domain::account::{self, Facts};
use domain::alerting::Kind;
use domain::broadcast::Moment;
use domain::entry_id;
use journal::positions::Positions;
use projections::balances::{self, Sums};
use projections::statements::{self, Line};
use projections::{AsOf, Page, QueryError, alerts, broadcasts};
use sqlx::PgPool;

use super::night::{self, BROADCASTER, VIEWERS, truth};
use crate::world::{PATIENCE, World, cheer, hold, to_account, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_as_of_every_position_is_the_fold_up_to_it() {
    let world = World::start().await;
    let parts = world.run();
    let events = night::play(&world).await;
    let truth = truth(&events);
    for (position, sums) in truth.iter().enumerate() {
        for viewer in VIEWERS {
            let as_of = AsOf::Position(position as i64);
            let answer = balances::of(&world.pool, viewer, as_of).await.expect("an answer");
            let expected = sums.get(viewer).copied().unwrap_or_default();
            assert_eq!(answer.sums, expected, "{viewer} as of {position}");
            assert!(answer.sums.balanced() && answer.position == position as i64);
            assert_eq!(answer.total, expected.available + expected.held);
        }
    }
    for viewer in VIEWERS {
        let now = balances::of(&world.pool, viewer, AsOf::Now).await.expect("an answer");
        let then = AsOf::Position(now.position);
        assert_eq!(balances::of(&world.pool, viewer, then).await.expect("an answer"), now);
        for event in &events {
            // Events of one commit share their time, so the last position with this time is meant.
            let time = event.recorded_at;
            let last = events.iter().filter(|e| e.recorded_at <= time).count();
            let as_of = AsOf::Time(time);
            let answer = balances::of(&world.pool, viewer, as_of).await.expect("an answer");
            let expected = truth[last].get(viewer).copied().unwrap_or_default();
            assert_eq!((answer.position, answer.sums), (last as i64, expected));
        }
    }
    let ahead = AsOf::Position(events.len() as i64 + 1);
    let refused = balances::of(&world.pool, "5001", ahead).await;
    assert!(matches!(refused, Err(QueryError::Ahead { .. })), "{refused:?}");
    let nobody = balances::of(&world.pool, "9999", AsOf::Now).await.expect("zero is an answer");
    assert_eq!((nobody.sums, nobody.last_position), (Sums::default(), None));
    parts.stop().await;
}

/// All lines of a viewer, read in pages of `limit`; each page must begin where the one before it ended.
async fn paged(pool: &PgPool, viewer: &str, as_of: AsOf, limit: i64) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let (mut before, mut below) = (None, None);
    loop {
        let page = Page { before, limit: Some(limit) };
        let statement = statements::of(pool, viewer, as_of, page).await.expect("an answer");
        if let Some(opening) = below {
            assert_eq!(statement.closing, opening, "pages of {viewer} do not meet");
        }
        below = Some(statement.opening);
        lines.extend(statement.lines);
        match statement.before {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    assert_eq!(below, Some(Sums::default()), "a statement begins with nothing");
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_explains_every_point_page_by_page() {
    let world = World::start().await;
    let parts = world.run();
    let events = night::play(&world).await;
    let truth = truth(&events);
    let head = events.len() as i64;
    for viewer in VIEWERS {
        for (as_of, until) in [(AsOf::Now, head), (AsOf::Position(head / 2), head / 2)] {
            let own = |e: &&&journal::Recorded| {
                e.aggregate_type == "account" && e.aggregate_id == viewer && e.position <= until
            };
            let expected: Vec<_> = events.iter().rev().collect();
            let expected: Vec<_> = expected.iter().filter(own).collect();
            let lines = paged(&world.pool, viewer, as_of, 3).await;
            assert_eq!(lines, paged(&world.pool, viewer, as_of, 500).await);
            assert_eq!(lines.len(), expected.len());
            for (line, event) in lines.iter().zip(expected) {
                let after = truth[event.position as usize][viewer];
                assert_eq!(line.position, event.position);
                assert_eq!((&line.kind, line.entry), (&event.event_type, event.command_id));
                assert_eq!((line.available, line.held), (after.available, after.held));
                assert_eq!(line.total, after.total());
                assert_eq!(line.origin.source.as_deref(), Some("test"));
                assert!(line.points != 0, "{line:?}");
            }
        }
    }
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_statement_add_up_broadcast_by_broadcast() {
    let world = World::start().await;
    let parts = world.run();
    let events = night::play(&world).await;
    let truth = truth(&events);
    let at = |position: i64, viewer: &str| {
        truth[position as usize].get(viewer).copied().unwrap_or_default()
    };
    let head = events.len() as i64;
    for viewer in VIEWERS {
        for until in [head, head - 20, head / 2, head / 3, 5, 0] {
            let as_of = AsOf::Position(until);
            let all = statements::parts(&world.pool, viewer, BROADCASTER, as_of, Page::default());
            let all = all.await.expect("an answer").parts;
            let mut closing = at(until, viewer);
            for part in &all {
                assert_eq!(part.closing, closing, "{viewer} as of {until}: {part:?}");
                assert_eq!(part.opening, at(part.from_position - 1, viewer));
                assert_eq!(part.closing, at(part.until_position, viewer));
                closing = part.opening;
            }
            assert_eq!(closing, Sums::default(), "the first part opens with nothing");
            let paged = paged_parts(&world.pool, viewer, as_of).await;
            assert_eq!(paged, all, "one broadcast at a time");
        }
    }
    let all = statements::parts(&world.pool, "5001", BROADCASTER, AsOf::Now, Page::default());
    let all = all.await.expect("an answer").parts;
    let numbers: Vec<Option<i64>> = all.iter().map(|part| part.broadcast).collect();
    assert_eq!(numbers, [Some(2), None, Some(1), None]);
    assert_eq!(all[0].title.as_deref(), Some("Second night"));
    assert_eq!((all[0].ended_at, all[2].title.as_deref()), (None, Some("Tape night")));
    parts.stop().await;
}

async fn paged_parts(pool: &PgPool, viewer: &str, as_of: AsOf) -> Vec<statements::Part> {
    let mut parts = Vec::new();
    let mut before = None;
    loop {
        let page = Page { before, limit: Some(1) };
        let answer = statements::parts(pool, viewer, BROADCASTER, as_of, page).await;
        let answer = answer.expect("an answer");
        parts.extend(answer.parts);
        match answer.before {
            Some(next) => before = Some(next),
            None => return parts,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_tells_its_cause_and_can_be_found_by_its_entry() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "m1", 150)).await;
    asker.ask(hold("5001", "h1", 100)).await;
    asker.ask(night::undo("5001", "u1", "m1", -150)).await;
    world.caught_up().await;
    let page = Page::default();
    let statement = statements::of(&world.pool, "5001", AsOf::Now, page).await.expect("an answer");
    let json = serde_json::to_value(&statement.lines).expect("json");
    assert_eq!(json[2]["facts"]["cheer"]["bits"], 150);
    assert_eq!((&json[2]["rules"], &json[2]["source_id"]), (&1.into(), &"m1".into()));
    assert_eq!((&json[1]["kind"], &json[1]["purpose"]), (&"held".into(), &"a test".into()));
    assert_eq!((&json[0]["kind"], &json[0]["points"]), (&"declined".into(), &150.into()));

    let found = statements::find(&world.pool, "5001", entry_id("test", "h1")).await;
    assert_eq!(found.expect("an answer").as_ref(), Some(&statement.lines[1]));
    for (viewer, key) in [("5002", "h1"), ("5001", "unknown")] {
        let found = statements::find(&world.pool, viewer, entry_id("test", key)).await;
        assert_eq!(found.expect("an answer"), None);
    }
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waited_for_its_position_sees_what_its_caller_did() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let positions = Positions::start(world.pool.clone(), &world.broker).await.expect("positions");
    for n in 1..=30 {
        // More than anybody can be notified of by PostgreSQL.
        let (key, message) = (format!("m{n}"), "a".repeat(9_000));
        let (entry, facts) = (entry_id("test", &key), Facts::Cheer { bits: 1, message });
        let credit = account::Command::Credit { entry, points: 1, rules: 1, facts };
        let outcome = asker.ask(to_account("5001", &key, credit)).await;
        let position = outcome.last_position().expect("it was recorded");
        positions.wait(balances::NAME, position, PATIENCE).await.expect("folded in time");
        let balance = balances::of(&world.pool, "5001", AsOf::Now).await.expect("an answer");
        assert_eq!(balance.sums.available, n);
    }
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_broadcast_is_one_with_its_intervals_and_screenings() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    until("the tables are there", async || {
        broadcasts::current(&world.pool, BROADCASTER).await.is_ok()
    })
    .await;
    let nothing = broadcasts::current(&world.pool, BROADCASTER).await.expect("an answer");
    assert_eq!((nothing.live, nothing.broadcast), (false, None));
    night::play(&world).await;

    let current = broadcasts::current(&world.pool, BROADCASTER).await.expect("an answer");
    assert_eq!((current.live, current.title.as_str()), (true, "Second night"));
    assert_eq!(current.broadcast.as_ref().map(|b| (b.number, b.live)), Some((2, true)));
    assert_eq!(current.screening, None);
    asker.ask(night::screen("tape 9", 1_450)).await;
    world.caught_up().await;
    let current = broadcasts::current(&world.pool, BROADCASTER).await.expect("an answer");
    assert_eq!(current.screening.map(|s| s.tape), Some("tape 9".to_owned()));

    let history = broadcasts::history(&world.pool, BROADCASTER, Page::of(1)).await;
    let newest = history.expect("an answer");
    assert_eq!((newest.broadcasts.len(), newest.before), (1, Some(2)));
    let page = Page { before: newest.before, limit: Some(1) };
    let history = broadcasts::history(&world.pool, BROADCASTER, page).await.expect("an answer");
    assert_eq!(history.before, None);
    let first = &history.broadcasts[0];
    assert_eq!((first.number, first.live, first.title.as_str()), (1, false, "Tape night"));
    let ids: Vec<&str> = first.intervals.iter().map(|i| i.live_id.as_str()).collect();
    assert_eq!(ids, ["live-1", "live-2"]);
    assert_eq!(first.started_position, first.intervals[0].started_position);
    assert_eq!(first.ended_at, first.intervals[1].ended_at);
    let gap = first.intervals[1].started_at - first.intervals[0].ended_at.expect("ended");
    assert_eq!(gap.num_minutes(), 4);
    assert_eq!(first.screenings[0].ended_at, first.intervals[0].ended_at);
    let (_, one) = broadcasts::one(&world.pool, BROADCASTER, 1).await.expect("an answer");
    assert_eq!(one.as_ref(), Some(first));
    let (_, none) = broadcasts::one(&world.pool, BROADCASTER, 3).await.expect("an answer");
    assert_eq!(none, None);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_come_in_order_with_the_name_that_is_known_now() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "m1", 150)).await;
    asker.ask(hold("5001", "h1", 10)).await;
    let raid = Moment::Raided { viewer: "5002".to_owned(), viewers: 42 };
    asker.ask(night::note("r1", raid)).await;
    let gift = Moment::SubsGifted { tier: domain::rules::Tier::One, count: 5 };
    asker.ask(night::note("g1", gift)).await;
    world.caught_up().await;
    let name = |name: Option<&'static str>| {
        sqlx::query(
            "INSERT INTO viewer_names (viewer_id, name, seen_at) VALUES ('5001', $1, now())
             ON CONFLICT (viewer_id) DO UPDATE SET name = $1",
        )
        .bind(name)
        .execute(&world.pool)
    };
    name(Some("ReelDeal")).await.expect("named");

    let shown = alerts::after(&world.pool, 0, 100, &[]).await.expect("an answer");
    assert_eq!(shown.position, 4);
    let kinds: Vec<(i64, &str)> =
        shown.alerts.iter().map(|alert| (alert.position, alert.kind.as_str())).collect();
    assert_eq!(kinds, [(1, "cheer"), (3, "raid"), (4, "gift")]);
    let data: Vec<serde_json::Value> = shown.alerts.iter().map(alerts::Alert::feed_data).collect();
    assert_eq!(
        data[0],
        serde_json::json!({
            "bits": 150, "message": "Cheer150", "viewer": {"id": "5001", "name": "ReelDeal"}
        })
    );
    assert_eq!(data[1]["viewer"], serde_json::json!({"id": "5002", "name": null}));
    assert_eq!(data[2]["viewer"], serde_json::Value::Null);
    assert_eq!(shown.alerts[0].id, world.recorded().await[0].event_id);

    name(None).await.expect("erased");
    let shown = alerts::after(&world.pool, 0, 1, &[]).await.expect("an answer");
    let viewer = shown.alerts[0].viewer.as_ref().expect("a viewer");
    assert_eq!((shown.alerts.len(), viewer.name.as_ref()), (1, None));
    let raids = alerts::after(&world.pool, 1, 100, &[Kind::Raid]).await.expect("an answer");
    assert_eq!(raids.alerts.len(), 1);
    assert_eq!(alerts::after(&world.pool, 4, 100, &[]).await.expect("an answer").alerts, []);
    let newest = alerts::list(&world.pool, Page::of(2), &[]).await.expect("an answer");
    assert_eq!((newest.alerts[0].position, newest.before), (4, Some(3)));
    parts.stop().await;
}
