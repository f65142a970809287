//! Giving a grant: asking what is done already, sending all of the rest, and then waiting for the outcomes.

use std::collections::HashMap;
use std::time::Duration;

use domain::Identified;
use domain::account::{Account, Command, Event};
use journal::broker::Broker;
use journal::ingest::{PublishError, Publisher};
use journal::replies::Replies;
use journal::{Decision, Envelope, Origin, Outcome};
use projections::grants;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Became, Grant, GrantError, Kind, Line, LineDone};

/// How many lines are looked at, sent and waited for together.
pub const PART: usize = 1_000;
/// How long the commands of a part may take to be decided once all of them are stored.
const DECISION_LIMIT: Duration = Duration::from_secs(10);
/// How often a full COMMANDS is tried again, and how soon.
const TRIES_MAX: u32 = 60;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What it takes to send commands and learn what became of them.
#[derive(Clone)]
pub struct Sender {
    pub pool: PgPool,
    pub publisher: Publisher,
    pub replies: Replies,
    /// When whoever asked is answered, whatever is decided by then; `None` where somebody waits at a terminal.
    pub answer_by: Option<Instant>,
}

/// What is known of a line before it is sent.
pub(super) enum Known {
    /// Nothing: it is to be credited under this number of times.
    New(i64),
    Done(Became),
}

impl Sender {
    pub async fn start(pool: PgPool, broker: &Broker) -> anyhow::Result<Self> {
        let publisher = Publisher::start(broker).await?;
        Ok(Sender { pool, publisher, replies: Replies::start(broker).await?, answer_by: None })
    }

    /// Gives every line of `lines` what it says, in parts, and shows each as it is done. A part is stored as a whole
    /// before the first outcome is waited for, so that what is not decided in time is known to be pending.
    pub async fn give(
        &self,
        grant: &Grant,
        lines: &[Line],
        mut done: impl FnMut(LineDone),
    ) -> Result<(), GrantError> {
        for part in lines.chunks(PART) {
            let known = known(&self.pool, grant, part).await?;
            let (mut asked, mut envelopes) = (Vec::new(), Vec::new());
            for (line, known) in part.iter().zip(known) {
                match known {
                    Known::Done(became) => done(line_done(line, became)),
                    Known::New(times) => {
                        let command = grant.command(line, times);
                        let origin = grant.origin(&line.viewer);
                        envelopes.push(envelope(&line.viewer, &command, origin, grant.id)?);
                        asked.push(line);
                    }
                }
            }
            for (line, outcome) in asked.into_iter().zip(self.ask_all(envelopes).await?) {
                done(line_done(line, became(outcome)));
            }
        }
        Ok(())
    }

    /// The outcome of a command, if it is decided in time. A full COMMANDS is waited for.
    pub async fn ask(&self, mut envelope: Envelope) -> Result<Option<Outcome>, PublishError> {
        let question = self.replies.question(&mut envelope);
        self.store(&envelope).await?;
        Ok(question.answer(self.decided_by()).await)
    }

    /// Stores all commands, then waits for their outcomes, for all of them until the same moment. An error means that some
    /// may not be stored; all of them were sent.
    pub(super) async fn ask_all(
        &self,
        envelopes: Vec<Envelope>,
    ) -> Result<Vec<Option<Outcome>>, PublishError> {
        let stored = envelopes.into_iter().map(|mut envelope| async move {
            let question = self.replies.question(&mut envelope);
            self.store(&envelope).await.map(|()| question)
        });
        let stored = futures::future::join_all(stored);
        let stored = match self.answer_by {
            None => stored.await,
            Some(by) => tokio::time::timeout_at(by, stored).await.map_err(|_| {
                PublishError::Unavailable("not all of it was stored in time".to_owned())
            })?,
        };
        let questions = stored.into_iter().collect::<Result<Vec<_>, _>>()?;
        let by = self.decided_by();
        Ok(futures::future::join_all(questions.into_iter().map(|one| one.answer(by))).await)
    }

    async fn store(&self, envelope: &Envelope) -> Result<(), PublishError> {
        let in_time = || self.answer_by.is_none_or(|by| Instant::now() + TRY_AGAIN_AFTER < by);
        let mut tries = 0;
        loop {
            match self.publisher.send(envelope).await {
                Err(PublishError::Full) if tries < TRIES_MAX && in_time() => {
                    tries += 1;
                    tokio::time::sleep(TRY_AGAIN_AFTER).await;
                }
                stored => return stored.map(drop),
            }
        }
    }

