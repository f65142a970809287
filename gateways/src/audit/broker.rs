//! Reading EVENTS: where it begins and ends, and its messages in order, several thousand at a time.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{self, Message};
use futures::{StreamExt, TryStreamExt};
use journal::broker::{Broker, REQUEST_LIMIT, Role};
use journal::{Hash, copy};
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::finding::{Disagreement, Findings};
use super::progress::Progress;
use super::published::Published;
use super::{Error, worker_failed};

const NAME: &str = "EVENTS";
const BATCH_MAX: usize = 4096;
const BATCH_BYTES_MAX: usize = 16 << 20;
/// The server forgets the consumer this long after the last request.
const INACTIVE_MAX: Duration = Duration::from_secs(60);
const BATCH_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Batches without a message before the broker counts as silent.
const EMPTY_MAX: u32 = 5;
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
    /// EVENTS holds what comes after this position.
    pub after: i64,
    pub note: Option<String>,
}

/// Compares EVENTS with the history up to `head`. `links` reads the snapshot; `pool` reads the head as it is now.
pub async fn check(
    broker: &Broker,
    pool: &PgPool,
    links: &mut PgConnection,
    head: i64,
    patience: Duration,
    progress: &Progress,
) -> Result<Compared, Error> {
    let jetstream = broker.jetstream(Role::Follower).await.map_err(unreachable)?;
    let Some(range) = range(&jetstream, head, patience).await? else {
        let mut findings = Findings::default();
        if head > 0 {
            findings.add(|| absent(head));
        }
        return Ok(Compared { findings, count: 0, after: head, note: None });
    };
    let now: i64 = sqlx::query_scalar("SELECT position FROM public.head").fetch_one(pool).await?;
    let (after, until) = ((range.first - 1).min(head), range.last.min(head));
    let before: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM public.events WHERE position = $1")
            .bind(after)
            .fetch_optional(&mut *links)
            .await?;
    let before = before.and_then(|hash| Hash::try_from(hash).ok());
    let mut published = Published::after(after, before);
    if until > after {
        published = read(&jetstream, links, published, until, progress).await?;
        published.finish(until);
    }
    let mut findings = published.findings;
    if range.last < head {
        findings.add(|| behind(range.last, head, patience));
    }
    if range.last > now {
        findings.add(|| ahead(range.last, now));
    }
    let note = (after > 0).then(|| {
        if until > after {
            format!("begins at {}; older events are in PostgreSQL only", after + 1)
        } else {
            "holds no messages; all events are in PostgreSQL only".to_owned()
        }
    });
    Ok(Compared { findings, count: published.compared, after, note })
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

/// Reads messages and links side by side up to `until`, and compares them on another core.
async fn read(
    jetstream: &jetstream::Context,
    links: &mut PgConnection,
    mut published: Published,
    until: i64,
    progress: &Progress,
) -> Result<Published, Error> {
    let after = published.last();
    let (messages, mut received) = mpsc::channel::<Vec<Message>>(WAITING_MAX);
    let (expected, mut expectations) = mpsc::channel::<Vec<(i64, Hash)>>(WAITING_MAX);
    let progress = progress.clone();
    let worker = tokio::task::spawn_blocking(move || {
        while let Some(batch) = received.blocking_recv() {
            for message in &batch {
                let sequence = sequence_of(message)?;
                while published.expected_to() < sequence
                    && let Some(links) = expectations.blocking_recv()
                {
                    published.expect(links);
                }
                published.see(sequence, &message.subject, &message.payload);
            }
            progress.add(batch.len());
        }
        Ok::<_, Error>(published)
    });
    // Whoever ends early lets the other end: a closed channel is the end for its sender.
    let (sent, linked) = tokio::join!(
        send_messages(jetstream, after, until, messages),
        send_links(links, after, until, expected)
    );
    let published = worker.await.map_err(worker_failed)?;
    sent.and(linked).and(published)
}

async fn send_links(
    connection: &mut PgConnection,
    after: i64,
    until: i64,
    expected: mpsc::Sender<Vec<(i64, Hash)>>,
) -> Result<(), Error> {
    let query = format!(
        "SELECT position, hash FROM public.events WHERE position > {after} AND position <= {until} ORDER BY position"
    );
    super::read_in_order(&mut *connection).await?;
    let mut batches = std::pin::pin!(copy::rows::<2>(connection, &query));
    while let Some(batch) = batches.try_next().await? {
        let links: Result<Vec<_>, sqlx::Error> =
            batch.iter().map(|row| Ok((row.i64(0)?, row.array(1)?))).collect();
        if expected.send(links?).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn send_messages(
    jetstream: &jetstream::Context,
    after: i64,
    until: i64,
    messages: mpsc::Sender<Vec<Message>>,
) -> Result<(), Error> {
    let mut consumer = consumer(jetstream, after).await?;
    let (mut last, mut delivered, mut empty) = (after, 0, 0);
    while last < until {
        // One request at a time: two at once are served in turns, and their messages would have to be sorted.
        let (mut batch, silence) = collect(request(&consumer).await?).await;
        let received = batch.len();
        batch.truncate(in_a_row(&batch, delivered)?);
        let lost = batch.len() < received;
        delivered += batch.len() as u64;
        batch.retain(|message| sequence_of(message).is_ok_and(|at| at <= until));
        if let Some(message) = batch.last() {
            (last, empty) = (sequence_of(message)?, 0);
            if messages.send(batch).await.is_err() {
                break;
            }
            if !lost && silence.is_none() {
                continue;
            }
        } else if !lost && silence.is_none() {
            let info = timeout(REQUEST_LIMIT, consumer.info()).await.map_err(unreachable)?;
            let info = info.map_err(unreachable)?;
            if info.num_pending == 0 && info.delivered.consumer_sequence == delivered {
                break; // The rest was removed: there is nothing to wait for.
            }
        }
        empty += 1;
        if empty == EMPTY_MAX {
            let reason = silence.unwrap_or_else(|| "messages are lost on the way".to_owned());
            return Err(Error::Broker(format!("EVENTS cannot be read after {last}: {reason}")));
        }
        (consumer, delivered) = (self::consumer(jetstream, last).await?, 0);
    }
    Ok(())
}

/// How many of these messages follow each other as they were sent, after `delivered` others. What was lost on the way
/// is no hole in EVENTS: it is asked for again.
fn in_a_row(batch: &[Message], delivered: u64) -> Result<usize, Error> {
    for (message, expected) in batch.iter().zip(delivered + 1..) {
        let info = message.info().map_err(|error| Error::Broker(error.to_string()))?;
        if info.consumer_sequence != expected {
            return Ok(usize::try_from(expected - delivered - 1).unwrap_or(0));
        }
    }
    Ok(batch.len())
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

async fn request(consumer: &PullConsumer) -> Result<Batch, Error> {
    let fetch = consumer.fetch().max_messages(BATCH_MAX).max_bytes(BATCH_BYTES_MAX);
    fetch.messages().await.map_err(unreachable)
}

/// The messages of a batch, and why it ended where that was not its end.
async fn collect(mut batch: Batch) -> (Vec<Message>, Option<String>) {
    let mut messages = Vec::with_capacity(BATCH_MAX);
    let silence = loop {
        match timeout(BATCH_LIMIT, batch.next()).await {
            Ok(Some(Ok(message))) => messages.push(message),
            Ok(Some(Err(error))) => break Some(error.to_string()),
            Ok(None) => break None,
            Err(_) => break Some("no answer".to_owned()),
        }
    };
    (messages, silence)
}

fn sequence_of(message: &Message) -> Result<i64, Error> {
    let info = message.info().map_err(|error| Error::Broker(error.to_string()))?;
    i64::try_from(info.stream_sequence).map_err(|error| Error::Broker(error.to_string()))
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
