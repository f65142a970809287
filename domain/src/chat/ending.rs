//! How what was asked for in chat ended: what the viewer is to be told. Pure functions of one event.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::account::{self, Facts};
use crate::generation::{self, Settlement};
use crate::giving;

/// The end of a wish or of a gift. Without the words of providers and moderators, which are not for the chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ending {
    /// It is on its way to the screen.
    Shown {},
    TooFewPoints {
        available: i64,
    },
    /// It was made, and somebody did not want it shown.
    Rejected {},
    Refused {},
    Failed {},
    Cancelled {},
    Expired {},
    Given {},
    /// The receiver's account is full.
    NoRoom {},
}

/// How a request ended by `event`. Each has one end: the release after a refusal is none.
pub fn of_generation(event: &generation::Event) -> Option<Ending> {
    use generation::Event;
    match event {
        Event::Settled { settlement: Settlement::Captured, .. } => Some(Ending::Shown {}),
        Event::Settled { settlement: Settlement::Released, wish: Some(_), .. } => {
            Some(Ending::Expired {})
        }
        Event::Declined { available, .. } => Some(Ending::TooFewPoints { available: *available }),
        Event::Rejected { .. } => Some(Ending::Rejected {}),
        Event::Refused { .. } => Some(Ending::Refused {}),
        Event::Failed { .. } => Some(Ending::Failed {}),
        Event::Cancelled { .. } if event.is_expiry() => Some(Ending::Expired {}),
        Event::Cancelled { .. } => Some(Ending::Cancelled {}),
        _ => None,
    }
}

/// How the gift whose points were, or were to be, set aside by the returned hold ended by `event`.
pub fn of_gift(event: &account::Event) -> Option<(Uuid, Ending)> {
    use account::Event;
    match event {
        Event::Credited { facts: Facts::Gift { hold, .. }, .. } => Some((*hold, Ending::Given {})),
        Event::Declined { entry, available, purpose, .. } if giving::is_gift(purpose) => {
            Some((*entry, Ending::TooFewPoints { available: *available }))
        }
        Event::Declined { purpose, .. } => {
            giving::refused(purpose).map(|(_, hold)| (hold, Ending::NoRoom {}))
        }
        _ => None,
    }
}
