//! EventSub: having Twitch tell us what happens, over a WebSocket or by webhooks, and knowing what it may not have told.
//!
//! `wanted` is what we want to be told, a function of the configuration; `plan`, another one, says what is to be done
//! about what Twitch has; `round` does it (`subscriptions` are the calls), at the start, hourly, and whenever Twitch takes
//! something away. Over the WebSocket, `line` is a connection, `frame` what comes over it, `session` the connections one
//! after another, and `intake` hands on what they say, through the same translation and to the same place as the
//! webhook does; over webhooks, `posted` says whether they are taken in. Over `conduits`, several processes have a
//! connection each, and share what is told. `keeper` decides from all this what reaches us, and writes down what does not:
//! a gap. `overview` says how it all is.

pub mod conduits;
pub mod frame;
pub mod gaps;
pub mod intake;
pub mod keeper;
pub mod line;
pub mod overview;
pub mod plan;
pub mod posted;
pub mod record;
pub mod round;
pub mod run;
pub mod session;
pub mod settings;
pub mod subscriptions;
pub mod times;
pub mod wanted;

pub use run::EventSub;
pub use settings::{Settings, Transport};
