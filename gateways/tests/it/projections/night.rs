//! A night to ask questions about, and what is true of it, worked out without the code under test.

use std::collections::BTreeMap;

use domain::account::Command;
use domain::broadcast::{self, Broadcast};
use domain::chat_request::Wish;
use domain::entry_id;
use domain::generation::{self, Generation, Picture};
use domain::rules::Rules;
use domain::tape::{self, Card, Provenance, Tape};
use journal::{Envelope, Recorded};
use projections::balances::Sums;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::world::{Asker, World, at, cheer, hold, origin, to_account};

pub const BROADCASTER: &str = "1000";
pub const VIEWERS: [&str; 4] = ["5001", "5002", "5003", "5004"];

pub fn to_broadcast(key: &str, command: broadcast::Command) -> Envelope {
    Envelope::new::<Broadcast>(BROADCASTER, &command, origin(key)).expect("a good address")
}

pub fn start(live_id: &str, minute: i64) -> Envelope {
    let command = broadcast::Command::Start {
        entry: entry_id("test", live_id),
        live_id: live_id.to_owned(),
        at: at() + chrono::TimeDelta::minutes(minute),
        resume_within_s: Rules::default().resume_within_s,
    };
    to_broadcast(live_id, command)
}

pub fn end(key: &str, minute: i64) -> Envelope {
    let at = at() + chrono::TimeDelta::minutes(minute);
    to_broadcast(key, broadcast::Command::End { entry: entry_id("test", key), live_id: None, at })
}

pub fn retitle(title: &str) -> Envelope {
    let command = broadcast::Command::Retitle {
        entry: entry_id("test", title),
        title: title.to_owned(),
        category: "Retro".to_owned(),
        language: "en".to_owned(),
        at: None,
    };
    to_broadcast(title, command)
}

pub fn screen(tape: &str, minute: i64) -> Envelope {
    let at = at() + chrono::TimeDelta::minutes(minute);
    let (entry, tape) = (entry_id("test", tape), tape.to_owned());
    to_broadcast(&tape.clone(), broadcast::Command::StartScreening { entry, tape, at, card: None })
}

pub fn note(key: &str, moment: broadcast::Moment) -> Envelope {
    let entry = entry_id("test", key);
    to_broadcast(key, broadcast::Command::Note { entry, at: at(), moment })
}

/// `count` random commands to the viewers' accounts: credits, holds, captures, releases and reversals, some of which
/// are declined, and some refused because they come twice.
pub async fn traffic(asker: &Asker, random: &mut StdRng, name: &str, count: usize) {
    let mut credits: Vec<(&str, String, i64)> = Vec::new();
    let mut holds: Vec<(&str, String)> = Vec::new();
    for n in 0..count {
        let viewer = VIEWERS[random.random_range(0..VIEWERS.len())];
        let key = format!("{name}-{n}");
        let entry = entry_id("test", &key);
        let points = random.random_range(1..200);
        let dice = random.random_range(0..10);
        let envelope = match dice {
            4..6 => {
                holds.push((viewer, key.clone()));
                hold(viewer, &key, points)
            }
            6..8 if !holds.is_empty() => {
                let (viewer, held) = &holds[random.random_range(0..holds.len())];
                let hold = entry_id("test", held);
                let settle = match dice {
                    6 => Command::Capture { entry, hold },
                    _ => Command::Release { entry, hold, reason: "refused".to_owned() },
                };
                to_account(viewer, &key, settle)
            }
            8..10 if !credits.is_empty() => {
                let (viewer, credit, points) = &credits[random.random_range(0..credits.len())];
                undo(viewer, &key, credit, -points)
            }
            _ => {
                credits.push((viewer, key.clone(), points));
                cheer(viewer, &key, points)
            }
        };
        asker.ask(envelope).await;
    }
}

/// Requests that end in different ways, one of them after a failed attempt.
async fn requests(asker: &Asker) {
    use generation::{Command, Settlement};
    for (n, settlement) in [Settlement::Captured, Settlement::Released].into_iter().enumerate() {
        let request = entry_id("test", &format!("request-{n}"));
        let mut part = 0;
        let mut entry = || {
            part += 1;
            entry_id("test", &format!("request-{n}-{part}"))
        };
        let (viewer, at) = (VIEWERS[n].to_owned(), at());
        let wish = Wish::Ghost { subject: "a toaster".to_owned() };
        let (reason, retry_at) = ("429".to_owned(), at);
        let picture = Picture {
            content: "ab".repeat(32),
            media_type: "image/png".to_owned(),
            background: "#101020".to_owned(),
            name: None,
            cost_micros: 40_000,
        };
        let end = match settlement {
            Settlement::Captured => Command::Complete { entry: entry(), picture },
            Settlement::Released => Command::Fail { entry: entry(), reason: reason.clone() },
        };
        let (price, prices, retry_of) = (200, 1, None);
        for command in [
            Command::Submit {
                entry: entry(),
                viewer,
                wish,
                price,
                prices,
                at,
                retry_of,
                state: None,
            },
            Command::Fund { entry: entry() },
            Command::FailAttempt { entry: entry(), attempt: 1, reason, retry_at },
            end,
            Command::Settle { entry: entry(), points: 200, settlement },
        ] {
            let id = request.to_string();
            let envelope = Envelope::new::<Generation>(&id, &command, origin("requests"));
            asker.ask(envelope.expect("a good address")).await;
        }
    }
}

