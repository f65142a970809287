//! What is to be done so that Twitch has what we want and nothing else of ours: a pure function of both.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::wanted::Wanted;
use crate::twitch::secrets::Version;

/// A subscription as Twitch lists it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Existing {
    pub id: String,
    pub status: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub version: String,
    #[serde(default)]
    pub condition: BTreeMap<String, serde_json::Value>,
    pub transport: Transport,
    #[serde(default)]
    pub cost: i64,
    #[serde(default)]
    pub created_at: Option<DateTime<Utc>>,
}

/// Where Twitch sends what a subscription is about.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Transport {
    #[serde(default)]
    pub method: String,
    #[serde(default)]
    pub callback: Option<String>,
    #[serde(default)]
    pub session_id: Option<String>,
    #[serde(default)]
    pub conduit_id: Option<String>,
}

/// Where it is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Made with this version of the secret, where there are versions.
    Webhook { callback: String, version: Option<Version> },
    /// With the ids that the session had before Twitch had us reconnect: its subscriptions go on.
    Session { id: String, before: Vec<String> },
    /// Over the shards of this conduit, of this application; and where webhooks of ours would be posted to.
    Conduit { id: String, client_id: String, callback: String },
}

/// How a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Enabled,
    /// Twitch waits for the answer to its challenge.
    Pending,
    /// Nothing comes of it any more.
    Dead,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub keep: Vec<(Wanted, Existing)>,
    /// What is told by a subscription that was made with another secret, until its successor is enabled.
    pub bridges: Vec<(Wanted, Existing)>,
    pub steps: Vec<Step>,
    /// How many were left alone because they are none of ours.
    pub left: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Create(Wanted),
    Delete { id: String, why: Why },
}

/// Why a subscription is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is dead.
    Dead,
    /// Another one says the same.
    Duplicate,
    /// Nobody wants what it is about.
    Orphan,
    /// It sends to where we are not any more.
    Elsewhere,
    /// It was made with another secret, and its successor tells the same.
    Replaced,
}

impl Existing {
    pub fn standing(&self) -> Standing {
        match self.status.as_str() {
            "enabled" => Standing::Enabled,
            "webhook_callback_verification_pending" => Standing::Pending,
            _ => Standing::Dead,
        }
    }

    /// Whether a webhook tells it.
    pub fn is_posted(&self) -> bool {
        self.transport.method == "webhook"
    }

    fn names(&self) -> Wanted {
        let said = |(key, value): (&String, &serde_json::Value)| {
            let value = match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Null => String::new(),
                other => other.to_string(),
            };
            (!value.is_empty()).then(|| (key.clone(), value))
        };
        let condition = self.condition.iter().filter_map(said).collect();
        Wanted { kind: self.kind.clone(), version: self.version.clone(), condition }
    }
}

impl Place {
    pub fn method(&self) -> &'static str {
        match self {
            Place::Webhook { .. } => "webhook",
            Place::Session { .. } => "websocket",
            Place::Conduit { .. } => "conduit",
        }
    }

    /// Where Twitch is to post, with the name of the version that it signs with.
    pub fn address(&self) -> Option<String> {
        match self {
            Place::Webhook { callback, version: None } => Some(callback.clone()),
            Place::Webhook { callback, version: Some(version) } => Some(version.callback(callback)),
            Place::Session { .. } | Place::Conduit { .. } => None,
        }
    }

    /// The name of the version that `existing` was made with, empty where it has none; nothing where it is not ours.
    pub fn version_of<'a>(&self, existing: &'a Existing) -> Option<&'a str> {
        let Place::Webhook { callback: base, .. } = self else { return None };
        version_at(base, existing)
    }

    fn has(&self, existing: &Existing) -> bool {
        let Transport { callback, session_id, conduit_id, .. } = &existing.transport;
        match self {
            Place::Webhook { .. } => callback.is_some() && *callback == self.address(),
            Place::Session { id, before } => {
                session_id.as_ref().is_some_and(|session| session == id || before.contains(session))
            }
            Place::Conduit { id, .. } => conduit_id.as_ref() == Some(id),
        }
    }

    /// Whether what comes of `existing`, which is told in another way, would count beside what is told here.
    fn is_told_beside(&self, existing: &Existing, exclusive: bool) -> bool {
        match (self, existing.transport.method.as_str()) {
            (Place::Conduit { callback, .. }, "webhook") => {
                exclusive || version_at(callback, existing).is_some()
            }
            (Place::Webhook { .. } | Place::Session { .. }, "conduit") => exclusive,
            _ => false,
        }
    }
}

