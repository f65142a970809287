//! The earn rules: how many points a viewer is given for what they did, as a value with a version.
//!
//! Events keep the facts (bits, tier, months) and the version beside the points, so that "what if the rates were
//! different" can be computed from history. Defaults: `facts/golden-vcr.md` §3.1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::Facts;

/// A Twitch subscription tier. Stored as Twitch writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    #[serde(rename = "1000")]
    One,
    #[serde(rename = "2000")]
    Two,
    #[serde(rename = "3000")]
    Three,
}

impl Tier {
    /// How many times the base points a tier is worth.
    fn multiplier(self, rules: &Rules) -> i64 {
        match self {
            Tier::One => 1,
            Tier::Two => rules.tier_two_multiplier,
            Tier::Three => rules.tier_three_multiplier,
        }
    }
}

/// Points per deed, and the few other numbers a channel may choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Goes into every event beside the points; raise it with any change.
    pub version: u32,
    pub points_per_bit: i64,
    pub points_per_sub: i64,
    /// To the gifter, per sub given.
    pub points_per_gift_sub: i64,
    pub tier_two_multiplier: i64,
    pub tier_three_multiplier: i64,
    /// Points for a fulfilled channel points reward, by reward id. Rewards not named here give none.
    pub points_per_reward: BTreeMap<String, i64>,
    /// A broadcast that comes back this soon after its end is the same broadcast.
    pub resume_within_s: i64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            version: 1,
            points_per_bit: 1,
            points_per_sub: 600,
            points_per_gift_sub: 200,
            tier_two_multiplier: 2,
            tier_three_multiplier: 5,
            points_per_reward: BTreeMap::new(),
            resume_within_s: 15 * 60,
        }
    }
}

impl Rules {
    /// What `facts` earn under these rules, or `None` when the sum does not fit the ledger's range.
    pub fn points(&self, facts: &Facts) -> Option<i64> {
        match facts {
            Facts::Cheer { bits, .. } => bits.checked_mul(self.points_per_bit),
            Facts::Subscription { tier, .. } | Facts::Resubscription { tier, .. } => {
                self.points_per_sub.checked_mul(tier.multiplier(self))
            }
            Facts::GiftSubs { tier, count, .. } => {
                self.points_per_gift_sub.checked_mul(tier.multiplier(self))?.checked_mul(*count)
            }
            Facts::Reward { reward, .. } => {
                Some(self.points_per_reward.get(reward).copied().unwrap_or(0))
            }
            Facts::Manual { .. }
            | Facts::Grant { .. }
            | Facts::Import { .. }
            | Facts::Gift { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_rules_are_those_of_golden_vcr() {
        let rules = Rules::default();
        let cheer = Facts::Cheer { bits: 150, message: String::new() };
        assert_eq!(rules.points(&cheer), Some(150));
        for (tier, sub, gifts) in
            [(Tier::One, 600, 1_000), (Tier::Two, 1_200, 2_000), (Tier::Three, 3_000, 5_000)]
        {
            assert_eq!(rules.points(&Facts::Subscription { tier, gift: false }), Some(sub));
            assert_eq!(rules.points(&Facts::GiftSubs { tier, count: 5, total: None }), Some(gifts));
        }
    }

    #[test]
    fn a_sum_beyond_the_range_is_no_sum() {
        let facts = Facts::GiftSubs { tier: Tier::Three, count: i64::MAX, total: None };
        assert_eq!(Rules::default().points(&facts), None);
    }
}
