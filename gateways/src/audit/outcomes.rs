//! The recorded outcomes against the events of history.

use futures::TryStreamExt;
use journal::copy;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::commands::{Answers, Did};
use super::finding::{Disagreement, Findings};

/// The members of both sets that are not the same in the other, in the order of history.
const DIFFERENT: &str = "
    WITH made AS (
        SELECT command_id, min(position) AS first_position, count(*) AS events,
               count(DISTINCT (aggregate_type, aggregate_id)) AS aggregates,
               max(position) - min(position) + 1 AS span,
               min(aggregate_type) AS aggregate_type, min(aggregate_id) AS aggregate_id
        FROM public.events GROUP BY command_id
    ), answered AS (
        SELECT command_id, first_position, events::bigint AS events, aggregate_type, aggregate_id
        FROM public.command_outcomes WHERE outcome = 'accepted' AND events > 0
    )
    SELECT command_id, m.first_position, m.events, m.span, m.aggregates, a.first_position, a.events,
           coalesce(m.aggregate_type, a.aggregate_type), coalesce(m.aggregate_id, a.aggregate_id),
           a.aggregate_type, a.aggregate_id, count(*) OVER ()
    FROM made m FULL JOIN answered a USING (command_id)
    WHERE (m.first_position, m.events, m.aggregate_type, m.aggregate_id)
              IS DISTINCT FROM (a.first_position, a.events, a.aggregate_type, a.aggregate_id)
       OR m.span <> m.events OR m.aggregates <> 1
    ORDER BY coalesce(m.first_position, a.first_position) LIMIT 20";

/// Outcomes that contradict themselves.
const CONTRADICTORY: &str = "
    SELECT command_id, outcome, events, first_position FROM public.command_outcomes
    WHERE CASE WHEN outcome = 'accepted' THEN (events > 0) <> (first_position IS NOT NULL) OR events < 0
               ELSE events <> 0 OR first_position IS NOT NULL END
    ORDER BY decided_at, command_id LIMIT 20";

/// Shows `answers` every accepted outcome that has events.
pub async fn read(connection: &mut PgConnection, answers: &mut Answers) -> sqlx::Result<()> {
    let query = "SELECT command_id, first_position, events, aggregate_type, aggregate_id \
                 FROM public.command_outcomes \
                 WHERE outcome = 'accepted' AND events > 0 AND first_position IS NOT NULL";
    let mut batches = std::pin::pin!(copy::rows::<5>(connection, query));
    while let Some(batch) = batches.try_next().await? {
        for row in &batch {
            answers.see(&Did {
                command_id: row.uuid(0)?,
                first_position: row.i64(1)?,
                events: row.i32(2)?,
                aggregate_type: row.text(3)?,
                aggregate_id: row.text(4)?,
            });
        }
    }
    Ok(())
}

/// Names what is different, once it is known that something is.
pub async fn explain(
    connection: &mut PgConnection,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(DIFFERENT).fetch_all(connection).await?;
    for row in &rows {
        let difference = Difference {
            command: row.try_get(0)?,
            first: row.try_get(1)?,
            events: row.try_get(2)?,
            span: row.try_get(3)?,
            aggregates: row.try_get(4)?,
            said_first: row.try_get(5)?,
            said_events: row.try_get(6)?,
            aggregate: (row.try_get(7)?, row.try_get(8)?),
            said_aggregate: row
                .try_get::<Option<String>, _>(9)?
                .zip(row.try_get::<Option<String>, _>(10)?),
        };
        findings.add(|| difference.disagreement());
    }
    if rows.is_empty() {
        findings.add(not_the_same);
    }
    let total: i64 = rows.first().map(|row| row.try_get(11)).transpose()?.unwrap_or(0);
    findings.total += u64::try_from(total).unwrap_or(0).saturating_sub(rows.len() as u64);
    Ok(())
}

fn not_the_same() -> Disagreement {
    Disagreement {
        position: None,
        about: "commands".to_owned(),
        field: "events".to_owned(),
        expected: "the commands of history".to_owned(),
        found: "other accepted outcomes".to_owned(),
        sentence: "the commands of history and the accepted outcomes are not the same".to_owned(),
    }
}

/// Names the outcomes that contradict themselves.
pub async fn contradictions(
    connection: &mut PgConnection,
    findings: &mut Findings,
) -> sqlx::Result<()> {
    for row in sqlx::query(CONTRADICTORY).fetch_all(connection).await? {
        let (command, outcome): (Uuid, String) = (row.try_get(0)?, row.try_get(1)?);
        let (events, first): (i32, Option<i64>) = (row.try_get(2)?, row.try_get(3)?);
        let first_said = first.map_or("none".to_owned(), |first| first.to_string());
        findings.add(|| Disagreement {
            position: first,
            about: format!("command {command}"),
            field: "events".to_owned(),
            expected: "events and their first position, or neither".to_owned(),
            found: format!("{events} events, first position {first_said}"),
            sentence: format!(
                "command {command}: its outcome is {outcome} with {events} events and first position {first_said}"
            ),
        });
    }
    Ok(())
}

struct Difference {
    command: Uuid,
    first: Option<i64>,
    events: Option<i64>,
    span: Option<i64>,
    aggregates: Option<i64>,
    said_first: Option<i64>,
    said_events: Option<i64>,
    aggregate: (String, String),
    said_aggregate: Option<(String, String)>,
}

impl Difference {
    fn disagreement(&self) -> Disagreement {
        let (field, expected, found) = self.field();
        let about = format!("command {} ({} {})", self.command, self.aggregate.0, self.aggregate.1);
        Disagreement {
            position: self.first.or(self.said_first),
            sentence: format!("{about}: history has {expected}, its outcome says {found}"),
            about,
            field: field.to_owned(),
            expected,
            found,
        }
    }

    fn field(&self) -> (&'static str, String, String) {
        let events = |first: i64, count: i64| match count {
            1 => format!("1 event at {first}"),
            count => format!("{count} events from {first}"),
        };
        let made = self.first.zip(self.events);
        let said = self.said_first.zip(self.said_events);
        let expected = match made {
            None => "no events".to_owned(),
            Some((first, count)) if self.span != self.events => {
                format!("{count} events that do not stand together, the first at {first}")
            }
            Some((first, count)) if self.aggregates != Some(1) => {
                format!("{} of several aggregates", events(first, count))
            }
            Some((first, count)) => events(first, count),
        };
        let found = match said {
            None => "nothing accepted".to_owned(),
            Some((first, count)) => events(first, count),
        };
        if expected == found && self.said_aggregate.as_ref() != Some(&self.aggregate) {
            let (kind, id) = self.said_aggregate.clone().unwrap_or_default();
            let (kind_made, id_made) = &self.aggregate;
            return ("aggregate", format!("{kind_made} {id_made}"), format!("{kind} {id}"));
        }
        ("events", expected, found)
    }
}
