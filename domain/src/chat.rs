//! What is asked in chat with an exclamation mark. The aggregate id is the broadcaster's.
//!
//! A line of chat is nothing that happened to us: only a line that asks for something becomes a command here, and only
//! one that is answered becomes an event. Who asks again too soon, or may not, is refused, and gets no answer: a bot that
//! answers everything can be made to flood a chat.
//!
//! ```text
//! line ─▶ [`grammar`] ─▶ ask ─▶ asked ─▶ process redemption (a wish), process giving (a gift)
//!                                    └─▶ a reply, at once or when that has ended
//! ```

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::identity::{Identified, Recent, derived_id, entry_id};

pub mod ending;
pub mod grammar;
mod request;
pub mod settings;

pub use ending::Ending;
pub use grammar::Wanted;
pub use request::{NoGift, Request};
pub use settings::{Role, Settings, Terms};

/// How long it is remembered that somebody asked; no cooldown is longer.
pub const COOLDOWN_MAX_S: i64 = 3_600;

/// How many names of requests are remembered with when they were last answered.
const NAMES_MAX: usize = 256;
/// How many of the last answers are remembered with whom they were for.
const ANSWERED_MAX: usize = 512;

/// The id of the command that the line `line` is, whoever delivers it and however often.
pub fn ask_id(line: &str) -> Uuid {
    entry_id("chat", line)
}

/// What ends later than it is asked, in an event with the id `cause`: the id of the request for a picture, or of the
/// hold of a gift.
pub fn awaited(request: &Request, cause: Uuid) -> Option<Uuid> {
    let entry = derived_id(cause, 0);
    match request {
        Request::Wish { .. } => Some(crate::redemption::request_id(entry)),
        Request::Give { .. } => Some(entry),
        _ => None,
    }
}

/// What to do about a line of chat. `entry` names the command; see [`Identified`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// `viewer`, as a `role`, asks for `request` in the line `line`, under `terms` of version `settings`.
    Ask {
        entry: Uuid,
        line: String,
        viewer: String,
        role: Role,
        request: Request,
        terms: Terms,
        settings: u32,
        at: DateTime<Utc>,
    },
}

/// What was asked and is answered. The names and shapes are the stored format: they never change, they are added to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Asked {
        entry: Uuid,
        line: String,
        viewer: String,
        request: Request,
        settings: u32,
        at: DateTime<Utc>,
    },
}

/// Why a line is not answered. The refusal is recorded as the command's outcome.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("{name} is for more than everyone")]
    NotAllowed { name: String },
    #[error("{name} was asked for less than {cooldown_s} seconds ago")]
    CoolingDown { name: String, cooldown_s: u32 },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    /// When each was last answered, whoever asked.
    last: BTreeMap<String, DateTime<Utc>>,
    /// The last answers, oldest first.
    answered: VecDeque<Answered>,
    recent: Recent<()>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Answered {
    viewer: String,
    name: String,
    at: DateTime<Utc>,
}

impl Chat {
    fn decide(&self, command: Command) -> Result<Option<Event>, Rejection> {
        let Command::Ask { entry, line, viewer, role, request, terms, settings, at } = command;
        if self.recent.contains(entry) {
            return Ok(None);
        }
        let name = request.rests_as().to_owned();
        if role < terms.who {
            return Err(Rejection::NotAllowed { name });
        }
        // Who can mute the bot need not wait for it.
        if role < Role::Moderator {
            self.cooled_down(&name, &viewer, &terms, at)?;
        }
        Ok(Some(Event::Asked { entry, line, viewer, request, settings, at }))
    }

    fn cooled_down(
        &self,
        name: &str,
        viewer: &str,
        terms: &Terms,
        at: DateTime<Utc>,
    ) -> Result<(), Rejection> {
        // Lines come in no order: one that is late was asked as soon before as another after.
        let too_soon = |last: &DateTime<Utc>, cooldown_s: u32| {
            (at - last).abs() < TimeDelta::seconds(i64::from(cooldown_s).min(COOLDOWN_MAX_S))
        };
        let refused =
            |cooldown_s| Err(Rejection::CoolingDown { name: name.to_owned(), cooldown_s });
        if self.last.get(name).is_some_and(|last| too_soon(last, terms.cooldown_s)) {
            return refused(terms.cooldown_s);
        }
        let mut theirs = self.answered.iter().rev();
        let cooldown_s = terms.viewer_cooldown_s;
        let is_too_soon = |answered: &Answered| {
            answered.viewer == viewer && answered.name == name && too_soon(&answered.at, cooldown_s)
        };
        if theirs.any(is_too_soon) { refused(cooldown_s) } else { Ok(()) }
    }

    fn remember(&mut self, viewer: String, name: String, at: DateTime<Utc>) {
        let last = self.last.entry(name.clone()).or_insert(at);
        *last = at.max(*last);
        if self.last.len() > NAMES_MAX {
            let oldest = self.last.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.last.remove(&oldest));
        }
        let long_ago = at - TimeDelta::seconds(COOLDOWN_MAX_S);
        while self.answered.len() >= ANSWERED_MAX
            || self.answered.front().is_some_and(|first| first.at < long_ago)
        {
            self.answered.pop_front();
        }
        self.answered.push_back(Answered { viewer, name, at });
    }
}

impl Aggregate for Chat {
    const TYPE: &'static str = "chat";
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
        let Event::Asked { entry, viewer, request, at, .. } = event;
        self.recent.push(entry, ());
        self.remember(viewer, request.rests_as().to_owned(), at);
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Event::Asked { .. } => "asked",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl Identified for Command {
    fn entry(&self) -> Uuid {
        let Command::Ask { entry, .. } = self;
        *entry
    }
}

#[cfg(test)]
mod tests;
