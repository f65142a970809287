//! Calls to Helix: within what Twitch allows a token in a minute, and again where one fails that may pass. Goes out.
//!
//! Every answer says how many calls are left and when there are more. When none are left nobody calls until then, in no
//! process ([`points`]). An answer of 429 that still has calls left is about something else, and is the caller's. One of 401
//! has the account that we ask with replace its grant, once, and the call made again with the new one. A server that
//! fails again and again is left alone for a while ([`breaker`]).

mod breaker;
mod bucket;
mod points;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use rand::Rng;
use reqwest::Url;
use sqlx::PgPool;
use thiserror::Error;

use self::breaker::Breaker;
use self::bucket::{Point, Said, Take};
use self::points::Points;
use super::accounts::{Bearer, NoGrant, Shown};
use crate::outgoing::{Answer, Ask, Outgoing, Secret};

const TIME_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often one call is made at most, and how long it waits before it is made again, doubling.
const ATTEMPTS_MAX: u32 = 5;
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long one waits for a point altogether, and by how much not all wake at once.
const POINT_LIMIT: Duration = Duration::from_secs(150);
const SPREAD: Duration = Duration::from_millis(15);

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
    points: Points,
    breaker: Mutex<Breaker>,
    again: AtomicU32,
}

impl Calls {
    pub fn new(credentials: Credentials) -> Self {
        Calls {
            credentials,
            outgoing: Outgoing::default(),
            points: Points::alone(),
            breaker: Mutex::default(),
            again: AtomicU32::new(0),
        }
    }

    /// The same, within what Twitch allows all processes that ask under this account together.
    pub fn shared(self, pool: PgPool, account: &str) -> Self {
        let account = format!("{}:{account}", self.credentials.client_id);
        Calls { points: Points::shared(pool, account), ..self }
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
            let point = self.point().await?;
            if attempt > 0 {
                self.again.fetch_add(1, Ordering::Relaxed);
            }
            let ask = Ask {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body: body.clone(),
                time_limit: TIME_LIMIT,
                body_bytes_max: ANSWER_BYTES_MAX,
            };
            let answer = self.outgoing.send(ask).await;
            let (says, status) = match &answer {
                Err(_) => (None, 0),
                Ok(answer) => (Some(&answer.headers), answer.status.as_u16()),
            };
            let said = says.and_then(Said::read);
            let used_up = status == 429 && said.is_some_and(|said| said.left == 0);
            self.points.learn(&point, said, used_up).await;
            counted(if used_up { "limited" } else { result_of(status) });
            failed = match answer {
                Err(unanswered) => NoAnswer::Unanswered(unanswered.to_string()),
                Ok(_) if used_up => NoAnswer::Limited,
                Ok(_) if is_passing(status) => {
                    NoAnswer::Unanswered(format!("it answered {status}"))
                }
                Ok(answer) => {
                    self.breaker().succeeded();
                    if status != 401 || renewed || attempt + 1 == ATTEMPTS_MAX {
                        return Ok(answer);
                    }
                    renewed = true;
                    let another = self.credentials.bearer.another(&shown).await;
                    let Some(another) = another else { return Ok(answer) };
                    shown = another;
                    let of_another = self.headers(&shown, !body.is_empty());
                    headers = of_another.ok_or(NoAnswer::Unsendable)?;
                    continue;
                }
            };
            if failed == NoAnswer::Limited {
                self.breaker().succeeded();
                continue;
            }
            self.breaker().failed(Instant::now());
            if attempt + 1 < ATTEMPTS_MAX {
                let chance = rand::rng().random_range(0.5..=1.0);
                tokio::time::sleep((AGAIN_AFTER * (1 << attempt)).mul_f64(chance)).await;
            }
        }
        Err(failed)
    }

    /// A point for one call, once there is one and Twitch is to be asked at all.
    async fn point(&self) -> Result<Point, NoAnswer> {
        let until = Instant::now() + POINT_LIMIT;
        loop {
            let taken = self.points.take().await;
            match taken {
                Take::Go(point) => match self.rests() {
                    None => return Ok(point),
                    Some(words) => {
                        self.points.learn(&point, None, false).await;
                        counted("broken");
                        return Err(NoAnswer::Unanswered(words));
                    }
                },
                Take::Wait(wait) => {
                    let spread = SPREAD.mul_f64(rand::rng().random_range(0.0..=1.0));
                    let wait = wait.to_std().unwrap_or_default() + spread;
                    if Instant::now() + wait > until {
                        return Err(NoAnswer::Limited);
                    }
                    let ms = wait.as_millis() as u64;
                    tracing::trace!(ms, "Twitch allows no more calls for now");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Why Twitch is not asked now.
    fn rests(&self) -> Option<String> {
        let mut breaker = self.breaker();
        let wait = breaker.allows(Instant::now()).err()?;
        let (failures, seconds) = (breaker.failures(), wait.as_secs() + 1);
        Some(format!("it failed {failures} times in a row, and is asked again in {seconds} s"))
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
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

fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 500..=599)
}

/// What came of a call, for counters.
fn result_of(status: u16) -> &'static str {
    match status {
        0 => "unanswered",
        408 | 500..=599 => "failed",
        200..=299 => "answered",
        _ => "refused",
    }
}

fn counted(result: &'static str) {
    metrics::counter!("tapedeck_helix_calls_total", "result" => result).increment(1);
}
