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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;
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
/// How long one waits for a point altogether, and then for an answer.
const PATIENT: (Duration, Duration) = (Duration::from_secs(150), TIME_LIMIT);
/// The same for whoever is waited for.
const SOON: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3));
/// By how much not all wake at once.
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
    Limited { after: Option<Duration> },
    #[error("the configured token cannot be sent")]
    Unsendable,
    #[error(transparent)]
    NotGranted(#[from] NoGrant),
}

/// Calls with one token.
pub struct Calls {
    credentials: Credentials,
    outgoing: Arc<Outgoing>,
    points: Points,
    breaker: Mutex<Breaker>,
    again: AtomicU32,
}

impl Calls {
    pub fn new(credentials: Credentials) -> Self {
        Calls {
            credentials,
            outgoing: Arc::default(),
            points: Points::alone(),
            breaker: Mutex::default(),
            again: AtomicU32::new(0),
        }
    }

    /// The same over what others ask over, which reads from the disk once whom to trust.
    pub fn over(self, outgoing: Arc<Outgoing>) -> Self {
        Calls { outgoing, ..self }
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
        self.ask_up_to(ATTEMPTS_MAX, PATIENT, (method, url, body)).await
    }

    /// Asks for what must not be done twice, and takes whatever comes of it. What was not let in was not done, so it is
    /// asked for again with another grant, if there is one.
    pub async fn ask_once(
        &self,
        method: Method,
        url: Url,
        body: Bytes,
    ) -> Result<Answer, NoAnswer> {
        self.ask_up_to(1, PATIENT, (method, url, body)).await
    }

    /// The same for whoever does not wait: where no more calls are allowed, it says for how long.
    pub async fn ask_once_soon(
        &self,
        method: Method,
        url: Url,
        body: Bytes,
    ) -> Result<Answer, NoAnswer> {
        self.ask_up_to(1, SOON, (method, url, body)).await
    }

    async fn ask_up_to(
        &self,
        attempts_max: u32,
        (point_limit, time_limit): (Duration, Duration),
        (method, url, body): (Method, Url, Bytes),
    ) -> Result<Answer, NoAnswer> {
        let mut shown = self.credentials.bearer.shown().await?;
        let mut headers = self.headers(&shown, !body.is_empty()).ok_or(NoAnswer::Unsendable)?;
        let (mut failed, mut renewed) = (NoAnswer::Limited { after: None }, false);
        // Another grant is another attempt, and there is one of it.
        let (mut attempt, mut attempts_max) = (0, attempts_max);
        while attempt < attempts_max {
            let point = self.point(point_limit).await?;
            if attempt > 0 {
                self.again.fetch_add(1, Ordering::Relaxed);
            }
            let ask = Ask {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body: body.clone(),
                time_limit,
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
                Ok(_) if used_up => NoAnswer::Limited { after: said.and_then(until_reset) },
                Ok(_) if is_passing(status) => {
                    NoAnswer::Unanswered(format!("it answered {status}"))
                }
                Ok(answer) => {
                    self.breaker().succeeded();
                    if status != 401 || renewed {
                        return Ok(answer);
                    }
                    renewed = true;
                    let another = self.credentials.bearer.another(&shown).await;
                    let Some(another) = another else { return Ok(answer) };
                    shown = another;
                    let of_another = self.headers(&shown, !body.is_empty());
                    headers = of_another.ok_or(NoAnswer::Unsendable)?;
                    (attempt, attempts_max) = (attempt + 1, attempts_max + 1);
                    continue;
                }
            };
            attempt += 1;
            if matches!(failed, NoAnswer::Limited { .. }) {
                self.breaker().succeeded();
                continue;
            }
            self.breaker().failed(Instant::now());
            if attempt < attempts_max {
                let chance = rand::rng().random_range(0.5..=1.0);
                tokio::time::sleep((AGAIN_AFTER * (1 << (attempt - 1))).mul_f64(chance)).await;
            }
        }
        Err(failed)
    }

    /// A point for one call, once there is one and Twitch is to be asked at all.
    async fn point(&self, patience: Duration) -> Result<Point, NoAnswer> {
        let until = Instant::now() + patience;
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
                        return Err(NoAnswer::Limited { after: Some(wait) });
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

/// How long until more calls are allowed.
fn until_reset(said: Said) -> Option<Duration> {
    (said.reset_at? - Utc::now()).to_std().ok()
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
