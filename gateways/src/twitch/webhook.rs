//! Inwards: `POST /webhooks/twitch`. A 2xx means that the commands are on the broker's disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use futures::StreamExt;

use journal::ingest::{PublishError, Publisher};
use journal::{Envelope, crash};
use sqlx::PgPool;
use tokio::time::timeout;

use super::chat::{Heard, NotAsked};
use super::eventsub::record;
use super::inbound::{Commands, Inbound, Outcome, Received, label};
use super::secrets::twins;
use super::secrets::versions::{VersionError, Versions};
use super::signature::{Authentic, Refusal, SUBSCRIPTION_TYPE, verify};
use super::translate::keep;
use crate::chat::lines::NotKept;
use crate::chat::{Frame, Lines};
use crate::observe;

pub const PATH: &str = "/webhooks/twitch";

/// The largest body that is read. Notifications of Twitch are a few kilobytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long the body of a request may take to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// How long the broker may take. Twitch waits a few seconds, and sends again what was not answered.
const PUBLISH_LIMIT: Duration = Duration::from_secs(3);

/// What the webhook needs.
#[derive(Clone)]
pub struct Webhook {
    pub inbound: Inbound,
    pub publisher: Publisher,
    /// Keeps what is said in chat.
    pub lines: Lines,
    /// Knows what viewers are called.
    pub pool: PgPool,
    /// Whom to believe, as all processes know it; without it, whom `inbound` says.
    pub versions: Option<Arc<Versions>>,
}

