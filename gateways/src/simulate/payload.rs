//! Deeds as Twitch writes them, and as its command line tool writes them, which is not the same.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::cast::Viewer;
use super::chatter;
use super::deed::{Deed, Reward, Train};

/// Whose JSON it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Twitch,
    /// twitch-cli: hype trains in version 1, no id when the channel goes off, other spellings of nobody.
    TwitchCli,
}

impl Deed {
    /// The type and version of the EventSub subscription that tells of it.
    pub fn kind(&self, flavour: Flavour) -> (&'static str, &'static str) {
        let train = if flavour == Flavour::Twitch { "2" } else { "1" };
        match self {
            Deed::Online { .. } => ("stream.online", "1"),
            Deed::Offline { .. } => ("stream.offline", "1"),
            Deed::Update { .. } => ("channel.update", "2"),
            Deed::Follow { .. } => ("channel.follow", "2"),
            Deed::Cheer { .. } => ("channel.cheer", "1"),
            Deed::Sub { .. } => ("channel.subscribe", "1"),
            Deed::SubEnd { .. } => ("channel.subscription.end", "1"),
            Deed::Resub { .. } => ("channel.subscription.message", "1"),
            Deed::Gift { .. } => ("channel.subscription.gift", "1"),
            Deed::Raid { .. } => ("channel.raid", "1"),
            Deed::HypeTrainBegin(_) => ("channel.hype_train.begin", train),
            Deed::HypeTrainProgress(_) => ("channel.hype_train.progress", train),
            Deed::HypeTrainEnd(_) => ("channel.hype_train.end", train),
            Deed::Redeem { .. } => ("channel.channel_points_custom_reward_redemption.add", "1"),
            Deed::Settle { .. } => ("channel.channel_points_custom_reward_redemption.update", "1"),
            Deed::Chat { .. } => ("channel.chat.message", "1"),
            Deed::Poll { .. } => ("channel.poll.begin", "1"),
        }
    }
}

/// The whole body of a notification about `deed`, done at `at` in the channel of `broadcaster`.
pub fn body(deed: &Deed, flavour: Flavour, at: DateTime<Utc>, broadcaster: &Viewer) -> Value {
    let (kind, version) = deed.kind(flavour);
    let said = Writer { flavour, at, broadcaster }.said(deed);
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{kind}:{}", broadcaster.id).as_bytes());
    let callback = match flavour {
        Flavour::Twitch => "https://tapes.example/webhooks/twitch",
        Flavour::TwitchCli => "null",
    };
    let condition = match deed {
        Deed::Raid { .. } => json!({"to_broadcaster_user_id": broadcaster.id}),
        Deed::Follow { .. } => {
            json!({"broadcaster_user_id": broadcaster.id, "moderator_user_id": broadcaster.id})
        }
        Deed::Chat { .. } => {
            json!({"broadcaster_user_id": broadcaster.id, "user_id": broadcaster.id})
        }
        _ => json!({"broadcaster_user_id": broadcaster.id}),
    };
    json!({
        "subscription": {
            "id": id, "status": "enabled", "type": kind, "version": version, "cost": 0,
            "condition": condition,
            "transport": {"method": "webhook", "callback": callback},
            "created_at": timestamp(at),
        },
        "event": said,
    })
}

/// A time as Twitch writes it: up to nine digits of fraction, without trailing zeros.
pub(super) fn timestamp(at: DateTime<Utc>) -> String {
    let text = at.format("%Y-%m-%dT%H:%M:%S%.9f").to_string();
    format!("{}Z", text.trim_end_matches('0').trim_end_matches('.'))
}

struct Writer<'a> {
    flavour: Flavour,
    at: DateTime<Utc>,
    broadcaster: &'a Viewer,
}

