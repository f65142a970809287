//! Places where a process can be told to die, for tests and for rehearsing an outage.
//!
//! `TAPEDECK_CRASH_AT=commit.recorded@3` aborts the process, as a power cut would, the third time it passes the point
//! `commit.recorded`. Unset, as always outside a rehearsal, a point costs one comparison.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The points that every commit and every message passes, in the order in which a command passes them. Those of a process are
/// passed for every batch of events, whether commands follow or not.
pub const POINTS: [&str; 18] = [
    "commit.decided",
    "commit.begun",
    "commit.fenced",
    "commit.named",
    "commit.snapped",
    "commit.noted",
    "commit.locked",
    "commit.recorded",
    "commit.committed",
    "commit.answered",
    "relay.read",
    "relay.half",
    "relay.published",
    "fold.applied",
    "fold.committed",
    "process.reacted",
    "process.published",
    "process.stored",
];

/// The points that only some commits pass, before and behind a statement that the others do not have: with names, with the
/// snapshot of an aggregate, with a dead letter, with another try of one.
pub const SOME_POINTS: [&str; 8] = [
    "commit.naming",
    "commit.names",
    "commit.snapping",
    "commit.snapshots",
    "commit.keeping",
    "commit.kept",
    "commit.closing",
    "commit.closed",
];

/// The points of a commit of many commands, beside those of every commit: before the outcomes, behind them, behind the events,
/// and behind the head.
pub const MANY_POINTS: [&str; 4] =
    ["commit.copying", "commit.outcomes", "commit.events", "commit.moved"];

/// The points of a relay that makes EVENTS anew, in their order: before and behind the new epoch, before, within and behind the
/// end of the old stream, behind the beginning of the new one.
pub const RECOVERY_POINTS: [&str; 6] = [
    "relay.parted",
    "relay.epoch",
    "relay.unlike",
    "relay.forgotten",
    "relay.deleted",
    "relay.made",
];

/// The points of a stage: of its director, and of whoever sends a start to an overlay and hears that it is shown.
pub const STAGE_POINTS: [&str; 5] =
    ["stage.decided", "stage.sent", "stage.seen", "stage.noted", "stage.painted"];

/// The points of whoever makes pictures: from the lease to the report that is decided.
pub const MAKING_POINTS: [&str; 5] =
    ["making.leased", "making.made", "making.kept", "making.noted", "making.reported"];

/// The point of a gateway that has a notification on disk and has not said so.
pub const GATEWAY_POINT: &str = "gateway.appended";

/// Dies here if it was told to.
pub fn point(name: &str) {
    point_of(name, "");
}

/// As [`point`], at a point that several parts of a process pass: `name/part@times` means one of them.
pub(crate) fn point_of(name: &str, part: &str) {
    static ARMED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| {
        let wish = std::env::var("TAPEDECK_CRASH_AT").ok()?;
        let (name, times) = wish.split_once('@').unwrap_or((&wish, "1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().unwrap_or(1))))
    });
    if let Some((wanted, left)) = armed
        && wanted.split_once('/').map_or(wanted == name, |wish| wish == (name, part))
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        eprintln!("dying at {name}, as TAPEDECK_CRASH_AT asks");
        std::process::abort();
    }
}
