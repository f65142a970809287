//! What was not told is asked for: once, as far as it may be asked for, and whoever else tells it after all.

use chrono::TimeDelta;
use domain::broadcast::{Broadcast, Command, Moment};
use gateways::twitch::Missed;
use gateways::twitch::accounts::Role;
use gateways::twitch::eventsub::gaps::Unsent;
use gateways::twitch::missed::record::{self, Source};
use gateways::twitch::missed::settings::Settings as Asks;
use journal::{Envelope, Origin};
use uuid::Uuid;

use super::*;
use crate::accounts::connected;
use gateways::sandbox::lists::Lists;
use gateways::sandbox::twitch::Twitch;

pub const REWARD: &str = "kind-rewind";
pub const REWARD_POINTS: i64 = 75;
const FOLLOW: &str = "channel.follow";
const REDEEMED: &str = "channel.channel_points_custom_reward_redemption.add";

/// A desk whose broadcaster is connected, and where a reward is worth something; and what Helix tells.
pub async fn desk() -> (Desk, Parts, Twitch, Lists) {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let lists = Lists::of(&twitch);
    lists.reward(REWARD, true);
    let lively = Options { keepalive_s: 1, ..Options::default() };
    let fake = fake::EventSub::start_with(0, lively, &twitch, lists.routes())
        .await
        .expect("a fake Twitch");
    let (mut desk, parts) = Desk::at(fake, |settings| settings.token = Secret::default()).await;
    desk.webhooks.send_modify(|webhook| {
        let mut worth = Webhook::clone(webhook);
        let mut rules = Rules::default();
        rules.points_per_reward.insert(REWARD.to_owned(), REWARD_POINTS);
        worth.inbound.rules = Arc::new(rules);
        *webhook = Arc::new(worth);
    });
    let (config, accounts) = desk.asks_for_an_account(&twitch);
    connected(&accounts, &twitch, &config, Role::Broadcaster, BROADCASTER).await;
    (desk, parts, twitch, lists)
}

/// Whoever asks for what `desk` was not told.
pub fn asker(desk: &Desk, every_s: u64) -> Missed {
    let EventSub { pool, publisher, webhook, helix_url, credentials, .. } = desk.eventsub.clone();
    let asks = (credentials, BROADCASTER.to_owned());
    Missed {
        pool,
        publisher,
        webhook,
        settings: Asks { every_s, sure_after_s: 1 },
        helix_url,
        open: asks.clone(),
        own: asks,
        broadcaster: BROADCASTER.to_owned(),
        sources: Missed::sources(&[]),
    }
}

/// A gap of every type that can be asked for, and of cheers, between two moments.
async fn gap(desk: &Desk, since: DateTime<Utc>, until: DateTime<Utc>) {
    let kinds = Source::ALL.iter().flat_map(|source| source.kinds()).copied();
    let kinds: Vec<String> = kinds.chain(["channel.cheer"]).map(str::to_owned).collect();
    let mut unsent = Unsent::default();
    unsent.lose(BROADCASTER, &kinds, since, "a test");
    unsent.restore(BROADCASTER, &kinds, until);
    assert!(unsent.send(&desk.eventsub.publisher).await, "NATS takes it");
    desk.gaps(1).await;
}

/// A follow as it was told before it was named by its second.
async fn told_by_an_old_name(desk: &Desk, viewer: &str, at: DateTime<Utc>) {
    let moment = Moment::Followed { viewer: viewer.to_owned() };
    let command = Command::Note { entry: Uuid::new_v4(), at, moment };
    let origin = Origin {
        source: "eventsub".to_owned(),
        source_id: "an old name".to_owned(),
        actor: None,
        received_at: at,
        raw: None,
    };
    let envelope = Envelope::new::<Broadcast>(BROADCASTER, &command, origin).expect("a command");
    desk.eventsub.publisher.send(&envelope).await.expect("NATS takes it");
    until("it is recorded", async || events(desk, "followed").await == 1).await;
}

