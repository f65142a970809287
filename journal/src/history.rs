//! The whole history, or a part of it, in position order and in constant memory.

use chrono::{DateTime, Utc};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::copy::{self, Tuple};
use crate::recorded::{Content, Hash, Recorded};

/// More halvings than a position has bits are never needed.
const HALVINGS_MAX: u32 = 64;

/// One event as it is stored, in one piece.
#[derive(Clone, Debug)]
pub struct Row {
    /// Type and id of the aggregate, type and version of the event, payload and metadata, one after the other.
    texts: Box<str>,
    /// Where each of them but the last ends.
    ends: [u32; 5],
    position: i64,
    sequence: i64,
    recorded_at: i64,
    event_id: Uuid,
    command_id: Uuid,
    hash: Hash,
}

/// The columns in the order in which [`Row`] reads them.
const COLUMNS: &str = "position, sequence, recorded_at, event_id, command_id, hash, \
                       aggregate_type, aggregate_id, event_type, event_version, payload, metadata";
const FIRST_TEXT: usize = 6;

impl Row {
    pub fn new(content: &Content<'_>, hash: Hash) -> Self {
        let texts = [
            content.aggregate_type,
            content.aggregate_id,
            content.event_type,
            content.event_version,
            content.payload,
            content.metadata,
        ];
        let mut joined = String::with_capacity(texts.iter().map(|text| text.len()).sum());
        let mut ends = [0; 5];
        for (n, text) in texts.into_iter().enumerate() {
            joined.push_str(text);
            if let Some(end) = ends.get_mut(n) {
                // PostgreSQL has no row of more than a gigabyte.
                *end = u32::try_from(joined.len()).unwrap_or(u32::MAX);
            }
        }
        Row {
            texts: joined.into_boxed_str(),
            ends,
            position: content.position,
            sequence: content.sequence,
            recorded_at: content.recorded_at,
            event_id: content.event_id,
            command_id: content.command_id,
            hash,
        }
    }

    /// What was hashed.
    pub fn content(&self) -> Content<'_> {
        let text = |n: usize| {
            let start = if n == 0 { 0 } else { self.ends[n - 1] as usize };
            let end = self.ends.get(n).map_or(self.texts.len(), |end| *end as usize);
            &self.texts[start..end]
        };
        Content {
            position: self.position,
            aggregate_type: text(0),
            aggregate_id: text(1),
            sequence: self.sequence,
            event_type: text(2),
            event_version: text(3),
            event_id: self.event_id,
            command_id: self.command_id,
            recorded_at: self.recorded_at,
            payload: text(4),
            metadata: text(5),
        }
    }

    pub fn position(&self) -> i64 {
        self.position
    }

    /// The type of its aggregate, without looking at the rest.
    pub fn aggregate_type(&self) -> &str {
        &self.texts[..self.ends[0] as usize]
    }

    /// The link that was stored with it.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The event on its own, as it is published.
    pub fn recorded(&self) -> Recorded {
        let content = self.content();
        // The column's type lets nothing but JSON in; were it not so, null reads as no aggregate's event.
        let raw = |json: &str| {
            RawValue::from_string(json.to_owned()).unwrap_or(RawValue::NULL.to_owned())
        };
        Recorded {
            position: content.position,
            aggregate_type: content.aggregate_type.to_owned(),
            aggregate_id: content.aggregate_id.to_owned(),
            sequence: content.sequence,
            event_type: content.event_type.to_owned(),
            event_version: content.event_version.to_owned(),
            event_id: content.event_id,
            command_id: content.command_id,
            recorded_at: DateTime::from_timestamp_micros(content.recorded_at).unwrap_or_default(),
            payload: raw(content.payload),
            metadata: raw(content.metadata),
            hash: self.hash,
        }
    }

    fn parse(tuple: &Tuple<12>) -> Result<Self, sqlx::Error> {
        let text = |n: usize| tuple.text(FIRST_TEXT + n);
        let content = Content {
            position: tuple.i64(0)?,
            sequence: tuple.i64(1)?,
            recorded_at: tuple.micros(2)?,
            event_id: tuple.uuid(3)?,
            command_id: tuple.uuid(4)?,
            aggregate_type: text(0)?,
            aggregate_id: text(1)?,
            event_type: text(2)?,
            event_version: text(3)?,
            payload: text(4)?,
            metadata: text(5)?,
        };
        Ok(Row::new(&content, tuple.array(5)?))
    }
}

