//! Conduits: what Twitch tells is spread over shards, each of which is a session of one of our processes.
//!
//! One process of all is the [`conductor`]: it sees to it that there is one conduit of ours (`calls` asks Twitch), says who
//! is to hold which shard (`assign`, a pure function), tells Twitch the session that a holder has opened for it, and takes
//! a shard from whoever is gone. Every process is a [`holder`]: it says that it is there, and opens a session for each
//! shard that it is to hold. What they say to each other are rows (`rows`).
//!
//! What is told over a shard has one name, whoever hears it: told twice, it counts once.

pub mod assign;
pub mod calls;
pub mod conductor;
pub mod holder;
pub mod rows;

pub use self::conductor::Conductor;
pub use self::holder::Holder;
