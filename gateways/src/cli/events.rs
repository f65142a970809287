//! `tapedeck events`: the journal, event by event.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use journal::head;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sqlx::{PgPool, QueryBuilder};
use uuid::Uuid;

use super::{Globals, print};

/// How often the end of the journal is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many events are read at once.
const PAGE: i64 = 500;

/// Browse the journal, or watch it
///
/// Every event has a position: 1, 2, 3, without gaps. Each line shows the position, when it was
/// recorded, whose it is, what it is, and what it says.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck events                                    the newest events\n  \
    tapedeck events --after 0 --limit 20               the first twenty\n  \
    tapedeck events --aggregate account/5001           those of one viewer\n  \
    tapedeck events --type raided --type followed\n  \
    tapedeck events --follow                           watch, until Ctrl-C\n  \
    tapedeck events --after 0 --limit 1000000 --json   all of it, for programs")]
pub struct Events {
    /// Only those of one aggregate (account/5001) or of one kind (account)
    #[arg(long, value_name = "TYPE[/ID]")]
    aggregate: Option<String>,
    /// Only those of this type, such as credited; give it several times for several
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only those after this position
    #[arg(long, value_name = "POSITION")]
    after: Option<i64>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Newest first
    #[arg(long, conflicts_with = "follow")]
    reverse: bool,
    /// Go on with what is recorded from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Print one line of JSON for each event, with metadata and hash
    #[arg(long)]
    json: bool,
}

/// An event as it is printed for programs: the fields of the journal.
#[derive(Serialize, sqlx::FromRow)]
struct Row {
    position: i64,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    event_id: Uuid,
    command_id: Uuid,
    recorded_at: DateTime<Utc>,
    #[serde(serialize_with = "raw")]
    payload: String,
    #[serde(serialize_with = "raw")]
    metadata: String,
    hash: String,
}

/// Stored JSON stays as the bytes that were hashed.
fn raw<S: Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let raw: &RawValue = serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
    raw.serialize(serializer)
}

impl Events {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        self.check()?;
        let (_, pool) = globals.database("events").await?;
        let mut last = self.browse(&pool).await?;
        if !self.follow {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.context("waiting for Ctrl-C")?;
                    return Ok(ExitCode::from(130));
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            last = self.show_new(&pool, last).await?;
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let Some(aggregate) = &self.aggregate else { return Ok(()) };
        let (kind, id) = parts_of(aggregate);
        if journal::command::check_id(kind).is_err()
            || id.is_some_and(|id| journal::command::check_id(id).is_err())
        {
            bail!("--aggregate is a type or type/id, such as account or account/5001");
        }
        Ok(())
    }

    /// Prints what there is, and gives the position up to which it looked.
    async fn browse(&self, pool: &PgPool) -> anyhow::Result<i64> {
        let head = head::read(pool).await?.position;
        // Without a place to begin, the newest are shown.
        let newest = self.reverse || self.after.is_none();
        let mut from = if newest { head + 1 } else { self.after.unwrap_or(0) };
        let mut left = self.limit;
        let mut reached = head;
        let mut kept = Vec::new();
        while left > 0 {
            let rows = self.read(pool, from, newest, left.min(PAGE)).await?;
            let Some(last) = rows.last() else { break };
            (from, left) = (last.position, left - rows.len() as i64);
            reached = if newest { head } else { from };
            if newest && !self.reverse {
                kept.extend(rows);
            } else {
                self.print(&rows)?;
            }
        }
        kept.reverse();
        self.print(&kept)?;
        Ok(reached)
    }

    /// Prints what was recorded after `last`, and gives the position up to which it looked.
    async fn show_new(&self, pool: &PgPool, mut last: i64) -> anyhow::Result<i64> {
        let head = head::read(pool).await?.position;
        while last < head {
            let rows = self.read(pool, last, false, PAGE).await?;
            let full = rows.len() as i64 == PAGE;
            last = match rows.last() {
                Some(row) if full => row.position,
                Some(row) => row.position.max(head),
                None => head,
            };
            self.print(&rows)?;
        }
        Ok(last)
    }