/// The events after `after` up to and including `until`, in position order, up to [`copy::BATCH_MAX`] at a time;
/// only those of `aggregates` where it is given.
///
/// Positions are dense, so whatever is missing is an error: a history that ends early or has a hole, and a
/// connection that was cut, never look like a shorter history. Within a transaction the index is read in order
/// whatever the planner's figures say; outside of one it is left to the planner.
pub fn read<'c>(
    connection: &'c mut PgConnection,
    after: i64,
    until: i64,
    aggregates: Option<&[&str]>,
) -> impl Stream<Item = Result<Vec<Row>, sqlx::Error>> + Send + use<'c> {
    let dense = aggregates.is_none();
    let batches =
        stored(connection, after, until, aggregates).map(Some).chain(stream::iter([None]));
    batches
        .scan(after, move |last, batch| {
            let checked = match batch {
                None if dense && *last < until => Some(Err(missing(*last + 1, until))),
                None => None,
                Some(Ok(rows)) if dense => Some(continues(last, rows)),
                Some(other) => Some(other),
            };
            std::future::ready(checked)
        })
        .boxed()
}

/// As [`read`], but whatever is stored, with its holes: for those who look for holes.
pub fn stored<'c>(
    connection: &'c mut PgConnection,
    after: i64,
    until: i64,
    aggregates: Option<&[&str]>,
) -> impl Stream<Item = Result<Vec<Row>, sqlx::Error>> + Send + use<'c> {
    let query = format!(
        "SELECT {COLUMNS} FROM public.events WHERE position > {after} AND position <= {until}{} \
         ORDER BY position",
        of_types(aggregates)
    );
    stream::once(async move {
        // Local to the transaction, and without effect outside of one.
        sqlx::query(
            "SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
                    set_config('enable_bitmapscan', 'off', true)",
        )
        .execute(&mut *connection)
        .await?;
        Ok::<_, sqlx::Error>(copy::rows_as(connection, &query, |tuple| Row::parse(&tuple)))
    })
    .try_flatten()
}

/// The last position that was recorded at or before `time`; 0 where there is none.
pub async fn position_at(pool: &PgPool, time: DateTime<Utc>) -> sqlx::Result<i64> {
    position_at_within(&mut *pool.acquire().await?, time).await
}

/// As [`position_at`], within a transaction. Times never go back from one position to the next, so halving finds it.
pub async fn position_at_within(
    connection: &mut PgConnection,
    time: DateTime<Utc>,
) -> sqlx::Result<i64> {
    let head: Option<i64> = sqlx::query_scalar("SELECT max(position) FROM public.events")
        .fetch_one(&mut *connection)
        .await?;
    let (mut before, mut after) = (0, head.unwrap_or(0) + 1);
    for _ in 0..HALVINGS_MAX {
        if after - before <= 1 {
            break;
        }
        let middle = before + (after - before) / 2;
        let recorded_at: Option<DateTime<Utc>> = sqlx::query_scalar(
            "SELECT recorded_at FROM public.events WHERE position <= $1 ORDER BY position DESC LIMIT 1",
        )
        .bind(middle)
        .fetch_optional(&mut *connection)
        .await?;
        if recorded_at.is_none_or(|recorded_at| recorded_at <= time) {
            before = middle;
        } else {
            after = middle;
        }
    }
    Ok(before)
}

/// The rows, if they go on where the last ones ended.
fn continues(last: &mut i64, rows: Vec<Row>) -> Result<Vec<Row>, sqlx::Error> {
    for row in &rows {
        if row.position != *last + 1 {
            return Err(missing(*last + 1, row.position - 1));
        }
        *last = row.position;
    }
    Ok(rows)
}

fn missing(from: i64, to: i64) -> sqlx::Error {
    sqlx::Error::Protocol(format!("the history lacks positions {from} to {to}"))
}

/// Types are names from our code, quoted all the same.
fn of_types(aggregates: Option<&[&str]>) -> String {
    let Some(aggregates) = aggregates else { return String::new() };
    let quoted: Vec<_> =
        aggregates.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    format!(" AND aggregate_type IN ({})", quoted.join(", "))
}
