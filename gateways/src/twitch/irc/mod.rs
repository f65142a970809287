//! Chat over IRC: the second way in beside EventSub, with the same meaning. Comes in; what is said goes out by
//! `twitch::saying`, over connections of its own.
//!
//! `wire` takes bytes apart into lines of a bounded length, `said` one line into its parts, and `heard` makes of it what
//! `twitch::chat` makes of a notification, by the same function, under the same names: the id of a line is its natural
//! key, so what is heard both ways is shown once and asks once. A cheer is credited by `channel.cheer` alone, which no
//! line of IRC is. `line` is a connection, `session` the connections one after another, `keeper` writes down how it is and
//! what did not reach us, and `run` sees to it that one process of all does this. `whois` finds out who is called a name,
//! which EventSub says by itself.

pub mod heard;
pub mod keeper;
pub mod line;
pub mod record;
pub mod run;
pub mod said;
pub mod session;
pub mod settings;
pub mod told;
pub mod whois;
pub mod wire;

pub use run::Irc;
pub use settings::Settings;
