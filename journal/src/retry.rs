//! How long to wait before trying again.

use std::time::Duration;

/// How long the database may take over one batch. A connection that is dead and does not know it would wait for ever.
pub(crate) const DATABASE_LIMIT: Duration = Duration::from_secs(30);

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Waits that double up to two seconds.
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(FIRST)
    }
}

impl Backoff {
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }

    /// After something has gone well the next failure is a first one again.
    pub(crate) fn reset(&mut self) {
        self.0 = FIRST;
    }
}
