//! What moves points: cheers, subs, gifts and rewards.

use domain::account::Facts;
use domain::broadcast::{Moment, Reward};
use journal::Envelope;

use super::{Translator, Untranslatable, plain_id, somebody, tier, within};
use crate::twitch::notification::{Cheer, Gift, Redemption, Resub, Sub, clean_text};

/// Far above what Twitch sells at once, far below what could overflow a sum.
const BITS_MAX: i64 = 10_000_000;
const MONTHS_MAX: i64 = 1_200;
const GIFTS_MAX: i64 = 100_000;
const TOTAL_GIFTS_MAX: i64 = 1_000_000_000;
const COST_MAX: i64 = 10_000_000_000;

impl Translator<'_> {
    pub(super) fn cheer(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let cheer: Cheer = self.read()?;
        let bits = within("bits", cheer.bits, 1..=BITS_MAX)?;
        let message = clean_text(&cheer.message.unwrap_or_default());
        let envelope = match cheer.user.named() {
            Some(viewer) => {
                self.credit(self.message_id(), viewer, Facts::Cheer { bits, message })?
            }
            None => {
                let moment = Moment::Cheered { bits, message };
                let at = self.notification.sent_at;
                self.note(self.message_id(), &cheer.broadcaster_user_id, at, moment)?
            }
        };
        Ok(vec![envelope])
    }

    /// A first sub, or a gift that was received. Renewals come as [`Self::resub`], and only when shared.
    pub(super) fn sub(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let sub: Sub = self.read()?;
        let facts = Facts::Subscription { tier: tier(&sub.tier)?, gift: sub.is_gift };
        Ok(vec![self.credit(self.message_id(), somebody(sub.user.named())?, facts)?])
    }

    pub(super) fn resub(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let resub: Resub = self.read()?;
        let text = resub.message.and_then(|message| message.text).unwrap_or_default();
        let streak = resub
            .streak_months
            .map(|streak| within("streak_months", streak, 0..=MONTHS_MAX))
            .transpose()?;
        let facts = Facts::Resubscription {
            tier: tier(&resub.tier)?,
            months: within("cumulative_months", resub.cumulative_months, 1..=MONTHS_MAX)?,
            streak,
            message: clean_text(&text),
        };
        Ok(vec![self.credit(self.message_id(), somebody(resub.user.named())?, facts)?])
    }

    /// Subs given away. Those who receive them come separately, each as [`Self::sub`].
    pub(super) fn gift(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let gift: Gift = self.read()?;
        let (tier, count) = (tier(&gift.tier)?, within("total", gift.total, 1..=GIFTS_MAX)?);
        let total = gift
            .cumulative_total
            .map(|total| within("cumulative_total", total, 0..=TOTAL_GIFTS_MAX))
            .transpose()?;
        let envelope = match gift.user.named() {
            Some(viewer) => {
                let facts = Facts::GiftSubs { tier, count, total };
                self.credit(self.message_id(), viewer, facts)?
            }
            None => {
                let moment = Moment::SubsGifted { tier, count };
                let at = self.notification.sent_at;
                self.note(self.message_id(), &gift.broadcaster_user_id, at, moment)?
            }
        };
        Ok(vec![envelope])
    }

    /// Nothing is taken back when a sub ends; it is noted.
    pub(super) fn sub_end(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let sub: Sub = self.read()?;
        let viewer = somebody(sub.user.named())?;
        let (tier, gift) = (tier(&sub.tier)?, sub.is_gift);
        let moment = Moment::SubEnded { viewer: viewer.id.clone(), tier, gift };
        let at = self.notification.sent_at;
        let envelope = self.note(self.message_id(), &sub.broadcaster_user_id, at, moment)?;
        Ok(vec![Envelope { names: vec![viewer], ..envelope }])
    }

    /// A reward that skips the queue is fulfilled as soon as it is redeemed, and no update follows.
    pub(super) fn redeemed(&self) -> Result<Vec<Envelope>, Untranslatable> {
        let redemption: Redemption = checked(self.read()?)?;
        let viewer = somebody(redemption.user.named())?;
        let moment = Moment::RewardRedeemed {
            redemption: redemption.id.clone(),
            viewer: viewer.id.clone(),
            reward: Reward {
                id: redemption.reward.id.clone(),
                title: clean_text(&redemption.reward.title),
                cost: redemption.reward.cost,
                input: clean_text(redemption.user_input.as_deref().unwrap_or_default()),
            },
        };
        let key = format!("redemption:{}:unfulfilled", redemption.id);
        let (broadcaster, at) = (&redemption.broadcaster_user_id, redemption.redeemed_at);
        let envelope = self.note(&key, broadcaster, at, moment)?;
        let redeemed = Envelope { names: vec![viewer], ..envelope };
        match redemption.status.as_str() {
            "fulfilled" | "canceled" => {
                let settled = self.settle(&redemption)?;
                Ok([redeemed].into_iter().chain(settled).collect())
            }
            _ => Ok(vec![redeemed]),
        }
    }

    pub(super) fn settled(&self) -> Result<Vec<Envelope>, Untranslatable> {
        self.settle(&checked(self.read()?)?)
    }

    /// Credits the points of a fulfilled reward that has any, once for each redemption, and notes the settlement. It is noted
    /// last: what is noted and not credited was worth nothing then, and stays so whatever it is worth later.
    fn settle(&self, redemption: &Redemption) -> Result<Vec<Envelope>, Untranslatable> {
        let fulfilled = match redemption.status.as_str() {
            "fulfilled" => true,
            "canceled" => false,
            other => {
                let value = other.chars().take(40).collect();
                return Err(Untranslatable::UnknownValue { field: "the settled status", value });
            }
        };
        let viewer = somebody(redemption.user.named())?;
        let id = &redemption.id;
        let moment = Moment::RedemptionSettled {
            redemption: id.clone(),
            viewer: viewer.id.clone(),
            fulfilled,
        };
        let key = format!("redemption:{id}:{}", redemption.status);
        let at = self.notification.sent_at;
        let note = self.note(&key, &redemption.broadcaster_user_id, at, moment)?;
        let note = Envelope { names: vec![viewer.clone()], ..note };
        let reward = &redemption.reward;
        if !fulfilled || !self.rules.points_per_reward.contains_key(&reward.id) {
            return Ok(vec![note]);
        }
        let facts = Facts::Reward {
            redemption: id.clone(),
            reward: reward.id.clone(),
            title: clean_text(&reward.title),
            cost: reward.cost,
        };
        let credit = self.credit(&format!("redemption:{id}:points"), viewer, facts)?;
        Ok(vec![credit, note])
    }
}

fn checked(redemption: Redemption) -> Result<Redemption, Untranslatable> {
    plain_id("the redemption's id", redemption.id.clone())?;
    plain_id("the reward's id", redemption.reward.id.clone())?;
    within("the reward's cost", redemption.reward.cost, 0..=COST_MAX)?;
    Ok(redemption)
}
