//! What a row of Helix means: what the notification would have meant that was not told, by the same translation and so
//! under the same names.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate as _;
use domain::account::Account;
use domain::alerting::ASKED;
use domain::rules::Rules;
use journal::{Envelope, Origin};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::twitch::notification::Notification;
use crate::twitch::translate::{Untranslatable, translate};

pub const FOLLOW: &str = "channel.follow";
pub const REDEEMED: &str = "channel.channel_points_custom_reward_redemption.add";
pub const SETTLED: &str = "channel.channel_points_custom_reward_redemption.update";
pub const ONLINE: &str = "stream.online";
pub const OFFLINE: &str = "stream.offline";
pub const SUBSCRIBED: &str = "channel.subscribe";
pub const UPDATED: &str = "channel.update";

/// The channel is live.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LiveRow {
    pub id: String,
    pub user_id: String,
    pub started_at: DateTime<Utc>,
}

/// What the channel calls what it does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TitleRow {
    pub broadcaster_id: String,
    pub title: String,
    #[serde(default)]
    pub game_id: String,
    #[serde(default)]
    pub game_name: String,
    #[serde(default)]
    pub broadcaster_language: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Follower {
    pub user_id: String,
    #[serde(default)]
    pub user_login: String,
    #[serde(default)]
    pub user_name: String,
    pub followed_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Reward {
    pub id: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Redemption {
    pub id: String,
    pub user_id: String,
    #[serde(default)]
    pub user_login: String,
    #[serde(default)]
    pub user_name: String,
    #[serde(default)]
    pub user_input: String,
    /// `UNFULFILLED`, `FULFILLED` or `CANCELED`.
    pub status: String,
    pub redeemed_at: DateTime<Utc>,
    pub reward: Value,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Subscriber {
    pub user_id: String,
}

/// Something that was found, as the command that it is.
#[derive(Clone, Debug)]
pub struct Find {
    /// The type of the notification that would have told it; nothing for what comes with another.
    pub kind: Option<&'static str>,
    /// It happened between these two.
    pub between: (DateTime<Utc>, DateTime<Utc>),
    pub envelope: Envelope,
    /// It is in history if one of these is.
    pub known_as: Vec<uuid::Uuid>,
}

impl Find {
    /// Whether history knows it under none of its names.
    pub fn is_new(&self, known: &HashSet<uuid::Uuid>) -> bool {
        !self.known_as.iter().any(|id| known.contains(id))
    }
}

/// By what everything that is found is translated.
#[derive(Clone, Copy)]
pub struct Late<'a> {
    pub rules: &'a Rules,
    pub broadcaster: &'a str,
    pub now: DateTime<Utc>,
}

impl Late<'_> {
    /// A follow. Helix writes the second in which it was; whether it rounds, it does not say.
    pub fn follow(&self, row: &Follower) -> Result<Vec<Find>, Untranslatable> {
        let second = TimeDelta::seconds(1);
        let of = |at: DateTime<Utc>| {
            let said = json!({
                "user_id": row.user_id, "user_login": row.user_login, "user_name": row.user_name,
                "broadcaster_user_id": self.broadcaster, "followed_at": at,
            });
            let name = format!("follow:{}:{}", row.user_id, at.timestamp());
            self.one((FOLLOW, "2"), &said, &name, at)
        };
        let at = row.followed_at;
        let neighbours = [of(at - second)?, of(at + second)?];
        let envelope = of(at)?;
        let known_as = neighbours.iter().chain([&envelope]).map(|one| one.id).collect();
        let between = (at, at + second);
        Ok(vec![Find { kind: Some(FOLLOW), between, envelope, known_as }])
    }

    /// A redemption, and what became of it.
    pub fn redemption(&self, row: &Redemption) -> Result<Vec<Find>, Untranslatable> {
        let said = json!({
            "id": row.id, "user_id": row.user_id, "user_login": row.user_login,
            "user_name": row.user_name, "user_input": row.user_input,
            "broadcaster_user_id": self.broadcaster, "status": row.status.to_lowercase(),
            "redeemed_at": row.redeemed_at, "reward": row.reward,
        });
        let name = format!("redemption:{}", row.id);
        let envelopes = self.translated((REDEEMED, "1"), &said, &name, self.now)?;
        let redeemed = (row.redeemed_at, row.redeemed_at + TimeDelta::seconds(1));
        // When it was settled nobody says; its points come with that.
        let settled = (row.redeemed_at, self.now);
        let last = envelopes.last().map(|envelope| envelope.id);
        let find = |(index, envelope): (usize, Envelope)| {
            let id = envelope.id;
            let (kind, between, known_as) = match index {
                0 => (Some(REDEEMED), redeemed, vec![id]),
                // What was settled without points stays so, whatever its reward is worth by now.
                _ if envelope.aggregate_type == Account::TYPE => {
                    (None, settled, [id].into_iter().chain(last).collect())
                }
                _ => (Some(SETTLED), settled, vec![id]),
            };
            Find { kind, between, envelope, known_as }
        };
        Ok(envelopes.into_iter().enumerate().map(find).collect())
    }

    /// The channel went live as `live_id` at `at`, or off, which is told with less. `name` is that of this start or end and of
    /// no other.
    pub fn turned(
        &self,
        kind: &'static str,
        (live_id, at, name): (&str, DateTime<Utc>, &str),
        between: (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<Find, Untranslatable> {
        let said = json!({
            "id": live_id, "broadcaster_user_id": self.broadcaster, "type": "live",
            "started_at": at,
        });
        let envelope = self.one((kind, "1"), &said, name, at)?;
        Ok(Find { kind: Some(kind), between, known_as: vec![envelope.id], envelope })
    }

    /// The channel calls it so by now, and did not before `between`. What is told of later than `at` is later.
    pub fn titled(
        &self,
        row: &TitleRow,
        at: DateTime<Utc>,
        between: (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<Find, Untranslatable> {
        let said = json!({
            "broadcaster_user_id": self.broadcaster, "title": row.title,
            "language": row.broadcaster_language, "category_id": row.game_id,
            "category_name": row.game_name,
        });
        let name = format!("titled:{}", self.now.timestamp_micros());
        let envelope = self.one((UPDATED, "2"), &said, &name, at)?;
        Ok(Find { kind: Some(UPDATED), between, known_as: vec![envelope.id], envelope })
    }

    fn one(
        &self,
        kind: (&str, &str),
        said: &Value,
        name: &str,
        at: DateTime<Utc>,
    ) -> Result<Envelope, Untranslatable> {
        let first = self.translated(kind, said, name, at)?.into_iter().next();
        first.ok_or(Untranslatable::NoContent)
    }

    /// The commands of a notification of this type and version that says this, told by nobody and asked for.
    fn translated(
        &self,
        (kind, version): (&str, &str),
        said: &Value,
        name: &str,
        at: DateTime<Utc>,
    ) -> Result<Vec<Envelope>, Untranslatable> {
        let body = json!({ "subscription": { "type": kind, "version": version }, "event": said });
        let (raw, name) = (body.to_string(), format!("{ASKED}:{name}"));
        let notification = Notification { message_id: &name, sent_at: at, raw: &raw };
        let told = translate(&notification, self.rules, Some(self.broadcaster), self.now)?;
        let asked = |envelope: Envelope| {
            let source = ASKED.to_owned();
            Envelope { origin: Origin { source, raw: None, ..envelope.origin }, ..envelope }
        };
        Ok(told.into_iter().map(asked).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REWARD: &str = "92af127c-7326-4483-a52b-b0da0be61c01";

    fn time(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).expect("a time").to_utc()
    }

    fn rules() -> Rules {
        let mut rules = Rules::default();
        rules.points_per_reward.insert(REWARD.to_owned(), 75);
        rules
    }

    /// What is made of a notification that is told.
    fn told(name: &str) -> Vec<Envelope> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/eventsub");
        let raw = std::fs::read_to_string(format!("{folder}/{name}.json")).expect("data");
        let now = time("2026-11-21T20:15:01Z");
        let notification = Notification { message_id: "m-1", sent_at: now, raw: &raw };
        translate(&notification, &rules(), Some("1000"), now).expect("it means something")
    }

    fn ids(envelopes: &[Envelope]) -> Vec<uuid::Uuid> {
        envelopes.iter().map(|envelope| envelope.id).collect()
    }

    #[test]
    fn what_is_found_has_the_names_of_what_would_have_been_told_and_says_where_it_comes_from() {
        let rules = rules();
        let now = time("2026-11-21T21:00:00Z");
        let late = Late { rules: &rules, broadcaster: "1000", now };
        let row = json!({"user_id": "5001", "user_login": "reeldeal", "user_name": "ReelDeal",
            "followed_at": "2026-11-21T20:14:59Z"});
        let row: Follower = serde_json::from_value(row).expect("a row");
        let found = late.follow(&row).expect("a follow").remove(0);
        assert_eq!(found.envelope.id, told("follow")[0].id);
        assert_eq!(found.envelope.names, told("follow")[0].names);
        assert_eq!((found.envelope.origin.source.as_str(), found.known_as.len()), ("helix", 3));
        // Had Helix rounded it up, it would be the same follow.
        let row = Follower { followed_at: time("2026-11-21T20:15:00Z"), ..row };
        assert!(late.follow(&row).expect("a follow")[0].known_as.contains(&told("follow")[0].id));

        let redemption = |status: &str| {
            let row = json!({"id": "17fa2df1-ad76-4804-bfa5-a40ef63efe63", "user_id": "5004",
                "user_login": "rewinder", "user_name": "Rewinder", "user_input": "please rewind",
                "status": status, "redeemed_at": "2026-11-21T20:14:58Z",
                "reward": {"id": REWARD, "title": "Kind rewind", "cost": 300, "prompt": "Be kind"}});
            let row: Redemption = serde_json::from_value(row).expect("a row");
            late.redemption(&row).expect("a redemption")
        };
        let envelopes = |finds: Vec<Find>| -> Vec<Envelope> {
            finds.into_iter().map(|find| find.envelope).collect()
        };
        let open = envelopes(redemption("UNFULFILLED"));
        assert_eq!(ids(&open), ids(&told("redemption_add")));
        let fulfilled = envelopes(redemption("FULFILLED"));
        assert_eq!(ids(&fulfilled), [ids(&open), ids(&told("redemption_fulfilled"))].concat());
        assert_eq!(fulfilled[1].aggregate_type, "account");
        assert_eq!(redemption("CANCELED").len(), 2);
    }

    #[test]
    fn what_was_settled_when_it_was_worth_nothing_is_not_credited_when_it_is_worth_something() {
        let row = json!({"id": "17fa2df1-ad76-4804-bfa5-a40ef63efe63", "user_id": "5004",
            "status": "FULFILLED", "redeemed_at": "2026-11-21T20:14:58Z",
            "reward": {"id": REWARD, "title": "Kind rewind", "cost": 300, "prompt": "Be kind"}});
        let row: Redemption = serde_json::from_value(row).expect("a row");
        let now = time("2026-11-21T21:00:00Z");
        let found = |rules: &Rules| {
            Late { rules, broadcaster: "1000", now }.redemption(&row).expect("a redemption")
        };
        let (unpriced, priced) = (found(&Rules::default()), found(&rules()));
        let known: HashSet<_> = unpriced.iter().map(|find| find.envelope.id).collect();
        assert_eq!((unpriced.len(), priced.len()), (2, 3));
        assert!(!priced.iter().any(|find| find.is_new(&known)), "all of it is known");
        // Dead after the redemption, or after its points: the rest is still to be done, and the points come first.
        let after = |some: &[usize]| -> Vec<usize> {
            let known = some.iter().map(|index| priced[*index].envelope.id).collect();
            (0..3).filter(|index| priced[*index].is_new(&known)).collect()
        };
        assert_eq!((after(&[]), after(&[0]), after(&[0, 1])), (vec![0, 1, 2], vec![1, 2], vec![2]));
        assert!(priced[1].kind.is_none() && priced[2].kind == Some(SETTLED));
    }

    #[test]
    fn what_means_nothing_is_refused_as_if_it_had_been_told() {
        let rules = rules();
        let late = Late { rules: &rules, broadcaster: "1000", now: time("2026-11-21T21:00:00Z") };
        let row = json!({"user_id": "../..", "followed_at": "2026-11-21T20:14:59Z"});
        let row: Follower = serde_json::from_value(row).expect("a row");
        assert!(late.follow(&row).is_err());
        let row = json!({"id": "r", "user_id": "1", "status": "LOST", "reward": {"id": "x"},
            "redeemed_at": "2026-11-21T20:14:58Z"});
        let row: Redemption = serde_json::from_value(row).expect("a row");
        assert!(late.redemption(&row).is_err());
    }
}
