//! However the events arrive, in ones, in batches, twice, by two followers, or all again: the rows are the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use domain::account::{Command, Facts};
use domain::alerting::Kind;
use domain::chat::{self, Chat, Request};
use domain::chat_reply::{self, Receipt, Reply, Way, reply_id, report_id};
use domain::chat_request::Wish;
use domain::entry_id;
use domain::identity::derived_id;
use domain::intake::{self, Intake};
use domain::stage::{self, Sound};
use journal::{Decision, Envelope, Recorded, follower};
use projections::{AsOf, Page, balances, statements};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::{Connection, PgConnection};

use super::night::{self, BROADCASTER, VIEWERS};
use crate::world::{World, at, cheer, origin, to_account};

/// Every row of every projection as text, in order.
async fn rows(connection: &mut PgConnection, schema: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for projection in projections::all() {
        for table in projection.tables() {
            let query = format!("SELECT t::text FROM {schema}.{table} AS t ORDER BY 1");
            let rows = sqlx::query_scalar(&query).fetch_all(&mut *connection).await;
            all.insert((*table).to_owned(), rows.expect("the table answers"));
        }
    }
    all
}

async fn live(world: &World) -> BTreeMap<String, Vec<String>> {
    world.caught_up().await;
    rows(&mut world.pool.acquire().await.expect("a connection"), "projections").await
}

