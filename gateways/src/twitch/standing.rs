//! How a way into Twitch stands, kept until the row of that way says so too.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::timeout;

/// How long PostgreSQL may take: it keeps nobody from Twitch for long.
pub(crate) const ROW_LIMIT: Duration = Duration::from_secs(2);

/// The row of a way into Twitch.
pub(crate) trait Stands {
    /// What the way is called.
    const WAY: &'static str;

    /// Writes down how it stands.
    async fn stands(&self, standing: &Standing) -> sqlx::Result<()>;
}

/// How it is and why, and since when.
pub(crate) struct Standing {
    pub state: &'static str,
    pub why: Option<String>,
    pub since: DateTime<Utc>,
}

/// What the row may not say yet.
#[derive(Default)]
pub(crate) struct Unsaid(Option<Standing>);

impl Unsaid {
    pub(crate) async fn is(&mut self, row: &impl Stands, state: &'static str, why: Option<&str>) {
        self.0 = Some(Standing { state, why: why.map(str::to_owned), since: Utc::now() });
        self.say(row).await;
    }

    /// What cannot be written down is kept for the next time.
    pub(crate) async fn say<R: Stands>(&mut self, row: &R) {
        let Some(standing) = &self.0 else { return };
        match limited(row.stands(standing)).await {
            Ok(()) => self.0 = None,
            Err(error) => {
                let (way, state) = (R::WAY, standing.state);
                tracing::warn!(%error, way, state, "how it is cannot be written down");
            }
        }
    }

    /// What comes next makes it old.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

/// What PostgreSQL says in time.
pub(crate) async fn limited<T>(asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(ROW_LIMIT, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
