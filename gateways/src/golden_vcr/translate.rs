//! Our events in Golden VCR's words: a pure function of an event and what is known beside it.

use cqrs_es::Aggregate;
use domain::account::{self, Account, Facts};
use domain::broadcast::{self, Broadcast, OnAir, Screening};
use domain::chat_request::Wish;
use domain::generation::{self, Generation, Picture, Settlement};
use domain::rules::Tier;
use journal::{Content, Recorded};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::known::Known;
use super::messages::{Message, image, multiplier, status, tape_number, time, toast, twitch};
use super::{BROADCAST_EVENTS, GENERATION_REQUESTS};
use crate::generation::invented;
use crate::processes::redemption;

/// Who brings a hype train, and its picture.
const TWITCH: (&str, &str) = ("12826", "Twitch");
const HYPE_TRAIN: &str = "petertrain-a";
/// When a broadcast began of which history has no beginning.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// An event that something may be said of.
#[derive(Clone, Debug)]
pub struct Read {
    pub position: i64,
    pub event_id: Uuid,
    /// The broadcaster, the account or the request that it is of.
    of: String,
    event: Event,
}

#[derive(Clone, Debug)]
enum Event {
    Account(account::Event),
    Broadcast(broadcast::Event),
    /// `in_cheer` says that the words stood in the message of a cheer.
    Generation {
        event: generation::Event,
        in_cheer: bool,
    },
}

pub(super) fn wants(event: &Content<'_>) -> bool {
    match (event.aggregate_type, event.event_type) {
        (Account::TYPE, kind) => kind == "credited",
        (Broadcast::TYPE, kind) => !matches!(
            kind,
            "retitled" | "offline_noted" | "hype_train_progressed" | "hype_train_ended"
        ),
        (Generation::TYPE, kind) => matches!(kind, "submitted" | "settled"),
        _ => false,
    }
}

