//! Appending commands to COMMANDS. Who sends waits for the synced acknowledgement; what waits together is sent as one
//! atomic batch, so that a gateway under load pays for one sync instead of many.

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::batch::{Append, AppendError, BATCH_MAX, append};
use crate::broker::{Broker, BrokerError, Role};
use crate::command::{BadAddress, Envelope};

/// The largest command. The stream allows as much.
const COMMAND_BYTES_MAX: usize = 4_000_000;
/// The most bytes sent in one batch.
const BATCH_BYTES_MAX: usize = 4_000_000;
/// How many commands may wait to be sent; further senders wait to be let in.
const WAITING_MAX: usize = 8_192;

/// Why a command was not appended, as far as is known: after `Unavailable` it may have been, and sending it again
/// does no harm.
#[derive(Clone, Debug, Error)]
pub enum PublishError {
    #[error("{0}")]
    BadAddress(String),
    #[error("a command of {bytes} bytes is larger than {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("COMMANDS is full: commands arrive faster than they are decided")]
    Full,
    #[error("NATS did not take the command: {0}")]
    Unavailable(String),
}

impl From<BadAddress> for PublishError {
    fn from(error: BadAddress) -> Self {
        PublishError::BadAddress(error.to_string())
    }
}

/// Appends commands. Clones share one queue.
#[derive(Clone)]
pub struct Publisher {
    waiting: mpsc::Sender<Waiting>,
}

struct Waiting {
    message: Append,
    answer: oneshot::Sender<Result<u64, PublishError>>,
}

impl Publisher {
    pub async fn start(broker: &Broker) -> Result<Self, BrokerError> {
        let client = broker.client(Role::Gateway).await?;
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        tokio::spawn(send_all(client, queue));
        Ok(Publisher { waiting })
    }

    /// Appends `envelope` and gives its sequence in COMMANDS once it is on disk.
    pub async fn send(&self, envelope: &Envelope) -> Result<u64, PublishError> {
        let subject = envelope.subject()?;
        let payload = serde_json::to_vec(envelope)
            .map_err(|error| PublishError::BadAddress(error.to_string()))?;
        if payload.len() > COMMAND_BYTES_MAX {
            return Err(PublishError::TooLarge { bytes: payload.len(), max: COMMAND_BYTES_MAX });
        }
        let (answer, answered) = oneshot::channel();
        let message = Append { subject, payload: Bytes::from(payload) };
        let gone = |_| PublishError::Unavailable("the publisher has stopped".to_owned());
        self.waiting.send(Waiting { message, answer }).await.map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}

/// Sends what waits, a batch at a time: one command when idle, up to a thousand under load.
async fn send_all(client: async_nats::Client, mut queue: mpsc::Receiver<Waiting>) {
    let mut held_back: Option<Waiting> = None;
    loop {
        let first = match held_back.take() {
            Some(waiting) => waiting,
            None => match queue.recv().await {
                Some(waiting) => waiting,
                None => return,
            },
        };
        let mut bytes = first.message.payload.len();
        let mut messages = vec![first.message];
        let mut answers = vec![first.answer];
        while messages.len() < BATCH_MAX
            && let Ok(waiting) = queue.try_recv()
        {
            bytes += waiting.message.payload.len();
            if bytes > BATCH_BYTES_MAX {
                held_back = Some(waiting);
                break;
            }
            messages.push(waiting.message);
            answers.push(waiting.answer);
        }
        metrics::histogram!("tapedeck_ingest_batch_commands").record(messages.len() as f64);
        let result = append(&client, messages, None).await.map_err(PublishError::from);
        let count = answers.len() as u64;
        for (n, answer) in answers.into_iter().enumerate() {
            let _ = answer.send(result.clone().map(|last| last + 1 + n as u64 - count));
        }
    }
}

impl From<AppendError> for PublishError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => PublishError::Full,
            other => PublishError::Unavailable(other.to_string()),
        }
    }
}
