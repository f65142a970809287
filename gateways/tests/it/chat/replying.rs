//! Workers that answer, one step at a time: at Twitch (a fake of it) and on screen, whatever the other side does and
//! wherever a worker dies.

mod over_irc;

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use domain::chat::{Chat, Command, Request, Role as ChatRole, Terms, ask_id};
use gateways::chat::replies::lease::{LEASE, Lease, Taken};
use gateways::chat::replies::words::Wordsmith;
use gateways::chat::replies::{Settings, Texts, Worker};
use gateways::chat::{Lines, lines};
use gateways::outgoing::Secret;
use gateways::twitch::saying::Mouth;
use gateways::twitch::{self, Speaker};
use journal::broker::Role;
use journal::positions::Positions;
use journal::replies::Replies;
use journal::{Decision, Envelope, ViewerName};
use projections::Page;
use projections::replies::{self as list, Reply};
use uuid::Uuid;

use super::BROADCASTER;
use crate::fakes::helix::{self as fake, Deed};
use crate::world::{Asker, Parts, World, broker, origin, until};

/// A world in which questions are asked, and a clock in the test's hand.
struct Desk {
    world: World,
    asker: Asker,
    helix: Option<fake::Helix>,
    now: Arc<Mutex<DateTime<Utc>>>,
    settings: Settings,
}

impl Desk {
    async fn start(at_twitch: bool) -> (Self, Parts) {
        let world = World::start().await;
        let parts = world.run();
        let asker = world.asker().await;
        let helix = if at_twitch { Some(fake::Helix::start().await) } else { None };
        let (now, settings) = (Arc::new(Mutex::new(Utc::now())), Settings::default());
        (Desk { world, asker, helix, now, settings }, parts)
    }

    /// A worker with connections of its own.
    async fn worker(&self) -> Worker {
        self.worker_with(fake::TOKEN).await
    }

    async fn worker_with(&self, token: &str) -> Worker {
        let mouth = self.helix.as_ref().map(|fake| {
            let (sender_id, token) = (fake::SENDER.to_owned(), Secret::new(token));
            let settings = twitch::Settings {
                client_id: fake::CLIENT.to_owned(),
                helix_url: fake.base_url().try_into().expect("a base"),
                chat: Speaker { sender_id, token, ..Speaker::default() },
                ..twitch::Settings::default()
            };
            Arc::new(Mouth::new(settings, None, self.world.pool.clone()))
        });
        self.worker_by(mouth).await
    }

    async fn worker_by(&self, mouth: Option<Arc<Mouth>>) -> Worker {
        let broker = broker(&self.world.servers);
        let clock = Arc::clone(&self.now);
        let positions = Positions::start(self.world.pool.clone(), &broker).await;
        let help = domain::chat::Settings::default().help;
        Worker {
            publisher: self.world.publisher().await,
            replies: Replies::start(&broker).await.expect("the gateway gets in"),
            lines: Lines::start(&broker).await.expect("the chat's user gets in"),
            sender: mouth.is_some().then(|| fake::SENDER.to_owned()),
            mouth,
            words: Wordsmith {
                pool: self.world.pool.clone(),
                positions: positions.expect("positions"),
                texts: Texts::default(),
                help,
            },
            settings: self.settings.clone(),
            clock: Arc::new(move || *clock.lock().expect("whole")),
            id: Uuid::new_v4(),
        }
    }

    fn later(&self, by: TimeDelta) {
        *self.now.lock().expect("whole") += by;
    }

    /// Lets time pass until `at`.
    fn until(&self, at: DateTime<Utc>) {
        let mut now = self.now.lock().expect("whole");
        *now = at.max(*now);
    }

    /// Viewer 5001 asks for their balance.
    async fn asks(&self, line: &str) {
        self.asks_for(line, Request::Balance {}).await;
    }

    async fn asks_for(&self, line: &str, request: Request) {
        let terms = Terms { who: ChatRole::Everyone, cooldown_s: 0, viewer_cooldown_s: 0 };
        let command = Command::Ask {
            entry: ask_id(line),
            line: line.to_owned(),
            viewer: "5001".to_owned(),
            role: ChatRole::Everyone,
            request,
            terms,
            settings: 1,
            at: Utc::now(),
        };
        let envelope = Envelope::new::<Chat>(BROADCASTER, &command, origin(line)).expect("good");
        let name = Some("ReelDeal".to_owned());
        let names = vec![ViewerName { id: "5001".to_owned(), login: name.clone(), name }];
        let outcome = self.asker.ask(Envelope { names, ..envelope }).await;
        assert_eq!(outcome.decision, Decision::Accepted);
        self.world.caught_up().await;
    }