/// How many events of this type there are.
async fn events(desk: &Desk, kind: &str) -> i64 {
    let query = format!("SELECT count(*) FROM events WHERE event_type = '{kind}'");
    desk.world.count(&query).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_granted_is_said_and_everything_else_is_found_once() {
    let (desk, parts, _twitch, lists) = desk().await;
    let now = Utc::now();
    let before = |minutes: i64| now - TimeDelta::minutes(minutes);
    gap(&desk, before(60), before(30)).await;
    // Of what was before the first gap, nobody asks.
    lists.follow("6001", before(120));
    for viewer in ["6002", "6003", "6004"] {
        lists.follow(viewer, before(45));
    }
    lists.follow("6005", now);
    // This one was told, when a follow still had another name.
    told_by_an_old_name(&desk, "6006", before(44)).await;
    lists.follow("6006", before(44));
    lists.redeem("old", "5001", "FULFILLED", before(120));
    lists.redeem("missed", "5001", "FULFILLED", before(45));
    lists.redeem("waits", "5001", "UNFULFILLED", before(40));
    lists.reward("made-elsewhere", false);
    lists.live(Some(("s-1", before(50))));
    lists.titled("Tapes all night", "Retro");
    lists.lacks("moderator:read:followers", true);
    // Two processes ask; one of them has its turn.
    let stop = CancellationToken::new();
    let askers = [asker(&desk, 1), asker(&desk, 1)].map(|one| tokio::spawn(one.run(stop.clone())));

    let refused = async || record::refused(&desk.world.pool, BROADCASTER).await.expect("rows");
    until("it is said what is not granted", async || {
        refused()
            .await
            .iter()
            .any(|(source, words)| source == "followers" && words.contains("tapedeck connect"))
    })
    .await;
    until("the stream and the redemptions are found", async || {
        events(&desk, "started").await == 1 && events(&desk, "reward_redeemed").await == 2
    })
    .await;
    until("what it is called is found", async || events(&desk, "retitled").await == 1).await;
    desk.credited(REWARD_POINTS).await;
    assert_eq!(events(&desk, "followed").await, 1);
    lists.lacks("moderator:read:followers", false);
    until("the follows are found", async || events(&desk, "followed").await == 5).await;
    until("the gap is looked into", async || {
        let found = desk.gaps(1).await.remove(0).found;
        let kinds = [FOLLOW, "stream.online", "channel.update", REDEEMED];
        kinds.iter().all(|kind| found.contains_key(*kind))
    })
    .await;
    let gap = desk.gaps(1).await.remove(0);
    let says = |kind: &str| (gap.found[kind].found, gap.found[kind].whole);
    assert_eq!((says(FOLLOW), says("stream.online")), ((3, true), (1, false)));
    assert_eq!(says(REDEEMED), (2, false), "another application made a reward");
    assert_eq!(says("channel.update"), (1, false), "what it was called before, nobody says");
    assert!(!gap.found.contains_key("channel.cheer"));
    until("nobody refuses to tell of followers", async || {
        refused().await.iter().all(|(source, _)| source != "followers")
    })
    .await;

    // What was long ago is not shown, and what was just now is.
    desk.world.caught_up().await;
    let shown =
        "SELECT count(*) FROM projections.alerts WHERE kind = 'follow' AND viewer <> '6006'";
    assert_eq!(desk.world.count(shown).await, 1);

    // Twitch is away for a while; then somebody settles what waited, and EventSub tells what was found.
    lists.is_down(true);
    let calls = lists.calls("streams");
    until("it was asked in vain", async || lists.calls("streams") > calls + 1).await;
    lists.settle("waits", "FULFILLED");
    lists.is_down(false);
    desk.credited(2 * REWARD_POINTS).await;
    let listener = desk.listen();
    desk.subscribed().await;
    let follow = json!({"user_id": "6005", "user_login": "x", "user_name": "X",
        "broadcaster_user_id": BROADCASTER, "followed_at": now});
    assert_eq!(desk.fake.tell("follow-6005", FOLLOW, &follow), 1);
    assert!(desk.cheers("after"));
    desk.credited(2 * REWARD_POINTS + 1).await;
    assert_eq!(events(&desk, "followed").await, 5, "it is the same follow");
    // Helix says for a while what was true before, and is not believed.
    let update = json!({"broadcaster_user_id": BROADCASTER, "title": "One more tape",
        "language": "en", "category_id": "509658", "category_name": "Retro"});
    assert_eq!(desk.fake.tell("update", "channel.update", &update), 1);
    until("it is called otherwise", async || events(&desk, "retitled").await == 2).await;
    let calls = lists.calls("channels");
    until("it is asked again", async || lists.calls("channels") > calls + 1).await;
    assert_eq!(events(&desk, "retitled").await, 2);
    listener.stop().await;
    stop.cancel();
    for asker in askers {
        asker.await.expect("no panic").expect("a good end");
    }
    parts.stop().await;
}

/// A line of chat under this id.
fn line(id: usize) -> Value {
    let (id, words) = (format!("line-{id}"), "are we live?");
    json!({
        "broadcaster_user_id": BROADCASTER, "broadcaster_user_login": "goldenreel",
        "broadcaster_user_name": "GoldenReel", "chatter_user_id": "5001",
        "chatter_user_login": "reeldeal", "chatter_user_name": "ReelDeal", "message_id": id,
        "message": {"text": words, "fragments": [{"type": "text", "text": words}]},
        "color": "", "badges": [], "message_type": "text",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_speaks_has_it_asked_whether_the_channel_is_live() {
    let (desk, parts, _twitch, lists) = desk().await;
    let listener = desk.listen();
    desk.subscribed().await;
    let lines = Lines::start(&desk.world.broker).await.expect("the chat's user gets in");
    let speak = async |ids: std::ops::Range<usize>| {
        let last = ids.end;
        for id in ids {
            assert_eq!(desk.fake.tell(&format!("m-{id}"), "channel.chat.message", &line(id)), 1);
        }
        until("all of it is heard", async || {
            lines.stream().await.expect("CHAT is there").2 == last as u64
        })
        .await;
    };
    let asked = async |times: usize| {
        until(&format!("it is asked {times} times"), async || lists.calls("streams") >= times)
            .await;
        assert_eq!(lists.calls("streams"), times);
    };
    // At the start, and not again for a day.
    let asks = || {
        let stop = CancellationToken::new();
        let mut asks = asker(&desk, 86_400);
        asks.settings.sure_after_s = 60;
        Listener { task: tokio::spawn(asks.run(stop.clone())), stop }
    };
    let told = async |sources: i64, since: DateTime<Utc>| {
        let query = format!("SELECT count(*) FROM missed_sources WHERE succeeded_at > '{since}'");
        until("all was told", async || desk.world.count(&query).await == sources).await;
    };
    let first = asks();
    told(5, DateTime::UNIX_EPOCH).await;
    asked(1).await;
    // People speak while nothing is live: it is asked once, and nothing comes of it.
    speak(0..100).await;
    asked(2).await;

    // The stream begins while another process asks, and nobody tells of it.
    first.stop().await;
    let since = Utc::now();
    let second = asks();
    // Who is subscribed was asked before.
    told(4, since).await;
    asked(3).await;
    lists.live(Some(("s-1", Utc::now())));
    speak(100..101).await;
    asked(4).await;
    let started = async || {
        desk.world.caught_up().await;
        (events(&desk, "started").await, events(&desk, "resumed").await)
    };
    until("it is live", async || started().await == (1, 0)).await;

    // Then it is told after all, and everybody is there.
    let online = json!({"id": "s-1", "broadcaster_user_id": BROADCASTER, "type": "live",
        "broadcaster_user_login": "goldenreel", "broadcaster_user_name": "GoldenReel",
        "started_at": Utc::now()});
    let decided =
        "SELECT count(*) FROM command_outcomes WHERE aggregate_type = 'broadcast' AND events = 0";
    let before = desk.world.count(decided).await;
    assert_eq!(desk.fake.tell("told", "stream.online", &online), 1);
    speak(101..200).await;
    until("it is decided, and changes nothing", async || {
        desk.world.count(decided).await == before + 1
    })
    .await;
    assert_eq!(started().await, (1, 0), "it is one broadcast");
    asked(4).await;
    for one in [second, listener] {
        one.stop().await;
    }
    parts.stop().await;
}
