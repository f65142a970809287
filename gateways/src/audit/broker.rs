//! Reading EVENTS: where it begins and ends, and its messages beside history.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::context::GetStreamErrorKind;
use journal::broker::{Broker, Role};
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::delivery::{Ended, Numbered, deliver};
use super::finding::{Disagreement, Findings};
use super::published::Published;
use super::walk::Batch;
use super::{Error, worker_failed};

pub(super) const NAME: &str = "EVENTS";
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Consumers that deliver nothing before the broker counts as silent.
const SILENCES_MAX: u32 = 4;
const WAITING_MAX: usize = 3;

/// What EVENTS holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    pub first: i64,
    pub last: i64,
}

/// What was compared.
pub struct Compared {
    pub findings: Findings,
    pub count: u64,
    /// Messages that have what was recorded, where PostgreSQL has something else.
    pub originals: Vec<i64>,
    pub note: Option<String>,
}

/// Compares EVENTS with the history up to `head`; `pool` reads the head as it is now.
pub async fn check(
    broker: &Broker,
    pool: &PgPool,
    history: mpsc::Receiver<Batch>,
    head: i64,
    patience: Duration,
) -> Result<Compared, Error> {
    let jetstream = broker.jetstream(Role::Follower).await.map_err(unreachable)?;
    let Some(range) = range(&jetstream, head, patience).await? else {
        let mut findings = Findings::default();
        if head > 0 {
            findings.add(|| absent(head));
        }
        return Ok(Compared { findings, count: 0, originals: Vec::new(), note: None });
    };
    let now: i64 = sqlx::query_scalar("SELECT position FROM public.head").fetch_one(pool).await?;
    let (after, until) = ((range.first - 1).min(head), range.last.min(head));
    let mut published = Published::after(after);
    if until > after {
        published = read(&jetstream, history, published, until, patience).await?;
        published.finish(until);
    }
    let mut findings = published.findings;
    if range.last < head {
        findings.add(|| behind(range.last, head, patience));
    }
    if range.last > now {
        findings.add(|| ahead(range.last, now));
    }
    if head > 0 && until <= after {
        findings.add(|| emptied(head));
    }
    let trimmed = after > 0 && until > after;
    let note =
        trimmed.then(|| format!("begins at {}; older events are in PostgreSQL only", after + 1));
    Ok(Compared { findings, count: published.compared, originals: published.originals, note })
}

/// Where EVENTS begins and ends, once it has reached `head` or patience has ended. `None` without such a stream.
async fn range(
    jetstream: &jetstream::Context,
    head: i64,
    patience: Duration,
) -> Result<Option<Range>, Error> {
    let begun = Instant::now();
    loop {
        let found = match jetstream.get_stream(NAME).await {
            Ok(stream) => {
                let state = &stream.cached_info().state;
                Some(Range {
                    // A new stream says that it begins at 0.
                    first: i64::try_from(state.first_sequence.max(1)).unwrap_or(i64::MAX),
                    last: i64::try_from(state.last_sequence).unwrap_or(i64::MAX),
                })
            }
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(refused) if refused.code() == 404 => None,
                _ => return Err(unreachable(error)),
            },
        };
        let there = found.is_some_and(|range| range.last >= head) || head == 0;
        if there || begun.elapsed() >= patience {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Reads messages and history side by side up to `until`, and compares them on another core.
async fn read(
    jetstream: &jetstream::Context,
    mut history: mpsc::Receiver<Batch>,
    mut published: Published,
    until: i64,
    patience: Duration,
) -> Result<Published, Error> {
    let after = published.last();
    let (messages, mut received) = mpsc::channel::<Vec<Numbered>>(WAITING_MAX);
    let worker = tokio::task::spawn_blocking(move || {
        while let Some(batch) = received.blocking_recv() {
            for (sequence, message) in &batch {
                let sequence = *sequence;
                while published.expected_to() < sequence
                    && let Some(batch) = history.blocking_recv()
                {
                    // Of history that EVENTS does not have, no more is kept than the link before the message.
                    if batch.rows.last().is_some_and(|row| row.position() >= sequence - 1) {
                        published.expect(batch);
                    }
                }
                published.see(sequence, &message.subject, &message.payload);
            }
        }
        published
    });
    // Whoever ends early lets the other end: a closed channel is the end for its sender.
    let sent = send_messages(jetstream, after, until, patience, messages).await;
    let published = worker.await.map_err(worker_failed)?;
    sent.map(|()| published)
}

async fn send_messages(
    jetstream: &jetstream::Context,
    after: i64,
    until: i64,
    patience: Duration,
    sender: mpsc::Sender<Vec<Numbered>>,
) -> Result<(), Error> {
    let (mut last, mut silences, mut waited_at) = (after, 0, None);
    while last < until {
        let before = last;
        match deliver(jetstream, &mut last, until, &sender).await? {
            Ended::Whole if last >= until || waited_at == Some(last) || sender.is_closed() => break,
            Ended::Whole => {
                // It may have lost its end since it was looked at, and be filled again just now.
                range(jetstream, until, patience).await?;
                waited_at = Some(last);
            }
            Ended::Silent(_) if last > before => silences = 0,
            Ended::Silent(reason) => {
                silences += 1;
                if silences == SILENCES_MAX {
                    let reason = format!("EVENTS cannot be read after {last}: {reason}");
                    return Err(Error::Broker(reason));
                }
            }
        }
    }
    Ok(())
}

pub(super) fn unreachable(error: impl std::fmt::Display) -> Error {
    Error::Broker(error.to_string())
}

fn disagreement(position: i64, expected: String, found: String, sentence: String) -> Disagreement {
    Disagreement {
        position: Some(position),
        about: NAME.to_owned(),
        field: "last sequence".to_owned(),
        expected,
        found,
        sentence,
    }
}

fn emptied(head: i64) -> Disagreement {
    let sentence = "EVENTS holds no messages; the relay fills it again when it runs".to_owned();
    disagreement(1, head.to_string(), "no messages".to_owned(), sentence)
}

fn absent(head: i64) -> Disagreement {
    let sentence = "EVENTS does not exist; the relay makes it anew when it runs".to_owned();
    disagreement(1, head.to_string(), "no EVENTS".to_owned(), sentence)
}

fn behind(last: i64, head: i64, patience: Duration) -> Disagreement {
    let sentence = format!(
        "EVENTS ends at {last} and PostgreSQL at {head}: events {} to {head} were not published within {} s",
        last + 1,
        patience.as_secs()
    );
    disagreement(last + 1, head.to_string(), last.to_string(), sentence)
}

fn ahead(last: i64, head: i64) -> Disagreement {
    let sentence = format!(
        "EVENTS ends at {last} but PostgreSQL at {head}: messages {} to {last} have no event",
        head + 1
    );
    disagreement(head + 1, head.to_string(), last.to_string(), sentence)
}
