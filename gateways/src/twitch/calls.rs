//! Calls to Helix: within what Twitch allows a token in a minute, and again where one fails that may pass. Goes out.
//!
//! Every answer says how many calls are left and when there are more. When none are left nobody calls until then. An
//! answer of 429 that still has calls left is about something else, and is the caller's. One of 401 has the account that we
//! ask with replace its grant, once, and the call made again with the new one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use rand::Rng;
use reqwest::Url;
use thiserror::Error;

use super::accounts::{Bearer, NoGrant, Shown};
use crate::outgoing::{Answer, Ask, Outgoing, Secret};

const TIME_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often one call is made at most, and how long it waits before it is made again, doubling.
const ATTEMPTS_MAX: u32 = 5;
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// The longest wait for calls to be allowed again: the bucket fills within a minute.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Where Twitch says that there are none left and not until when.
const WAIT_UNSAID: Duration = Duration::from_secs(5);

/// With what we ask: the application, and the right of an account or of the application itself.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub client_id: String,
    pub bearer: Bearer,
}

impl Credentials {
    /// With a right that does not change.
    pub fn fixed(client_id: &str, secret: Secret) -> Self {
        Credentials { client_id: client_id.to_owned(), bearer: Bearer::Fixed(secret) }
    }
}

/// Why there is no answer to be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoAnswer {
    #[error("{0}")]
    Unanswered(String),
    #[error("it allows no more calls for now")]
    Limited,
    #[error("the configured token cannot be sent")]
    Unsendable,
    #[error(transparent)]
    NotGranted(#[from] NoGrant),
}

/// Calls with one token.
pub struct Calls {
    credentials: Credentials,
    outgoing: Outgoing,
    allowed: Mutex<Allowed>,
    again: AtomicU32,
}

/// What Twitch allows, as it last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Allowed {
    left: Option<u32>,
    more_at: Option<DateTime<Utc>>,
}

impl Allowed {
    /// How long to wait before one more call at `now`; counts the call where there is nothing to wait for.
    fn take(&mut self, now: DateTime<Utc>) -> Option<Duration> {
        let left = self.left?;
        if self.more_at.is_some_and(|more_at| more_at <= now) {
            *self = Allowed::default();
            return None;
        }
        if left > 0 {
            self.left = Some(left - 1);
            return None;
        }
        let wait = self.more_at.and_then(|more_at| (more_at - now).to_std().ok());
        Some(wait.unwrap_or(WAIT_UNSAID).min(WAIT_MAX))
    }

    /// What `headers` say. Answers overtake each other: within one filling of the bucket, the lowest number counts.
    fn learn(&mut self, headers: &HeaderMap, now: DateTime<Utc>) {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<i64>().ok();
        let Some(left) = number("ratelimit-remaining") else { return };
        let left = u32::try_from(left.max(0)).unwrap_or(u32::MAX);
        let latest = now + TimeDelta::from_std(WAIT_MAX).unwrap_or_default();
        let more_at = number("ratelimit-reset").and_then(|at| DateTime::from_timestamp(at, 0));
        let more_at = more_at.map(|at| at.min(latest));
        let same = self.more_at == more_at && more_at.is_some();
        self.left = Some(match self.left {
            Some(known) if same => known.min(left),
            _ => left,
        });
        self.more_at = more_at;
    }

    fn is_used_up(&self) -> bool {
        self.left == Some(0)
    }
}

impl Calls {
    pub fn new(credentials: Credentials) -> Self {
        Calls {
            credentials,
            outgoing: Outgoing::default(),
            allowed: Mutex::default(),
            again: AtomicU32::new(0),
        }
    }

    /// How many calls were made again since this was last asked.
    pub fn made_again(&self) -> u32 {
        self.again.swap(0, Ordering::Relaxed)
    }

