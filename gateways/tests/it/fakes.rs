//! Systems outside, on loopback. Each speaks the real protocol; OpenAI's is itself checked with the vendor's own client.
//!
//! They are here and not in the product, because nothing in the product uses them.

pub mod eventsub;
pub mod helix;
pub mod irc;
pub mod openai;
pub mod points;
pub mod s3;
pub mod twitch;
pub mod vendors;
