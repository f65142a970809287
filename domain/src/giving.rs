//! The process `giving`: points that one viewer gives to another arrive, or stay where they were.
//!
//! Pure functions from a recorded event to the command that follows from it, with ids derived from the event's.
//!
//! ```text
//! chat      asked to give             ─▶ giver    hold
//! giver     held for a gift           ─▶ receiver credit
//! giver     declined                  ─▶ nothing: the points were not there
//! receiver  credited by a gift        ─▶ giver    capture
//! receiver  declined, for lack of room ─▶ giver   release
//! ```
//!
//! The points leave the giver's available points before the receiver has them, and are spent only after; wherever the
//! process stops, they are in one of the two places, and it goes on from the event it had come to. Nothing but this
//! process ends such a hold, and no timer does: a credit that is late must not find its points given back. The account
//! itself holds that: it takes no other entry for it than [`ending`].

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::account::{Command, Event, Facts};
use crate::chat::{self, Request};
use crate::identity::derived_id;

/// How the purposes of this process begin; nobody else may hold, capture or release with one.
pub const PURPOSE: &str = "gift: ";

const TO: &str = "gift: to ";
const FROM: &str = "gift: from ";
const HOLD: &str = ", hold ";

/// A command that follows, and the account it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    pub viewer: String,
    pub command: Command,
}

/// The command by which the giver sets the points aside. `entry` names the gift.
pub fn begin(entry: Uuid, receiver: &str, points: i64, at: DateTime<Utc>) -> Command {
    Command::Hold { entry, points, purpose: purpose(receiver), expires_at: never(at) }
}

/// The entry by which the receiver gets what the event `cause` set aside: its outcome is the gift's.
pub fn arrival(cause: Uuid) -> Uuid {
    derived_id(cause, 0)
}

/// The credit that the hold of a gift leads to: no other entry speaks for it, whatever it says it is.
fn credit_of(hold: Uuid) -> Uuid {
    arrival(derived_id(hold, 0))
}

/// The one entry by which the hold of a gift ends, captured or released: what follows from the receiver's answer.
/// Nobody outside can choose it, since the ids of what is asked for from outside are derived from other names.
pub fn ending(hold: Uuid) -> Uuid {
    arrival(derived_id(credit_of(hold), 0))
}

/// What follows from an event of the chat with the id `cause`, recorded `at`.
pub fn after_chat(event: &chat::Event, cause: Uuid, at: DateTime<Utc>) -> Option<Next> {
    let chat::Event::Asked { viewer, request: Request::Give { to, points }, .. } = event else {
        return None;
    };
    let command = begin(derived_id(cause, 0), to, *points, at);
    Some(Next { viewer: viewer.clone(), command })
}

/// What follows from an event of the account of `viewer` with the id `cause`, under version `rules` of the earn rules.
pub fn after(viewer: &str, event: &Event, cause: Uuid, rules: u32) -> Option<Next> {
    let entry = arrival(cause);
    match event {
        Event::Held { entry: hold, points, purpose, .. } => {
            let facts = Facts::Gift { from: viewer.to_owned(), hold: *hold };
            let command = Command::Credit { entry, points: *points, rules, facts };
            Some(Next { viewer: receiver(purpose)?.to_owned(), command })
        }
        Event::Credited { entry: credit, facts: Facts::Gift { from, hold }, .. }
            if *credit == credit_of(*hold) =>
        {
            Some(Next { viewer: from.clone(), command: Command::Capture { entry, hold: *hold } })
        }
        Event::Declined { entry: credit, purpose, .. } => {
            let (from, hold) = refused(purpose).filter(|(_, hold)| *credit == credit_of(*hold))?;
            let reason = format!("{viewer} has no room for it");
            Some(Next {
                viewer: from.to_owned(),
                command: Command::Release { entry, hold, reason },
            })
        }
        _ => None,
    }
}

