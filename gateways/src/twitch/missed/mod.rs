//! What Twitch did not tell: it is asked for it later, as far as it can say, and what is found is done as if it had been
//! told, under the same names, so that nothing counts twice. Goes out; what it finds comes in.
//!
//! `run` decides when: at the start, when a gap is over, every few minutes, and whether the channel is live also when
//! somebody speaks in chat (`hint`). `look` is one look: `ask` reads Helix page by page, `late` makes of a row what the
//! notification would have said, for the same translation, `live` decides whether the channel is. `record` knows how far it
//! was looked, `gaps` says of each gap what was found of it, and `standing` says how all that stands.

pub mod ask;
pub mod gaps;
mod hint;
pub mod late;
pub mod live;
pub mod look;
pub mod record;
pub mod run;
pub mod settings;
pub mod standing;
mod subscribers;

pub use run::Missed;
pub use settings::Settings;
