//! From a batch of commands to what is to be recorded. Nothing here writes.

use std::collections::{HashMap, HashSet};

use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::aggregates::{Decided, NewEvent};
use crate::cache::{Cache, Key};
use crate::command::Envelope;
use crate::inbox::Incoming;
use crate::outcome::{Decision, Outcome};

/// Commands to this aggregate are kept as dead letters with the reason they carry: notifications that this version
/// does not know, which a later one may.
const KEPT: &str = "notification";

/// What became of one command, not recorded yet.
pub(crate) struct Ruling {
    pub(crate) id: Uuid,
    pub(crate) decision: Decision,
    pub(crate) reason: Option<String>,
    pub(crate) events: Vec<NewEvent>,
    /// The sequence in its aggregate of the first of `events`.
    pub(crate) first_sequence: i64,
    pub(crate) key: Key,
    pub(crate) metadata: String,
    /// Where in the batch its command is.
    pub(crate) index: usize,
    pub(crate) retry_of: Option<i64>,
}

/// The outcomes that are recorded already, of all that `batch` names.
pub(crate) async fn known(
    pool: &PgPool,
    batch: &[Incoming],
) -> sqlx::Result<HashMap<Uuid, Outcome>> {
    let ids: Vec<Uuid> = batch.iter().map(|incoming| incoming.id).collect();
    let rows = sqlx::query(
        "SELECT command_id, outcome, reason, first_position, events, aggregate_type, aggregate_id, decided_at
         FROM command_outcomes WHERE command_id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let outcome = Outcome {
                command_id: row.try_get(0)?,
                decision: Decision::from_name(row.try_get(1)?),
                reason: row.try_get(2)?,
                first_position: row.try_get(3)?,
                events: row.try_get(4)?,
                event_types: Vec::new(),
                aggregate_type: row.try_get(5)?,
                aggregate_id: row.try_get(6)?,
                decided_at: row.try_get(7)?,
            };
            Ok((outcome.command_id, outcome))
        })
        .collect()
}

/// Decides, in order, the commands of `batch` at `fresh`, each once: a second one of the same id is left out.
/// The aggregates must have been loaded; after this the cache is ahead of the database. Gives the rulings and how much
/// of the batch they are about: less than all where an aggregate broke and has to be loaded again.
pub(crate) fn decide(
    cache: &mut Cache,
    batch: &[Incoming],
    fresh: &[usize],
) -> (Vec<Ruling>, usize) {
    let mut seen = HashSet::with_capacity(fresh.len());
    let mut rulings = Vec::with_capacity(fresh.len());
    for &index in fresh {
        if !seen.insert(batch[index].id) {
            continue;
        }
        let (ruling, broken) = rule(cache, &batch[index], index);
        if broken {
            cache.forget(&ruling.key);
        }
        rulings.push(ruling);
        if broken {
            return (rulings, index + 1);
        }
    }
    (rulings, batch.len())
}

/// The ruling, and whether it broke its aggregate.
fn rule(cache: &mut Cache, incoming: &Incoming, index: usize) -> (Ruling, bool) {
    let mut ruling = Ruling {
        id: incoming.id,
        decision: Decision::Dead,
        reason: None,
        events: Vec::new(),
        first_sequence: 0,
        key: ("unreadable".to_owned(), incoming.sequence.to_string()),
        metadata: String::new(),
        index,
        retry_of: None,
    };
    let envelope = match &incoming.envelope {
        Ok(envelope) => envelope,
        Err(reason) => {
            ruling.reason = Some(reason.clone());
            return (ruling, false);
        }
    };
    ruling.key = key(envelope);
    ruling.retry_of = envelope.retry_of;
    let mut broken = false;
    let undecidable = |reason: String| (Decision::Dead, Some(reason), Vec::new());
    let (decision, reason, events) = if envelope.aggregate_type == KEPT {
        undecidable(kept_reason(envelope))
    } else if cache.kind(&envelope.aggregate_type).is_none() {
        undecidable(format!("there is no aggregate {:?}", envelope.aggregate_type))
    } else if let Some(state) = cache.state(&ruling.key) {
        ruling.first_sequence = state.sequence() + 1;
        match state.decide(envelope.id, envelope.command.get()) {
            Decided::Accepted(events) => (Decision::Accepted, None, events),
            Decided::Rejected(reason) => (Decision::Rejected, Some(reason), Vec::new()),
            Decided::Undecidable(reason) => undecidable(reason),
            Decided::Broken(reason) => {
                broken = true;
                undecidable(reason)
            }
        }
    } else {
        undecidable(
            "its aggregate's events cannot be read, or an earlier command broke it".to_owned(),
        )
    };
    (ruling.decision, ruling.reason, ruling.events) = (decision, reason, events);
    if !ruling.events.is_empty() {
        ruling.metadata = metadata(envelope);
    }
    (ruling, broken)
}

pub(crate) fn key(envelope: &Envelope) -> Key {
    (envelope.aggregate_type.clone(), envelope.aggregate_id.clone())
}

fn kept_reason(envelope: &Envelope) -> String {
    let command: Option<serde_json::Value> = serde_json::from_str(envelope.command.get()).ok();
    let reason = command.as_ref().and_then(|command| command["keep"]["reason"].as_str());
    reason.unwrap_or("kept without a reason").to_owned()
}

/// What is stored beside each event: all values are strings, as postgres-es has it.
fn metadata(envelope: &Envelope) -> String {
    let origin = &envelope.origin;
    let received_at = origin.received_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let correlation = envelope.correlation.to_string();
    let causation = envelope.causation.map(|id| id.to_string());
    let fields = [
        ("actor", origin.actor.as_deref()),
        ("causation", causation.as_deref()),
        ("correlation", Some(correlation.as_str())),
        ("received_at", Some(received_at.as_str())),
        ("source", Some(origin.source.as_str())),
        ("source_id", Some(origin.source_id.as_str())),
        ("traceparent", envelope.traceparent.as_deref()),
    ];
    let mut json = String::with_capacity(256);
    json.push('{');
    for (name, value) in fields {
        let Some(value) = value else { continue };
        if json.len() > 1 {
            json.push(',');
        }
        // Serialising a string cannot fail.
        let value = serde_json::to_string(value).unwrap_or_default();
        json.push_str(&format!("\"{name}\":{value}"));
    }
    json.push('}');
    json
}
