//! How often an account speaks over IRC. Whoever says more than Twitch takes is not heard for half an hour, so this stays
//! below: 20 lines in 30 seconds, and one in a second; 100 of whoever moderates the channel or whose channel it is.
//!
//! Twitch counts by account, so all processes count together, in PostgreSQL.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::time::timeout;

const LINES_MAX: usize = 20;
const LINES_MAX_MODERATOR: usize = 100;
/// Longer than Twitch's own: a line may have taken longer on its way than the next one.
const WINDOW: TimeDelta = TimeDelta::seconds(31);
const BETWEEN: TimeDelta = TimeDelta::milliseconds(1_100);
/// Whoever has said too much all the same is silent for so long.
const REST: TimeDelta = TimeDelta::seconds(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// When an account spoke last.
#[derive(Clone, Debug, Default, PartialEq, sqlx::FromRow)]
pub struct Pace {
    sent: Vec<DateTime<Utc>>,
    rest_until: Option<DateTime<Utc>>,
}

/// Whether there is room for a line, which is taken then, or how long to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    Now,
    Wait(TimeDelta),
}

impl Pace {
    fn take(&mut self, moderates: bool, now: DateTime<Utc>) -> Turn {
        // A clock that was ahead keeps nobody waiting for longer than the window.
        self.sent.iter_mut().for_each(|at| *at = (*at).min(now));
        self.sent.retain(|at| *at > now - WINDOW);
        self.rest_until = self.rest_until.map(|until| until.min(now + REST));
        if let Some(until) = self.rest_until.filter(|until| *until > now) {
            return Turn::Wait(until - now);
        }
        let most = if moderates { LINES_MAX_MODERATOR } else { LINES_MAX };
        let last_of_full = self.sent.len().checked_sub(most).map(|oldest| self.sent[oldest]);
        if let Some(at) = last_of_full {
            return Turn::Wait(at + WINDOW - now);
        }
        let last = self.sent.last().filter(|at| !moderates && **at > now - BETWEEN);
        if let Some(at) = last {
            return Turn::Wait(*at + BETWEEN - now);
        }
        self.sent.push(now);
        Turn::Now
    }

    fn rest(&mut self, now: DateTime<Utc>) {
        self.rest_until = Some(now + REST);
    }
}

/// The row of an account.
pub struct Shared {
    pool: PgPool,
}

impl Shared {
    pub fn new(pool: PgPool) -> Self {
        Shared { pool }
    }

    /// Whether `account` may say a line now; `None` where nobody knows.
    pub async fn take(&self, account: &str, moderates: bool) -> Option<Turn> {
        self.changed(account, |pace, now| pace.take(moderates, now)).await
    }

    /// Twitch has said that it was too much: somebody else may speak under this account.
    pub async fn rest(&self, account: &str) {
        self.changed(account, |pace, now| pace.rest(now)).await;
    }

    async fn changed<T>(
        &self,
        account: &str,
        change: impl FnOnce(&mut Pace, DateTime<Utc>) -> T,
    ) -> Option<T> {
        match timeout(ANSWER_LIMIT, self.change(account, change)).await {
            Ok(Ok(changed)) => Some(changed),
            Ok(Err(error)) => {
                tracing::warn!(%error, "it is not known how much was said in chat");
                None
            }
            Err(_) => None,
        }
    }

    async fn change<T>(
        &self,
        account: &str,
        change: impl FnOnce(&mut Pace, DateTime<Utc>) -> T,
    ) -> sqlx::Result<T> {
        let mut tx = self.pool.begin().await?;
        let made = "INSERT INTO chat_paces (account) VALUES ($1) ON CONFLICT DO NOTHING";
        sqlx::query(made).bind(account).execute(&mut *tx).await?;
        let read = "SELECT sent, rest_until FROM chat_paces WHERE account = $1 FOR UPDATE";
        let mut pace: Pace = sqlx::query_as(read).bind(account).fetch_one(&mut *tx).await?;
        // One clock for all processes, read when it is our turn.
        let now = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *tx).await?;
        let changed = change(&mut pace, now);
        let write = "UPDATE chat_paces SET sent = $2, rest_until = $3 WHERE account = $1";
        let query = sqlx::query(write).bind(account).bind(&pace.sent).bind(pace.rest_until);
        query.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_750_000_000_000 + ms).expect("a time")
    }

    #[test]
    fn an_account_says_a_line_in_a_second_and_twenty_in_thirty() {
        let (mut pace, mut now, mut said) = (Pace::default(), 0, Vec::new());
        while now < 120_000 {
            match pace.take(false, at(now)) {
                Turn::Now => said.push(now),
                Turn::Wait(wait) => now += wait.num_milliseconds().max(1),
            }
        }
        assert!(said.windows(2).all(|two| two[1] - two[0] >= 1_100), "{said:?}");
        assert!(said.windows(21).all(|many| many[20] - many[0] >= 31_000), "{said:?}");
        assert!(said.len() > 60, "and no fewer: {}", said.len());
    }

    #[test]
    fn whoever_moderates_says_a_hundred_and_nobody_speaks_while_twitch_has_had_too_much() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            assert_eq!(pace.take(true, at(0)), Turn::Now);
        }
        assert_eq!(pace.take(true, at(1_000)), Turn::Wait(TimeDelta::seconds(30)));
        // Who does not moderate any more has said too much by far.
        assert_eq!(pace.take(false, at(1_000)), Turn::Wait(TimeDelta::seconds(30)));
        assert_eq!(pace.take(true, at(31_000)), Turn::Now);
        pace.rest(at(40_000));
        assert_eq!(pace.take(true, at(40_000)), Turn::Wait(REST));
        assert_eq!(pace.take(true, at(70_000)), Turn::Now);
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_nobody_waiting_for_long() {
        let mut pace = Pace::default();
        assert_eq!(pace.take(false, at(999_000)), Turn::Now);
        assert_eq!(pace.take(false, at(0)), Turn::Wait(BETWEEN));
        pace.rest(at(999_000));
        assert_eq!(pace.take(false, at(2_000)), Turn::Wait(REST));
        assert_eq!(pace.take(false, at(32_000)), Turn::Now);
    }
}
