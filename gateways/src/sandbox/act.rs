//! What somebody who plays can have happen at Twitch, as the terminal says it to a running sandbox.

use serde::{Deserialize, Serialize};

/// Something that happens in the channel, or that goes wrong. Viewers are named by login or by id; a login that is new is
/// somebody's from then on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// Somebody, or without a viewer somebody anonymous, cheers.
    Cheer {
        viewer: Option<String>,
        bits: i64,
        text: String,
    },
    /// A first month, or with `months` a later one that is shared in chat.
    Subscribe {
        viewer: String,
        tier: i64,
        months: Option<i64>,
        text: String,
    },
    Gift {
        viewer: Option<String>,
        tier: i64,
        count: i64,
    },
    Follow {
        viewer: String,
    },
    Raid {
        viewer: String,
        viewers: i64,
    },
    Say {
        viewer: String,
        text: String,
    },
    Redeem {
        viewer: String,
        reward: String,
        cost: i64,
        text: String,
        fulfilled: bool,
    },
    Online,
    Offline,
    Trouble(Trouble),
    /// A whole evening, as `tapedeck simulate` plays it; without a speed as fast as it goes.
    Night {
        seed: u64,
        notifications: usize,
        speed: Option<f64>,
    },
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Trouble {
    /// Every connection is told to go on over another one.
    Reconnect,
    /// Every connection stays and says nothing any more.
    Silence,
    /// Every connection of EventSub is closed with this code.
    Close(u16),
    /// Every connection is gone without a word.
    Cut,
    /// Twitch is away for so many seconds.
    Away(u64),
    /// And there again before they are over.
    Back,
    /// All that was granted is over and has to be refreshed.
    Expire,
    /// The right to hear of a type is taken away.
    Revoke(String),
    /// And given back.
    Allow(String),
    /// The next picture goes wrong.
    Picture(Refusal),
}

/// What OpenAI does instead of drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its filter does not let the words pass
    Blocked,
    /// It is asked too often
    Busy,
    /// Nobody has paid
    Unpaid,
    /// It answers 500
    Failing,
}