impl Read {
    pub fn of(recorded: &Recorded) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Metadata {
            #[serde(default)]
            source: String,
        }
        let event = match recorded.aggregate_type.as_str() {
            Account::TYPE => Event::Account(recorded.event()?),
            Broadcast::TYPE => Event::Broadcast(recorded.event()?),
            Generation::TYPE => {
                let Metadata { source } = serde_json::from_str(recorded.metadata.get())?;
                let in_cheer = source == redemption::NAME;
                Event::Generation { event: recorded.event()?, in_cheer }
            }
            other => return Err(serde_json::Error::custom(format!("nothing is said of {other}"))),
        };
        let (position, event_id) = (recorded.position, recorded.event_id);
        Ok(Read { position, event_id, of: recorded.aggregate_id.clone(), event })
    }

    /// Whose name has to be known.
    pub(super) fn viewer(&self) -> Option<&str> {
        match &self.event {
            Event::Account(_) => Some(&self.of),
            Event::Broadcast(
                broadcast::Event::Followed { viewer, .. } | broadcast::Event::Raided { viewer, .. },
            ) => Some(viewer),
            Event::Generation {
                event:
                    generation::Event::Submitted { viewer, .. }
                    | generation::Event::Settled { viewer, .. },
                ..
            } => Some(viewer),
            _ => None,
        }
    }

    /// Whose and which broadcast's beginning has to be known.
    pub(super) fn broadcast(&self) -> Option<(&str, i64)> {
        use broadcast::Event as E;
        match &self.event {
            Event::Broadcast(
                E::Resumed { broadcast, .. }
                | E::Ended { broadcast, .. }
                | E::ScreeningStarted { broadcast, .. }
                | E::ScreeningEnded { broadcast, .. },
            ) => Some((&self.of, *broadcast)),
            Event::Generation {
                event: generation::Event::Submitted { state: Some(on_air), .. },
                ..
            } => Some((&on_air.broadcaster, on_air.broadcast)),
            _ => None,
        }
    }

    /// What is said of it, in this order.
    pub fn said(&self, known: &Known) -> Vec<Message> {
        match &self.event {
            Event::Account(account::Event::Credited { facts, .. }) => {
                of_facts(&self.of, facts, known)
            }
            Event::Account(_) => Vec::new(),
            Event::Broadcast(event) => self.of_broadcast(event, known),
            Event::Generation { event, in_cheer } => self.of_request(event, *in_cheer, known),
        }
    }

    fn of_broadcast(&self, event: &broadcast::Event, known: &Known) -> Vec<Message> {
        use broadcast::Event as E;
        let broadcasting = |kind: &str, number: i64, screening: Option<&Screening>| {
            (BROADCAST_EVENTS, self.broadcasting(kind, number, screening, known))
        };
        match event {
            // It is named by its own position.
            E::Started { at, .. } => {
                let began = json!({"id": self.position, "started_at": time(*at)});
                let started = json!({"type": "broadcast-started", "broadcast": began});
                vec![twitch("stream-started", None, None), (BROADCAST_EVENTS, started)]
            }
            E::Resumed { broadcast, .. } => vec![
                twitch("stream-started", None, None),
                broadcasting("broadcast-started", *broadcast, None),
            ],
            E::Ended { broadcast, screening, .. } => {
                let cleared = screening.as_ref().map(|screening| {
                    [broadcasting("screening-finished", *broadcast, Some(screening)), status(0)]
                });
                let finished = [
                    twitch("stream-ended", None, None),
                    broadcasting("broadcast-finished", *broadcast, None),
                ];
                cleared.into_iter().flatten().chain(finished).collect()
            }
            E::ScreeningStarted { broadcast, screening, .. } => vec![
                broadcasting("screening-started", *broadcast, Some(screening)),
                status(tape_number(&screening.tape)),
            ],
            E::ScreeningEnded { broadcast, screening, .. } => {
                vec![broadcasting("screening-finished", *broadcast, Some(screening)), status(0)]
            }
            E::Followed { viewer, .. } => {
                let viewer = known.viewer(viewer);
                let shown = toast("followed", viewer.clone(), None);
                vec![twitch("viewer-followed", Some(viewer), None), shown]
            }
            E::Raided { viewer, viewers, .. } => {
                let viewer = known.viewer(viewer);
                let shown = toast("raided", viewer.clone(), Some(json!({"num_viewers": viewers})));
                let raid = json!({"num_raiders": viewers});
                vec![twitch("viewer-raided", Some(viewer), Some(raid)), shown]
            }
            E::Cheered { bits, message, .. } => cheered(None, *bits, message),
            E::SubsGifted { tier, count, .. } => gifted(None, *tier, *count),
            E::HypeTrainStarted { .. } => {
                let (id, name) = TWITCH;
                let viewer = json!({"twitch_user_id": id, "twitch_display_name": name});
                let train = json!({"image_id": HYPE_TRAIN, "message": ""});
                vec![twitch("stream-hype-started", None, None), image("static", viewer, train)]
            }
            _ => Vec::new(),
        }
    }

    fn broadcasting(
        &self,
        kind: &str,
        number: i64,
        screening: Option<&Screening>,
        known: &Known,
    ) -> Value {
        let begun = known.broadcasts.get(&(self.of.clone(), number));
        let (id, at) =
            begun.map_or((0, NEVER.to_owned()), |begun| (begun.position, time(begun.at)));
        let mut said = json!({"type": kind, "broadcast": {"id": id, "started_at": at}});
        if let Some(Screening { id, tape, started_at }) = screening {
            let tape_id = tape_number(tape);
            let screening = json!({"id": id, "started_at": time(*started_at), "tape_id": tape_id});
            said["screening"] = screening;
        }
        said
    }

    fn of_request(&self, event: &generation::Event, in_cheer: bool, known: &Known) -> Vec<Message> {
        match event {
            generation::Event::Submitted { viewer, wish, price, state, .. } => {
                let named = known.viewer(viewer);
                let mut said = Vec::new();
                if !in_cheer {
                    let words = in_words(wish);
                    let words = known.words(viewer, &words);
                    let redeemed = json!({"num_points": price, "message": words});
                    let kind = "viewer-redeemed-fun-points";
                    said.push(twitch(kind, Some(named.clone()), Some(redeemed)));
                }
                let payload = self.payload(viewer, wish, known);
                said.extend(payload.map(|payload| {
                    let state = stamped(state.as_ref(), known);
                    let request = json!({
                        "type": "image", "viewer": named, "state": state, "payload": payload
                    });
                    (GENERATION_REQUESTS, request)
                }));
                said
            }
            generation::Event::Settled {
                settlement: Settlement::Captured,
                viewer,
                wish: Some(wish),
                picture,
                ..
            } => shown(viewer, wish, picture.as_ref(), known).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// What a request asks for; nothing of a ready-made picture, which is not made.
    fn payload(&self, viewer: &str, wish: &Wish, known: &Known) -> Option<Value> {
        match wish {
            Wish::Ghost { subject } => {
                let subject = known.words(viewer, subject);
                Some(json!({"style": "ghost", "inputs": {"subject": subject}}))
            }
            Wish::Friend { colour, subject } => {
                // A colour that is left to chance follows from the request.
                let request = self.of.parse().unwrap_or(self.event_id);
                let colour = invented(request, *colour).0;
                let subject = known.words(viewer, subject);
                let inputs = json!({"color": colour.name(), "subject": subject});
                Some(json!({"style": "friend", "inputs": inputs}))
            }
            Wish::Static { .. } => None,
        }
    }
}

fn of_facts(viewer: &str, facts: &Facts, known: &Known) -> Vec<Message> {
    let named = || known.viewer(viewer);
    match facts {
        Facts::Cheer { bits, message } => {
            cheered(Some(named()), *bits, known.words(viewer, message))
        }
        Facts::Subscription { tier, gift: false } => {
            let credit = json!({"credit_multiplier": multiplier(*tier)});
            let shown = toast("subscribed", named(), None);
            vec![twitch("viewer-subscribed", Some(named()), Some(credit)), shown]
        }
        Facts::Subscription { tier, gift: true } => {
            let credit = json!({"credit_multiplier": multiplier(*tier)});
            vec![twitch("viewer-received-gift-sub", Some(named()), Some(credit))]
        }
        Facts::Resubscription { tier, months, message, .. } => {
            let message = known.words(viewer, message);
            let credit = json!({
                "credit_multiplier": multiplier(*tier), "num_cumulative_months": months,
                "message": message,
            });
            let data = json!({"num_cumulative_months": months, "message": message});
            let shown = toast("resubscribed", named(), Some(data));
            vec![twitch("viewer-resubscribed", Some(named()), Some(credit)), shown]
        }
        Facts::GiftSubs { tier, count, .. } => gifted(Some(named()), *tier, *count),
        _ => Vec::new(),
    }
}

fn cheered(viewer: Option<Value>, bits: i64, message: &str) -> Vec<Message> {
    let cheer = json!({"num_bits": bits, "message": message});
    let shown = toast("cheered", viewer.clone().unwrap_or_default(), Some(cheer.clone()));
    vec![twitch("viewer-cheered", viewer, Some(cheer)), shown]
}

fn gifted(viewer: Option<Value>, tier: Tier, count: i64) -> Vec<Message> {
    let given = json!({"credit_multiplier": multiplier(tier), "num_subscriptions": count});
    let data = json!({"num_subscriptions": count});
    let shown = toast("gifted-subs", viewer.clone().unwrap_or_default(), Some(data));
    vec![twitch("viewer-gifted-subs", viewer, Some(given)), shown]
}

/// The picture that somebody's points have paid for.
fn shown(viewer: &str, wish: &Wish, picture: Option<&Picture>, known: &Known) -> Option<Message> {
    let named = known.viewer(viewer);
    let url = |picture: &Picture| match known.words(viewer, &picture.content) {
        "" => String::new(),
        content => format!("{}/{content}", known.pictures),
    };
    Some(match (wish, picture) {
        (Wish::Static { id, message }, _) => {
            let message = known.words(viewer, message);
            image("static", named, json!({"image_id": id, "message": message}))
        }
        (Wish::Ghost { subject }, Some(picture)) => {
            let description = known.words(viewer, subject);
            let details = json!({"image_url": url(picture), "description": description});
            image("ghost", named, details)
        }
        (Wish::Friend { subject, .. }, Some(picture)) => {
            let name = picture.name.as_deref().unwrap_or_default();
            let details = json!({
                "image_url": url(picture), "description": known.words(viewer, subject),
                "name": known.words(viewer, name), "background_color": picture.background,
            });
            image("friend", named, details)
        }
        (_, None) => return None,
    })
}

/// What was on, where nothing is 0.
fn stamped(on_air: Option<&OnAir>, known: &Known) -> Value {
    let nothing = || json!({"broadcast_id": 0, "screening_id": Uuid::nil(), "tape_id": 0});
    let Some(OnAir { broadcaster, broadcast, screening, tape }) = on_air else { return nothing() };
    let begun = known.broadcasts.get(&(broadcaster.clone(), *broadcast));
    json!({
        "broadcast_id": begun.map_or(0, |begun| begun.position),
        "screening_id": screening.unwrap_or_default(),
        "tape_id": tape.as_deref().map_or(0, tape_number),
    })
}

/// A request in the words of chat.
fn in_words(wish: &Wish) -> String {
    match wish {
        Wish::Ghost { subject } => format!("ghost of {subject}"),
        Wish::Friend { colour, subject } => {
            let bare = ["a ", "an "].into_iter().find_map(|article| subject.strip_prefix(article));
            let words =
                ["friend", colour.map_or("", |colour| colour.name()), bare.unwrap_or(subject)];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            words.join(" ")
        }
        Wish::Static { message, .. } => message.clone(),
    }
}
