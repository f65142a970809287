//! The stage: what is shown in OBS, when, and whether it was. Goes out, and what was shown comes back.
//!
//! The server directs. One [`director`] decides what plays from when to when, with commands whose ids are derived from
//! what it decided, so that it can die anywhere and another goes on. Each process has one [`hub`] that reads a stage once
//! whenever it changes and makes its bytes once; all [`socket`]s of overlays share them, and only the last state counts, so
//! nobody falls behind. Who is there, and to whom a start was sent, is in the table `overlays` ([`presence`]).

pub mod commands;
pub mod decide;
pub mod director;
pub mod hub;
pub mod presence;
pub mod samples;
mod settings;
pub mod socket;
mod unnamed;

pub use hub::Hub;
pub use settings::{Settings, WhenUnknown};