    /// Asks until there is an answer that will not be another one a moment later.
    pub async fn ask(&self, method: Method, url: Url, body: Bytes) -> Result<Answer, NoAnswer> {
        let mut shown = self.credentials.bearer.shown().await?;
        let mut headers = self.headers(&shown, !body.is_empty()).ok_or(NoAnswer::Unsendable)?;
        let (mut failed, mut renewed) = (NoAnswer::Limited, false);
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                self.again.fetch_add(1, Ordering::Relaxed);
            }
            self.wait_until_allowed().await;
            let ask = Ask {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body: body.clone(),
                time_limit: TIME_LIMIT,
                body_bytes_max: ANSWER_BYTES_MAX,
            };
            failed = match self.outgoing.send(ask).await {
                Err(unanswered) => NoAnswer::Unanswered(unanswered.to_string()),
                Ok(answer) if answer.status.as_u16() == 401 && !renewed => {
                    renewed = true;
                    let another = self.credentials.bearer.another(&shown).await;
                    let Some(another) = another.filter(|_| attempt + 1 < ATTEMPTS_MAX) else {
                        return Ok(answer);
                    };
                    shown = another;
                    let of_another = self.headers(&shown, !body.is_empty());
                    headers = of_another.ok_or(NoAnswer::Unsendable)?;
                    continue;
                }
                Ok(answer) => match self.judge(&answer) {
                    None => return Ok(answer),
                    Some(failed) => failed,
                },
            };
            if failed != NoAnswer::Limited && attempt + 1 < ATTEMPTS_MAX {
                let chance = rand::rng().random_range(0.5..=1.0);
                tokio::time::sleep((AGAIN_AFTER * (1 << attempt)).mul_f64(chance)).await;
            }
        }
        Err(failed)
    }

    /// Why another answer is to be had; none where this is the one.
    fn judge(&self, answer: &Answer) -> Option<NoAnswer> {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        allowed.learn(&answer.headers, Utc::now());
        match answer.status.as_u16() {
            429 if allowed.is_used_up() => Some(NoAnswer::Limited),
            408 | 500..=599 => {
                Some(NoAnswer::Unanswered(format!("it answered {}", answer.status.as_u16())))
            }
            _ => None,
        }
    }

    async fn wait_until_allowed(&self) {
        let take = || {
            let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
            allowed.take(Utc::now())
        };
        if let Some(wait) = take() {
            tracing::debug!(ms = wait.as_millis() as u64, "Twitch allows no more calls for now");
            tokio::time::sleep(wait).await;
            // Whatever is left to wait for, Twitch will say in its next answer.
            take();
        }
    }

    fn headers(&self, shown: &Shown, has_body: bool) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, shown.header.clone());
        headers.insert("client-id", HeaderValue::from_str(&self.credentials.client_id).ok()?);
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000 + second, 0).expect("a time")
    }

    fn says(left: &str, more_at: i64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-remaining", left.parse().expect("a header"));
        let more_at = second(more_at).timestamp().to_string();
        headers.insert("ratelimit-reset", more_at.parse().expect("a header"));
        headers
    }

    #[test]
    fn when_no_call_is_left_the_next_waits_until_there_are_more() {
        let mut allowed = Allowed::default();
        assert_eq!(allowed.take(second(0)), None, "nothing is known yet");
        allowed.learn(&says("2", 12), second(0));
        assert_eq!([allowed.take(second(1)), allowed.take(second(1))], [None, None]);
        assert_eq!(allowed.take(second(2)), Some(Duration::from_secs(10)));
        assert_eq!(allowed.take(second(12)), None);
    }

    #[test]
    fn of_answers_that_overtake_each_other_the_lowest_counts() {
        let mut allowed = Allowed::default();
        allowed.learn(&says("3", 12), second(0));
        allowed.learn(&says("7", 12), second(0));
        assert_eq!(allowed.left, Some(3));
        allowed.learn(&says("799", 72), second(13));
        assert_eq!(allowed.left, Some(799));
    }

    #[test]
    fn no_answer_makes_anybody_wait_for_long() {
        let mut allowed = Allowed::default();
        allowed.learn(&says("0", 1_000_000), second(0));
        assert_eq!(allowed.take(second(0)), Some(WAIT_MAX));
        let mut headers = says("0", 0);
        headers.remove("ratelimit-reset");
        let mut unsaid = Allowed::default();
        unsaid.learn(&headers, second(0));
        assert_eq!(unsaid.take(second(0)), Some(WAIT_UNSAID));
        for garbage in ["", "many", "1.5"] {
            let mut allowed = Allowed::default();
            allowed.learn(&says(garbage, 12), second(0));
            assert_eq!(allowed, Allowed::default());
        }
    }
}
