//! Who has the most points: the accounts of `balances`, in order.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::balances::NAME;
use crate::reading::{AsOf, QueryError, Reading, Viewer};

/// The most places that are asked for at once.
pub const PLACES_MAX: i64 = 100;

/// What the places are by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// What a viewer owns now: available and held.
    #[default]
    Total,
    /// What a viewer can spend now.
    Available,
    /// All that a viewer was ever given.
    Credits,
}

impl FromStr for By {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "total" => Ok(By::Total),
            "available" => Ok(By::Available),
            "credits" => Ok(By::Credits),
            _ => Err("places are by total, available or credits".to_owned()),
        }
    }
}

/// The first places. Equal points share one, and the next is as many further down.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leaderboard {
    /// The position of history that this is true for.
    pub position: i64,
    pub by: By,
    pub places: Vec<Place>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    pub place: i64,
    pub viewer: Viewer,
    pub points: i64,
}

/// The first `limit` places. Whoever has no points has none.
pub async fn of(pool: &PgPool, by: By, limit: i64) -> Result<Leaderboard, QueryError> {
    let points = match by {
        By::Total => "available + held",
        By::Available => "available",
        By::Credits => "credits",
    };
    let query = format!(
        "SELECT rank() OVER (ORDER BY points DESC) AS place, account, name, points
         FROM (SELECT account, {points} AS points FROM balances WHERE {points} > 0
               ORDER BY points DESC, account LIMIT $1) AS first
         LEFT JOIN public.viewer_names ON viewer_id = account
         ORDER BY points DESC, account"
    );
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let rows: Vec<(i64, String, Option<String>, i64)> = sqlx::query_as(&query)
        .bind(limit.clamp(1, PLACES_MAX))
        .fetch_all(reading.connection())
        .await?;
    let position = reading.position;
    reading.close().await?;
    let places = rows
        .into_iter()
        .map(|(place, id, name, points)| Place { place, viewer: Viewer { id, name }, points })
        .collect();
    Ok(Leaderboard { position, by, places })
}
