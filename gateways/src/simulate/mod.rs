//! Outwards, in Twitch's place: a night of broadcasting as signed EventSub webhooks, from a seed and at any speed.
//!
//! It needs no account at Twitch, and it is how tests and newcomers see the product work. What a night must come to,
//! in points and alerts, is computed here by other lines than those that are tested with it.

mod cast;
mod chatter;
mod deed;
mod delivery;
mod night;
mod payload;
mod player;
mod watcher;

pub use cast::Viewer;
pub use deed::{Deed, ExpectedAlert, Reward, Train};
pub use delivery::Delivery;
pub use night::{Night, Scene};
pub use payload::{Flavour, body};
pub use player::{Options, Pace, Report, play};
pub use watcher::{Shown, watch};
