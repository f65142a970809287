//! A viewer's statement by broadcast: the balance they came with, and the one they left with.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;

use super::{NAME, out_of_range, sums_up_to};
use crate::balances::Sums;
use crate::broadcasts;
use crate::reading::{AsOf, Page, QueryError, Reading, Viewer};

/// A viewer's sums broadcast by broadcast, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parts {
    /// The position of history that this is true for.
    pub position: i64,
    pub viewer: Viewer,
    pub parts: Vec<Part>,
    /// The number of the broadcast that the next, older page begins before; `None` when this is the last.
    pub before: Option<i64>,
}

/// What happened to an account during one broadcast, or between two.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The broadcast's number; `None` for what came between broadcasts, which is listed only where there was something.
    pub broadcast: Option<i64>,
    pub title: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    /// `None` while it lasts.
    pub ended_at: Option<DateTime<Utc>>,
    /// The positions of history that this part covers, both included.
    pub from_position: i64,
    pub until_position: i64,
    pub opening: Sums,
    pub closing: Sums,
    /// How many entries there are between opening and closing.
    pub entries: i64,
}

/// The parts of `viewer`'s statement by the broadcasts of `broadcaster`; a page is counted in broadcasts.
pub async fn parts(
    pool: &PgPool,
    viewer: &str,
    broadcaster: &str,
    as_of: AsOf,
    page: Page,
) -> Result<Parts, QueryError> {
    let mut reading = Reading::open(pool, &[NAME, broadcasts::NAME], as_of).await?;
    let position = reading.position;
    let limit = page.limit();
    // The broadcast at the cursor says where the newest part of this page ends; one more says whether there are older.
    let mut spans: Vec<Span> = sqlx::query_as(
        "SELECT number, min(started_position) AS started_position, min(started_at) AS started_at,
                CASE WHEN bool_and(ended) THEN max(ended_position) END AS ended_position,
                CASE WHEN bool_and(ended) THEN max(ended_at) END AS ended_at, b.title
         FROM (SELECT *, coalesce(ended_position <= $2, false) AS ended
               FROM broadcast_intervals
               WHERE broadcaster = $1 AND started_position <= $2 AND number <= $3) AS i
         JOIN (SELECT broadcaster, number, title FROM broadcasts) AS b USING (broadcaster, number)
         GROUP BY number, b.title ORDER BY number DESC LIMIT $4",
    )
    .bind(broadcaster)
    .bind(position)
    .bind(page.before())
    .bind(limit + 2)
    .fetch_all(reading.connection())
    .await?;
    let at_cursor =
        page.before.is_some_and(|before| spans.first().is_some_and(|s| s.number == before));
    let end = if at_cursor { spans.remove(0).started_position - 1 } else { position };
    let more = spans.len() as i64 > limit;
    spans.truncate(usize::try_from(limit).unwrap_or_default());
    let before = spans.last().map(|span| span.number).filter(|_| more);

    let outlines = outlines(spans, end, more);
    let parts = fill(&mut reading, viewer, outlines).await?;
    let viewer = reading.viewer(viewer).await?;
    reading.close().await?;
    Ok(Parts { position, viewer, parts, before })
}

/// Where a broadcast lies in history.
#[derive(sqlx::FromRow)]
struct Span {
    number: i64,
    started_position: i64,
    started_at: DateTime<Utc>,
    ended_position: Option<i64>,
    ended_at: Option<DateTime<Utc>>,
    title: String,
}

/// The parts up to `end` without their sums, oldest first. Unless there are older broadcasts, what came before the
/// first is a part as well.
fn outlines(spans: Vec<Span>, end: i64, older: bool) -> Vec<Part> {
    let outline = |from_position, until_position| Part {
        broadcast: None,
        title: None,
        started_at: None,
        ended_at: None,
        from_position,
        until_position,
        opening: Sums::default(),
        closing: Sums::default(),
        entries: 0,
    };
    let mut parts = Vec::with_capacity(spans.len() * 2 + 1);
    let first = spans.last().map_or(end + 1, |span| span.started_position);
    if !older {
        parts.push(outline(1, first - 1));
    }
    let mut spans = spans.into_iter().rev().peekable();
    while let Some(span) = spans.next() {
        let next = spans.peek().map_or(end, |next| next.started_position - 1);
        let until = span.ended_position.map_or(next, |ended| ended.min(next));
        parts.push(Part {
            broadcast: Some(span.number),
            title: Some(span.title),
            started_at: Some(span.started_at),
            ended_at: span.ended_at,
            ..outline(span.started_position, until)
        });
        parts.push(outline(until + 1, next));
    }
    parts.retain(|part| part.broadcast.is_some() || part.from_position <= part.until_position);
    parts
}

/// Gives the parts their sums, and puts the newest first.
async fn fill(
    reading: &mut Reading,
    viewer: &str,
    mut parts: Vec<Part>,
) -> Result<Vec<Part>, QueryError> {
    let Some(first) = parts.first() else { return Ok(parts) };
    let mut running = sums_up_to(reading, viewer, first.from_position - 1).await?;
    let changes: Vec<Change> = sqlx::query_as(
        "SELECT count(s.position) AS entries,
                coalesce(sum(available_delta) FILTER (WHERE kind = 'credited'), 0)::bigint AS credits,
                coalesce(sum(available_delta), 0)::bigint AS available,
                coalesce(sum(held_delta), 0)::bigint AS held,
                coalesce(-sum(held_delta) FILTER (WHERE kind = 'captured'), 0)::bigint AS captured,
                coalesce(sum(available_delta) FILTER (WHERE kind = 'reversed'), 0)::bigint AS reversed
         FROM UNNEST($2::bigint[], $3::bigint[]) WITH ORDINALITY AS part (first, last, n)
         LEFT JOIN statements s ON s.account = $1 AND s.position BETWEEN part.first AND part.last
         GROUP BY n ORDER BY n",
    )
    .bind(viewer)
    .bind(parts.iter().map(|part| part.from_position).collect::<Vec<i64>>())
    .bind(parts.iter().map(|part| part.until_position).collect::<Vec<i64>>())
    .fetch_all(reading.connection())
    .await?;
    for (part, change) in parts.iter_mut().zip(changes) {
        part.opening = running;
        running = running.plus(change.sums).ok_or_else(out_of_range)?;
        part.closing = running;
        part.entries = change.entries;
    }
    parts.retain(|part| part.broadcast.is_some() || part.entries > 0);
    parts.reverse();
    Ok(parts)
}

#[derive(sqlx::FromRow)]
struct Change {
    entries: i64,
    #[sqlx(flatten)]
    sums: Sums,
}
