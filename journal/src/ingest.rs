//! Appending commands to COMMANDS. Who sends waits for the synced acknowledgement; what waits together is sent as one
//! atomic batch, so that a gateway under load pays for one sync instead of many.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::batch::{Append, AppendError, BATCH_MAX, append};
use crate::broker::{Broker, BrokerError, Role};
use crate::command::{BadAddress, Envelope};

/// The largest command. The stream allows as much.
const COMMAND_BYTES_MAX: usize = 4_000_000;
/// The most bytes sent in one batch.
const BATCH_BYTES_MAX: usize = 4_000_000;
/// The most commands that are sent together by one sender.
const PART_MAX: usize = BATCH_MAX / 2;
/// How many commands may wait to be sent; further senders wait to be let in.
const WAITING_MAX: usize = 8_192;

/// How many commands have to wait before they are sent beside a batch that is not acknowledged yet.
const BESIDE_MIN: usize = 256;
/// How long after the last batch whatever waits is sent beside it all the same. It is several times what a sync takes:
/// an acknowledgement this late may be lost, and would be waited for until the request's limit.
const BESIDE_AFTER: Duration = Duration::from_millis(20);
/// How often it is looked whether so many wait, or for so long.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How many batches may be unacknowledged.
const ON_THEIR_WAY_MAX: usize = 3;

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

/// What goes into COMMANDS as a whole or not at all, and who waits for the sequence of its last command.
struct Waiting {
    commands: Vec<Append>,
    answer: oneshot::Sender<Result<u64, PublishError>>,
}

/// A command as it goes into COMMANDS.
#[derive(Clone)]
pub(crate) struct Prepared(Append);

impl Prepared {
    pub(crate) fn of(envelope: &Envelope) -> Result<Self, PublishError> {
        let subject = envelope.subject()?;
        let payload = serde_json::to_vec(envelope)
            .map_err(|error| PublishError::BadAddress(error.to_string()))?;
        if payload.len() > COMMAND_BYTES_MAX {
            return Err(PublishError::TooLarge { bytes: payload.len(), max: COMMAND_BYTES_MAX });
        }
        let (payload, headers) = (Bytes::from(payload), async_nats::HeaderMap::new());
        Ok(Prepared(Append { subject, payload, headers }))
    }
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
        let Prepared(command) = Prepared::of(envelope)?;
        self.append(vec![command]).await
    }

    /// Appends `commands` in their order, in parts that are appended as a whole or not at all, each after the one before
    /// it. Of a failure the parts before it are on disk; sending all of them again does no harm.
    pub(crate) async fn send_all(&self, commands: &[Prepared]) -> Result<(), PublishError> {
        let mut rest = commands;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(part_of(rest));
            self.append(part.iter().map(|Prepared(command)| command.clone()).collect()).await?;
            rest = after;
        }
        Ok(())
    }

    async fn append(&self, commands: Vec<Append>) -> Result<u64, PublishError> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| PublishError::Unavailable("the publisher has stopped".to_owned());
        self.waiting.send(Waiting { commands, answer }).await.map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}

/// How many of the first of `commands` go together.
fn part_of(commands: &[Prepared]) -> usize {
    let mut bytes = 0;
    let fits = commands.iter().take(PART_MAX).take_while(|Prepared(command)| {
        bytes += command.payload.len();
        bytes <= BATCH_BYTES_MAX
    });
    fits.count().max(1)
}

/// Sends what waits: one command when idle, batches of up to a thousand under load. The next batch is on its way while
/// the one before it is being synced; both go over one connection, so they are stored in the order they were sent.
async fn send_all(client: async_nats::Client, mut queue: mpsc::Receiver<Waiting>) {
    let mut held_back: Option<Waiting> = None;
    let mut on_their_way = FuturesUnordered::new();
    let mut last_sent = Instant::now();
    loop {
        // A batch on its way costs the server a sync: another goes beside it only when it is worth one.
        let worth_it = on_their_way.is_empty()
            || queue.len() >= BESIDE_MIN
            || last_sent.elapsed() >= BESIDE_AFTER;
        let may_send = worth_it && on_their_way.len() < ON_THEIR_WAY_MAX;
        let first = tokio::select! {
            biased;
            Some(()) = on_their_way.next() => continue,
            first = next(&mut held_back, &mut queue), if may_send => first,
            () = tokio::time::sleep(LOOK_EVERY), if !worth_it => continue,
        };
        let Some(first) = first else { break };
        let (messages, answers) = gather(first, &mut held_back, &mut queue);
        metrics::histogram!("tapedeck_ingest_batch_commands").record(messages.len() as f64);
        last_sent = Instant::now();
        let (sent, is_sent) = oneshot::channel();
        let client = client.clone();
        on_their_way.push(async move {
            let result = append(&client, messages, None, Some(sent)).await;
            let result = result.map_err(PublishError::from);
            for (after, answer) in answers {
                let _ = answer.send(result.clone().map(|last| last - after as u64));
            }
        });
        // Not before all of this batch is on the connection may the next follow.
        let mut is_sent = is_sent;
        while !on_their_way.is_empty() {
            tokio::select! {
                biased;
                _ = &mut is_sent => break,
                Some(()) = on_their_way.next() => {}
            }
        }
    }
    while on_their_way.next().await.is_some() {}
}

async fn next(
    held_back: &mut Option<Waiting>,
    queue: &mut mpsc::Receiver<Waiting>,
) -> Option<Waiting> {
    match held_back.take() {
        Some(waiting) => Some(waiting),
        None => queue.recv().await,
    }
}

/// Who waits, and how many commands of the batch come after theirs.
type Answers = Vec<(usize, oneshot::Sender<Result<u64, PublishError>>)>;

/// `first`, and what else is there, as far as it fits into one batch.
fn gather(
    first: Waiting,
    held_back: &mut Option<Waiting>,
    queue: &mut mpsc::Receiver<Waiting>,
) -> (Vec<Append>, Answers) {
    let size = |commands: &[Append]| commands.iter().map(|command| command.payload.len()).sum();
    let mut bytes: usize = size(&first.commands);
    let mut messages = first.commands;
    let mut answers = vec![(messages.len(), first.answer)];
    while messages.len() < BATCH_MAX
        && let Ok(waiting) = queue.try_recv()
    {
        bytes += size(&waiting.commands);
        if bytes > BATCH_BYTES_MAX || messages.len() + waiting.commands.len() > BATCH_MAX {
            *held_back = Some(waiting);
            break;
        }
        messages.extend(waiting.commands);
        answers.push((messages.len(), waiting.answer));
    }
    for (end, _) in &mut answers {
        *end = messages.len() - *end;
    }
    (messages, answers)
}

impl From<AppendError> for PublishError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => PublishError::Full,
            other => PublishError::Unavailable(other.to_string()),
        }
    }
}