async fn rebuild_all(world: &World) {
    for projection in projections::all() {
        let name = projection.name();
        follower::rebuild(&world.pool, projection, |_, _| {})
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

/// Folds `events` into new tables in `schema`, `size` at a time.
async fn folded(
    world: &World,
    schema: &str,
    events: &[Recorded],
    size: usize,
) -> BTreeMap<String, Vec<String>> {
    let url = &world.servers.owner_database_url;
    let mut connection = PgConnection::connect(url).await.expect("the owner gets in");
    sqlx::raw_sql(&format!("CREATE SCHEMA {schema}; SET search_path TO {schema}, public"))
        .execute(&mut connection)
        .await
        .expect("a schema");
    for projection in projections::all() {
        projection.create(&mut connection).await.expect("tables");
        for batch in events.chunks(size) {
            let wanted = |event: &&Recorded| projection.wants(&event.content());
            let batch: Vec<&Recorded> = batch.iter().filter(wanted).collect();
            projection.apply(&mut connection, &batch).await.expect("folded");
        }
    }
    rows(&mut connection, schema).await
}

/// A grant of two credits, one of which was taken back.
async fn given_to_many(world: &World) {
    let asker = world.asker().await;
    let entry = |viewer: &str| entry_id("test", &format!("granted {viewer}"));
    for viewer in ["6001", "6002"] {
        let (grant, note, actor) = (entry("grant"), "thanks".to_owned(), "a test".to_owned());
        let facts = Facts::Grant { grant, note, actor };
        let command = Command::Credit { entry: entry(viewer), points: 9, rules: 1, facts };
        asker.ask(to_account(viewer, &format!("granted {viewer}"), command)).await;
    }
    let (note, actor) = ("a mistake".to_owned(), "a test".to_owned());
    let (back, reverses) = (entry("back"), entry("6001"));
    let command = Command::Reverse { entry: back, reverses, points: -9, note, actor };
    asker.ask(to_account("6001", "granted back", command)).await;
}

/// A stage on which everything happens that can happen to an alert.
async fn directed(world: &World) {
    use stage::Command;
    let asker = world.asker().await;
    let (mut revision, actor) = (0, || "a test".to_owned());
    let mut ask = async |command: &Command| -> i64 {
        let envelope = gateways::stage::commands::directed("main", command, at());
        let outcome = asker.ask(envelope.expect("an address")).await;
        assert_eq!(outcome.decision, Decision::Accepted, "{command:?}: {:?}", outcome.reason);
        revision += 1;
        outcome.first_position.expect("recorded")
    };
    let entry = |name: &str| entry_id("test", &format!("stage {name}"));
    ask(&Command::Open { entry: entry("open"), at: at() }).await;
    let mut alerts = Vec::new();
    for n in 0..4 {
        let (entry, kind, data) = (entry(&format!("test {n}")), Kind::Raid, Default::default());
        let position = ask(&Command::Test { entry, kind, data, actor: actor() }).await;
        let id = sqlx::query_scalar("SELECT event_id FROM events WHERE position = $1");
        let id: uuid::Uuid = id.bind(position).fetch_one(&world.pool).await.expect("an event");
        alerts.push(id);
    }
    let start = |n: i64, revision, alert, attempt| {
        let (entry, starts_at) = (entry(&format!("start {n}")), at() + TimeDelta::minutes(n));
        let ends_at = starts_at + TimeDelta::milliseconds(12_345);
        Command::Start { entry, revision, alert, attempt, starts_at, ends_at }
    };
    let reason = || "nobody was there".to_owned();
    let (alert, overlay) = (alerts[0], entry("overlay"));
    ask(&start(1, 5, alert, 1)).await;
    ask(&Command::Show { entry: entry("show"), alert, attempt: 1, overlay, at: at() }).await;
    let alert = alerts[1];
    ask(&start(2, 7, alert, 1)).await;
    let requeue = Command::Requeue { entry: entry("again"), alert, attempt: 1, reason: reason() };
    ask(&requeue).await;
    ask(&start(3, 9, alert, 2)).await;
    let give_up = Command::GiveUp { entry: entry("lost"), alert, attempt: 2, reason: reason() };
    ask(&give_up).await;
    let alert = alerts[3];
    ask(&Command::Prioritise { entry: entry("first"), alert, actor: actor() }).await;
    ask(&start(4, 12, alert, 1)).await;
    ask(&Command::Skip { entry: entry("skip"), alert, actor: actor(), at: at() }).await;
    let alert = alerts[2];
    ask(&Command::Expire { entry: entry("old"), revision: 14, alerts: vec![alert] }).await;
    ask(&Command::Replay { entry: entry("replay"), alert, actor: actor(), at: at() }).await;
    let clear = Command::Clear { entry: entry("clear"), alert: None, until: 100, actor: actor() };
    ask(&clear).await;
    for (n, what) in [Sound::Sound, Sound::Speech].into_iter().enumerate() {
        ask(&Command::Mute { entry: entry(&format!("mute {n}")), what, actor: actor() }).await;
    }
    let (what, pause) = (Sound::Sound, entry("pause"));
    ask(&Command::Unmute { entry: entry("unmute"), what, actor: actor() }).await;
    ask(&Command::Pause { entry: pause, actor: actor() }).await;
    assert_eq!(revision, 21);
}

/// A stage that is closed while one alert plays and two wait.
async fn closed(world: &World) {
    use stage::Command;
    let asker = world.asker().await;
    let ask = async |command: &Command| {
        let envelope = gateways::stage::commands::directed("side", command, at());
        let outcome = asker.ask(envelope.expect("an address")).await;
        assert_eq!(outcome.decision, Decision::Accepted, "{command:?}: {:?}", outcome.reason);
        outcome.first_position.expect("recorded")
    };
    let entry = |name: &str| entry_id("test", &format!("side {name}"));
    ask(&Command::Open { entry: entry("open"), at: at() }).await;
    let mut alerts: Vec<uuid::Uuid> = Vec::new();
    for kind in [Kind::Raid, Kind::Raid, Kind::Ghost] {
        let (entry, data) = (entry(&format!("test {}", alerts.len())), Default::default());
        let test = Command::Test { entry, kind, data, actor: "a test".to_owned() };
        let id = sqlx::query_scalar("SELECT event_id FROM events WHERE position = $1");
        let id = id.bind(ask(&test).await).fetch_one(&world.pool).await;
        alerts.push(id.expect("an event"));
    }
    let (starts_at, ends_at) = (at(), at() + TimeDelta::seconds(5));
    let (entry, alert) = (entry("start"), alerts[0]);
    ask(&Command::Start { entry, revision: 4, alert, attempt: 1, starts_at, ends_at }).await;
    let (entry, expires) = (entry_id("test", "side close"), vec![Kind::Raid]);
    ask(&Command::Close { entry, expires, at: at() }).await;
}

/// Two types are lost, and one of them comes back.
async fn not_told(world: &World) {
    let asker = world.asker().await;
    let kinds = || vec!["channel.cheer".to_owned(), "channel.raid".to_owned()];
    let (since, until) = (at(), at() + TimeDelta::seconds(42));
    let reason = "keepalive lost".to_owned();
    let entry = entry_id("test", "lost");
    let lose = intake::Command::Lose { entry, kinds: kinds(), since, reason, at: until };
    let entry = entry_id("test", "restored");
    let restore = intake::Command::Restore { entry, kinds: vec![kinds().remove(1)], until };
    for (name, command) in [("lost", lose), ("restored", restore)] {
        let envelope = Envelope::new::<Intake>(BROADCASTER, &command, origin(name));
        asker.ask(envelope.expect("a good address")).await;
    }
}

/// Two questions in chat: one is answered at the second attempt, the other waits for how its wish ends.
async fn asked_in_chat(world: &World) {
    let asker = world.asker().await;
    let wish = Wish::Ghost { subject: "a spoon".to_owned() };
    let mut replies = Vec::new();
    for (line, request) in
        [("line-1", Request::Balance {}), ("line-2", Request::Wish { wish, price: 200, prices: 1 })]
    {
        let command = chat::Command::Ask {
            entry: chat::ask_id(line),
            line: line.to_owned(),
            viewer: "6001".to_owned(),
            role: chat::Role::Everyone,
            request,
            terms: chat::Settings::default().answers,
            settings: 1,
            at: at(),
        };
        let envelope = Envelope::new::<Chat>(BROADCASTER, &command, origin(line));
        asker.ask(envelope.expect("a good address")).await;
        replies.push(reply_id(derived_id(chat::ask_id(line), 0)));
    }
    let (reply, reason) = (replies[0], "slow mode".to_owned());
    let receipt = Receipt { way: Way::Overlay, id: "line".to_owned() };
    let entry = |attempt| report_id(reply, attempt);
    for command in [
        chat_reply::Command::FailAttempt { entry: entry(1), attempt: 1, reason, retry_at: at() },
        chat_reply::Command::Deliver { entry: entry(2), attempt: 2, receipt },
    ] {
        let envelope = Envelope::new::<Reply>(&reply.to_string(), &command, origin("reply"));
        asker.ask(envelope.expect("a good address")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilt_is_what_was_live_row_for_row() {
    let world = World::start().await;
    let parts = world.run();
    given_to_many(&world).await;
    directed(&world).await;
    closed(&world).await;
    asked_in_chat(&world).await;
    not_told(&world).await;
    night::play(&world).await;
    let before = live(&world).await;
    assert!(before.values().all(|rows| !rows.is_empty()), "a table is empty: {before:?}");
    let missed = "SELECT count(*) FROM projections.alerts
                  WHERE position > (SELECT position FROM projections.stages)
                    AND id NOT IN (SELECT alert FROM projections.showings)";
    assert_eq!(world.count(missed).await, 0, "alerts that no stage shows");
    rebuild_all(&world).await;
    assert_eq!(live(&world).await, before);
    rebuild_all(&world).await;
    assert_eq!(live(&world).await, before);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_by_one_and_all_at_once_make_the_same_rows() {
    let world = World::start().await;
    let parts = world.run();
    directed(&world).await;
    closed(&world).await;
    night::play(&world).await;
    let (live, events) = (live(&world).await, world.recorded().await);
    assert_eq!(folded(&world, "by_one", &events, 1).await, live);
    assert_eq!(folded(&world, "by_seven", &events, 7).await, live);
    assert_eq!(folded(&world, "at_once", &events, usize::MAX).await, live);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_followers_that_are_killed_again_and_again_fold_everything_once() {
    let world = World::start().await;
    let mut parts = world.parts();
    parts.processor();
    parts.relay();
    let asker = world.asker().await;
    let mut random = StdRng::seed_from_u64(11);
    for round in 0..6 {
        let (mut one, mut other) = (world.parts(), world.parts());
        one.follower();
        other.follower();
        night::traffic(&asker, &mut random, &format!("round-{round}"), 20).await;
        // Dropped without a goodbye, wherever they are.
    }
    let mut last = world.parts();
    last.follower();
    let live = live(&world).await;
    let events = world.recorded().await;
    assert_eq!(folded(&world, "again", &events, usize::MAX).await, live);
    last.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_during_a_rebuild_always_see_one_generation() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    for n in 0..40 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    world.caught_up().await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (pool, done) = (world.pool.clone(), done.clone());
        async move {
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                let balance = balances::of(&pool, "5001", AsOf::Now).await.expect("an answer");
                // All cheers are one point each: the sum is the position, or rows and position do not belong together.
                assert_eq!(balance.sums.available, balance.position);
                let page = Page::of(500);
                let statement = statements::of(&pool, "5001", AsOf::Now, page).await;
                let statement = statement.expect("an answer");
                assert_eq!(statement.closing.available, statement.position);
                assert_eq!(statement.lines.len() as i64, statement.position);
                answers += 1;
            }
            answers
        }
    });
    for n in 0..5 {
        let rebuild = rebuild_all(&world);
        let news = cheer("5001", &format!("news-{n}"), 1);
        tokio::join!(rebuild, asker.ask(news));
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.await.expect("no answer was wrong") > 10);
    assert_eq!(world.available("5001").await, 45);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_nothing_was_told_of_is_empty_after_a_rebuild_too() {
    let world = World::start().await;
    let parts = world.run();
    world.asker().await.ask(cheer("5001", "m1", 5)).await;
    world.caught_up().await;
    rebuild_all(&world).await;
    for viewer in VIEWERS.iter().skip(1) {
        let balance = balances::of(&world.pool, viewer, AsOf::Now).await.expect("an answer");
        assert_eq!(balance.sums, balances::Sums::default());
    }
    assert_eq!(world.available("5001").await, 5);
    parts.stop().await;
}
