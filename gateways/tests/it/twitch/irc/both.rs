//! Ten thousand lines over both ways at once, in different orders, while both of them come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::chat;
use gateways::twitch::chat::Listening;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;

const LINES: usize = 10_000;
/// Every so many is a cheer, and every so many of the others asks for something.
const CHEER_EVERY: usize = 20;
const ASK_EVERY: usize = 25;
/// So many lines are said before it is looked how the connections are.
const BATCH: usize = 500;
const VIEWERS: usize = 200;
const BITS: i64 = 7;

/// One line, over either way.
struct Said {
    id: String,
    viewer: String,
    text: &'static str,
    bits: i64,
}

/// What becomes of the connections while a batch is said.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// IRC says that it ends soon.
    Reconnect,
    /// All sockets of IRC are cut.
    Netsplit,
    /// EventSub goes on over another connection.
    Elsewhere,
    /// EventSub ends, and begins again.
    Ended,
    /// IRC and EventSub go on over other connections.
    Both,
}

impl Trouble {
    /// What happens in the middle of the batch of this number. Each end of a connection to IRC soon after another one has
    /// the next wait for longer.
    fn of(batch: usize) -> Self {
        match batch {
            2 => Trouble::Reconnect,
            5 | 17 => Trouble::Netsplit,
            8 => Trouble::Elsewhere,
            11 => Trouble::Ended,
            14 => Trouble::Both,
            _ => Trouble::None,
        }
    }
}

fn all_that_is_said() -> Vec<Said> {
    let one = |n: usize| {
        let (text, bits) = match n {
            // A cheer asks by itself; its line never does.
            n if n % (2 * CHEER_EVERY) == 0 => ("!balance Cheer7", BITS),
            n if n % CHEER_EVERY == 0 => ("Cheer7 what a tape", BITS),
            n if n % ASK_EVERY == 1 => ("!balance", 0),
            _ => ("what a tape this is Kappa", 0),
        };
        let viewer = (5_000 + n % VIEWERS).to_string();
        Said { id: format!("line-{n}"), viewer, text, bits }
    };
    (0..LINES).map(one).collect()
}

impl Said {
    fn over_irc(&self, fake: &fake::Irc) -> bool {
        let bits = if self.bits > 0 { format!("bits={}", self.bits) } else { String::new() };
        fake.says(&privmsg(&self.id, &self.viewer, self.text, &bits)) > 0
    }

    fn over_eventsub(&self, fake: &gateways::sandbox::eventsub::EventSub) -> bool {
        let cheer = if self.bits > 0 { json!({"bits": self.bits}) } else { Value::Null };
        let (login, name) = (format!("viewer_{}", self.viewer), format!("Viewer_{}", self.viewer));
        let line = json!({
            "broadcaster_user_id": BROADCASTER, "broadcaster_user_login": CHANNEL,
            "broadcaster_user_name": CHANNEL, "chatter_user_id": self.viewer,
            "chatter_user_login": login, "chatter_user_name": name, "message_id": self.id,
            "message": {"text": self.text, "fragments": [{"type": "text", "text": self.text}]},
            "message_type": "text", "color": "", "badges": [], "cheer": cheer,
        });
        fake.tell(&format!("n-{}", self.id), "channel.chat.message", &line) > 0
    }

    /// The cheer itself, which Twitch tells of beside the line.
    fn cheers(&self, fake: &gateways::sandbox::eventsub::EventSub) -> bool {
        let id = format!("cheer-{}", self.id);
        fake.tell(&id, "channel.cheer", &cheer(&self.viewer, self.bits)) > 0
    }
}

/// Everybody may ask as often as they like.
fn nobody_waits(desk: &Desk) {
    let mut settings = chat::Settings::default();
    (settings.answers.cooldown_s, settings.answers.viewer_cooldown_s) = (0, 0);
    let listening = Arc::new(Listening { settings, ..Listening::default() });
    desk.webhooks.send_modify(|webhook| {
        let inbound = Inbound { listening, ..webhook.inbound.clone() };
        *webhook = Arc::new(Webhook { inbound, ..Webhook::clone(webhook) });
    });
}