impl Writer<'_> {
    fn said(&self, deed: &Deed) -> Value {
        match deed {
            Deed::Online { live_id, started_after_s } => {
                let started_at = self.at - TimeDelta::seconds(*started_after_s as i64);
                self.here(
                    json!({"id": live_id, "type": "live", "started_at": timestamp(started_at)}),
                )
            }
            Deed::Offline { live_id } if self.is_twitch() => self.here(json!({"id": live_id})),
            Deed::Offline { .. } => self.here(json!({})),
            Deed::Update { title, category } => self.here(json!({
                "title": title, "language": "en", "category_id": "509658",
                "category_name": category, "content_classification_labels": [],
            })),
            Deed::Follow { viewer } => self.of(viewer, json!({"followed_at": timestamp(self.at)})),
            Deed::Cheer { viewer, bits, message } => {
                self.of_maybe(viewer, "", json!({"bits": bits, "message": message}))
            }
            Deed::Sub { viewer, tier, gift } | Deed::SubEnd { viewer, tier, gift } => {
                self.of(viewer, json!({"tier": tier.to_string(), "is_gift": gift}))
            }
            Deed::Resub { viewer, tier, months, streak, message } => self.of(
                viewer,
                json!({
                    "tier": tier.to_string(), "message": {"text": message, "emotes": null},
                    "cumulative_months": months, "streak_months": streak, "duration_months": 1,
                }),
            ),
            Deed::Gift { viewer, tier, count, total } => self.of_maybe(
                viewer,
                "274598607",
                json!({"total": count, "tier": tier.to_string(), "cumulative_total": total}),
            ),
            Deed::Raid { viewer, viewers } => json!({
                "from_broadcaster_user_id": viewer.id,
                "from_broadcaster_user_login": viewer.login,
                "from_broadcaster_user_name": viewer.name,
                "to_broadcaster_user_id": self.broadcaster.id,
                "to_broadcaster_user_login": self.broadcaster.login,
                "to_broadcaster_user_name": self.broadcaster.name,
                "viewers": viewers,
            }),
            Deed::HypeTrainBegin(train) | Deed::HypeTrainProgress(train) => {
                self.train(train, false)
            }
            Deed::HypeTrainEnd(train) => self.train(train, true),
            Deed::Redeem { id, viewer, reward, input, at_once } => {
                let status = if *at_once { "fulfilled" } else { "unfulfilled" };
                self.redemption(id, viewer, reward, input, status)
            }
            Deed::Settle { id, viewer, reward, input, fulfilled } => {
                let status = if *fulfilled { "fulfilled" } else { "canceled" };
                self.redemption(id, viewer, reward, input, status)
            }
            Deed::Chat { id, viewer, text, mention } => {
                self.here(chatter::line(id, viewer, text, mention.as_ref()))
            }
            Deed::Poll { id, title } => self.here(json!({
                "id": id, "title": title, "choices": [{"id": "1", "title": "Yes"}],
                "started_at": timestamp(self.at),
                "ends_at": timestamp(self.at + TimeDelta::minutes(2)),
            })),
        }
    }

    fn redemption(
        &self,
        id: &str,
        viewer: &Viewer,
        reward: &Reward,
        input: &str,
        status: &str,
    ) -> Value {
        self.of(viewer, json!({
            "id": id, "user_input": input, "status": status, "redeemed_at": timestamp(self.at),
            "reward": {
                "id": reward.id, "title": reward.title, "cost": reward.cost, "prompt": "Be kind",
            },
        }))
    }

    fn train(&self, train: &Train, ended: bool) -> Value {
        let contribution = json!({
            "user_id": "5001", "user_login": "reeldeal", "user_name": "ReelDeal",
            "type": "bits", "total": train.total,
        });
        let mut said = json!({
            "id": train.id, "level": train.level, "total": train.total,
            "top_contributions": [contribution],
            "started_at": timestamp(self.at - TimeDelta::seconds(1)),
        });
        if ended {
            said["ended_at"] = json!(timestamp(self.at));
            said["cooldown_ends_at"] = json!(timestamp(self.at + TimeDelta::hours(1)));
        } else {
            said["goal"] = json!(train.goal);
            said["progress"] = json!(train.total);
            said["expires_at"] = json!(timestamp(self.at + TimeDelta::minutes(5)));
        }
        if self.is_twitch() {
            said["type"] = json!(if train.golden { "golden_kappa" } else { "regular" });
            said["is_shared_train"] = json!(false);
            said["shared_train_participants"] = Value::Null;
        } else {
            said["last_contribution"] = contribution;
        }
        self.here(said)
    }

    fn is_twitch(&self) -> bool {
        self.flavour == Flavour::Twitch
    }

    /// `more` in the broadcaster's channel.
    fn here(&self, more: Value) -> Value {
        merged([
            json!({
                "broadcaster_user_id": self.broadcaster.id,
                "broadcaster_user_login": self.broadcaster.login,
                "broadcaster_user_name": self.broadcaster.name,
            }),
            more,
        ])
    }

    fn of(&self, viewer: &Viewer, more: Value) -> Value {
        let who = json!({
            "user_id": viewer.id, "user_login": viewer.login, "user_name": viewer.name,
        });
        self.here(merged([who, more]))
    }

    /// `more` by a viewer or by nobody, whom twitch-cli writes as the user `nobody`.
    fn of_maybe(&self, viewer: &Option<Viewer>, nobody: &str, more: Value) -> Value {
        let anonymous = merged([more, json!({"is_anonymous": viewer.is_none()})]);
        match viewer {
            Some(viewer) => self.of(viewer, anonymous),
            None if self.is_twitch() => self.here(merged([
                json!({"user_id": null, "user_login": null, "user_name": null}),
                anonymous,
            ])),
            None => {
                let name = if nobody.is_empty() { "" } else { "ananonymousgifter" };
                self.of(&Viewer::new(nobody, name, name), anonymous)
            }
        }
    }
}

fn merged(parts: [Value; 2]) -> Value {
    let mut all = Map::new();
    for part in parts {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}