/// The name of the version in the address that `existing` is posted to, empty where it has none; nothing where it is
/// posted elsewhere than to `base`.
pub(super) fn version_at<'a>(base: &str, existing: &'a Existing) -> Option<&'a str> {
    let rest = existing.transport.callback.as_ref()?.strip_prefix(base)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix("?v=") }
}

/// What makes of `existing` what is `wanted` at `place`, with as few calls as can be. What is dead and in the way is
/// deleted before its successor is made, everything else after all is made, so that as little as possible is missed.
///
/// Of those that were made with another secret, one of each is left that is enabled until its successor is enabled as well:
/// both tell the same for a moment ([`crate::twitch::secrets::twins`]).
///
/// With `exclusive`, whatever the application has at another address is deleted too. Dead ones of other WebSocket sessions
/// are left to Twitch, which forgets them within the hour. What a webhook and a conduit both tell would count twice: where a
/// conduit is to tell us, webhooks go before anything is made, those at our own address even where not all is ours, and where
/// anything else is to tell us, with `exclusive`, what conduits tell.
pub fn plan(wanted: &[Wanted], existing: &[Existing], place: &Place, exclusive: bool) -> Plan {
    let mut plan = Plan::default();
    let mut here: BTreeMap<Wanted, Vec<&Existing>> = BTreeMap::new();
    let mut before: BTreeMap<Wanted, Vec<&Existing>> = BTreeMap::new();
    let mut after = Vec::new();
    let mut seen = BTreeSet::new();
    for one in existing {
        // Pages may repeat what was on the page before.
        if !seen.insert(one.id.as_str()) {
            continue;
        }
        let delete = |why| Step::Delete { id: one.id.clone(), why };
        if one.transport.method != place.method() {
            match place.is_told_beside(one, exclusive) {
                true => plan.steps.push(delete(Why::Elsewhere)),
                false => plan.left += 1,
            }
        } else if place.has(one) {
            here.entry(one.names()).or_default().push(one);
        } else if place.version_of(one).is_some() {
            before.entry(one.names()).or_default().push(one);
        } else if !exclusive || (one.standing() == Standing::Dead && place.method() == "websocket")
        {
            plan.left += 1;
        } else {
            after.push(delete(Why::Elsewhere));
        }
    }
    let mut seen_wanted = BTreeSet::new();
    for one in wanted {
        if !seen_wanted.insert(one) {
            continue;
        }
        let mut found = here.remove(one).unwrap_or_default();
        found.sort_by_key(|existing| (existing.standing(), existing.created_at));
        let mut found = found.into_iter().peekable();
        let kept = found.next_if(|first| first.standing() != Standing::Dead);
        for rest in found {
            let why = match rest.standing() {
                Standing::Dead => Why::Dead,
                _ => Why::Duplicate,
            };
            let step = Step::Delete { id: rest.id.clone(), why };
            if kept.is_some() { after.push(step) } else { plan.steps.push(step) }
        }
        let is_told = kept.is_some_and(|kept| kept.standing() == Standing::Enabled);
        let mut former = before.remove(one).unwrap_or_default();
        former.sort_by_key(|existing| (existing.standing(), Reverse(existing.created_at)));
        for (n, old) in former.into_iter().enumerate() {
            let step = Step::Delete { id: old.id.clone(), why: Why::Replaced };
            match old.standing() {
                _ if is_told => after.push(step),
                Standing::Enabled if n == 0 => plan.bridges.push((one.clone(), old.clone())),
                // Twitch takes three of a kind at most.
                _ => plan.steps.push(step),
            }
        }
        match kept {
            Some(kept) => plan.keep.push((one.clone(), kept.clone())),
            None => plan.steps.push(Step::Create(one.clone())),
        }
    }
    for orphan in here.into_values().chain(before.into_values()).flatten() {
        after.push(Step::Delete { id: orphan.id.clone(), why: Why::Orphan });
    }
    plan.steps.extend(after);
    plan
}

#[cfg(test)]
mod tests;
