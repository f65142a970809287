//! Whether the provider is asked now: concurrency, rate, budget and breaker, computed from what was asked before.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use super::lease::Limits;

/// Whether the provider is asked now, and if not, why and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Whatever is due is made.
    Open,
    /// As many pictures as are allowed are being made.
    Full,
    /// As often as is allowed in a minute the provider was asked.
    RateLimited { until: DateTime<Utc> },
    /// What may be spent today is spent. Requests wait for tomorrow, for a larger budget, or for their points to go
    /// back.
    BudgetSpent { until: DateTime<Utc> },
    /// The provider has asked everybody to wait, or the pictures' store does not take what was drawn.
    AskedToWait { until: DateTime<Utc> },
    /// The provider failed too often in a row.
    BreakerOpen { until: DateTime<Utc> },
    /// The breaker has let one through, and waits for what comes of it.
    BreakerTrying,
}

impl Standing {
    /// For programs.
    pub fn name(&self) -> &'static str {
        match self {
            Standing::Open => "open",
            Standing::Full => "full",
            Standing::RateLimited { .. } => "rate_limited",
            Standing::BudgetSpent { .. } => "budget_spent",
            Standing::AskedToWait { .. } => "asked_to_wait",
            Standing::BreakerOpen { .. } => "breaker_open",
            Standing::BreakerTrying => "breaker_trying",
        }
    }

    pub fn until(&self) -> Option<DateTime<Utc>> {
        match self {
            Standing::RateLimited { until }
            | Standing::BudgetSpent { until }
            | Standing::AskedToWait { until }
            | Standing::BreakerOpen { until } => Some(*until),
            Standing::Open | Standing::Full | Standing::BreakerTrying => None,
        }
    }
}

/// What is known of the making of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub standing: Standing,
    /// Since midnight (UTC), with what is set aside for those that are being made.
    pub spent_micros: i64,
    pub budget_micros: i64,
    /// How many are being made.
    pub in_hand: i64,
}

/// How it stands at `now`, for a picture of at most `cost_micros`.
pub async fn state(
    pool: &PgPool,
    now: DateTime<Utc>,
    limits: &Limits,
    cost_micros: i64,
) -> sqlx::Result<State> {
    let state = state_on(&mut *pool.acquire().await?, now, limits, cost_micros).await;
    state.map(|(state, _)| state)
}

/// The same, and for how many pictures there is room where it is open.
pub(super) async fn state_on(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    limits: &Limits,
    cost_micros: i64,
) -> sqlx::Result<(State, i64)> {
    let seen: Seen = sqlx::query_as(
        "SELECT
             (SELECT coalesce(sum(cost_micros), 0)::bigint FROM generation_makings
              WHERE started_at >= $1) AS spent,
             (SELECT count(*) FROM generation_leases WHERE lease_until > $2) AS in_hand,
             (SELECT count(*) FROM generation_makings WHERE started_at > $3) AS asked,
             (SELECT min(started_at) FROM generation_makings WHERE started_at > $3) AS first_asked,
             (SELECT max(resume_at) FROM generation_makings
              WHERE ended_at > $2 - interval '1 hour' AND resume_at > $2) AS resume_at,
             (SELECT CASE WHEN bool_and(result IN ('retry', 'broken')) AND count(*) >= $4
                          THEN max(ended_at) END
              FROM (SELECT result, ended_at FROM generation_makings
                    WHERE ended_at IS NOT NULL AND result <> 'dead'
                    ORDER BY ended_at DESC, id LIMIT $4) AS last) AS failing_since",
    )
    .bind(midnight(now))
    .bind(now)
    .bind(now - MINUTE)
    .bind(limits.breaker_failures)
    .fetch_one(connection)
    .await?;
    let state = State {
        standing: seen.standing(now, limits, cost_micros),
        spent_micros: seen.spent,
        budget_micros: limits.daily_budget_micros,
        in_hand: seen.in_hand,
    };
    Ok((state, seen.room(limits, cost_micros)))
}

const MINUTE: TimeDelta = TimeDelta::minutes(1);

#[derive(Clone, Debug, Default, sqlx::FromRow)]
struct Seen {
    spent: i64,
    in_hand: i64,
    /// In the last minute.
    asked: i64,
    first_asked: Option<DateTime<Utc>>,
    resume_at: Option<DateTime<Utc>>,
    /// When the last of so many failures in a row was, that the breaker is open. What was dropped by a worker that
    /// stopped has no result and says nothing of the provider.
    failing_since: Option<DateTime<Utc>>,
}