/// Whether a hold with this purpose is a gift, whose points are credited to somebody. Other purposes that begin like ours
/// may be from a time at which anybody could choose them: nothing follows from these, so the timer ends them.
pub fn is_gift(purpose: &str) -> bool {
    receiver(purpose).is_some()
}

/// Whether this purpose is reserved for gifts.
pub fn is_ours(purpose: &str) -> bool {
    purpose.starts_with(PURPOSE)
}

/// Whom a hold with this purpose is a gift to.
pub fn receiver(purpose: &str) -> Option<&str> {
    purpose.strip_prefix(TO)
}

/// What a hold for a gift is for.
pub fn purpose(receiver: &str) -> String {
    format!("{TO}{receiver}")
}

/// What the receiver's account says of a gift that it has no room for.
pub(crate) fn refusal(from: &str, hold: Uuid) -> String {
    format!("{FROM}{from}{HOLD}{hold}")
}

pub(crate) fn refused(purpose: &str) -> Option<(&str, Uuid)> {
    let (from, hold) = purpose.strip_prefix(FROM)?.split_once(HOLD)?;
    Some((from, hold.parse().ok()?))
}

/// Later than anybody waits: the hold ends with the gift.
fn never(at: DateTime<Utc>) -> DateTime<Utc> {
    at.checked_add_signed(Duration::days(36_500)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;
    use crate::account::{Account, Rejection};
    use crate::identity::{Identified, entry_id};

    const GIFT: Uuid = Uuid::from_u128(7);

    /// The event by which the gift's points were set aside.
    fn cause() -> Uuid {
        derived_id(GIFT, 0)
    }

    fn credit() -> Uuid {
        arrival(cause())
    }

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).expect("a time")
    }

    #[test]
    fn whoever_has_too_little_gives_nothing() {
        let declined =
            Event::Declined { entry: GIFT, points: 9, available: 1, purpose: purpose("5002") };
        assert_eq!(after("5001", &declined, cause(), 1), None);
    }

    #[test]
    fn a_hold_for_a_gift_becomes_the_receivers_credit() {
        let Command::Hold { entry, points, purpose, expires_at } = begin(GIFT, "5002", 40, at())
        else {
            panic!("a gift begins with a hold");
        };
        let held = Event::Held { entry, points, purpose, expires_at };
        let next = after("5001", &held, cause(), 3).expect("a credit follows");
        let facts = Facts::Gift { from: "5001".to_owned(), hold: GIFT };
        let entry = credit();
        let command = Command::Credit { entry, points: 40, rules: 3, facts: facts.clone() };
        assert_eq!(next, Next { viewer: "5002".to_owned(), command });
        assert_eq!(after("5001", &held, cause(), 3), Some(next), "the same, however often");

        let credited = Event::Credited { entry, points: 40, rules: 3, facts };
        let next = after("5002", &credited, entry, 3).expect("a capture follows");
        let command = Command::Capture { entry: derived_id(entry, 0), hold: GIFT };
        assert_eq!(next, Next { viewer: "5001".to_owned(), command });
    }

    #[test]
    fn a_receiver_without_room_declines_and_the_giver_has_it_back() {
        let facts = Facts::Manual { note: "n".to_owned(), actor: "a".to_owned() };
        let full = Event::Credited { entry: Uuid::nil(), points: i64::MAX, rules: 1, facts };
        let facts = Facts::Gift { from: "5001".to_owned(), hold: GIFT };
        let purpose = format!("gift: from 5001, hold {GIFT}");
        let event = Event::Declined { entry: credit(), points: 1, available: i64::MAX, purpose };
        TestFramework::<Account>::with(())
            .given(vec![full])
            .when(Command::Credit { entry: credit(), points: 1, rules: 1, facts })
            .then_expect_events(vec![event.clone()]);
        let next = after("5002", &event, derived_id(credit(), 0), 1).expect("a release follows");
        assert_eq!(next.viewer, "5001");
        assert!(matches!(next.command, Command::Release { hold: GIFT, .. }), "{next:?}");
    }

    /// An account whose points are set aside for a gift.
    fn given() -> Vec<Event> {
        let facts = Facts::Manual { note: "n".to_owned(), actor: "a".to_owned() };
        let credited = Event::Credited { entry: Uuid::nil(), points: 40, rules: 1, facts };
        let (purpose, expires_at) = (purpose("5002"), never(at()));
        vec![credited, Event::Held { entry: GIFT, points: 40, purpose, expires_at }]
    }

    #[test]
    fn nobody_ends_the_hold_of_a_gift_but_the_gift() {
        let entries = [entry_id("api:k", "mine"), entry_id("expiry", &GIFT.to_string()), credit()];
        for entry in entries {
            for command in [
                Command::Release { entry, hold: GIFT, reason: "mine".to_owned() },
                Command::Capture { entry, hold: GIFT },
            ] {
                TestFramework::<Account>::with(())
                    .given(given())
                    .when(command)
                    .then_expect_error(Rejection::HoldOfGift { hold: GIFT });
            }
        }
    }

    #[test]
    fn both_ends_of_a_gift_have_the_entry_that_the_account_takes() {
        let facts = Facts::Gift { from: "5001".to_owned(), hold: GIFT };
        let arrived = Event::Credited { entry: credit(), points: 40, rules: 1, facts };
        let purpose = refusal("5001", GIFT);
        let refused = Event::Declined { entry: credit(), points: 40, available: 0, purpose };
        for answer in [arrived, refused] {
            let next = after("5002", &answer, derived_id(credit(), 0), 1).expect("an end follows");
            assert_eq!(next.command.entry(), ending(GIFT));
            let ended = match next.command.clone() {
                Command::Capture { entry, hold } => Event::Captured { entry, hold, points: 40 },
                Command::Release { entry, hold, reason } => {
                    Event::Released { entry, hold, points: 40, reason }
                }
                other => panic!("{other:?}"),
            };
            TestFramework::<Account>::with(())
                .given(given())
                .when(next.command)
                .then_expect_events(vec![ended]);
        }
    }

    #[test]
    fn a_hold_that_only_sounds_like_a_gift_can_be_given_back() {
        let purpose = "gift: a poster".to_owned();
        let held = Event::Held { entry: GIFT, points: 5, purpose, expires_at: at() };
        assert_eq!(after("5001", &held, cause(), 1), None, "nothing follows from it");
        let (entry, reason) = (entry_id("expiry", &GIFT.to_string()), "expired".to_owned());
        TestFramework::<Account>::with(())
            .given(vec![given()[0].clone(), held])
            .when(Command::Release { entry, hold: GIFT, reason: reason.clone() })
            .then_expect_events(vec![Event::Released { entry, hold: GIFT, points: 5, reason }]);
    }

    #[test]
    fn what_is_no_gift_is_left_alone() {
        let held = |purpose: &str| Event::Held {
            entry: GIFT,
            points: 5,
            purpose: purpose.to_owned(),
            expires_at: at(),
        };
        assert_eq!(after("5001", &held("request: ghost"), cause(), 1), None);
        let captured = Event::Captured { entry: GIFT, hold: cause(), points: 5 };
        assert_eq!(after("5001", &captured, cause(), 1), None);
        for odd in ["gift: from 5001", "gift: from 5001, hold x", "gift: from "] {
            let declined =
                Event::Declined { entry: GIFT, points: 5, available: 0, purpose: odd.to_owned() };
            assert_eq!(after("5002", &declined, cause(), 1), None, "{odd}");
        }
        let purpose = refusal("5001", GIFT);
        let lie = Event::Declined { entry: Uuid::nil(), points: 5, available: 0, purpose };
        assert_eq!(
            after("5002", &lie, cause(), 1),
            None,
            "only the gift's own credit speaks for it"
        );
    }
}
