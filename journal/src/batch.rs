//! Appending to a stream: one message, many as one atomic batch that shares a single sync to disk, or many in turn.

use std::task::Poll;

use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SEQUENCE,
};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::broker::REQUEST_LIMIT;
use crate::crash;

/// The most messages the server takes in one atomic batch.
pub(crate) const BATCH_MAX: usize = 1_000;

/// JetStream's code for "the last sequence is not the one you expected".
const WRONG_LAST_SEQUENCE: u64 = 10_071;
/// JetStream's codes for a full stream: messages, bytes, storage.
const FULL: [u64; 3] = [10_077, 10_023, 10_047];

/// A message to append.
#[derive(Clone)]
pub(crate) struct Append {
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
    /// What is said beside it, for whoever reads it.
    pub(crate) headers: HeaderMap,
}

#[derive(Debug, Error)]
pub(crate) enum AppendError {
    #[error("the stream does not end where it was expected to")]
    NotThere,
    #[error("the stream is full")]
    Full,
    #[error("{0}")]
    Refused(String),
    /// It may have been stored or not.
    #[error("no answer: {0}")]
    Unknown(String),
}

/// Appends `messages`, all or none, and gives the sequence of the last. With `after`, only if the stream ends there.
/// `sent` is told once all of them are on the connection, long before the answer.
pub(crate) async fn append(
    client: &Client,
    messages: Vec<Append>,
    after: Option<i64>,
    sent: Option<oneshot::Sender<()>>,
) -> Result<u64, AppendError> {
    let count = messages.len();
    let batch = (count > 1).then(|| client.new_inbox());
    for (n, message) in messages.into_iter().enumerate() {
        let mut headers = message.headers;
        if let (0, Some(after)) = (n, after) {
            headers.insert(NATS_EXPECTED_LAST_SEQUENCE, after.to_string());
        }
        if let Some(batch) = &batch {
            headers.insert(NATS_BATCH_ID, batch_id(batch));
            headers.insert(NATS_BATCH_SEQUENCE, (n + 1).to_string());
        }
        if n + 1 < count {
            client
                .publish_with_headers(message.subject, headers, message.payload)
                .await
                .map_err(|error| AppendError::Unknown(error.to_string()))?;
            continue;
        }
        if batch.is_some() {
            headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        }
        return acknowledged(client, (message.subject, message.payload), headers, sent).await;
    }
    Err(nothing())
}

/// Appends `messages` one after the other, the first only where the stream ends at `after` and each only behind the one
/// before it, and gives the sequence of the last. Some may be there when it fails. Only the last is answered: where nobody
/// else appends, one that is refused leaves all behind it refused.
pub(crate) async fn append_in_turn(
    client: &Client,
    messages: Vec<Append>,
    after: i64,
) -> Result<u64, AppendError> {
    let count = messages.len();
    let first = messages.first().cloned();
    for (n, (message, before)) in messages.into_iter().zip(after..).enumerate() {
        let mut headers = message.headers;
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, before.to_string());
        if n + 1 == count {
            let sent = (message.subject, message.payload);
            let appended = acknowledged(client, sent, headers, None).await;
            return match (appended, first) {
                // That is what the last is told whatever is wrong with the first.
                (Err(AppendError::NotThere), Some(first)) if count > 1 => {
                    append(client, vec![first], Some(after), None).await?;
                    Err(AppendError::NotThere)
                }
                (appended, _) => appended,
            };
        }
        client
            .publish_with_headers(message.subject, headers, message.payload)
            .await
            .map_err(|error| AppendError::Unknown(error.to_string()))?;
        if n == count / 2 {
            let flushed = client.flush().await;
            flushed.map_err(|error| AppendError::Unknown(error.to_string()))?;
            crash::point("relay.half");
        }
    }
    Err(nothing())
}

fn nothing() -> AppendError {
    AppendError::Refused("there was nothing to append".to_owned())
}

/// The server takes ids of up to 64 characters.
fn batch_id(inbox: &str) -> &str {
    inbox.rsplit('.').next().unwrap_or(inbox)
}

async fn acknowledged(
    client: &Client,
    (subject, payload): (String, Bytes),
    headers: HeaderMap,
    sent: Option<oneshot::Sender<()>>,
) -> Result<u64, AppendError> {
    let request =
        async_nats::Request::new().headers(headers).payload(payload).timeout(Some(REQUEST_LIMIT));
    let mut answer = std::pin::pin!(client.send_request(subject, request));
    // Asked once, the request is handed to the connection; what follows is waiting.
    let at_once = futures::poll!(answer.as_mut());
    if let Some(sent) = sent {
        let _ = sent.send(());
    }
    let answer = match at_once {
        Poll::Ready(answer) => answer,
        Poll::Pending => answer.await,
    };
    let answer = answer.map_err(|error| AppendError::Unknown(error.to_string()))?;
    let ack: Ack = serde_json::from_slice(&answer.payload)
        .map_err(|error| AppendError::Unknown(error.to_string()))?;
    match ack.error {
        None => Ok(ack.seq),
        Some(error) if error.err_code == WRONG_LAST_SEQUENCE => Err(AppendError::NotThere),
        Some(error) if FULL.contains(&error.err_code) => Err(AppendError::Full),
        Some(error) => {
            Err(AppendError::Refused(format!("{} ({})", error.description, error.err_code)))
        }
    }
}

#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    seq: u64,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}
