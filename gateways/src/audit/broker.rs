//! Reading EVENTS: where it begins and ends, how much it holds, and its messages beside history.
//!
//! The broker counts what it holds, so that a message that is missing is known without reading any. And each message
//! has its link of the hash chain, which all of history before it went into: where the newest ones have the links that
//! PostgreSQL has, PostgreSQL has the history that the relay published them from.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::context::GetStreamErrorKind;
use journal::broker::{Broker, Role};
use journal::history;
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::delivery::{Ended, Numbered, deliver};
use super::finding::{Disagreement, Findings};
use super::published::Published;
use super::snapshot::Snapshot;
use super::walk::{Batch, Readers};
use super::{Error, report, worker_failed};

pub(super) const NAME: &str = "EVENTS";
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Consumers that deliver nothing before the broker counts as silent.
const SILENCES_MAX: u32 = 4;
const WAITING_MAX: usize = 3;
/// How many messages are compared where as many are there as must be.
const NEWEST: i64 = 1024;

/// What EVENTS holds.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    first: i64,
    last: i64,
    messages: i64,
}

impl Range {
    /// No message between the first and the last is missing.
    fn is_whole(self) -> bool {
        self.last - self.first + 1 == self.messages
    }
}

/// How EVENTS may be without anything being wrong.
#[derive(Clone, Copy)]
pub struct Allowed {
    /// How long it may take to reach the position of the snapshot.
    pub patience: Duration,
    /// The last position that it may begin at.
    pub begins_at: i64,
}

/// The history that messages are compared with.
pub enum Against<'a> {
    /// All of it, as the pass reads it.
    Pass(mpsc::Receiver<Batch>),
    /// Its newest part alone, read anew; of what is before it, messages are counted.
    Newest(&'a Snapshot),
}

/// What was compared.
pub struct Compared {
    pub claim: String,
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
    against: Against<'_>,
    head: i64,
    allowed: Allowed,
) -> Result<Compared, Error> {
    let Allowed { patience, begins_at } = allowed;
    let mut compared = Compared {
        claim: "each message of EVENTS is the event of its number".to_owned(),
        findings: Findings::default(),
        count: 0,
        originals: Vec::new(),
        note: None,
    };
    let jetstream = broker.jetstream(Role::Follower).await.map_err(unreachable)?;
    let Some(range) = range(&jetstream, head, patience).await? else {
        if head > 0 {
            compared.findings.add(|| absent(head));
        }
        return Ok(compared);
    };
    let now: i64 = sqlx::query_scalar("SELECT position FROM public.head").fetch_one(pool).await?;
    let (after, until) = ((range.first - 1).min(head), range.last.min(head));
    if until > after {
        if range.first > begins_at {
            compared.findings.add(|| trimmed(begins_at, range.first));
        }
        let reading = Reading { jetstream: &jetstream, until, patience };
        compared.messages(reading, against, range, after).await?;
    }
    let findings = &mut compared.findings;
    if range.last < head {
        findings.add(|| behind(range.last, head, patience));
    }
    if range.last > now {
        findings.add(|| ahead(range.last, now));
    }
    if head > 0 && until <= after {
        findings.add(|| emptied(head));
    }
    let begins_late = after > 0 && until > after;
    compared.note = begins_late
        .then(|| format!("begins at {}; older events are in PostgreSQL only", after + 1));
    Ok(compared)
}

impl Compared {
    /// Compares the messages of `range` after `after`.
    async fn messages(
        &mut self,
        reading: Reading<'_>,
        against: Against<'_>,
        range: Range,
        after: i64,
    ) -> Result<(), Error> {
        let published = match against {
            Against::Pass(history) => {
                let published = reading.read(history, after).await?;
                self.count = published.compared;
                published
            }
            Against::Newest(snapshot) => {
                let published =
                    reading.read_anew(snapshot, after.max(reading.until - NEWEST)).await?;
                self.count = u64::try_from(reading.until - after).unwrap_or(0);
                self.claim = format!(
                    "EVENTS has as many messages as there are events from {} on, and the newest {} are those events",
                    report::grouped(after + 1),
                    report::grouped(published.compared)
                );
                published
            }
        };
        let mut findings = published.findings;
        if !range.is_whole() && findings.is_empty() {
            findings.add(|| holes(range));
        }
        self.findings = std::mem::take(&mut self.findings).and(findings);
        self.originals = published.originals;
        Ok(())
    }
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
                    messages: i64::try_from(state.messages).unwrap_or(i64::MAX),
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

/// What is read of EVENTS.
#[derive(Clone, Copy)]
struct Reading<'a> {
    jetstream: &'a jetstream::Context,
    until: i64,
    patience: Duration,
}

impl Reading<'_> {
    /// As [`Self::read`], with the history that `snapshot` has after `after`, and the event before it for its link.
    async fn read_anew(self, snapshot: &Snapshot, after: i64) -> Result<Published, Error> {
        let mut readers = Readers::default();
        let history = readers.another();
        let mut connection = snapshot.another().await?;
        let rows = history::stored(&mut connection, after - 1, self.until, None);
        let (shown, published) = tokio::join!(readers.show(rows), self.read(history, after));
        shown?;
        connection.rollback().await?;
        published
    }

    /// Reads messages and history side by side after `after`, and compares them on another core.
    async fn read(
        self,
        mut history: mpsc::Receiver<Batch>,
        after: i64,
    ) -> Result<Published, Error> {
        let mut published = Published::after(after);
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
        let sent = send_messages(self.jetstream, after, self.until, self.patience, messages).await;
        let mut published = worker.await.map_err(worker_failed)?;
        sent?;
        published.finish(self.until);
        Ok(published)
    }
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

fn holes(range: Range) -> Disagreement {
    let Range { first, last, messages } = range;
    let sentence = format!("EVENTS goes from {first} to {last} and has {messages} messages");
    Disagreement {
        position: None,
        about: NAME.to_owned(),
        field: "messages".to_owned(),
        expected: (last - first + 1).to_string(),
        found: messages.to_string(),
        sentence,
    }
}

fn trimmed(wanted: i64, first: i64) -> Disagreement {
    let missing = if first - wanted == 1 {
        format!("message {wanted} is missing")
    } else {
        format!("messages {wanted} to {} are missing", first - 1)
    };
    Disagreement {
        field: "first sequence".to_owned(),
        ..disagreement(
            wanted,
            wanted.to_string(),
            first.to_string(),
            format!(
                "EVENTS begins at {first}: {missing}; if you trimmed it, say so with --events-from {first}, and if not, \
                 delete EVENTS: the relay fills it again"
            ),
        )
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