/// A tape of the catalogue whose card changes, and one that is withdrawn.
async fn tapes(asker: &Asker) {
    let card = |title: &str| Card { title: title.to_owned(), ..Card::default() };
    let catalogue = |key: &str, card| {
        let (entry, at) = (entry_id("tape", key), at());
        let (source, file) = ("tapes.csv".to_owned(), "ab".repeat(32));
        let from = Provenance { source, file, line: 2, actor: "cli".to_owned() };
        tape::Command::Catalogue { entry, card, from, at }
    };
    let (entry, actor) = (entry_id("tape", "gone"), "cli".to_owned());
    for (id, command) in [
        ("88", catalogue("first", card("Aerobics"))),
        ("9", catalogue("other", card("Bowling"))),
        ("88", catalogue("newer", card("Aerobics at Sunrise"))),
        ("9", tape::Command::Withdraw { entry, actor, at: at() }),
    ] {
        let envelope = Envelope::new::<Tape>(id, &command, origin("tapes"));
        asker.ask(envelope.expect("a good address")).await;
    }
}

/// Two broadcasts, the first with an interruption, and points before, during, between and after them.
pub async fn play(world: &World) -> Vec<Recorded> {
    let asker = world.asker().await;
    let mut random = StdRng::seed_from_u64(7);
    asker.ask(retitle("Tape night")).await;
    traffic(&asker, &mut random, "before", 10).await;
    asker.ask(start("live-1", 0)).await;
    asker.ask(screen("tape 7", 5)).await;
    traffic(&asker, &mut random, "first", 25).await;
    asker.ask(end("off-1", 30)).await;
    traffic(&asker, &mut random, "interrupted", 10).await;
    asker.ask(start("live-2", 34)).await;
    traffic(&asker, &mut random, "resumed", 25).await;
    asker.ask(end("off-2", 120)).await;
    traffic(&asker, &mut random, "between", 20).await;
    asker.ask(start("live-3", 1_440)).await;
    asker.ask(retitle("Second night")).await;
    traffic(&asker, &mut random, "second", 30).await;
    requests(&asker).await;
    tapes(&asker).await;
    world.caught_up().await;
    let events = world.recorded().await;
    let kinds: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
    for kind in ["credited", "held", "declined", "captured", "released", "reversed", "resumed"] {
        assert!(kinds.contains(&kind), "the night is too dull: nothing was {kind}");
    }
    events
}

/// The sums of every viewer after every position, from the stored JSON alone.
pub fn truth(events: &[Recorded]) -> Vec<BTreeMap<String, Sums>> {
    let mut now: BTreeMap<String, Sums> = BTreeMap::new();
    let mut after = vec![now.clone()];
    for event in events {
        if event.aggregate_type == "account" {
            let payload: Value = serde_json::from_str(event.payload.get()).expect("json");
            let fields = &payload[&event.event_type];
            let points = fields["points"].as_i64().expect("points");
            let sums = now.entry(event.aggregate_id.clone()).or_default();
            match event.event_type.as_str() {
                "credited" => {
                    sums.credits += points;
                    sums.available += points;
                }
                "held" => {
                    sums.available -= points;
                    sums.held += points;
                }
                "captured" => {
                    sums.held -= points;
                    sums.captured += points;
                }
                "released" => {
                    sums.held -= points;
                    sums.available += points;
                }
                "reversed" => {
                    sums.available += points;
                    sums.reversed += points;
                }
                other => assert_eq!(other, "declined"),
            }
            assert!(sums.available >= 0 && sums.held >= 0);
            let somewhere = sums.available + sums.held + sums.captured - sums.reversed;
            assert_eq!(sums.credits, somewhere, "after {}", event.position);
        }
        after.push(now.clone());
    }
    after
}

/// Takes back the `-points` that the entry `reverses` gave.
pub fn undo(viewer: &str, key: &str, reverses: &str, points: i64) -> Envelope {
    let (entry, reverses) = (entry_id("test", key), entry_id("test", reverses));
    let (note, actor) = ("a mistake".to_owned(), "mod".to_owned());
    to_account(viewer, key, Command::Reverse { entry, reverses, points, note, actor })
}