    fn decided_by(&self) -> Instant {
        let by = Instant::now() + DECISION_LIMIT;
        self.answer_by.map_or(by, |answer_by| by.min(answer_by))
    }
}

pub(super) fn envelope(
    viewer: &str,
    command: &Command,
    origin: Origin,
    grant: Uuid,
) -> Result<Envelope, GrantError> {
    let envelope = Envelope::new::<Account>(viewer, command, origin)?;
    Ok(Envelope { correlation: grant, traceparent: crate::observe::traceparent(), ..envelope })
}

pub(super) fn line_done(line: &Line, became: Became) -> LineDone {
    let (viewer, points) = (line.viewer.clone(), line.points);
    LineDone { viewer, points, line: Some(line.number), became }
}

fn became(outcome: Option<Outcome>) -> Became {
    let Some(outcome) = outcome else { return Became::Pending };
    let position = outcome.last_position().unwrap_or_default();
    let reason = outcome.reason.clone().unwrap_or_else(|| "it could not be decided".to_owned());
    match outcome.decision {
        // An outcome that was recorded before comes without the names of its events.
        Decision::Accepted if outcome.event_types.is_empty() => Became::Before { position },
        Decision::Accepted => Became::Done { position },
        Decision::Rejected | Decision::Dead => Became::Refused { reason },
    }
}

/// What is known of every line of `part`, in their order.
pub(super) async fn known(
    pool: &PgPool,
    grant: &Grant,
    part: &[Line],
) -> Result<Vec<Known>, GrantError> {
    match &grant.kind {
        Kind::Grant { .. } => given(pool, grant, part).await,
        Kind::Import { source, again, .. } => imported(pool, source, *again, part).await,
    }
}

/// Which lines of a grant were given before: by the outcomes of their commands.
async fn given(pool: &PgPool, grant: &Grant, part: &[Line]) -> Result<Vec<Known>, GrantError> {
    let ids: Vec<Uuid> = part.iter().map(|line| grant.command(line, 0).entry()).collect();
    let rows: Vec<(Uuid, i64, String)> = sqlx::query_as(
        "SELECT o.command_id, e.position, e.payload::text FROM command_outcomes o
         JOIN events e ON e.position = o.first_position WHERE o.command_id = ANY($1)",
    )
    .bind(&ids)
    .fetch_all(pool)
    .await?;
    let mut before: HashMap<Uuid, (i64, Option<i64>)> = HashMap::new();
    for (id, position, payload) in rows {
        let points = match serde_json::from_str(&payload) {
            Ok(Event::Credited { points, .. }) => Some(points),
            _ => None,
        };
        before.insert(id, (position, points));
    }
    let known = part.iter().zip(&ids).map(|(line, id)| match before.get(id) {
        None => Known::New(0),
        Some((position, Some(points))) if *points == line.points => {
            Known::Done(Became::Before { position: *position })
        }
        Some((position, points)) => {
            let was =
                points.map_or("something else".to_owned(), |points| format!("{points} points"));
            let reason = format!("this grant gave {was} to this viewer at position {position}");
            Known::Done(Became::Refused { reason })
        }
    });
    Ok(known.collect())
}

/// Which lines of an import were imported before, from whatever file.
async fn imported(
    pool: &PgPool,
    source: &str,
    again: bool,
    part: &[Line],
) -> Result<Vec<Known>, GrantError> {
    let viewers: Vec<&str> = part.iter().map(|line| line.viewer.as_str()).collect();
    let rows = grants::imported(pool, source, &viewers).await?;
    let before: HashMap<&str, &grants::Imported> =
        rows.iter().map(|row| (row.viewer.as_str(), row)).collect();
    let known = part.iter().map(|line| match before.get(line.viewer.as_str()) {
        None => Known::New(0),
        Some(last) if last.undone.is_some() => Known::New(last.times),
        Some(last) if last.points == line.points => {
            Known::Done(Became::Before { position: last.position })
        }
        Some(last) if again => Known::New(last.times),
        Some(last) => {
            let reason = format!(
                "{} points were imported for this viewer at position {}; --again gives these as well",
                last.points, last.position
            );
            Known::Done(Became::Refused { reason })
        }
    });
    Ok(known.collect())
}
