//! OpenAI, or whoever speaks like it: looks at what viewers ask for, then draws it. Goes out.
//!
//! Words go through its moderation before anything is drawn; what it refuses is refused for good, by its code. Every
//! call has a time limit and every answer a largest size. Its error texts are never passed on, because they quote
//! prompts and parts of keys: what is said here is made of the status and of the names of its errors.
//!
//! *Once or twice?* Each attempt carries its id as `Idempotency-Key` and `X-Client-Request-Id`. OpenAI documents the second
//! one only, for its support. So a worker that dies between the answer and its own note may have one picture more made
//! and paid for than needed; it is never shown or charged to the viewer twice.

mod answers;
mod settings;
mod styles;
mod waits;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::generation::{Made, Order, Provider, ProviderError, cutout};
use crate::outgoing::{Answer, Ask, Outgoing};
use crate::pictures;

pub use crate::outgoing::BaseUrl;
pub use settings::{ApiKey, Quality, Settings};

/// Judging words takes a second.
const MODERATION_LIMIT: Duration = Duration::from_secs(20);
const MODERATION_BYTES_MAX: usize = 256 * 1024;
const CHECK_LIMIT: Duration = Duration::from_secs(8);
/// The largest picture in base64, and what stands around it.
const PICTURE_BYTES_MAX: usize = pictures::BYTES_MAX / 3 * 4 + 64 * 1024;
/// Each attempt ends this long before its worker loses patience, so that it can say itself what was wrong.
const BEFORE_TIME_LIMIT: Duration = Duration::from_secs(2);

/// Has pictures drawn by OpenAI.
pub struct OpenAi {
    settings: Settings,
    outgoing: Outgoing,
    /// For one attempt.
    time_limit: Duration,
}

impl OpenAi {
    /// `time_limit` is the worker's, for one attempt.
    pub fn new(settings: Settings, time_limit: Duration) -> Self {
        let time_limit = time_limit.saturating_sub(BEFORE_TIME_LIMIT).max(time_limit / 2);
        OpenAi { settings, outgoing: Outgoing::default(), time_limit }
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn cost_micros_max(&self) -> i64 {
        self.settings.picture_micros_max()
    }

    async fn make(&self, order: &Order) -> Result<Made, ProviderError> {
        let brief = styles::brief(order)?;
        let until = Instant::now() + self.time_limit;
        self.moderate(order, &brief.subject).await.map_err(answers::unspent)?;
        let left = until.saturating_duration_since(Instant::now());
        let (bytes, cost_micros) = self.draw(order, &brief.prompt, left).await?;
        finish(bytes, brief, cost_micros).await
    }

    async fn check(&self) -> Result<String, ProviderError> {
        let model = &self.settings.model;
        let url = self.settings.base_url.at(&["models", model]);
        let mut ask = self.ask(Method::GET, url, Bytes::new())?;
        (ask.time_limit, ask.body_bytes_max) = (CHECK_LIMIT, MODERATION_BYTES_MAX);
        let sent = self.outgoing.send(ask).await;
        answers::success(sent.map_err(answers::unanswered)?, Utc::now())?;
        Ok(format!("it answers to this key and has {model}"))
    }
}

impl OpenAi {
    /// Whether the viewer's words may be drawn. Where that cannot be found out, nothing is drawn.
    async fn moderate(&self, order: &Order, words: &str) -> Result<(), ProviderError> {
        let body = json!({"model": self.settings.moderation_model, "input": words});
        let url = self.settings.base_url.at(&["moderations"]);
        let mut ask = self.ask_for(order, url, &body)?;
        let time_limit = MODERATION_LIMIT.min(self.time_limit / 2);
        (ask.time_limit, ask.body_bytes_max) = (time_limit, MODERATION_BYTES_MAX);
        let sent = self.outgoing.send(ask).await.map_err(answers::unanswered)?;
        note(order, "moderation", &sent);
        answers::moderation(&answers::success(sent, Utc::now())?)
    }

