//! How long each kind of alert is on the stage, and how old it may be when it comes there, unless configured otherwise.

use crate::alerting::Kind;

/// How many seconds an alert is on the stage.
pub fn seconds(kind: Kind) -> f64 {
    match kind {
        Kind::Static => 5.0,
        Kind::Follow | Kind::Cheer | Kind::Resub | Kind::Notice => 6.0,
        Kind::Sub | Kind::Gift | Kind::HypeTrain | Kind::Tape => 10.0,
        Kind::Raid | Kind::Friend => 12.0,
        Kind::Ghost => 14.8,
    }
}

/// How many minutes an alert may wait before it is not shown any more. `None`: for ever, as what was paid for.
pub fn expire_minutes(kind: Kind) -> Option<u32> {
    match kind {
        Kind::Follow | Kind::HypeTrain | Kind::Tape => Some(10),
        Kind::Raid => Some(15),
        Kind::Cheer | Kind::Sub | Kind::Resub | Kind::Gift => Some(60),
        Kind::Notice => Some(30),
        Kind::Ghost | Kind::Friend | Kind::Static => None,
    }
}
