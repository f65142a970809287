//! Taking a grant back: every credit of it once, as far as its points are still there.

use std::collections::HashMap;

use chrono::Utc;
use domain::account::{Command, Event};
use domain::entry_id;
use journal::{Decision, Envelope, Origin, Outcome};
use projections::grants::{self, Credit};
use projections::{Page, balances};
use uuid::Uuid;

use super::sender::{PART, Sender, envelope};
use super::{Became, GrantError, LineDone};

/// What is taken back, and why.
#[derive(Clone, Debug)]
pub struct Undo {
    pub grant: Uuid,
    /// Names this try: trying again later, when the points are there, is another one.
    pub attempt: String,
    pub note: String,
    pub actor: String,
}

impl Sender {
    /// Reverses every credit of `grant` that is not reversed yet, and shows each. Whoever has spent the points keeps
    /// the credit, whole, and is shown as refused. No credit is ever reversed twice.
    pub async fn undo(
        &self,
        reversal: &Undo,
        mut done: impl FnMut(LineDone),
    ) -> Result<(), GrantError> {
        let grant = reversal.grant;
        let mut after = String::new();
        loop {
            let part = self.next_part(grant, &mut after).await?;
            if part.is_empty() {
                return Ok(());
            }
            let (mut asked, mut envelopes) = (Vec::new(), Vec::new());
            for credit in part {
                match credit.undone {
                    Some(position) => done(credit_done(&credit, Became::Before { position })),
                    None => {
                        envelopes.push(reversal.envelope(&credit)?);
                        asked.push(credit);
                    }
                }
            }
            let outcomes = self.ask_all(envelopes).await?;
            for (credit, became) in asked.iter().zip(self.read(outcomes).await?) {
                done(credit_done(credit, became));
            }
        }
    }

    /// The credits after `after`, which moves on to the last of them: at least [`PART`], if there are as many.
    async fn next_part(&self, grant: Uuid, after: &mut String) -> Result<Vec<Credit>, GrantError> {
        let mut part = Vec::new();
        while part.len() < PART {
            let page = grants::credits(&self.pool, grant, after, Page::LIMIT_MAX).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.viewer);
            part.extend(page);
        }
        Ok(part)
    }

    /// What [`undo`](Self::undo) would do.
    pub async fn preview_undo(
        &self,
        grant: Uuid,
        mut done: impl FnMut(LineDone),
    ) -> Result<(), GrantError> {
        let mut after = String::new();
        loop {
            let page = grants::credits(&self.pool, grant, &after, Page::LIMIT_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.viewer);
            let viewers: Vec<&str> = page.iter().map(|credit| credit.viewer.as_str()).collect();
            let (_, rows) = balances::of_many(&self.pool, &viewers).await?;
            let available: HashMap<&str, i64> =
                rows.iter().map(|(viewer, sums)| (viewer.as_str(), sums.available)).collect();
            for credit in &page {
                let available = available.get(credit.viewer.as_str()).copied().unwrap_or(0);
                let became = match credit.undone {
                    Some(position) => Became::Before { position },
                    None if available < credit.points => spent(available),
                    None => {
                        let after = available - credit.points;
                        Became::Would { available, after, unseen: false }
                    }
                };
                done(credit_done(credit, became));
            }
        }
    }

    /// What became of each reversal, in their order.
    async fn read(&self, outcomes: Vec<Option<Outcome>>) -> Result<Vec<Became>, GrantError> {
        let positions: Vec<i64> =
            outcomes.iter().flatten().filter_map(Outcome::last_position).collect();
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT position, payload::text FROM events WHERE position = ANY($1)")
                .bind(positions)
                .fetch_all(&self.pool)
                .await?;
        let events: HashMap<i64, Event> = rows
            .into_iter()
            .filter_map(|(position, payload)| {
                Some((position, serde_json::from_str(&payload).ok()?))
            })
            .collect();
        Ok(outcomes.into_iter().map(|outcome| became(outcome, &events)).collect())
    }
}

impl Undo {
    fn envelope(&self, credit: &Credit) -> Result<Envelope, GrantError> {
        let command = Command::Reverse {
            entry: entry_id("grant undo", &format!("{}:{}", credit.entry, self.attempt)),
            reverses: credit.entry,
            points: -credit.points,
            note: self.note.clone(),
            actor: self.actor.clone(),
        };
        let origin = Origin {
            source: "grant".to_owned(),
            source_id: format!("undo {}:{}", self.grant, credit.viewer),
            actor: Some(self.actor.clone()),
            received_at: Utc::now(),
            raw: None,
        };
        envelope(&credit.viewer, &command, origin, self.grant)
    }
}

fn became(outcome: Option<Outcome>, events: &HashMap<i64, Event>) -> Became {
    let Some(outcome) = outcome else { return Became::Pending };
    let accepted = outcome.decision == Decision::Accepted;
    let Some(position) = outcome.last_position().filter(|_| accepted) else {
        let reason = outcome.reason.unwrap_or_default();
        return match reason.contains("was reversed before") {
            true => Became::Before { position: 0 },
            false => Became::Refused { reason },
        };
    };
    match events.get(&position) {
        Some(Event::Declined { available, .. }) => spent(*available),
        _ if outcome.event_types.is_empty() => Became::Before { position },
        _ => Became::Done { position },
    }
}

fn spent(available: i64) -> Became {
    let reason = format!("spent: only {available} points are left, so nothing is taken back");
    Became::Refused { reason }
}

fn credit_done(credit: &Credit, became: Became) -> LineDone {
    let (viewer, points) = (credit.viewer.clone(), -credit.points);
    LineDone { viewer, points, line: None, became }
}
