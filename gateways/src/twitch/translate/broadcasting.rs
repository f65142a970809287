//! What happens to the channel: live and not, its title, follows, raids and hype trains.

use chrono::{DateTime, SubsecRound, Utc};

use domain::broadcast::{Command, HypeTrain as Train, Moment};
use journal::{Envelope, ViewerName};

use super::{Translator, Untranslatable, entry, plain_id, somebody, within};
use crate::twitch::notification::{
    Follow, HypeTrain, Offline, Online, Raid, Update, User, clean_text,
};

const VIEWERS_MAX: i64 = 100_000_000;
const LEVEL_MAX: i64 = 100_000;
const TRAIN_POINTS_MAX: i64 = 1_000_000_000_000;

impl Translator<'_> {
    /// Named by the message, not by the live id: after a short outage Twitch says `online` again under the same id
    /// and with the same `started_at`, and that must resume the broadcast.
    ///
    /// For the same reason `at` is when Twitch said it, which is comparable with the time of an end; an end has no
    /// other time.
    pub(super) fn online(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let online: Online = self.read()?;
        let command = Command::Start {
            entry: entry(self.message_id()),
            live_id: plain_id("the stream's id", online.id)?,
            at: self.notification.sent_at,
            resume_within_s: self.rules.resume_within_s,
        };
        Ok(vec![self.broadcast(&online.broadcaster_user_id, &command)?])
    }

    pub(super) fn offline(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let offline: Offline = self.read()?;
        let live_id = offline.id.filter(|id| !id.is_empty());
        let command = Command::End {
            entry: entry(self.message_id()),
            live_id: live_id.map(|id| plain_id("the stream's id", id)).transpose()?,
            at: self.notification.sent_at,
        };
        Ok(vec![self.broadcast(&offline.broadcaster_user_id, &command)?])
    }

    pub(super) fn update(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let update: Update = self.read()?;
        let command = Command::Retitle {
            entry: entry(self.message_id()),
            title: clean_text(&update.title),
            category: clean_text(&update.category_name.unwrap_or_default()),
            language: clean_text(&update.language.unwrap_or_default()),
            // The notification says no time of its own, and Twitch promises no order.
            at: Some(self.notification.sent_at),
        };
        Ok(vec![self.broadcast(&update.broadcaster_user_id, &command)?])
    }

    /// Named by the second in which it was made: Helix, which is asked for what was not told, knows no fractions.
    pub(super) fn follow(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let follow: Follow = self.read()?;
        let viewer = somebody(follow.user.named())?;
        let (broadcaster, at) = (&follow.broadcaster_user_id, follow.followed_at);
        let second = at.trunc_subsecs(0).to_rfc3339();
        let key = format!("follow:{broadcaster}:{}:{second}", viewer.id);
        let moment = Moment::Followed { viewer: viewer.id.clone() };
        let envelope = self.note(&key, broadcaster, at, moment)?;
        Ok(vec![Envelope { names: vec![viewer], ..envelope }])
    }

    pub(super) fn raid(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let raid: Raid = self.read()?;
        let viewers = within("viewers", raid.viewers, 0..=VIEWERS_MAX)?;
        let raider = User {
            user_id: Some(raid.from_broadcaster_user_id),
            user_login: raid.from_broadcaster_user_login,
            user_name: raid.from_broadcaster_user_name,
            is_anonymous: None,
        };
        let viewer: ViewerName = somebody(raider.named())?;
        let moment = Moment::Raided { viewer: viewer.id.clone(), viewers };
        let at = self.notification.sent_at;
        let envelope = self.note(self.message_id(), &raid.to_broadcaster_user_id, at, moment)?;
        Ok(vec![Envelope { names: vec![viewer], ..envelope }])
    }

    pub(super) fn hype_train_begin(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let (broadcaster, train, at) = self.hype_train(|train| train.started_at)?;
        let key = format!("hype:{}:begin", train.id);
        Ok(vec![self.note(&key, &broadcaster, at, Moment::HypeTrainStarted(train))?])
    }

    /// Progress has no natural key: a train may make the same progress twice.
    pub(super) fn hype_train_progress(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let (broadcaster, train, at) = self.hype_train(|_| None)?;
        let moment = Moment::HypeTrainProgressed(train);
        Ok(vec![self.note(self.message_id(), &broadcaster, at, moment)?])
    }

    pub(super) fn hype_train_end(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let (broadcaster, train, at) = self.hype_train(|train| train.ended_at)?;
        let key = format!("hype:{}:end", train.id);
        Ok(vec![self.note(&key, &broadcaster, at, Moment::HypeTrainEnded(train))?])
    }

    /// The channel, the train and the time that `when` finds in it, or else the time of the notification.
    fn hype_train(
        &self,
        when: impl Fn(&HypeTrain) -> Option<DateTime<Utc>>,
    ) -> Result<(String, Train, DateTime<Utc>), Untranslatable> {
        let said: HypeTrain = self.read()?;
        let at = when(&said).unwrap_or(self.notification.sent_at);
        let kind = match said.kind.as_deref() {
            None | Some("regular") => "regular",
            Some("treasure") => "treasure",
            Some("golden_kappa") => "golden_kappa",
            Some(other) => {
                let value = other.chars().take(40).collect();
                return Err(Untranslatable::UnknownValue { field: "the kind of train", value });
            }
        };
        let goal = said.goal.map(|goal| within("goal", goal, 0..=TRAIN_POINTS_MAX)).transpose()?;
        let train = Train {
            id: plain_id("the hype train's id", said.id)?,
            level: within("level", said.level.unwrap_or(1), 0..=LEVEL_MAX)?,
            total: within("total", said.total, 0..=TRAIN_POINTS_MAX)?,
            goal,
            kind: kind.to_owned(),
        };
        Ok((said.broadcaster_user_id, train, at))
    }
}