    async fn replies(&self) -> Vec<Reply> {
        self.world.caught_up().await;
        let all = list::list(&self.world.pool, None, Page::of(500)).await.expect("an answer");
        all.replies.into_iter().rev().collect()
    }

    async fn only(&self) -> Reply {
        let mut all = self.replies().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// What is in the chat that is shown, by number.
    async fn on_screen(&self) -> Vec<String> {
        let admin = self.world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
        let stream = admin.get_stream(lines::CHAT).await.expect("CHAT is there");
        let state = stream.cached_info().state.clone();
        let mut texts = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let kept = lines::read(&stream, sequence).await.expect("readable");
            texts.extend(kept.map(|kept| kept.text));
        }
        texts
    }
}

async fn lease(worker: &Worker) -> Box<Lease> {
    match worker.take().await.expect("it looks") {
        Taken::Lease(lease) => lease,
        other => panic!("something is due: {other:?}"),
    }
}

async fn turn(worker: &Worker) {
    worker.work(&*lease(worker).await).await.expect("worked off");
}

const WORDS: &str = "@ReelDeal you have 0 points.";

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_goes_to_twitch_and_on_screen_under_twitchs_own_id() {
    let (desk, parts) = Desk::start(true).await;
    let worker = desk.worker().await;
    desk.asks("m-1").await;
    turn(&worker).await;
    assert_eq!(worker.take().await.expect("it looks"), Taken::Idle);
    let helix = desk.helix.as_ref().expect("at Twitch");
    assert_eq!(helix.said(), [WORDS]);
    let reply = desk.only().await;
    assert_eq!((reply.stage.as_str(), reply.attempts), ("delivered", 0));
    assert_eq!(reply.receipt.expect("a receipt").id, "twitch-1");
    let shown = desk.on_screen().await;
    assert_eq!(shown.len(), 1);
    assert!(shown[0].contains(r#""id":"twitch-1""#) && shown[0].contains(WORDS), "{shown:?}");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_between_saying_and_reporting_has_it_said_once() {
    // At Twitch: the words are taken, and nobody hears that they were.
    let (desk, parts) = Desk::start(true).await;
    desk.asks("m-1").await;
    let helix = desk.helix.as_ref().expect("at Twitch");
    helix.does([Deed::TakeAndHang]);
    let dying = desk.worker().await;
    let leased = lease(&dying).await;
    let at_work = tokio::spawn(async move { dying.work(&leased).await });
    until("the words are there", async || helix.said().len() == 1).await;
    at_work.abort();
    let worker = desk.worker().await;
    assert_eq!(worker.take().await.expect("it looks"), Taken::Idle, "it is another's still");
    desk.later(TimeDelta::from_std(LEASE).expect("a time"));
    turn(&worker).await;
    assert_eq!((helix.asked().len(), helix.said().len()), (2, 1), "asked twice, said once");
    let receipt = desk.only().await.receipt.expect("a receipt");
    assert_eq!(receipt.way, domain::chat_reply::Way::TwitchBefore);
    parts.stop().await;

    // On screen: the line is kept, and then there is nobody who decides the report.
    let (desk, mut parts) = Desk::start(false).await;
    desk.asks("m-1").await;
    parts.stop().await;
    let dying = desk.worker().await;
    let leased = lease(&dying).await;
    let at_work = tokio::spawn(async move { dying.work(&leased).await });
    let mut shown = Vec::new();
    until("the line is there", async || {
        shown = desk.on_screen().await;
        shown.len() == 1
    })
    .await;
    at_work.abort();
    parts = desk.world.run();
    desk.later(TimeDelta::from_std(LEASE).expect("a time"));
    let worker = desk.worker().await;
    // The report may have been on its way.
    if let Taken::Lease(lease) = worker.take().await.expect("it looks") {
        worker.work(&lease).await.expect("worked off");
    }
    until("it is delivered", async || desk.only().await.stage == "delivered").await;
    assert_eq!(desk.on_screen().await, shown, "one line");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twitch_does_not_take_now_is_tried_again_and_what_it_never_takes_is_given_up() {
    let (desk, parts) = Desk::start(true).await;
    let helix = desk.helix.as_ref().expect("at Twitch");
    let worker = desk.worker().await;
    desk.asks("m-1").await;
    helix.does([Deed::Status(503), Deed::Limit(20), Deed::Drop("msg_slowmode")]);
    for attempt in 1..=3 {
        turn(&worker).await;
        let reply = desk.only().await;
        assert_eq!((reply.stage.as_str(), reply.attempts), ("due", attempt));
        assert!(!reply.reason.expect("a reason").contains("ReelDeal"));
        assert_eq!(worker.take().await.expect("it looks"), Taken::Idle, "not yet");
        let at = reply.retry_at.expect("a time");
        desk.until(at);
    }
    turn(&worker).await;
    assert_eq!(desk.only().await.stage, "delivered");
    assert_eq!(helix.said(), [WORDS]);

    for (n, deed) in [Deed::Drop("channel_settings"), Deed::Status(403), Deed::Status(400)]
        .into_iter()
        .enumerate()
    {
        desk.asks_for(&format!("never-{n}"), Request::Uptime {}).await;
        helix.does([deed]);
        turn(&worker).await;
        let reply = desk.replies().await.pop().expect("the last");
        assert_eq!((reply.stage.as_str(), reply.attempts), ("gave_up", 1), "{deed:?}");
        assert!(!reply.reason.expect("a reason").contains("live"), "Twitch's words stay there");
    }
    // It is on screen all the same.
    let shown = desk.on_screen().await;
    assert_eq!(shown.iter().filter(|text| text.contains("we are not live")).count(), 3);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_garbage_end_after_the_attempts_there_are() {
    let (desk, parts) = Desk::start(true).await;
    let helix = desk.helix.as_ref().expect("at Twitch");
    desk.asks("m-1").await;
    desk.asks_for("m-2", Request::Uptime {}).await;
    helix.does([Deed::Garbage; 4]);
    for token in ["wrong", fake::TOKEN] {
        let worker = desk.worker_with(token).await;
        for _ in 0..4 {
            turn(&worker).await;
            let all = desk.replies().await;
            let next = all.iter().filter_map(|reply| reply.retry_at).max();
            next.into_iter().for_each(|at| desk.until(at));
        }
    }
    let all = desk.replies().await;
    assert!(all.iter().all(|reply| reply.stage == "gave_up"), "{all:?}");
    let reasons = format!("{all:?}");
    assert!(!reasons.contains("wrong\"") && !reasons.contains(fake::TOKEN));
    assert!(helix.said().is_empty());
    let shown = desk.on_screen().await;
    assert_eq!(shown.len(), 2, "what Twitch did not take in the end is on screen: {shown:?}");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_said_in_30_seconds_than_twitch_takes_whoever_says_it() {
    let (mut desk, parts) = Desk::start(false).await;
    desk.settings.per_30_s = 3;
    for n in 0..5 {
        desk.asks(&format!("m-{n}")).await;
    }
    let (one, other) = (desk.worker().await, desk.worker().await);
    turn(&one).await;
    turn(&other).await;
    turn(&one).await;
    let begun = *desk.now.lock().expect("whole");
    for worker in [&one, &other] {
        let taken = worker.take().await.expect("it looks");
        let Taken::Waits { until } = taken else { panic!("full: {taken:?}") };
        assert!((until - begun - TimeDelta::seconds(30)).abs() < TimeDelta::milliseconds(1));
    }
    desk.later(TimeDelta::seconds(30));
    turn(&other).await;
    turn(&one).await;
    let all = desk.replies().await;
    assert!(all.iter().all(|reply| reply.stage == "delivered"), "{all:?}");
    assert_eq!(desk.on_screen().await.len(), 5);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_never_say_the_same_and_what_is_too_late_is_not_said() {
    let (desk, parts) = Desk::start(false).await;
    desk.asks("m-1").await;
    let (one, other) = (desk.worker().await, desk.worker().await);
    let taken = lease(&one).await;
    assert_eq!(other.take().await.expect("it looks"), Taken::Idle);
    one.work(&taken).await.expect("worked off");
    assert_eq!(desk.on_screen().await.len(), 1);

    desk.asks_for("m-2", Request::Uptime {}).await;
    desk.later(TimeDelta::seconds(700));
    turn(&other).await;
    let reply = desk.replies().await.pop().expect("the last");
    assert_eq!(reply.stage, "gave_up");
    assert_eq!(desk.on_screen().await.len(), 1);
    let sendings = desk.world.count("SELECT count(*) FROM reply_sendings").await;
    assert_eq!(sendings, 1, "what is not said leaves its place to others");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_the_same_when_they_are_folded_again() {
    let (desk, parts) = Desk::start(false).await;
    desk.asks("m-1").await;
    desk.asks_for("m-2", Request::Give { to: "5002".to_owned(), points: 5 }).await;
    turn(&desk.worker().await).await;
    let before = desk.replies().await;
    assert_eq!((before[0].stage.as_str(), before[1].stage.as_str()), ("delivered", "waiting"));
    let replies = std::sync::Arc::new(list::Replies);
    journal::follower::rebuild(&desk.world.pool, replies, |_, _| {}).await.expect("rebuilt");
    assert_eq!(desk.replies().await, before);
    parts.stop().await;
}
