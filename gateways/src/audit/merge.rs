//! A projection with one row per position, read side by side with history: every row must be the one that its event
//! makes, and every event that makes one must have it.

use std::pin::Pin;

use chrono::DateTime;
use futures::{Stream, TryStreamExt};
use journal::Content;
use journal::copy::Tuple;
use projections::{alerts, statements};
use serde_json::Value;

use super::finding::{Disagreement, Findings, name};
use super::ledger::Said;

/// The rows of a table in the order of their first column, which is the position.
pub type Rows<'c, const N: usize> =
    Pin<Box<dyn Stream<Item = Result<Vec<Tuple<N>>, sqlx::Error>> + Send + 'c>>;

/// Compares the row of an event with the row that is stored; answers whether there should be one.
type Judge<const N: usize> =
    fn(&Content<'_>, &Said, Option<&Tuple<N>>, &mut Differences) -> sqlx::Result<bool>;

/// A projection's rows against history.
pub struct Merge<'c, const N: usize> {
    /// How many rows were compared.
    pub compared: u64,
    pub findings: Findings,
    table: &'static str,
    until: i64,
    rows: Rows<'c, N>,
    batch: std::vec::IntoIter<Tuple<N>>,
    next: Option<(i64, Tuple<N>)>,
    judge: Judge<N>,
    differences: Differences,
}