/// Says a batch over both ways, each in an order of its own, with the trouble in the middle of it.
async fn say(desk: &Desk, fake: &fake::Irc, batch: &[Said], trouble: Trouble, random: &mut StdRng) {
    let mut orders: [Vec<&Said>; 2] = std::array::from_fn(|_| batch.iter().collect());
    orders.iter_mut().for_each(|order| order.shuffle(random));
    let [over_irc, over_eventsub] = orders;
    let (connections, sessions) = (fake.connections(), desk.fake.connections());
    for (n, (here, there)) in over_irc.into_iter().zip(over_eventsub).enumerate() {
        if n == BATCH / 2 {
            match trouble {
                Trouble::None => {}
                Trouble::Reconnect => fake.reconnect(),
                Trouble::Netsplit => fake.cut(),
                Trouble::Elsewhere => desk.fake.reconnect(),
                Trouble::Ended => desk.fake.close(4000),
                Trouble::Both => {
                    fake.reconnect();
                    desk.fake.reconnect();
                }
            }
        }
        // A line that a broken way does not tell, the other one does: never do both break at once.
        let (over_irc, over_eventsub) = (here.over_irc(fake), there.over_eventsub(&desk.fake));
        assert!(over_irc || trouble == Trouble::Netsplit, "IRC: {trouble:?}");
        assert!(over_eventsub || trouble == Trouble::Ended, "EventSub: {trouble:?}");
        if random.random_ratio(1, 50) {
            // Twitch tells of a line again.
            there.over_eventsub(&desk.fake);
        }
    }
    if !matches!(trouble, Trouble::None | Trouble::Reconnect | Trouble::Netsplit) {
        until("EventSub goes on", async || desk.fake.connections() > sessions).await;
        desk.subscribed().await;
        until("one session is left", async || desk.fake.sessions() == 1).await;
    }
    if matches!(trouble, Trouble::Reconnect | Trouble::Netsplit | Trouble::Both) {
        until("IRC goes on", async || fake.connections() > connections).await;
    }
    joined(fake).await;
    for (n, said) in batch.iter().filter(|said| said.bits > 0).enumerate() {
        assert!(said.cheers(&desk.fake), "a cheer is told of by EventSub alone");
        if n % 3 == 0 {
            assert!(said.cheers(&desk.fake), "the same under the same name");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_lines_over_irc_and_eventsub_are_shown_asked_and_credited_once() {
    let began = std::time::Instant::now();
    let (desk, parts) = Desk::start(Options::default()).await;
    nobody_waits(&desk);
    let fake = fake::Irc::start().await.expect("a fake");
    let (reader, listener) = (read(&desk, &fake), desk.listen());
    joined(&fake).await;
    desk.subscribed().await;
    let all = all_that_is_said();
    let mut random = StdRng::seed_from_u64(20_261_121);
    for (n, batch) in all.chunks(BATCH).enumerate() {
        say(&desk, &fake, batch, Trouble::of(n), &mut random).await;
    }
    let told = began.elapsed();
    // What is cleared, both tell of, within a second.
    fake.says(&cleared(Some("5001")));
    let target = json!({"broadcaster_user_id": BROADCASTER, "target_user_id": "5001"});
    desk.fake.tell("cleared", "channel.chat.clear_user_messages", &target);

    let asks = all.iter().filter(|said| said.text == "!balance").count() as i64;
    let cheers = all.iter().filter(|said| said.bits > 0).count() as i64;
    assert!(cheers == 500 && asks >= 300, "{cheers} cheers and {asks} questions");
    until("all are asked", async || asked(&desk.world).await == asks).await;
    let credited = "SELECT count(*) FROM events WHERE event_type = 'credited'";
    until("all cheers are credited", async || desk.world.count(credited).await == cheers).await;
    until("all lines are there", async || {
        let lines = Lines::start(&desk.world.broker).await.expect("the chat's user gets in");
        let (_, first, last) = lines.stream().await.expect("CHAT is there");
        (last + 1 - first) as usize > LINES
    })
    .await;
    // Whatever was still on its way is stored before they end.
    reader.stop().await;
    listener.stop().await;
    desk.world.relayed().await;
    desk.world.caught_up().await;

    let shown = shown(&desk.world).await;
    let once: BTreeSet<&String> = shown.iter().collect();
    assert_eq!((shown.len(), once.len()), (LINES, LINES), "each line is in CHAT once");
    assert_eq!(asked(&desk.world).await, asks, "each question is asked once");
    assert_eq!(desk.world.count(credited).await, cheers, "each cheer is credited once");
    let points = "SELECT sum(credits)::bigint FROM projections.balances";
    assert_eq!(desk.world.count(points).await, cheers * BITS);
    let refused = "SELECT count(*) FROM command_outcomes WHERE outcome = 'rejected'";
    assert_eq!(desk.world.count(refused).await, 0);
    let cleared = kept(&desk.world).await.into_iter();
    let cleared = cleared.filter(|frame| matches!(frame, Frame::ClearedViewer { .. })).count();
    assert!((1..=2).contains(&cleared), "once, or on both sides of a second");
    // Two netsplits, and EventSub ended once.
    let kinds: usize = desk.gaps(3).await.iter().map(|gap| gap.kinds.len()).sum();
    assert_eq!(kinds, 2 + KINDS);
    parts.stop().await;
    listening::audited(&desk.world, 3).await;
    eprintln!("{LINES} lines: told after {told:?}, all after {:?}", began.elapsed());
}
