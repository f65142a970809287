//! Taking a grant back: every credit of it once, as far as its points are still there.

use std::collections::HashMap;

use chrono::Utc;
use domain::account::{Command, Event};
use domain::entry_id;
use futures::StreamExt;
use journal::{Decision, Origin, Outcome};
use projections::grants::{self, Credit};
use projections::{Page, balances};
use uuid::Uuid;

use super::sender::{Sender, envelope};
use super::{Became, GrantError, LineDone};

/// How many commands wait for their outcomes at once.
const ASKED_MAX: usize = 250;

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
            let page = grants::credits(&self.pool, grant, &after, Page::LIMIT_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.viewer);
            let asked = page.into_iter().map(|credit| {
                let (sender, reversal) = (self.clone(), reversal.clone());
                async move {
                    let became = sender.reverse(&reversal, &credit).await;
                    (credit, became)
                }
            });
            let mut asked = futures::stream::iter(asked).buffer_unordered(ASKED_MAX);
            while let Some((credit, became)) = asked.next().await {
                done(credit_done(&credit, became?));
            }
        }
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

    async fn reverse(&self, undo: &Undo, credit: &Credit) -> Result<Became, GrantError> {
        if let Some(position) = credit.undone {
            return Ok(Became::Before { position });
        }
        let command = Command::Reverse {
            entry: entry_id("grant undo", &format!("{}:{}", credit.entry, undo.attempt)),
            reverses: credit.entry,
            points: -credit.points,
            note: undo.note.clone(),
            actor: undo.actor.clone(),
        };
        let origin = Origin {
            source: "grant".to_owned(),
            source_id: format!("undo {}:{}", undo.grant, credit.viewer),
            actor: Some(undo.actor.clone()),
            received_at: Utc::now(),
            raw: None,
        };
        let envelope = envelope(&credit.viewer, &command, origin, undo.grant)?;
        match self.ask(envelope).await? {
            None => Ok(Became::Pending),
            Some(outcome) => self.read(&outcome).await,
        }
    }

    async fn read(&self, outcome: &Outcome) -> Result<Became, GrantError> {
        let Some(position) =
            outcome.last_position().filter(|_| outcome.decision == Decision::Accepted)
        else {
            let reason = outcome.reason.clone().unwrap_or_default();
            return Ok(match reason.contains("was reversed before") {
                true => Became::Before { position: 0 },
                false => Became::Refused { reason },
            });
        };
        let payload: Option<String> =
            sqlx::query_scalar("SELECT payload::text FROM events WHERE position = $1")
                .bind(position)
                .fetch_optional(&self.pool)
                .await?;
        let event = payload.and_then(|payload| serde_json::from_str::<Event>(&payload).ok());
        Ok(match event {
            Some(Event::Declined { available, .. }) => spent(available),
            _ if outcome.event_types.is_empty() => Became::Before { position },
            _ => Became::Done { position },
        })
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
