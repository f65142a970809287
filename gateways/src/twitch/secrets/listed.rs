//! The versions of the secret as they are shown: without it.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// A version without its secret.
#[derive(Clone, Debug, PartialEq, serde::Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = EventsubSecret)]
pub struct Listed {
    pub version: i64,
    pub name: String,
    pub configured: bool,
    pub made_at: DateTime<Utc>,
    pub replaced_at: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
}

/// All versions, newest first.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as(
        "SELECT version, name, configured, made_at, replaced_at, until FROM eventsub_secrets
         ORDER BY version DESC LIMIT 100",
    )
    .fetch_all(pool)
    .await
}
