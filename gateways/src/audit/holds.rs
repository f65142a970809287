//! The projection `holds` against the holds that history leaves open. Few are open at any time, so they are kept in
//! memory, and a hold that was opened and closed costs nothing but the reading.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use projections::holds::{Change, Opened, change};
use sqlx::{FromRow, PgConnection, Row};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Error;
use super::finding::{Disagreement, Findings};
use super::walk::Batch;

/// Compares the open holds up to `until` with those in `schema`; answers how many agree.
pub async fn check(
    connection: &mut PgConnection,
    schema: &str,
    until: i64,
    mut history: mpsc::Receiver<Batch>,
    findings: &mut Findings,
) -> Result<u64, Error> {
    let mut open: BTreeMap<Uuid, Opened> = BTreeMap::new();
    while let Some(batch) = history.recv().await {
        for row in batch.rows.iter().filter(|row| row.position() <= until) {
            let content = row.content();
            match change(&content) {
                Ok(Some(Change::Opened(id, hold))) => {
                    open.insert(id, hold);
                }
                // That it was open before, the books of the account prove.
                Ok(Some(Change::Closed(id))) => {
                    open.remove(&id);
                }
                Ok(None) => {}
                Err(error) => {
                    let says = "its payload does not read as what happened to a hold";
                    findings.event(&content, "payload", "an event of an account", error, says);
                }
            }
        }
    }
    let mut agree = 0;
    let query = format!(
        "SELECT id, viewer, points, purpose, expires_at, position FROM {schema}.holds ORDER BY position"
    );
    let mut rows = sqlx::query(&query).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (id, found) = (row.try_get("id")?, Opened::from_row(&row)?);
        let expected = open.remove(&id);
        if expected.as_ref() == Some(&found) {
            agree += 1;
        } else {
            findings.add(|| different(id, expected.as_ref(), Some(&found)));
        }
    }
    for (id, expected) in &open {
        findings.add(|| different(*id, Some(expected), None));
    }
    Ok(agree)
}

fn different(id: Uuid, expected: Option<&Opened>, found: Option<&Opened>) -> Disagreement {
    let said = |hold: Option<&Opened>| match hold {
        None => "no open hold".to_owned(),
        Some(Opened { viewer, points, purpose, expires_at, position }) => format!(
            "{points} points of {viewer} for {purpose:?} until {expires_at}, held at {position}"
        ),
    };
    let (expected_said, found_said) = (said(expected), said(found));
    let about = format!("hold {id}");
    Disagreement {
        position: expected.or(found).map(|hold| hold.position),
        sentence: format!("{about}: holds has {found_said}, history says {expected_said}"),
        about,
        field: "hold".to_owned(),
        expected: expected_said,
        found: found_said,
    }
}
