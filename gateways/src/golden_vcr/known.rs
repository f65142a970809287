//! What has to be known beside an event to say it in Golden VCR's words: names, and when broadcasts began.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use domain::broadcast;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::translate::Read;

/// Beside the events.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// By Twitch user id.
    pub names: HashMap<String, Name>,
    /// By broadcaster and number.
    pub broadcasts: HashMap<(String, i64), Begun>,
    /// Where pictures are to be had.
    pub pictures: String,
}

/// What a viewer is called.
#[derive(Clone, Debug, Default)]
pub struct Name {
    pub name: Option<String>,
    /// Then nothing is repeated of what the viewer wrote.
    pub erased: bool,
}

/// Where and when a broadcast began. The position is its id: a number of one's own for each, for ever.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub position: i64,
    pub at: DateTime<Utc>,
}

impl Known {
    /// What has to be known for these events, read in history and in the table of names.
    pub(super) async fn of(
        pool: &PgPool,
        events: &[Read],
        pictures: String,
    ) -> anyhow::Result<Self> {
        let viewers: BTreeSet<&str> = events.iter().filter_map(Read::viewer).collect();
        let viewers: Vec<&str> = viewers.into_iter().collect();
        let rows: Vec<(String, Option<String>, bool)> = sqlx::query_as(
            "SELECT viewer_id, name, erased_at IS NOT NULL FROM viewer_names
             WHERE viewer_id = ANY($1)",
        )
        .bind(viewers)
        .fetch_all(pool)
        .await?;
        let names = rows.into_iter().map(|(id, name, erased)| (id, Name { name, erased }));
        let mut known = Known { names: names.collect(), pictures, ..Known::default() };
        let wanted: BTreeSet<(&str, i64)> = events.iter().filter_map(Read::broadcast).collect();
        for (broadcaster, number) in wanted {
            if let Some(begun) = begun(pool, broadcaster, number).await? {
                known.broadcasts.insert((broadcaster.to_owned(), number), begun);
            }
        }
        Ok(known)
    }

    /// A viewer as Golden VCR writes one.
    pub(super) fn viewer(&self, id: &str) -> Value {
        let name = self.names.get(id).and_then(|known| known.name.as_deref());
        json!({"twitch_user_id": id, "twitch_display_name": name.unwrap_or_default()})
    }

    /// What a viewer wrote, which is nothing once the viewer is erased.
    pub(super) fn words<'a>(&self, viewer: &str, words: &'a str) -> &'a str {
        match self.names.get(viewer) {
            Some(Name { erased: true, .. }) => "",
            _ => words,
        }
    }
}

/// Where the broadcast of this number began.
async fn begun(pool: &PgPool, broadcaster: &str, number: i64) -> anyhow::Result<Option<Begun>> {
    let row: Option<(i64, String)> = sqlx::query_as(
        "SELECT position, payload::text FROM events
         WHERE aggregate_type = 'broadcast' AND event_type = 'started' AND aggregate_id = $1
           AND (payload->'started'->>'broadcast')::bigint = $2
         ORDER BY position LIMIT 1",
    )
    .bind(broadcaster)
    .bind(number)
    .fetch_optional(pool)
    .await?;
    let Some((position, payload)) = row else { return Ok(None) };
    Ok(match serde_json::from_str(&payload) {
        Ok(broadcast::Event::Started { at, .. }) => Some(Begun { position, at }),
        _ => None,
    })
}
