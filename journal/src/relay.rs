//! The relay: publishes event N of PostgreSQL as message N of EVENTS.
//!
//! Every publish names the sequence it must follow, so JetStream itself refuses gaps and repetitions: the relay needs
//! no cursor, a second relay does no harm, and a lost stream is filled again from its beginning. So is one that lost its
//! end, which is why nothing in it waits for the disk: what it must not lose is in PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{RawMessageErrorKind, State, Stream};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool, Row};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::batch::{Append, AppendError, BATCH_MAX, append_in_turn};
use crate::broker::{Broker, REQUEST_LIMIT, Role};
use crate::crash;
use crate::head;
use crate::leader::{self, Lock};
use crate::recorded::{GENESIS, Recorded};
use crate::retry::{Backoff, DATABASE_LIMIT};
use crate::streams::{StreamsFile, is_another_kind};

/// The stream of all events.
pub const EVENTS: &str = "EVENTS";

/// How often the relay looks for events when nobody tells it of any.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most bytes in one batch.
const BATCH_BYTES_MAX: usize = 2_000_000;

/// Publishes until told to stop. In every process that runs this, one is the leader and the others wait for it to go.
pub fn run(
    pool: PgPool,
    broker: Broker,
    stop: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(relay(pool, broker, stop))
}

async fn relay(pool: PgPool, broker: Broker, stop: CancellationToken) -> anyhow::Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let led = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            led = lead(&pool, &broker, &mut backoff) => led,
        };
        if let Err(error) = led {
            tracing::warn!(error = format!("{error:#}"), "relay interrupted, trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = backoff.wait() => {}
        }
    }
}

/// Waits to be the leader, then publishes until something fails.
async fn lead(pool: &PgPool, broker: &Broker, backoff: &mut Backoff) -> anyhow::Result<()> {
    let mut leader = leader::wait(pool, Lock::Relay).await?;
    let client = broker.client(Role::Relay).await?;
    let mut told = client.subscribe(head::TOLD).await?;
    let mut committed = broker.committed();
    let stream = matching_stream(pool, &mut leader, broker).await?;
    let mut last = i64::try_from(stream.cached_info().state.last_sequence)?;
    tracing::info!(position = last, "relaying");
    loop {
        last = match last {
            0 => begin(pool, &mut leader, &client, &stream).await?,
            _ => publish_from(pool, &client, last).await?,
        };
        backoff.reset();
        // Committed in this process: the rows are here. By another: they have to be read.
        loop {
            tokio::select! {
                batch = committed.recv() => match batch {
                    Ok(batch) if last > 0 && batch.first().is_some_and(|event| event.position == last + 1) => {
                        let (batches, is_all) = with_what_follows(batch, &mut committed);
                        let events: Vec<&Recorded> =
                            batches.iter().flat_map(|batch| batch.iter()).collect();
                        last = publish(&client, &events, last).await?;
                        if !is_all {
                            break;
                        }
                    }
                    Ok(batch) if batch.last().is_some_and(|event| event.position <= last) => {}
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => break,
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                poke = told.next() => {
                    let position = poke.as_ref().and_then(head::position_told);
                    if position.is_none_or(|position| position > last) && committed.is_empty() {
                        break;
                    }
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let here = sqlx::query("SELECT 1").execute(&mut leader);
                    tokio::time::timeout(REQUEST_LIMIT, here).await??;
                    let state = stream.get_info().await?.state;
                    let ends_at = state.last_sequence;
                    anyhow::ensure!(ends_at == u64::try_from(last)?, "EVENTS ends at {ends_at}, not {last}");
                    if !is_whole(&state) {
                        anyhow::ensure!(last_event(&stream, ends_at).await?.is_some(), "EVENTS was truncated");
                    }
                    break;
                }
            }
        }
    }
}

/// EVENTS, as long as it ends where PostgreSQL once was; made anew where it is missing or truncated, or where it holds a
/// history that PostgreSQL does not (a database restored from a dump).
async fn matching_stream(
    pool: &PgPool,
    leader: &mut PgConnection,
    broker: &Broker,
) -> anyhow::Result<Stream> {
    let jetstream = broker.jetstream(Role::Relay).await?;
    let stream = match jetstream.get_stream(EVENTS).await {
        Ok(stream) => stream,
        // Where nobody knows whether it is there, it may hold what PostgreSQL does not.
        Err(error) if !is_missing(&error) => return Err(error.into()),
        Err(_) => create(broker).await?,
    };
    let last = stream.cached_info().state.last_sequence;
    // With what it held it is lost whether PostgreSQL has gone back as well, so the feed is told that it may have.
    if last == 0 && head::was_published(leader).await? {
        let epoch = head::begin_epoch(leader).await?;
        tracing::warn!(%epoch, "EVENTS is gone; filling it anew from PostgreSQL, under a new epoch");
    }
    match compare(pool, &stream).await? {
        Ends::There if is_another_kind(&stream.cached_info().config, &config()?) => {
            tracing::warn!(last, "EVENTS is of an earlier kind; making it anew from PostgreSQL");
        }
        Ends::There => {
            head::set_published(leader, last > 0).await?;
            return Ok(stream);
        }
        Ends::Torn => tracing::warn!(last, "EVENTS was truncated; making it anew from PostgreSQL"),
        Ends::Elsewhere => {
            let epoch = head::begin_epoch(leader).await?;
            tracing::warn!(last, %epoch, "EVENTS holds events that PostgreSQL does not; a new epoch begins");
        }
    }
    crash::point("relay.unlike");
    // What is deleted on purpose was not lost.
    head::set_published(leader, false).await?;
    crash::point("relay.forgotten");
    jetstream.delete_stream(EVENTS).await?;
    crash::point("relay.deleted");
    create(broker).await
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(refused) if refused.code() == 404)
}

