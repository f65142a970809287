//! The JetStream stream CHAT: keeping lines, and reading them by their number.

use std::time::Duration;

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{self};
use async_nats::{HeaderMap, Subscriber};
use chrono::{DateTime, Utc};
use journal::broker::{Broker, BrokerError, Role};
use journal::command::check_id;
use thiserror::Error;
use tokio::time::timeout;

use super::frame::Frame;

/// The stream's name.
pub const CHAT: &str = "CHAT";
/// Said after each line, so that nobody has to look for it.
const POKE: &str = "poke.chat";
const KEEP_LIMIT: Duration = Duration::from_secs(3);

/// Keeps lines. Clones share a connection.
#[derive(Clone)]
pub struct Lines {
    client: async_nats::Client,
    jetstream: jetstream::Context,
}

/// Why a frame was not kept, as far as is known; keeping it again does no harm.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("CHAT did not take it: {0}")]
pub struct NotKept(String);

/// A frame as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    pub frame: Frame,
    /// Its JSON.
    pub text: String,
    pub at: DateTime<Utc>,
}

impl Lines {
    pub async fn start(broker: &Broker) -> Result<Self, BrokerError> {
        let client = broker.client(Role::Chat).await?;
        Ok(Lines { jetstream: broker.jetstream(Role::Chat).await?, client })
    }

    /// Keeps `frame` of the chat of `broadcaster`. What was kept under the same `id` lately is not kept again.
    pub async fn keep(&self, broadcaster: &str, frame: &Frame, id: &str) -> Result<(), NotKept> {
        let refused = |error: &dyn std::fmt::Display| NotKept(error.to_string());
        check_id(broadcaster).map_err(|error| refused(&error))?;
        let subject = format!("chat.{broadcaster}.{}", frame.kind());
        let body = serde_json::to_vec(frame).map_err(|error| refused(&error))?;
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
        let kept = async {
            let sent = self.jetstream.publish_with_headers(subject, headers, body.into()).await;
            sent.map_err(|error| refused(&error))?.await.map_err(|error| refused(&error))
        };
        timeout(KEEP_LIMIT, kept).await.map_err(|error| refused(&error))??;
        if let Err(error) = self.client.publish(POKE, "".into()).await {
            tracing::debug!(%error, "nobody was told of a line; they look by themselves");
        }
        Ok(())
    }

    /// What tells that there is a new line.
    pub async fn news(&self) -> anyhow::Result<Subscriber> {
        Ok(self.client.subscribe(POKE).await?)
    }

    /// The stream, and the numbers of its first and last messages.
    pub async fn stream(&self) -> anyhow::Result<(Stream, u64, u64)> {
        let stream = self.jetstream.get_stream(CHAT).await?;
        let state = &stream.cached_info().state;
        let (first, last) = (state.first_sequence, state.last_sequence);
        Ok((stream, first, last))
    }
}

/// Message number `sequence`; `None` where there is none, or none that can be read.
pub async fn read(stream: &Stream, sequence: u64) -> anyhow::Result<Option<Kept>> {
    let message = match stream.get_raw_message(sequence).await {
        Ok(message) => message,
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8_lossy(&message.payload).into_owned();
    let Ok(frame) = serde_json::from_str(&text) else { return Ok(None) };
    let at = DateTime::from_timestamp(message.time.unix_timestamp(), message.time.nanosecond());
    Ok(Some(Kept { frame, text, at: at.unwrap_or_default() }))
}
