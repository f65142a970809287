//! What people do in a night, before anybody writes it as JSON, and what each deed must come to.

use std::sync::Arc;

use super::cast::Viewer;

/// What a picture costs.
pub(super) const PRICE: i64 = 200;

/// Something that Twitch would tell us about. `viewer: None` is somebody anonymous.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    Online {
        live_id: Arc<str>,
        started_after_s: u64,
    },
    Offline {
        live_id: Arc<str>,
    },
    Update {
        title: Arc<str>,
        category: Arc<str>,
    },
    Follow {
        viewer: Viewer,
    },
    Cheer {
        viewer: Option<Viewer>,
        bits: i64,
        message: Arc<str>,
    },
    Sub {
        viewer: Viewer,
        tier: i64,
        gift: bool,
    },
    SubEnd {
        viewer: Viewer,
        tier: i64,
        gift: bool,
    },
    Resub {
        viewer: Viewer,
        tier: i64,
        months: i64,
        streak: Option<i64>,
        message: Arc<str>,
    },
    Gift {
        viewer: Option<Viewer>,
        tier: i64,
        count: i64,
        total: Option<i64>,
    },
    Raid {
        viewer: Viewer,
        viewers: i64,
    },
    HypeTrainBegin(Train),
    HypeTrainProgress(Train),
    HypeTrainEnd(Train),
    /// With `at_once`, the reward skips the queue and is fulfilled already.
    Redeem {
        id: Arc<str>,
        viewer: Viewer,
        reward: Reward,
        input: Arc<str>,
        at_once: bool,
    },
    Settle {
        id: Arc<str>,
        viewer: Viewer,
        reward: Reward,
        input: Arc<str>,
        fulfilled: bool,
    },
    /// A line of chat; `mention` is who is named in it.
    Chat {
        id: Arc<str>,
        viewer: Viewer,
        text: Arc<str>,
        mention: Option<Viewer>,
    },
    /// A type that Tapedeck does not translate: it is kept.
    Poll {
        id: Arc<str>,
        title: Arc<str>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    pub id: Arc<str>,
    pub level: i64,
    pub total: i64,
    pub goal: i64,
    pub golden: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Reward {
    pub id: Arc<str>,
    pub title: Arc<str>,
    pub cost: i64,
}

/// An alert that the overlay must show once. `amount` is its bits, months, subs, viewers or level, or 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct ExpectedAlert {
    pub kind: &'static str,
    pub viewer: Option<String>,
    pub amount: i64,
}

impl Deed {
    /// Whether the channel goes live or off by it. Such deeds are not overtaken by others when a night is played.
    pub fn is_turning_point(&self) -> bool {
        matches!(self, Deed::Online { .. } | Deed::Offline { .. })
    }

    /// Whether Twitch names the deed itself, so that it is one deed also under a second message id.
    pub fn has_natural_key(&self) -> bool {
        matches!(
            self,
            Deed::Follow { .. }
                | Deed::HypeTrainBegin(_)
                | Deed::HypeTrainEnd(_)
                | Deed::Redeem { .. }
                | Deed::Settle { .. }
                | Deed::Chat { .. }
        )
    }

    /// Who did it, where somebody earned points by it.
    pub(super) fn doer(&self) -> Option<&Viewer> {
        match self {
            Deed::Cheer { viewer, .. } | Deed::Gift { viewer, .. } => viewer.as_ref(),
            Deed::Sub { viewer, .. } | Deed::Resub { viewer, .. } => Some(viewer),
            _ => None,
        }
    }

    /// Who is given how many points for it under the default rules. Written out here rather than asked of the rules,
    /// which are tested against it.
    pub fn expected_points(&self) -> Option<(&str, i64)> {
        let tiers = |tier: i64| match tier {
            2_000 => 2,
            3_000 => 5,
            _ => 1,
        };
        match self {
            Deed::Cheer { viewer: Some(viewer), bits, .. } => Some((&viewer.id, *bits)),
            Deed::Sub { viewer, tier, .. } | Deed::Resub { viewer, tier, .. } => {
                Some((&viewer.id, 600 * tiers(*tier)))
            }
            Deed::Gift { viewer: Some(viewer), tier, count, .. } => {
                Some((&viewer.id, 200 * tiers(*tier) * count))
            }
            _ => None,
        }
    }

    /// The picture that a cheer, or the ready-made alert that a line of chat, asks and pays for. Written out for the words of `WISHES`, rather than asked of the grammar.
    pub fn expected_picture(&self) -> Option<ExpectedAlert> {
        if let Some(alert) = self.expected_of_chat() {
            return Some(alert).filter(|alert| alert.kind != "notice");
        }
        let Deed::Cheer { viewer: Some(viewer), bits, message } = self else { return None };
        let (_, words) = message.split_once(' ')?;
        let kind = match words {
            _ if words.starts_with("ghost of ") => "ghost",
            _ if words.starts_with("friend who is ") => "friend",
            _ => return None,
        };
        let viewer = Some(viewer.id.to_string());
        (*bits >= PRICE).then_some(ExpectedAlert { kind, viewer, amount: 0 })
    }

    pub fn expected_alert(&self) -> Option<ExpectedAlert> {
        let id = |viewer: &Viewer| Some(viewer.id.to_string());
        let (kind, viewer, amount) = match self {
            Deed::Follow { viewer } => ("follow", id(viewer), 0),
            Deed::Cheer { viewer, bits, .. } => ("cheer", viewer.as_ref().and_then(id), *bits),
            Deed::Sub { viewer, gift: false, .. } => ("sub", id(viewer), 0),
            Deed::Resub { viewer, months, .. } => ("resub", id(viewer), *months),
            Deed::Gift { viewer, count, .. } => ("gift", viewer.as_ref().and_then(id), *count),
            Deed::Raid { viewer, viewers } => ("raid", id(viewer), *viewers),
            Deed::HypeTrainBegin(train) => ("hype_train", None, train.level),
            Deed::Chat { .. } => {
                return self.expected_of_chat().filter(|alert| alert.kind == "notice");
            }
            _ => return None,
        };
        Some(ExpectedAlert { kind, viewer, amount })
    }
}