    /// The picture's bytes and what they cost.
    async fn draw(
        &self,
        order: &Order,
        prompt: &str,
        time_limit: Duration,
    ) -> Result<(Vec<u8>, i64), ProviderError> {
        let Settings { model, size, quality, .. } = &self.settings;
        let body = json!({
            "model": model,
            "prompt": prompt,
            "n": 1,
            "size": size,
            "quality": quality.name(),
            "background": "opaque",
            "output_format": "png",
            "moderation": "auto",
            "safety_identifier": safety_identifier(&order.viewer),
        });
        let url = self.settings.base_url.at(&["images", "generations"]);
        let mut ask = self.ask_for(order, url, &body)?;
        (ask.time_limit, ask.body_bytes_max) = (time_limit, PICTURE_BYTES_MAX);
        let sent = self.outgoing.send(ask).await.map_err(answers::unanswered)?;
        note(order, "picture", &sent);
        answers::picture(&answers::success(sent, Utc::now())?, &self.settings)
    }

    /// A request that belongs to an order.
    fn ask_for(
        &self,
        order: &Order,
        url: reqwest::Url,
        body: &Value,
    ) -> Result<Ask, ProviderError> {
        let mut ask = self.ask(Method::POST, url, Bytes::from(body.to_string()))?;
        let id = HeaderValue::from_str(&order.idempotency_key.to_string()).map_err(unsendable)?;
        ask.headers.insert("idempotency-key", id.clone());
        ask.headers.insert("x-client-request-id", id);
        Ok(ask)
    }

    fn ask(&self, method: Method, url: reqwest::Url, body: Bytes) -> Result<Ask, ProviderError> {
        let key = format!("Bearer {}", self.settings.api_key.reveal());
        let mut key = HeaderValue::from_str(&key).map_err(unsendable)?;
        key.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, key);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (time_limit, body_bytes_max) = (self.time_limit, PICTURE_BYTES_MAX);
        Ok(Ask { method, url, headers, body, time_limit, body_bytes_max })
    }
}

/// What the style still does to a picture, beside the thread that serves others.
async fn finish(
    bytes: Vec<u8>,
    brief: styles::Brief,
    cost_micros: i64,
) -> Result<Made, ProviderError> {
    let styles::Brief { background, name, cut_out, .. } = brief;
    let broken = |reason: String| ProviderError::Broken { cost_micros: Some(cost_micros), reason };
    let finished = tokio::task::spawn_blocking(move || match cut_out {
        true => cutout::cut_out(&bytes),
        false => Ok(cutout::Cut { bytes, background: None }),
    });
    let cut = finished.await.map_err(|error| broken(format!("cutting out ended: {error}")))?;
    let cut = cut.map_err(|error| broken(format!("the picture cannot be cut out: {error}")))?;
    let media_type = pictures::media_type_of(&cut.bytes);
    let media_type = media_type.map_err(|error| broken(error.to_string()))?.to_owned();
    let background = cut.background.unwrap_or(background);
    Ok(Made { bytes: cut.bytes, media_type, background, name, cost_micros })
}

/// By this OpenAI can tell one viewer from another, and not who it is.
fn safety_identifier(viewer: &str) -> String {
    hex::encode(Sha256::digest(format!("tapedeck viewer {viewer}")))
}

/// The id by which OpenAI's support finds a call.
fn note(order: &Order, call: &'static str, answer: &Answer) {
    let id = answer.headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let id = id.filter(|id| id.len() <= 100).unwrap_or_default();
    let (request, status) = (order.request, answer.status.as_u16());
    tracing::info!(%request, call, status, openai_request = id, "OpenAI answered");
}

fn unsendable(_: impl std::error::Error) -> ProviderError {
    let reason = "the configured key cannot be sent".to_owned();
    ProviderError::Broken { cost_micros: Some(0), reason }
}