    async fn read(
        &self,
        pool: &PgPool,
        from: i64,
        downwards: bool,
        limit: i64,
    ) -> sqlx::Result<Vec<Row>> {
        let mut query = QueryBuilder::new(
            "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, event_id,
                    command_id, recorded_at, payload::text AS payload, metadata::text AS metadata,
                    encode(hash, 'hex') AS hash
             FROM events WHERE position ",
        );
        query.push(if downwards { "< " } else { "> " }).push_bind(from);
        if downwards && let Some(after) = self.after {
            query.push(" AND position > ").push_bind(after);
        }
        if let Some(aggregate) = &self.aggregate {
            let (kind, id) = parts_of(aggregate);
            query.push(" AND aggregate_type = ").push_bind(kind);
            if let Some(id) = id {
                query.push(" AND aggregate_id = ").push_bind(id);
            }
        }
        if !self.types.is_empty() {
            query.push(" AND event_type = ANY(").push_bind(&self.types).push(")");
        }
        let order =
            if downwards { " ORDER BY position DESC LIMIT " } else { " ORDER BY position LIMIT " };
        query.push(order).push_bind(limit);
        query.build_query_as().fetch_all(pool).await
    }

    fn print(&self, rows: &[Row]) -> anyhow::Result<()> {
        if self.json {
            return rows.iter().try_for_each(print::json);
        }
        let lines: Vec<String> = rows.iter().map(|row| print::fitted(row.line())).collect();
        if lines.is_empty() { Ok(()) } else { print::text(&lines.join("\n")) }
    }
}

impl Row {
    /// One line for people.
    fn line(&self) -> String {
        let aggregate = format!("{}/{}", self.aggregate_type, self.aggregate_id);
        format!(
            "{:>8}  {}  {aggregate:<20}  {:<18}  {}",
            self.position,
            print::time(self.recorded_at),
            self.event_type,
            print::harmless(self.body()),
        )
    }

    /// The payload without the name of its event around it, which stands before it already.
    fn body(&self) -> &str {
        let opening = format!("{{\"{}\":", self.event_type);
        let inner = self.payload.strip_prefix(&opening).and_then(|rest| rest.strip_suffix('}'));
        inner.unwrap_or(&self.payload)
    }
}

fn parts_of(aggregate: &str) -> (&str, Option<&str>) {
    match aggregate.split_once('/') {
        Some((kind, id)) => (kind, Some(id)),
        None => (aggregate, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(payload: &str) -> Row {
        Row {
            position: 7,
            aggregate_type: "account".to_owned(),
            aggregate_id: "5001".to_owned(),
            sequence: 1,
            event_type: "credited".to_owned(),
            event_version: "1.0".to_owned(),
            event_id: Uuid::nil(),
            command_id: Uuid::nil(),
            recorded_at: DateTime::UNIX_EPOCH,
            payload: payload.to_owned(),
            metadata: r#"{"source":"test"}"#.to_owned(),
            hash: "00".to_owned(),
        }
    }

    #[test]
    fn the_line_says_position_time_aggregate_type_and_what_happened() {
        let line = row(r#"{"credited":{"points":5}}"#).line();
        assert!(line.starts_with("       7  1970-01-01 00:00:00  account/5001"), "{line}");
        assert!(line.ends_with(r#"credited            {"points":5}"#), "{line}");
    }

    #[test]
    fn stored_json_is_printed_as_the_bytes_that_were_hashed() {
        let json = serde_json::to_string(&row(r#"{"credited": {"b":1, "a":2}}"#)).expect("JSON");
        assert!(json.contains(r#""payload":{"credited": {"b":1, "a":2}}"#), "{json}");
    }
}
