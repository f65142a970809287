//! Reading COMMANDS: in order, from the lowest cursor, all partitions of this process in one consumer.

use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::stream;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::broker::{Broker, Role};
use crate::command::{Envelope, PARTITIONS, check_id, partition_of};
use crate::delivery::Delivery;
use crate::retry::Backoff;

/// The stream commands wait in.
pub(crate) const COMMANDS: &str = "COMMANDS";

/// The most commands in one transaction.
pub(crate) const BATCH_MAX: usize = 2_048;
/// From this many at once on there is load, and a batch waits for more, up to as many as make waiting useless.
const UNDER_LOAD: usize = 128;
const BATCH_ENOUGH: usize = 1_024;
/// How long it waits.
const GATHER_MAX: Duration = Duration::from_millis(10);
/// How many commands may be read ahead of the one being decided.
const AHEAD_MAX: usize = 4_096;

/// A command as it was read.
pub(crate) struct Incoming {
    pub(crate) sequence: i64,
    pub(crate) partition: u16,
    /// The id to record its outcome under: its own, or one derived from where it stood if that is not readable.
    pub(crate) id: Uuid,
    pub(crate) envelope: Result<Envelope, String>,
    pub(crate) payload: Bytes,
}

impl Incoming {
    /// Whether it is another try of a dead letter, which may replace the outcome of the first.
    pub(crate) fn is_retry(&self) -> bool {
        self.envelope.as_ref().is_ok_and(|envelope| envelope.retry_of.is_some())
    }
}

/// The commands of some partitions, in order, until it is dropped.
pub(crate) struct Inbox {
    pub(crate) queue: mpsc::Receiver<Incoming>,
    _reader: AbortOnDropHandle<()>,
}

impl Inbox {
    /// Reads the commands of `partitions` that come after `cursor`.
    pub(crate) fn open(broker: Broker, partitions: Vec<u16>, cursor: i64) -> Self {
        let (sender, queue) = mpsc::channel(AHEAD_MAX);
        let reader = tokio::spawn(read_for_ever(broker, partitions, cursor, sender));
        Inbox { queue, _reader: AbortOnDropHandle::new(reader) }
    }
}

/// Under load a moment's wait makes one commit of what would be several. Whoever sent these has had the acknowledgement
/// long before.
pub(crate) async fn fill(inbox: &mut Option<Inbox>, batch: &mut Vec<Incoming>) {
    let Some(inbox) = inbox else { return };
    let until = tokio::time::Instant::now() + GATHER_MAX;
    while (UNDER_LOAD..BATCH_ENOUGH).contains(&batch.len()) {
        let more = inbox.queue.recv_many(batch, BATCH_MAX - batch.len());
        match tokio::time::timeout_at(until, more).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    }
}

/// Waits for a command and takes with it what else is there: one when idle, many under load.
pub(crate) async fn next_batch(inbox: &mut Option<Inbox>, batch: &mut Vec<Incoming>) -> usize {
    match inbox {
        Some(inbox) => inbox.queue.recv_many(batch, BATCH_MAX).await,
        None => std::future::pending().await,
    }
}

async fn read_for_ever(
    broker: Broker,
    partitions: Vec<u16>,
    mut cursor: i64,
    sender: mpsc::Sender<Incoming>,
) {
    let mut backoff = Backoff::default();
    while !sender.is_closed() {
        let before = cursor;
        if let Err(error) = read(&broker, &partitions, &mut cursor, &sender).await {
            tracing::warn!(
                error = format!("{error:#}"),
                cursor,
                "cannot read COMMANDS, trying again"
            );
        }
        if cursor > before {
            backoff.reset();
        }
        backoff.wait().await;
    }
}

async fn read(
    broker: &Broker,
    partitions: &[u16],
    cursor: &mut i64,
    sender: &mpsc::Sender<Incoming>,
) -> anyhow::Result<()> {
    let stream = broker.jetstream(Role::Processor).await?.get_stream(COMMANDS).await?;
    let mut connections = broker.connections(Role::Processor);
    let created_at = created_at(stream.cached_info());
    let subjects = if partitions.len() == usize::from(PARTITIONS) {
        vec!["cmd.>".to_owned()]
    } else {
        partitions.iter().map(|partition| format!("cmd.{partition}.>")).collect()
    };
    let mut delivery = Delivery::open(stream, subjects, *cursor).await?;
    loop {
        let (sequence, message) = tokio::select! {
            biased;
            _ = connections.changed() => return Ok(()),
            next = delivery.next() => next?,
        };
        if sender.send(incoming(message, sequence, &created_at)).await.is_err() {
            return Ok(());
        }
        *cursor = sequence;
    }
}

/// What tells one COMMANDS stream from another of the same name.
pub(crate) fn created_at(info: &stream::Info) -> String {
    info.created.unix_timestamp_nanos().to_string()
}

fn incoming(message: Message, sequence: i64, created_at: &str) -> Incoming {
    let payload = message.payload.clone();
    let partition = message.subject.split('.').nth(1).and_then(|token| token.parse().ok());
    let envelope = serde_json::from_slice::<Envelope>(&payload)
        .map_err(|error| format!("not an envelope: {error}"))
        .and_then(|envelope| {
            let wanted = partition_of(&envelope.aggregate_type, &envelope.aggregate_id);
            let given = partition.unwrap_or(PARTITIONS);
            if given == wanted {
                // Its type and id become a subject and columns, so they are held to what a publisher is.
                check_id(&envelope.aggregate_type).map_err(|error| error.to_string())?;
                check_id(&envelope.aggregate_id).map_err(|error| error.to_string())?;
                return Ok(envelope);
            }
            Err(format!("sent to partition {given}, where its aggregate is in {wanted}"))
        });
    let id = match &envelope {
        Ok(envelope) => envelope.id,
        Err(_) => domain::entry_id("unreadable", &format!("{created_at}:{sequence}")),
    };
    // A subject without a partition of ours is looked at by the owner of the first.
    let partition = partition.filter(|partition| *partition < PARTITIONS).unwrap_or(0);
    Incoming { sequence, partition, id, envelope, payload }
}
