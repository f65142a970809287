//! A viewer's points. The aggregate id is the viewer's Twitch user id.
//!
//! Available points can be spent; held points are set aside for something not yet delivered; total is both.
//! At all times `credits = available + held + captured - reversed` and `available >= 0`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::giving;
use crate::identity::{Identified, Recent};
use crate::rules::Tier;

/// What to do to an account. `entry` names the command and the ledger entry it makes; see [`Identified`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Give points for `facts`, under version `rules` of the earn rules.
    Credit { entry: Uuid, points: i64, rules: u32, facts: Facts },
    /// Set points aside; the entry is the hold's id. Too few available points give `Declined`.
    Hold { entry: Uuid, points: i64, purpose: String, expires_at: DateTime<Utc> },
    /// Spend a hold. That of a gift ends only with the entry that follows from the gift ([`giving::ending`]).
    Capture { entry: Uuid, hold: Uuid },
    /// Give a hold back. That of a gift ends only with the entry that follows from the gift ([`giving::ending`]).
    Release { entry: Uuid, hold: Uuid, reason: String },
    /// Undo an earlier entry. `points` is the change to make: minus what was credited, plus what was captured.
    ///
    /// That an entry is undone once is held for all entries; that it exists and moved that many points only for the
    /// last ones ([`Recent`]), since an account does not remember all of its entries. Who sends this looks the older
    /// ones up in the journal first, as the API does. Nothing is opened by that: who may send commands to an account
    /// may as well credit it. What was reversed wrongly is named by `tapedeck audit`, whose check `reversals` compares
    /// every reversal with the entry it names.
    Reverse { entry: Uuid, reverses: Uuid, points: i64, note: String, actor: String },
}

/// What happened to an account. The names and shapes are the stored format: they never change, they are added to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Credited {
        entry: Uuid,
        points: i64,
        rules: u32,
        facts: Facts,
    },
    Held {
        entry: Uuid,
        points: i64,
        purpose: String,
        expires_at: DateTime<Utc>,
    },
    /// A hold or a reversal was refused because `available` points were fewer than `points`; or a gift, because the sum
    /// would not fit the ledger's range.
    Declined {
        entry: Uuid,
        points: i64,
        available: i64,
        purpose: String,
    },
    Captured {
        entry: Uuid,
        hold: Uuid,
        points: i64,
    },
    Released {
        entry: Uuid,
        hold: Uuid,
        points: i64,
        reason: String,
    },
    /// `points` is the signed change of available points.
    Reversed {
        entry: Uuid,
        reverses: Uuid,
        points: i64,
        note: String,
        actor: String,
    },
}

/// Why points were given, as it happened. Never a display name, never a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Facts {
    Cheer {
        bits: i64,
        message: String,
    },
    /// A first subscription; `gift` when somebody else paid for it.
    Subscription {
        tier: Tier,
        gift: bool,
    },
    Resubscription {
        tier: Tier,
        months: i64,
        streak: Option<i64>,
        message: String,
    },
    /// Subscriptions given to others; `total` is the gifter's count in this channel so far.
    GiftSubs {
        tier: Tier,
        count: i64,
        total: Option<i64>,
    },
    Reward {
        redemption: String,
        reward: String,
        title: String,
        cost: i64,
    },
    Manual {
        note: String,
        actor: String,
    },
    /// One credit of many that were given at once, and can be taken back at once.
    Grant {
        grant: Uuid,
        note: String,
        actor: String,
    },
    /// What the viewer had at another bot: its name, the SHA-256 of the file, and the line there. All that came with one
    /// file is one grant.
    Import {
        grant: Uuid,
        source: String,
        file: String,
        line: i64,
    },
    /// Points that another viewer gave away; `hold` is where they were set aside on the account of `from`.
    Gift {
        from: String,
        hold: Uuid,
    },
}

/// Why a command was refused. The refusal is recorded as the command's outcome.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("points must be {wanted}, and {points} is not")]
    BadPoints { points: i64, wanted: String },
    #[error("the sum would not fit the ledger's range")]
    OutOfRange,
    #[error("there is no open hold {hold} on this account")]
    NotHeld { hold: Uuid },
    #[error("hold {hold} is a gift on its way, and ends with it")]
    HoldOfGift { hold: Uuid },
    #[error("entry {reverses} was reversed before")]
    AlreadyReversed { reverses: Uuid },
    #[error(
        "entry {reverses} moved {recorded} points, so its reversal moves {expected}, not {points}"
    )]
    NotTheSamePoints { reverses: Uuid, recorded: i64, expected: i64, points: i64 },
}

/// The sums and the open holds of one viewer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub credits: i64,
    pub available: i64,
    pub held: i64,
    pub captured: i64,
    /// The signed sum of reversals: minus for credits taken back, plus for captures refunded.
    pub reversed: i64,
    pub holds: BTreeMap<Uuid, Hold>,
    recent: Recent<Moved>,
    undone: BTreeSet<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    pub points: i64,
    pub purpose: String,
    pub expires_at: DateTime<Utc>,
}

/// What an entry did, as far as a reversal needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Moved {
    /// May be reversed: credited (plus) or captured (minus).
    Points(i64),
    Settled,
}

impl Moved {
    fn reversible(self) -> i64 {
        match self {
            Moved::Points(points) => points,
            Moved::Settled => 0,
        }
    }
}

impl Account {
    /// What the viewer owns: available and held.
    pub fn total(&self) -> i64 {
        self.available + self.held
    }

    /// Whether the sums agree with each other; the audit asks this at every position it proves.
    pub fn balanced(&self) -> bool {
        let wide = i128::from;
        let open: i128 = self.holds.values().map(|hold| wide(hold.points)).sum();
        self.available >= 0
            && wide(self.held) == open
            && wide(self.credits)
                == wide(self.available) + open + wide(self.captured) - wide(self.reversed)
    }