/// Why something is to be sent again.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error(transparent)]
    NotAsked(#[from] NotAsked),
    #[error(transparent)]
    NotPublished(#[from] PublishError),
    #[error(transparent)]
    NotKept(#[from] NotKept),
    #[error("it took too long")]
    Late,
}

/// Why a request is not taken for Twitch's.
#[derive(Debug, thiserror::Error)]
enum NotReceived {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Unknown(#[from] VersionError),
}

/// Where Twitch posts to, where the world reaches us at `public_url`.
pub fn callback(public_url: &str) -> String {
    format!("{}{PATH}", public_url.trim_end_matches('/'))
}

pub fn router(webhook: Webhook) -> Router {
    let desk = Desk { webhook, warned_at: AtomicI64::new(0) };
    Router::new().route(PATH, post(receive)).with_state(Arc::new(desk))
}

/// A webhook at work.
struct Desk {
    webhook: Webhook,
    /// The second in which a refusal was last logged: a stranger must not fill the log.
    warned_at: AtomicI64,
}

async fn receive(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let (kind, result, response) = match read(&parts.headers, body).await {
        Ok(body) => desk.answer(&parts.headers, &body).await,
        Err(status) => (header_kind(&parts.headers), "unreadable", status.into_response()),
    };
    metrics::counter!("tapedeck_notifications_total", "type" => kind, "result" => result)
        .increment(1);
    metrics::histogram!("tapedeck_notification_seconds").record(started.elapsed().as_secs_f64());
    response
}

impl Desk {
    /// The type and the result for the counters, and the answer.
    async fn answer(
        &self,
        headers: &HeaderMap,
        body: &[u8],
    ) -> (&'static str, &'static str, Response) {
        let now = Utc::now();
        match self.receive(headers, body, now).await {
            Err(NotReceived::Unknown(error)) => {
                tracing::warn!(error = %error, "whom to believe cannot be looked up");
                (header_kind(headers), "unavailable", unavailable())
            }
            Err(NotReceived::Refused(refusal)) => {
                if self.warned_at.swap(now.timestamp(), Ordering::Relaxed) != now.timestamp() {
                    tracing::warn!(reason = %refusal, "webhook requests are refused");
                }
                (header_kind(headers), refusal.name(), StatusCode::FORBIDDEN.into_response())
            }
            Ok(Received::Challenge(challenge)) => {
                let plain = [(header::CONTENT_TYPE, "text/plain")];
                (header_kind(headers), "challenge", (plain, challenge).into_response())
            }
            Ok(received) => match self.webhook.take(received).await {
                (kind, Ok(result)) => {
                    if result == Outcome::Revoked.name() {
                        self.look_again().await;
                    }
                    (kind, result, StatusCode::NO_CONTENT.into_response())
                }
                (kind, Err(error)) => {
                    tracing::error!(error = %error, kind, "what Twitch told was not appended");
                    (kind, "unavailable", unavailable())
                }
            },
        }
    }

    /// Whether it is Twitch's own, and what it says. A signature that we do not know may be of a secret that another
    /// process has made since we looked.
    async fn receive(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Received, NotReceived> {
        let inbound = &self.webhook.inbound;
        let Some(versions) = &self.webhook.versions else {
            return Ok(inbound.receive(headers, body, now)?);
        };
        let asked = Instant::now();
        // Where PostgreSQL does not answer, what is known is gone by: nobody else can change anything either.
        versions.refresh().await;
        let verified = verify(versions.secrets().believed(now), headers, body, now);
        let authentic = match verified {
            Err(Refusal::WrongSignature) => {
                versions.look(asked).await?;
                verify(versions.secrets().believed(now), headers, body, now)?
            }
            verified => verified?,
        };
        if versions.overlap(now)
            && let Some(told) = twins::told(&authentic, body)
        {
            let Authentic { message_id, sent_at, .. } = authentic;
            let named = twins::taken_as(&self.webhook.pool, &told, message_id, sent_at);
            let named = timeout(PUBLISH_LIMIT, named).await.map_err(|_| VersionError::Late)?;
            let named = named.map_err(VersionError::from)?;
            let authentic = Authentic { message_id: &named, ..authentic };
            return Ok(inbound.understand(&authentic, body, now));
        }
        Ok(inbound.understand(&authentic, body, now))
    }

    /// Whoever keeps the subscriptions is to look at them. Where that cannot be said, they are looked at hourly.
    async fn look_again(&self) {
        let Webhook { inbound, pool, .. } = &self.webhook;
        let Some(broadcaster) = &inbound.broadcaster_id else { return };
        let asked = timeout(PUBLISH_LIMIT, record::ask(pool, broadcaster));
        if let Ok(Err(error)) = asked.await {
            tracing::warn!(%error, "a revocation is only seen to within the hour");
        }
    }
}

impl Webhook {
    /// Appends what was received, and gives the type and the result for the counters. A challenge is for who can answer.
    pub(super) async fn take(
        &self,
        received: Received,
    ) -> (&'static str, Result<&'static str, NotTaken>) {
        match received {
            Received::Challenge(_) => ("other", Ok("challenge")),
            Received::Heard(heard, kind) => (kind, self.hear(*heard).await.map(|()| "heard")),
            Received::Commands(commands) => {
                let (kind, result) = (commands.kind, commands.result.name());
                let appended = self.append(commands).await;
                if appended.is_ok() {
                    crash::point(crash::GATEWAY_POINT);
                }
                (kind, appended.map(|()| result).map_err(NotTaken::from))
            }
        }
    }

    async fn append(&self, commands: Commands) -> Result<(), PublishError> {
        let traceparent = observe::traceparent();
        let too_large = commands.too_large.clone();
        let traced = |envelope| Envelope { traceparent: traceparent.clone(), ..envelope };
        let envelopes: Vec<_> = commands.envelopes.into_iter().map(traced).collect();
        match self.send(&envelopes).await {
            // Nothing would change if Twitch sent it again: what can be kept of it is kept.
            Err(error @ (PublishError::TooLarge { .. } | PublishError::BadAddress(_))) => {
                tracing::error!(error = %error, "notification kept without its body");
                self.send(&[traced(keep(too_large, None, Utc::now()))]).await
            }
            result => result,
        }
    }

    /// Asks for what is asked, and keeps what is to be shown. A line that cannot be kept is not seen, and that is all: what
    /// it asks for may be about points, and is on disk. What takes something off the screen is to be sent again.
    async fn hear(&self, heard: Heard) -> Result<(), NotTaken> {
        if let Some(asking) = heard.asking {
            let asked = async {
                let envelope = asking.envelope(&self.pool).await?;
                let traceparent = observe::traceparent();
                Ok(self.send(&[Envelope { traceparent, ..envelope }]).await?)
            };
            timeout(PUBLISH_LIMIT, asked).await.unwrap_or(Err(NotTaken::Late))?;
        }
        match self.lines.keep(&heard.broadcaster, &heard.frame, &heard.id).await {
            Err(error) if matches!(heard.frame, Frame::Line(_)) => {
                tracing::error!(%error, line = heard.id, "a line of chat is not shown");
                metrics::counter!("tapedeck_chat_lines_lost_total").increment(1);
                Ok(())
            }
            kept => Ok(kept?),
        }
    }

    /// One after the other: that a redemption is settled is told once its points are, so that nobody who knows the one looks
    /// for the other in vain.
    async fn send(&self, envelopes: &[Envelope]) -> Result<(), PublishError> {
        let all = async {
            for envelope in envelopes {
                self.publisher.send(envelope).await?;
            }
            Ok(())
        };
        let late = || PublishError::Unavailable(format!("no answer in {PUBLISH_LIMIT:?}"));
        timeout(PUBLISH_LIMIT, all).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<BytesMut, StatusCode> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|value| value.parse().ok()).is_some_and(|n: usize| n > BODY_BYTES_MAX) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut chunks = body.into_data_stream();
    let all = async {
        let mut all = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| StatusCode::BAD_REQUEST)?;
            if all.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    };
    timeout(BODY_LIMIT, all).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
}

fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
}

/// The type by the unsigned header: good enough to count what was not believed.
fn header_kind(headers: &HeaderMap) -> &'static str {
    label(headers.get(SUBSCRIPTION_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default())
}
