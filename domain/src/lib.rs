//! What is true: commands, events and the rules between them.
//!
//! Nothing here reads a clock, draws a random number or waits for anything. Times and ids arrive in commands, so
//! that the same commands always make the same history. See `domain/clippy.toml` for the lint that holds it.

pub mod account;
pub mod alerting;
pub mod broadcast;
pub mod chat;
pub mod chat_reply;
pub mod chat_request;
pub mod generation;
pub mod giving;
pub mod identity;
pub mod intake;
pub mod redemption;
pub mod rules;
pub mod stage;
pub mod tape;

pub use identity::{Identified, Recent, entry_id};
