//! Waiting for a command's decision: the processor answers on core NATS after its commit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::broker::{Broker, BrokerError, Role};
use crate::command::Envelope;
use crate::ingest::{PublishError, Publisher};
use crate::outcome::Outcome;

type Waiters = Arc<Mutex<HashMap<Uuid, oneshot::Sender<Outcome>>>>;

/// Sends commands and waits for their outcomes.
#[derive(Clone)]
pub struct Replies {
    subject: Arc<str>,
    waiters: Waiters,
    _listener: Arc<AbortOnDropHandle<()>>,
}

impl Replies {
    pub async fn start(broker: &Broker) -> Result<Self, BrokerError> {
        let client = broker.client(Role::Gateway).await?;
        let subject: Arc<str> = format!("reply.{}", Uuid::new_v4().simple()).into();
        let mut answers = client
            .subscribe(format!("{subject}.*"))
            .await
            .map_err(|error| BrokerError::Refused(error.to_string()))?;
        let waiters = Waiters::default();
        let told = waiters.clone();
        let listener = tokio::spawn(async move {
            while let Some(message) = answers.next().await {
                let question = message.subject.rsplit('.').next().and_then(|id| id.parse().ok());
                let waiter = question.and_then(|id: Uuid| lock(&told).remove(&id));
                if let (Some(waiter), Ok(outcome)) =
                    (waiter, serde_json::from_slice(&message.payload))
                {
                    let _ = waiter.send(outcome);
                }
            }
        });
        Ok(Replies { subject, waiters, _listener: Arc::new(AbortOnDropHandle::new(listener)) })
    }

    /// Sends `envelope` and waits up to `limit` for its outcome. `Ok(None)`: it is safely stored but not decided yet;
    /// [`outcome::find`](crate::outcome::find) will know later.
    pub async fn ask(
        &self,
        publisher: &Publisher,
        mut envelope: Envelope,
        limit: Duration,
    ) -> Result<Option<Outcome>, PublishError> {
        let question = self.question(&mut envelope);
        publisher.send(&envelope).await?;
        Ok(question.answer(Instant::now() + limit).await)
    }

    /// Makes the outcome of `envelope` come here once it is sent: for whoever sends many before waiting for the first.
    pub fn question(&self, envelope: &mut Envelope) -> Question {
        let id = Uuid::new_v4();
        let (sender, answer) = oneshot::channel();
        lock(&self.waiters).insert(id, sender);
        envelope.reply_to = Some(format!("{}.{id}", self.subject));
        Question { answer, _forget: Forget { waiters: Arc::clone(&self.waiters), id } }
    }
}

/// What waits for the outcome of one command.
pub struct Question {
    answer: oneshot::Receiver<Outcome>,
    _forget: Forget,
}

impl Question {
    /// The outcome, if it comes until `limit`.
    pub async fn answer(self, limit: Instant) -> Option<Outcome> {
        tokio::time::timeout_at(limit, self.answer).await.ok().and_then(Result::ok)
    }
}

/// Takes the question off the list, also when the caller went away.
struct Forget {
    waiters: Waiters,
    id: Uuid,
}

impl Drop for Forget {
    fn drop(&mut self) {
        lock(&self.waiters).remove(&self.id);
    }
}

fn lock(waiters: &Waiters) -> std::sync::MutexGuard<'_, HashMap<Uuid, oneshot::Sender<Outcome>>> {
    waiters.lock().unwrap_or_else(PoisonError::into_inner)
}