impl Seen {
    /// The first reason to wait, those first that last longest.
    fn standing(&self, now: DateTime<Utc>, limits: &Limits, cost_micros: i64) -> Standing {
        if self.spent.saturating_add(cost_micros) > limits.daily_budget_micros {
            return Standing::BudgetSpent { until: midnight(now) + TimeDelta::days(1) };
        }
        if let Some(until) = self.resume_at.filter(|until| *until > now) {
            return Standing::AskedToWait { until };
        }
        if let Some(since) = self.failing_since {
            let until = since + TimeDelta::from_std(limits.breaker_rest).unwrap_or(MINUTE);
            if until > now {
                return Standing::BreakerOpen { until };
            }
            if self.in_hand > 0 {
                return Standing::BreakerTrying;
            }
        }
        if self.in_hand >= limits.concurrency {
            return Standing::Full;
        }
        match self.first_asked {
            Some(first) if self.asked >= limits.per_minute => {
                Standing::RateLimited { until: first + MINUTE }
            }
            _ => Standing::Open,
        }
    }
}

impl Seen {
    /// How many pictures may be begun at once where nothing has to wait.
    fn room(&self, limits: &Limits, cost_micros: i64) -> i64 {
        if self.failing_since.is_some() {
            // The one that closes the breaker or opens it again.
            return 1;
        }
        let left = limits.daily_budget_micros.saturating_sub(self.spent);
        let paid_for = if cost_micros > 0 { left / cost_micros } else { i64::MAX };
        let (hands, asks) = (limits.concurrency - self.in_hand, limits.per_minute - self.asked);
        paid_for.min(hands).min(asks)
    }
}

fn midnight(now: DateTime<Utc>) -> DateTime<Utc> {
    now.date_naive().and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        concurrency: 2,
        per_minute: 3,
        daily_budget_micros: 100,
        lease: std::time::Duration::from_secs(60),
        breaker_failures: 3,
        breaker_rest: std::time::Duration::from_secs(30),
    };

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
    }

    fn at(s: i64) -> DateTime<Utc> {
        now() + TimeDelta::seconds(s)
    }

    #[test]
    fn nothing_to_wait_for_is_open() {
        assert_eq!(Seen::default().standing(now(), &LIMITS, 100), Standing::Open);
    }

    #[test]
    fn the_budget_is_not_overdrawn_by_what_the_next_one_may_cost() {
        let seen = Seen { spent: 61, ..Seen::default() };
        assert_eq!(seen.standing(now(), &LIMITS, 39), Standing::Open);
        let Standing::BudgetSpent { until } = seen.standing(now(), &LIMITS, 40) else {
            panic!("the budget is spent");
        };
        assert!(until > now() && until <= now() + TimeDelta::days(1));
        assert_eq!(until, midnight(until), "it is midnight");
        assert_eq!(seen.standing(now(), &LIMITS, 0), Standing::Open, "what costs nothing is made");
    }

    #[test]
    fn an_open_breaker_rests_then_tries_one() {
        let seen = Seen { failing_since: Some(now()), ..Seen::default() };
        assert_eq!(seen.standing(at(29), &LIMITS, 0), Standing::BreakerOpen { until: at(30) });
        assert_eq!(seen.standing(at(30), &LIMITS, 0), Standing::Open);
        let trying = Seen { in_hand: 1, ..seen };
        assert_eq!(trying.standing(at(30), &LIMITS, 0), Standing::BreakerTrying);
    }

    #[test]
    fn there_is_room_for_as_many_as_every_limit_allows() {
        let room = |seen: Seen, cost| seen.room(&LIMITS, cost);
        assert_eq!(room(Seen::default(), 0), 2, "two hands");
        assert_eq!(room(Seen { in_hand: 1, ..Seen::default() }, 0), 1);
        assert_eq!(room(Seen { asked: 2, ..Seen::default() }, 0), 1, "three in a minute");
        assert_eq!(room(Seen { spent: 20, ..Seen::default() }, 50), 1, "paid for");
        assert_eq!(room(Seen { spent: 51, ..Seen::default() }, 50), 0);
        let failing = Seen { failing_since: Some(at(-60)), ..Seen::default() };
        assert_eq!(room(failing, 0), 1, "the breaker lets one through");
    }

    #[test]
    fn the_rate_the_concurrency_and_the_providers_own_word_are_kept_to() {
        let busy = Seen { asked: 3, first_asked: Some(at(-20)), ..Seen::default() };
        assert_eq!(busy.standing(now(), &LIMITS, 0), Standing::RateLimited { until: at(40) });
        let full = Seen { in_hand: 2, ..Seen::default() };
        assert_eq!(full.standing(now(), &LIMITS, 0), Standing::Full);
        let told = Seen { resume_at: Some(at(7)), ..Seen::default() };
        assert_eq!(told.standing(now(), &LIMITS, 0), Standing::AskedToWait { until: at(7) });
        assert_eq!(told.standing(at(7), &LIMITS, 0), Standing::Open);
    }
}