    fn decide(&self, command: Command) -> Result<Option<Event>, Rejection> {
        if self.recent.contains(command.entry()) {
            return Ok(None);
        }
        match command {
            Command::Credit { entry, points, rules, facts } => {
                require(points >= 0, points, "zero or more")?;
                if !self.has_room_for(points) {
                    return self.decline_credit(entry, points, &facts).map(Some);
                }
                Ok(Some(Event::Credited { entry, points, rules, facts }))
            }
            Command::Hold { entry, points, purpose, expires_at } => {
                require(points > 0, points, "more than zero")?;
                if points > self.available {
                    let available = self.available;
                    return Ok(Some(Event::Declined { entry, points, available, purpose }));
                }
                Ok(Some(Event::Held { entry, points, purpose, expires_at }))
            }
            Command::Capture { entry, hold } => {
                let points = self.ended_hold(hold, entry)?.points;
                self.captured.checked_add(points).ok_or(Rejection::OutOfRange)?;
                Ok(Some(Event::Captured { entry, hold, points }))
            }
            Command::Release { entry, hold, reason } => {
                let points = self.ended_hold(hold, entry)?.points;
                Ok(Some(Event::Released { entry, hold, points, reason }))
            }
            Command::Reverse { entry, reverses, points, note, actor } => {
                self.decide_reversal(entry, reverses, points, note, actor)
            }
        }
    }

    fn decide_reversal(
        &self,
        entry: Uuid,
        reverses: Uuid,
        points: i64,
        note: String,
        actor: String,
    ) -> Result<Option<Event>, Rejection> {
        let possible = points != 0 && points != i64::MIN;
        require(possible, points, "the opposite of what the entry moved")?;
        if self.undone.contains(&reverses) {
            return Err(Rejection::AlreadyReversed { reverses });
        }
        if let Some(moved) = self.recent.get(reverses).copied() {
            let recorded = moved.reversible();
            if recorded != -points {
                let expected = -recorded;
                return Err(Rejection::NotTheSamePoints { reverses, recorded, expected, points });
            }
        }
        self.total().checked_add(points).ok_or(Rejection::OutOfRange)?;
        let after = self.available.checked_add(points).ok_or(Rejection::OutOfRange)?;
        self.reversed.checked_add(points).ok_or(Rejection::OutOfRange)?;
        if after < 0 {
            let (points, available) = (-points, self.available);
            return Ok(Some(Event::Declined { entry, points, available, purpose: note }));
        }
        Ok(Some(Event::Reversed { entry, reverses, points, note, actor }))
    }

    fn has_room_for(&self, points: i64) -> bool {
        let sums = [self.credits, self.total()];
        sums.into_iter().all(|sum| sum.checked_add(points).is_some())
    }

    /// Somebody waits for a gift to arrive, to whom its refusal has to be told.
    fn decline_credit(&self, entry: Uuid, points: i64, facts: &Facts) -> Result<Event, Rejection> {
        let Facts::Gift { from, hold } = facts else { return Err(Rejection::OutOfRange) };
        let (available, purpose) = (self.available, giving::refusal(from, *hold));
        Ok(Event::Declined { entry, points, available, purpose })
    }

    /// The open hold that `entry` is to end. Whoever could end the hold of a gift by another entry, also before it is
    /// decided, would have the points back that the receiver gets.
    fn ended_hold(&self, hold: Uuid, entry: Uuid) -> Result<&Hold, Rejection> {
        let open = self.holds.get(&hold).ok_or(Rejection::NotHeld { hold })?;
        if giving::is_gift(&open.purpose) && entry != giving::ending(hold) {
            return Err(Rejection::HoldOfGift { hold });
        }
        Ok(open)
    }
}

fn require(holds: bool, points: i64, wanted: &str) -> Result<(), Rejection> {
    if holds { Ok(()) } else { Err(Rejection::BadPoints { points, wanted: wanted.to_owned() }) }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Credited { entry, points, .. } => {
                self.credits += points;
                self.available += points;
                self.recent.push(entry, Moved::Points(points));
            }
            Event::Held { entry, points, purpose, expires_at } => {
                self.available -= points;
                self.held += points;
                self.holds.insert(entry, Hold { points, purpose, expires_at });
                self.recent.push(entry, Moved::Settled);
            }
            Event::Declined { entry, .. } => self.recent.push(entry, Moved::Settled),
            Event::Captured { entry, hold, points } => {
                self.holds.remove(&hold);
                self.held -= points;
                self.captured += points;
                self.recent.push(entry, Moved::Points(-points));
            }
            Event::Released { entry, hold, points, .. } => {
                self.holds.remove(&hold);
                self.held -= points;
                self.available += points;
                self.recent.push(entry, Moved::Settled);
            }
            Event::Reversed { entry, reverses, points, .. } => {
                self.available += points;
                self.reversed += points;
                self.undone.insert(reverses);
                self.recent.push(entry, Moved::Settled);
            }
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Event::Credited { .. } => "credited",
            Event::Held { .. } => "held",
            Event::Declined { .. } => "declined",
            Event::Captured { .. } => "captured",
            Event::Released { .. } => "released",
            Event::Reversed { .. } => "reversed",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl Identified for Command {
    fn entry(&self) -> Uuid {
        match self {
            Command::Credit { entry, .. }
            | Command::Hold { entry, .. }
            | Command::Capture { entry, .. }
            | Command::Release { entry, .. }
            | Command::Reverse { entry, .. } => *entry,
        }
    }
}

#[cfg(test)]
mod tests;