/// How EVENTS ends, seen from PostgreSQL.
enum Ends {
    /// With the event of its number.
    There,
    /// Without the events that were there, or with something that is none.
    Torn,
    /// With an event that PostgreSQL does not have.
    Elsewhere,
}

async fn compare(pool: &PgPool, stream: &Stream) -> anyhow::Result<Ends> {
    let state = &stream.cached_info().state;
    let last = i64::try_from(state.last_sequence)?;
    if last > head::read(pool).await?.position {
        return Ok(Ends::Elsewhere);
    }
    if last == 0 {
        return Ok(Ends::There);
    }
    let Some(published) = last_event(stream, state.last_sequence).await? else {
        return Ok(Ends::Torn);
    };
    // PostgreSQL may only be believed against EVENTS where it proves itself. Where it does not, it is PostgreSQL that was
    // damaged, and EVENTS may hold the only copy of what is missing.
    let (before, event) = match read(pool, (last - 2).max(0), last.min(2)).await?.as_slice() {
        [before, event] if event.position == last => (before.hash, event.clone()),
        [event] if event.position == 1 && last == 1 => (GENESIS, event.clone()),
        _ => anyhow::bail!(
            "PostgreSQL lacks event {last} or the one before, which EVENTS has: `tapedeck audit` names it"
        ),
    };
    if event.hash == published.hash {
        return Ok(Ends::There);
    }
    anyhow::ensure!(
        event.content().link(&before) == event.hash,
        "event {last} was changed in PostgreSQL; EVENTS is kept: `tapedeck audit` names it"
    );
    Ok(Ends::Elsewhere)
}

/// Whether everything from some message to the last is there. Where it is not, and the last is, somebody removed
/// messages from its middle: that is left as it is, for the audit to name.
fn is_whole(state: &State) -> bool {
    let wanted = (state.last_sequence + 1).saturating_sub(state.first_sequence.max(1));
    state.last_sequence == 0 || state.messages > 0 && state.messages == wanted
}

