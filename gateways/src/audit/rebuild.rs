//! Any other projection: folded again by its own code into temporary tables of a transaction that is never
//! committed, and compared with the live tables row for row.

use std::collections::BTreeMap;

use journal::history::Row;
use journal::{Failure, Projection, Recorded, try_fold};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use tokio::sync::mpsc;

use super::Error;
use super::finding::{Disagreement, Findings};
use super::snapshot::Snapshot;
use super::walk::Batch;

/// Rows of one table that are fetched when they differ.
const DIFFERENT_MAX: usize = 100;

/// Rebuilds `projection` up to `until` and compares it with the generation in `schema`; answers how many rows agree.
pub async fn check(
    snapshot: &Snapshot,
    projection: &dyn Projection,
    schema: &str,
    until: i64,
    mut history: mpsc::Receiver<Batch>,
    findings: &mut Findings,
) -> Result<u64, Error> {
    let mut scratch = snapshot.scratch().await?;
    // The temporary tables come before the live ones of the same names.
    sqlx::query("SET LOCAL search_path TO pg_temp, public").execute(&mut *scratch).await?;
    projection.create(&mut scratch).await?;
    let begun = has_begun(&mut scratch, projection).await?;
    while let Some(batch) = history.recv().await {
        let wanted = batch
            .rows
            .iter()
            .filter(|row| begun && row.position() <= until && projection.wants(&row.content()));
        let events: Vec<Recorded> = wanted.map(Row::recorded).collect();
        if events.is_empty() {
            continue;
        }
        let borrowed: Vec<&Recorded> = events.iter().collect();
        match try_fold(&mut scratch, projection, &borrowed).await {
            Ok(()) => {}
            Err(Failure::Database(error)) => return Err(error.into()),
            Err(Failure::Poison { position, reason }) => {
                findings.add(|| poisoned(projection.name(), position, &reason));
                return Ok(0);
            }
        }
    }
    let mut rows = 0;
    for table in projection.tables() {
        rows += compare(&mut scratch, schema, table, findings).await?;
    }
    scratch.rollback().await?;
    Ok(rows)
}

/// Whether anything can be in the tables of `projection`. Where nothing can, history need not be folded to know it.
async fn has_begun(scratch: &mut PgConnection, projection: &dyn Projection) -> sqlx::Result<bool> {
    let Some(first) = projection.begins_with() else { return Ok(true) };
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM public.events WHERE aggregate_type = $1)")
        .bind(first)
        .fetch_one(scratch)
        .await
}

async fn compare(
    scratch: &mut PgConnection,
    schema: &str,
    table: &str,
    findings: &mut Findings,
) -> Result<u64, Error> {
    let live = format!("SELECT to_jsonb(t) AS row FROM {schema}.{table} t");
    let made = format!("SELECT to_jsonb(t) AS row FROM pg_temp.{table} t");
    let count: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM pg_temp.{table}"))
        .fetch_one(&mut *scratch)
        .await?;
    let expected = difference(scratch, &made, &live).await?;
    let found = difference(scratch, &live, &made).await?;
    if expected.is_empty() && found.is_empty() {
        return Ok(u64::try_from(count).unwrap_or(0));
    }
    let key = key_of(scratch, table).await?;
    name_differences(table, &key, expected, found, findings);
    Ok(u64::try_from(count).unwrap_or(0).saturating_sub(findings.total))
}

/// The rows of `these` that are not among `those`.
async fn difference(
    scratch: &mut PgConnection,
    these: &str,
    those: &str,
) -> sqlx::Result<Vec<Map<String, Value>>> {
    let query = format!(
        "SELECT row FROM ({these} EXCEPT ALL {those}) AS different ORDER BY row LIMIT {DIFFERENT_MAX}"
    );
    let rows: Vec<Value> = sqlx::query_scalar(&query).fetch_all(scratch).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| match row {
            Value::Object(row) => Some(row),
            _ => None,
        })
        .collect())
}

/// The columns of the primary key.
async fn key_of(scratch: &mut PgConnection, table: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT a.attname::text FROM pg_index i
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
         WHERE i.indrelid = ('pg_temp.' || $1)::regclass AND i.indisprimary ORDER BY a.attnum",
    )
    .bind(table)
    .fetch_all(scratch)
    .await
}

/// The row that is expected under a key, and the one that was found.
type Pair = (Option<Map<String, Value>>, Option<Map<String, Value>>);

/// Brings together what is expected and what was found by their keys, and names every column that differs.
fn name_differences(
    table: &str,
    key: &[String],
    expected: Vec<Map<String, Value>>,
    found: Vec<Map<String, Value>>,
    findings: &mut Findings,
) {
    let key_of = |row: &Map<String, Value>| {
        let parts: Vec<_> =
            key.iter().map(|column| format!("{column} {}", shown(row.get(column)))).collect();
        parts.join(", ")
    };
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    for row in expected {
        let key = key_of(&row);
        pairs.entry(key).or_default().0 = Some(row);
    }
    for row in found {
        let key = key_of(&row);
        pairs.entry(key).or_default().1 = Some(row);
    }
    for (key, pair) in pairs {
        let about = format!("{table} ({key})");
        match pair {
            (Some(expected), Some(found)) => {
                for (column, should) in &expected {
                    let is = found.get(column);
                    if is != Some(should) {
                        let (should, is) = (shown(Some(should)), shown(is));
                        findings.add(|| differs(&about, column, should, is, position(&expected)));
                    }
                }
            }
            (Some(row), None) => findings.add(|| {
                differs(&about, "row", "a row".to_owned(), "none".to_owned(), position(&row))
            }),
            (None, Some(row)) => findings.add(|| {
                differs(&about, "row", "none".to_owned(), "a row".to_owned(), position(&row))
            }),
            (None, None) => {}
        }
    }
}

fn differs(
    about: &str,
    field: &str,
    expected: String,
    found: String,
    position: Option<i64>,
) -> Disagreement {
    Disagreement {
        position,
        about: about.to_owned(),
        field: field.to_owned(),
        sentence: format!("{about}: {field} is {found}, history says {expected}"),
        expected,
        found,
    }
}

/// Where in history the row began, if it says so.
fn position(row: &Map<String, Value>) -> Option<i64> {
    ["position", "started_position"].iter().find_map(|column| row.get(*column)?.as_i64())
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

fn poisoned(name: &str, position: i64, reason: &str) -> Disagreement {
    Disagreement {
        position: Some(position),
        about: format!("event {position}"),
        field: "payload".to_owned(),
        expected: "an event that can be folded".to_owned(),
        found: reason.to_owned(),
        sentence: format!("event {position}: {name} cannot fold it: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_changed_column_a_missing_and_an_extra_row_are_told_apart() {
        let expected = vec![
            row(json!({"id": 1, "title": "right", "started_position": 12})),
            row(json!({"id": 2, "title": "missing", "started_position": 40})),
        ];
        let found =
            vec![row(json!({"id": 1, "title": "wrong"})), row(json!({"id": 3, "title": "extra"}))];
        let mut findings = Findings::default();
        name_differences("broadcasts", &["id".to_owned()], expected, found, &mut findings);
        let said: Vec<_> = findings.first.iter().map(|found| found.sentence.as_str()).collect();
        assert_eq!(
            said,
            [
                "broadcasts (id 1): started_position is nothing, history says 12",
                "broadcasts (id 1): title is wrong, history says right",
                "broadcasts (id 2): row is none, history says a row",
                "broadcasts (id 3): row is a row, history says none",
            ]
        );
        assert_eq!(findings.first[2].position, Some(40));
    }
}