/// Columns that are not as they should be: name, expected, found.
type Differences = Vec<(&'static str, String, String)>;

/// The columns of `statements` that are compared, from the generation in `schema`.
pub fn statements_query(schema: &str) -> String {
    format!(
        "SELECT position, account, kind, available_delta, held_delta, at FROM {schema}.statements ORDER BY position"
    )
}

/// The same of `alerts`.
pub fn alerts_query(schema: &str) -> String {
    format!("SELECT position, id, kind, viewer, data, at FROM {schema}.alerts ORDER BY position")
}

impl<'c> Merge<'c, 6> {
    pub async fn statements(rows: Rows<'c, 6>, until: i64) -> sqlx::Result<Self> {
        Merge::begin(statements::NAME, rows, until, judge_statement).await
    }

    pub async fn alerts(rows: Rows<'c, 6>, until: i64) -> sqlx::Result<Self> {
        Merge::begin(alerts::NAME, rows, until, judge_alert).await
    }
}

impl<'c, const N: usize> Merge<'c, N> {
    async fn begin(
        table: &'static str,
        rows: Rows<'c, N>,
        until: i64,
        judge: Judge<N>,
    ) -> sqlx::Result<Self> {
        let mut merge = Merge {
            compared: 0,
            findings: Findings::default(),
            table,
            until,
            rows,
            batch: Vec::new().into_iter(),
            next: None,
            judge,
            differences: Vec::new(),
        };
        merge.advance().await?;
        Ok(merge)
    }

    /// The next event of history.
    pub async fn see(&mut self, content: &Content<'_>, said: &Said) -> sqlx::Result<()> {
        if content.position > self.until {
            return Ok(());
        }
        self.pass(content.position).await?;
        let here = matches!(&self.next, Some((position, _)) if *position == content.position);
        let stored = self.next.as_ref().filter(|_| here).map(|(_, tuple)| tuple);
        let due = (self.judge)(content, said, stored, &mut self.differences)?;
        for (field, expected, found) in self.differences.drain(..) {
            let says = format!("{}.{field} is {found}, history says {expected}", self.table);
            self.findings.event(content, field, expected, found, says);
        }
        match (due, here) {
            (true, true) => self.compared += 1,
            (true, false) => {
                let says = format!("its row in {} is missing", self.table);
                self.findings.event(content, "position", "a row", "none", says);
            }
            (false, true) => {
                let says = format!("it has a row in {}, and should have none", self.table);
                self.findings.event(content, "position", "no row", "a row", says);
            }
            (false, false) => {}
        }
        if here { self.advance().await } else { Ok(()) }
    }

    /// Ends history: rows that are left belong to no event.
    pub async fn finish(&mut self) -> sqlx::Result<()> {
        self.pass(i64::MAX).await
    }

    /// Names the rows before `position`, whose events have passed or never were.
    async fn pass(&mut self, position: i64) -> sqlx::Result<()> {
        while let Some((at, _)) = &self.next
            && *at < position
        {
            let (at, table) = (*at, self.table);
            self.findings.add(|| Disagreement {
                position: Some(at),
                about: format!("row {at} of {table}"),
                field: "position".to_owned(),
                expected: "no row".to_owned(),
                found: "a row".to_owned(),
                sentence: format!("row {at} of {table}: history has no event for it"),
            });
            self.advance().await?;
        }
        Ok(())
    }

    async fn advance(&mut self) -> sqlx::Result<()> {
        if self.batch.len() == 0 {
            self.batch = self.rows.try_next().await?.unwrap_or_default().into_iter();
        }
        self.next = match self.batch.next() {
            Some(tuple) => Some((tuple.i64(0)?, tuple)),
            None => None,
        };
        Ok(())
    }
}

/// A row of `statements` is what the audit's own books make of the event.
fn judge_statement(
    content: &Content<'_>,
    said: &Said,
    stored: Option<&Tuple<6>>,
    differences: &mut Differences,
) -> sqlx::Result<bool> {
    let moves = match said {
        Some(Ok(entry)) => entry.moves(),
        None => return Ok(false),
        Some(Err(error)) => return Ok(unreadable(content, error, differences)),
    };
    let Some(stored) = stored else { return Ok(true) };
    text(differences, "account", Some(content.aggregate_id), stored.optional_text(1)?);
    text(differences, "kind", Some(content.event_type), stored.optional_text(2)?);
    number(differences, "available_delta", moves.available, stored.i64(3)?);
    number(differences, "held_delta", moves.held, stored.i64(4)?);
    time(differences, content.recorded_at, stored.micros(5)?);
    Ok(true)
}

fn judge_alert(
    content: &Content<'_>,
    _said: &Said,
    stored: Option<&Tuple<6>>,
    differences: &mut Differences,
) -> sqlx::Result<bool> {
    let row = match alerts::row(content) {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(false),
        Err(error) => return Ok(unreadable(content, &error, differences)),
    };
    let Some(stored) = stored else { return Ok(true) };
    let id = stored.uuid(1)?;
    if row.id != id {
        differences.push(("id", row.id.to_string(), id.to_string()));
    }
    text(differences, "kind", Some(row.kind), stored.optional_text(2)?);
    text(differences, "viewer", row.viewer.as_deref(), stored.optional_text(3)?);
    let stored_data = stored.text(4)?;
    if row.data != stored_data && json(&row.data) != json(stored_data) {
        differences.push(("data", row.data, stored_data.to_owned()));
    }
    time(differences, content.recorded_at, stored.micros(5)?);
    Ok(true)
}

/// An event that cannot be folded is itself the disagreement.
fn unreadable(
    content: &Content<'_>,
    error: &serde_json::Error,
    differences: &mut Differences,
) -> bool {
    differences.push(("payload", format!("{} to be readable", name(content)), error.to_string()));
    false
}

/// What a text says as JSON, however it is written.
fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn text(
    differences: &mut Differences,
    column: &'static str,
    expected: Option<&str>,
    found: Option<&str>,
) {
    if expected != found {
        let shown = |text: Option<&str>| text.unwrap_or("null").to_owned();
        differences.push((column, shown(expected), shown(found)));
    }
}

fn number(differences: &mut Differences, column: &'static str, expected: i64, found: i64) {
    if expected != found {
        differences.push((column, expected.to_string(), found.to_string()));
    }
}

fn time(differences: &mut Differences, expected: i64, found: i64) {
    if expected != found {
        let shown = |micros| DateTime::from_timestamp_micros(micros).unwrap_or_default();
        differences.push(("at", shown(expected).to_rfc3339(), shown(found).to_rfc3339()));
    }
}
