//! What a list changes in the catalogue, and sending it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use domain::entry_id;
use domain::tape::{Card, Command, Provenance, Tape};
use futures::{StreamExt, TryStreamExt};
use journal::ingest::Publisher;
use journal::replies::Replies;
use journal::{Decision, Envelope, Origin};
use serde::Serialize;
use uuid::Uuid;

use super::list::Entry;
use super::thumbnails::{self, Thumbnail};
use crate::grants::Wrong;
use crate::pictures::Pictures;

/// How long a command may take to be decided.
const DECISION_LIMIT: Duration = Duration::from_secs(10);
/// How many commands wait for their outcome at one time.
const AT_ONCE: usize = 128;

/// A list that was understood, with its pictures looked at.
pub struct Understood {
    entries: Vec<Entry>,
    thumbnails: HashMap<String, Thumbnail>,
}

/// What becomes of one tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Becomes {
    New,
    Changed,
    Same,
    /// It is in the catalogue and not in the list.
    Withdrawn,
}

/// A tape of the list, or of the catalogue, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub id: String,
    pub becomes: Becomes,
    /// What it is in the list; what it was, where it is not there.
    pub card: Card,
    /// Which parts of the card change.
    pub fields: Vec<&'static str>,
    #[serde(skip)]
    line: usize,
}

/// Where the list comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's name.
    pub name: String,
    /// SHA-256 of it.
    pub file: String,
    pub actor: String,
    /// What is done by this import is named after it.
    pub import: Uuid,
    pub at: DateTime<Utc>,
}

impl Understood {
    /// Looks at the pictures of a list, which stand beside it in `folder`. `without` leaves them out.
    pub fn new(mut entries: Vec<Entry>, folder: &Path, without: bool) -> Result<Self, Wrong> {
        let mut wrong = Wrong::default();
        let mut thumbnails: HashMap<String, Thumbnail> = HashMap::new();
        for entry in entries.iter_mut().filter(|_| !without) {
            let Some(file) = entry.thumbnail.take() else { continue };
            match thumbnails::look_at(folder, &file) {
                Err(reason) => wrong.add(entry.line, reason),
                Ok(thumbnail) => {
                    entry.card.thumbnail = Some(thumbnail.name.clone());
                    thumbnails.insert(thumbnail.name.clone(), thumbnail);
                }
            }
        }
        if wrong.total == 0 { Ok(Understood { entries, thumbnails }) } else { Err(wrong) }
    }

    /// What it changes, beside what is `known`. With `all` it is the whole catalogue: what it lacks is withdrawn. Where
    /// pictures were left out, those that are known stay.
    pub fn changes(
        &self,
        known: Vec<(String, Card)>,
        all: bool,
        keep_pictures: bool,
    ) -> Vec<Change> {
        let mut known: BTreeMap<String, Card> = known.into_iter().collect();
        let mut changes: Vec<Change> = Vec::with_capacity(self.entries.len());
        for Entry { line, id, card, .. } in &self.entries {
            let (id, line, mut card) = (id.clone(), *line, card.clone());
            let before = known.remove(&id);
            if let (true, Some(before)) = (keep_pictures, &before) {
                card.thumbnail.clone_from(&before.thumbnail);
            }
            let fields = before.as_ref().map(|before| differences(before, &card));
            let becomes = match &fields {
                None => Becomes::New,
                Some(fields) if fields.is_empty() => Becomes::Same,
                Some(_) => Becomes::Changed,
            };
            changes.push(Change { id, becomes, card, fields: fields.unwrap_or_default(), line });
        }
        if all {
            changes.extend(known.into_iter().map(|(id, card)| Change {
                id,
                becomes: Becomes::Withdrawn,
                card,
                fields: Vec::new(),
                line: 0,
            }));
        }
        changes
    }

    /// Keeps the pictures, then sends what changes; gives the last position. What was sent before it failed is done, and
    /// importing again does the rest.
    pub async fn carry_out(
        &self,
        changes: &[Change],
        source: &Source,
        pictures: &Pictures,
        (publisher, replies): (&Publisher, &Replies),
    ) -> anyhow::Result<i64> {
        let moving: Vec<&Change> =
            changes.iter().filter(|change| change.becomes != Becomes::Same).collect();
        for change in &moving {
            let Some(name) = &change.card.thumbnail else { continue };
            if let Some(thumbnail) = self.thumbnails.get(name) {
                thumbnail.keep(pictures).await.with_context(|| format!("tape {}", change.id))?;
            }
        }
        let sent = moving.iter().map(|change| send(change, source, publisher, replies));
        let positions: Vec<i64> =
            futures::stream::iter(sent).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(positions.into_iter().max().unwrap_or_default())
    }
}

async fn send(
    change: &Change,
    source: &Source,
    publisher: &Publisher,
    replies: &Replies,
) -> anyhow::Result<i64> {
    let Source { name, file, actor, import, at } = source.clone();
    let entry = entry_id("tapes import", &format!("{import}:{}", change.id));
    let command = match change.becomes {
        Becomes::Withdrawn => Command::Withdraw { entry, actor: actor.clone(), at },
        _ => {
            let line = i64::try_from(change.line)?;
            let from = Provenance { source: name, file, line, actor: actor.clone() };
            Command::Catalogue { entry, card: change.card.clone(), from, at }
        }
    };
    let origin = Origin {
        source: "cli".to_owned(),
        source_id: entry.to_string(),
        actor: Some(actor),
        received_at: at,
        raw: None,
    };
    let envelope = Envelope::new::<Tape>(&change.id, &command, origin)?;
    let asked = replies.ask(publisher, envelope, DECISION_LIMIT);
    let asked = tokio::time::timeout(2 * DECISION_LIMIT, asked).await;
    let outcome = asked.context("the broker does not answer")??;
    let outcome = outcome.with_context(|| format!("tape {}: sent, and not decided", change.id))?;
    match outcome.decision {
        Decision::Accepted => Ok(outcome.last_position().unwrap_or_default()),
        _ => bail!("tape {}: {}", change.id, outcome.reason.unwrap_or_default()),
    }
}

fn differences(before: &Card, after: &Card) -> Vec<&'static str> {
    [
        ("title", before.title != after.title),
        ("year", before.year != after.year),
        ("runtime", before.runtime_s != after.runtime_s),
        ("tags", before.tags != after.tags),
        ("colour", before.colour != after.colour),
        ("series", before.series != after.series),
        ("contributor", before.contributor != after.contributor),
        ("thumbnail", before.thumbnail != after.thumbnail),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