/// The event that EVENTS ends with at `last`; `None` where that message is gone, or is no event.
async fn last_event(stream: &Stream, last: u64) -> anyhow::Result<Option<Recorded>> {
    match stream.get_raw_message(last).await {
        Ok(message) => Ok(serde_json::from_slice(&message.payload).ok()),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn create(broker: &Broker) -> anyhow::Result<Stream> {
    let stream = broker.jetstream(Role::Relay).await?.create_stream(config()?).await?;
    crash::point("relay.made");
    Ok(stream)
}

fn config() -> anyhow::Result<async_nats::jetstream::stream::Config> {
    StreamsFile::built_in()?.config(EVENTS)
}

/// Publishes everything that PostgreSQL has into an EVENTS that is empty. That it is filled is noted before it is: noted
/// afterwards, it could be lost in between without a trace. Where it takes nothing (a full disk), it was not filled.
async fn begin(
    pool: &PgPool,
    leader: &mut PgConnection,
    client: &Client,
    stream: &Stream,
) -> anyhow::Result<i64> {
    if head::read(pool).await?.position == 0 {
        return Ok(0);
    }
    head::set_published(leader, true).await?;
    let published = publish_from(pool, client, 0).await;
    if published.is_err() && stream.get_info().await?.state.last_sequence == 0 {
        head::set_published(leader, false).await?;
    }
    published
}

/// Publishes everything after `last` that PostgreSQL has.
async fn publish_from(pool: &PgPool, client: &Client, mut last: i64) -> anyhow::Result<i64> {
    loop {
        let events = read(pool, last, BATCH_MAX as i64).await?;
        let Some(first) = events.first() else { return Ok(last) };
        anyhow::ensure!(
            first.position == last + 1,
            "event {} follows {last}: somebody wrote past the head",
            first.position
        );
        last = publish(client, &events.iter().collect::<Vec<_>>(), last).await?;
    }
}

/// The batches committed while the last ones were published, so that they share one sync. False: what came next does not
/// follow them, because another process committed in between, and is to be read with what is missing before it.
fn with_what_follows(
    first: Arc<Vec<Recorded>>,
    committed: &mut broadcast::Receiver<Arc<Vec<Recorded>>>,
) -> (Vec<Arc<Vec<Recorded>>>, bool) {
    let end = |batch: &[Recorded]| batch.last().map_or(0, |event| event.position);
    let mut count = first.len();
    let mut until = end(&first);
    let mut batches = vec![first];
    while count < BATCH_MAX
        && let Ok(batch) = committed.try_recv()
    {
        if batch.first().is_none_or(|event| event.position != until + 1) {
            return (batches, false);
        }
        count += batch.len();
        until = end(&batch);
        batches.push(batch);
    }
    (batches, true)
}

async fn publish(client: &Client, events: &[&Recorded], mut last: i64) -> anyhow::Result<i64> {
    let mut waiting: Vec<Append> = Vec::with_capacity(events.len().min(BATCH_MAX));
    let mut bytes = 0;
    for (n, event) in events.iter().enumerate() {
        anyhow::ensure!(
            event.position == last + 1 + waiting.len() as i64,
            "event {} does not follow {last}",
            event.position
        );
        let payload = Bytes::from(event.body()?);
        bytes += payload.len();
        let headers = async_nats::HeaderMap::new();
        waiting.push(Append { subject: event.subject(), payload, headers });
        if waiting.len() == BATCH_MAX || bytes > BATCH_BYTES_MAX || n + 1 == events.len() {
            crash::point("relay.read");
            let until = last + waiting.len() as i64;
            match append_in_turn(client, std::mem::take(&mut waiting), last).await {
                Ok(sequence) => anyhow::ensure!(
                    i64::try_from(sequence)? == until,
                    "message {sequence} should have been {until}"
                ),
                Err(error @ AppendError::NotThere) => {
                    return Err(anyhow::Error::new(error).context(format!("after message {last}")));
                }
                Err(error) => return Err(error.into()),
            }
            crash::point("relay.published");
            (last, bytes) = (until, 0);
            metrics::gauge!("tapedeck_relay_position").set(last as f64);
        }
    }
    Ok(last)
}

/// Events by position. Pages are small: most are sent on as they were committed, and only a lagging relay reads.
pub(crate) async fn read(pool: &PgPool, after: i64, limit: i64) -> anyhow::Result<Vec<Recorded>> {
    let rows = sqlx::query(
        "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, event_id, command_id,
                recorded_at, payload::text, metadata::text, hash
         FROM events WHERE position > $1 ORDER BY position LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(pool);
    let rows = tokio::time::timeout(DATABASE_LIMIT, rows).await??;
    rows.into_iter().map(|row| recorded(&row)).collect()
}

fn recorded(row: &sqlx::postgres::PgRow) -> anyhow::Result<Recorded> {
    let json = |column: usize| -> anyhow::Result<_> {
        Ok(serde_json::value::RawValue::from_string(row.try_get(column)?)?)
    };
    Ok(Recorded {
        position: row.try_get(0)?,
        aggregate_type: row.try_get(1)?,
        aggregate_id: row.try_get(2)?,
        sequence: row.try_get(3)?,
        event_type: row.try_get(4)?,
        event_version: row.try_get(5)?,
        event_id: row.try_get(6)?,
        command_id: row.try_get(7)?,
        recorded_at: row.try_get(8)?,
        payload: json(9)?,
        metadata: json(10)?,
        hash: row.try_get::<&[u8], _>(11)?.try_into()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::tests::event;

    fn batch(positions: std::ops::RangeInclusive<i64>) -> Arc<Vec<Recorded>> {
        Arc::new(positions.map(event).collect())
    }

    #[test]
    fn what_was_committed_elsewhere_in_between_ends_the_run() {
        let committed = broadcast::Sender::new(8);
        let mut waiting = committed.subscribe();
        for positions in [21..=30, 41..=50] {
            committed.send(batch(positions)).expect("somebody listens");
        }
        let (batches, is_all) = with_what_follows(batch(11..=20), &mut waiting);
        let positions: Vec<i64> =
            batches.iter().flat_map(|b| b.iter()).map(|e| e.position).collect();
        assert_eq!(positions, (11..=30).collect::<Vec<_>>());
        assert!(!is_all, "31 to 40 are missing, and nobody would look for them");

        committed.send(batch(51..=60)).expect("somebody listens");
        let (batches, is_all) = with_what_follows(batch(41..=50), &mut waiting);
        assert!(is_all && batches.len() == 2);
    }
}
