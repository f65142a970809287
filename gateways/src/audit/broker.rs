//! Reading EVENTS: where it begins and ends, and its messages in order, several thousand at a time.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{self, Message};
use futures::{FutureExt, StreamExt};
use journal::broker::{Broker, Role};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::finding::{Disagreement, Findings};
use super::published::Published;
use super::walk::Batch;
use super::{Error, worker_failed};

const NAME: &str = "EVENTS";
/// Messages that are compared together.
const BATCH_MAX: usize = 2048;
/// Messages that are asked for at once; the next are asked for when half of them are here.
const REQUESTED: usize = 8192;
/// The server forgets the consumer this long after the last request.
const INACTIVE_MAX: Duration = Duration::from_secs(60);
const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);
const SILENCE_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Consumers that deliver nothing before the broker counts as silent.
const SILENCES_MAX: u32 = 4;
const WAITING_MAX: usize = 3;

/// A message and its sequence in EVENTS.
type Numbered = (i64, Message);

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
        published = read(&jetstream, history, published, until).await?;
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
                    if batch.last().is_some_and(|row| row.position() >= sequence - 1) {
                        published.expect(batch);
                    }
                }
                published.see(sequence, &message.subject, &message.payload);
            }
        }
        published
    });
    // Whoever ends early lets the other end: a closed channel is the end for its sender.
    let sent = send_messages(jetstream, after, until, messages).await;
    let published = worker.await.map_err(worker_failed)?;
    sent.map(|()| published)
}

async fn send_messages(
    jetstream: &jetstream::Context,
    after: i64,
    until: i64,
    sender: mpsc::Sender<Vec<Numbered>>,
) -> Result<(), Error> {
    let (mut last, mut silences) = (after, 0);
    while last < until {
        let before = last;
        match deliver(jetstream, &mut last, until, &sender).await? {
            Ended::Whole => break,
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

/// Why a consumer was given up.
enum Ended {
    /// There is no more, or nobody wants more.
    Whole,
    /// There should be more.
    Silent(String),
}

/// Sends on what one consumer delivers after `last`, which moves with it.
///
/// Messages that were lost on the way are no hole in EVENTS: the consumer counts what it sends, and what does not
/// follow is asked for again.
async fn deliver(
    jetstream: &jetstream::Context,
    last: &mut i64,
    until: i64,
    sender: &mpsc::Sender<Vec<Numbered>>,
) -> Result<Ended, Error> {
    let consumer = consumer(jetstream, *last).await?;
    if consumer.cached_info().num_pending == 0 {
        return Ok(Ended::Whole); // The rest was removed: there is nothing to wait for.
    }
    let pull = consumer.stream().max_messages_per_batch(REQUESTED).heartbeat(HEARTBEAT);
    let mut messages = pull.expires(EXPIRES).messages().await.map_err(unreachable)?;
    let mut delivered = 0;
    loop {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let ended = loop {
            let here = messages.next().now_or_never();
            let next = match here {
                Some(next) => Ok(next),
                None => timeout(SILENCE_MAX, messages.next()).await,
            };
            let message = match next {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => break Some(Ended::Silent(error.to_string())),
                Ok(None) | Err(_) => break Some(Ended::Silent("no answer".to_owned())),
            };
            let info = message.info().map_err(|error| Error::Broker(error.to_string()))?;
            if info.consumer_sequence != delivered + 1 {
                break Some(Ended::Silent("messages are lost on the way".to_owned()));
            }
            delivered += 1;
            let sequence = i64::try_from(info.stream_sequence).unwrap_or(i64::MAX);
            let nothing_left = info.pending == 0;
            if sequence <= until {
                *last = sequence;
                batch.push((sequence, message));
            }
            if nothing_left || sequence >= until {
                break Some(Ended::Whole);
            }
            if batch.len() == BATCH_MAX {
                break None;
            }
        };
        if sender.send(batch).await.is_err() {
            return Ok(Ended::Whole);
        }
        if let Some(ended) = ended {
            return Ok(ended);
        }
    }
}

async fn consumer(jetstream: &jetstream::Context, after: i64) -> Result<PullConsumer, Error> {
    let config = Config {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: u64::try_from(after + 1).unwrap_or(1),
        },
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE_MAX,
        memory_storage: true,
        num_replicas: 1,
        ..Config::default()
    };
    jetstream.create_consumer_on_stream(config, NAME).await.map_err(unreachable)
}

fn unreachable(error: impl std::fmt::Display) -> Error {
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
