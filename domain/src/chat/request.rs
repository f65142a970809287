//! What can be asked for in chat, as it is stored.

use serde::{Deserialize, Serialize};

use crate::chat_request::{Unclear, Wish};

/// What a line asks for. The names and shapes are the stored format: they never change, they are added to. Never a
/// name of somebody: who is meant is said by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// A fixed text of the configuration.
    Help { topic: String },
    /// How many points one has.
    Balance {},
    /// Since when the channel is live.
    Uptime {},
    /// What is screened.
    Tape {},
    /// Who has the most points.
    Top {},
    /// Something for points, version `prices` of the price list.
    Wish { wish: Wish, price: i64, prices: u32 },
    /// Something for points that cannot be granted as it was said.
    Unclear { unclear: Unclear, prices: u32 },
    /// Points for the viewer with the id `to`.
    Give { to: String, points: i64 },
    /// Points for somebody, which cannot be given as it was said.
    NoGift { why: NoGift },
}

/// Why nothing is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoGift {
    /// It was not said to whom, or not how many.
    Unclear,
    /// Nobody of that name was ever seen.
    NobodyKnown,
    ToThemselves,
}

impl Request {
    /// What it is called where it is configured, and by what it cools down.
    pub fn name(&self) -> &str {
        match self {
            Request::Help { topic } => topic,
            Request::Balance {} => "balance",
            Request::Uptime {} => "uptime",
            Request::Tape {} => "tape",
            Request::Top {} => "top",
            Request::Wish { wish, .. } => wish.style(),
            Request::Unclear { unclear, .. } => unclear.style().unwrap_or("unclear"),
            Request::Give { .. } | Request::NoGift { .. } => "give",
        }
    }

    /// What rests after it. Whoever corrects an unclear request at once does not wait for what it was to be.
    pub fn rests_as(&self) -> &str {
        match self {
            Request::Unclear { .. } | Request::NoGift { .. } => "unclear",
            clear => clear.name(),
        }
    }
}
