//! What is on at a moment, as far as a request has to know it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Event;

/// The types of the events that change what is on.
pub const MOVES: [&str; 5] =
    ["started", "resumed", "ended", "screening_started", "screening_ended"];

/// A broadcast that is live, and what is on screen in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnAir {
    pub broadcaster: String,
    /// Its number: 1, 2, 3 for each broadcaster.
    pub broadcast: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screening: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tape: Option<String>,
}

impl OnAir {
    /// What is on after `event` of `broadcaster`, where `before` was on before it; `None` where nothing is.
    pub fn after(before: Option<OnAir>, broadcaster: &str, event: &Event) -> Option<OnAir> {
        let live = |broadcast: i64| OnAir {
            broadcaster: broadcaster.to_owned(),
            broadcast,
            screening: None,
            tape: None,
        };
        match event {
            Event::Started { broadcast, .. } | Event::Resumed { broadcast, .. } => {
                Some(live(*broadcast))
            }
            Event::Ended { .. } => None,
            Event::ScreeningStarted { broadcast, screening, .. } => Some(OnAir {
                screening: Some(screening.id),
                tape: Some(screening.tape.clone()),
                ..live(*broadcast)
            }),
            Event::ScreeningEnded { broadcast, .. } => Some(live(*broadcast)),
            _ => before,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::broadcast::Screening;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
    }

    #[test]
    fn what_is_on_follows_broadcasts_and_screenings() {
        let live_id = || "live-1".to_owned();
        let screening = |n: u128, tape: &str| Screening {
            id: Uuid::from_u128(n),
            tape: tape.to_owned(),
            started_at: at(),
        };
        let playing = |n, tape| Event::ScreeningStarted {
            broadcast: 7,
            screening: screening(n, tape),
            card: None,
        };
        let cleared = |n, tape| Event::ScreeningEnded {
            broadcast: 7,
            screening: screening(n, tape),
            at: at(),
        };
        let moment = Event::Followed { entry: Uuid::nil(), viewer: "5001".to_owned(), at: at() };
        let on = |tape: Option<(u128, &str)>| {
            let (screening, tape) = tape.unzip();
            Some(OnAir {
                broadcaster: "1000".to_owned(),
                broadcast: 7,
                screening: screening.map(Uuid::from_u128),
                tape: tape.map(str::to_owned),
            })
        };
        let steps = [
            (Event::Started { broadcast: 7, live_id: live_id(), at: at() }, on(None)),
            (playing(1, "88"), on(Some((1, "88")))),
            (moment, on(Some((1, "88")))),
            (cleared(1, "88"), on(None)),
            (playing(2, "9"), on(Some((2, "9")))),
            (Event::Ended { broadcast: 7, at: at(), screening: None }, None),
            (Event::OfflineNoted { live_id: None, at: at() }, None),
            (Event::Resumed { broadcast: 7, live_id: live_id(), at: at() }, on(None)),
        ];
        let mut now = None;
        for (event, then) in steps {
            now = OnAir::after(now, "1000", &event);
            assert_eq!(now, then, "after {event:?}");
        }
    }
}
