//! The messages of a stream in order, as one consumer of our own delivers them.

use std::time::Duration;

use anyhow::Context;
use async_nats::Message;
use async_nats::jetstream::consumer::pull::{Config, Stream as Messages};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::Stream;
use futures::StreamExt;

/// How many messages are asked for at once. Whoever asks for few waits for the server once for every few.
const ASKED_MAX: usize = 4_096;
/// How many bytes of them. The largest message is a quarter of it.
const ASKED_BYTES: usize = 16 * 1024 * 1024;
/// The server says this often that it is there when it has nothing to deliver.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The server forgets the consumer this long after we have gone, or have stopped taking what it delivers. Not later than the
/// client asks again of its own accord, 35 s after it last did: who takes nothing would be sent more every time.
const INACTIVE_MAX: Duration = Duration::from_secs(30);

/// Everything in a stream from some sequence on. After an error it is over: messages may have been lost on the way, and
/// whoever wants them begins another after the last that came.
pub(crate) struct Delivery {
    stream: Stream,
    consumer: String,
    messages: Messages,
    /// How many have come.
    delivered: u64,
    /// Where the last of them stands.
    last: i64,
}

impl Delivery {
    /// What comes after the sequence `after`, of `subjects` only where there are any.
    pub(crate) async fn open(
        stream: Stream,
        subjects: Vec<String>,
        after: i64,
    ) -> anyhow::Result<Self> {
        let config = Config {
            filter_subjects: subjects,
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: u64::try_from(after)? + 1,
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE_MAX,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let info = consumer.cached_info();
        let allowed = usize::try_from(info.config.max_batch).ok().filter(|allowed| *allowed > 0);
        let (name, asked) = (info.name.clone(), ASKED_MAX.min(allowed.unwrap_or(ASKED_MAX)));
        let messages = consumer
            .stream()
            .max_messages_per_batch(asked)
            .max_bytes_per_batch(ASKED_BYTES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await?;
        Ok(Delivery { stream, consumer: name, messages, delivered: 0, last: after })
    }

    /// The next message and its sequence in the stream. Nothing is lost where this is given up.
    pub(crate) async fn next(&mut self) -> anyhow::Result<(i64, Message)> {
        let message = self.messages.next().await.context("the consumer ended")??;
        let info = message.info().map_err(anyhow::Error::msg)?;
        self.delivered += 1;
        anyhow::ensure!(info.consumer_sequence == self.delivered, "messages were lost on the way");
        let sequence = i64::try_from(info.stream_sequence)?;
        let last = std::mem::replace(&mut self.last, sequence);
        anyhow::ensure!(sequence > last, "message {sequence} came after {last}");
        Ok((sequence, message.message))
    }

    /// Has the server forget it at once.
    pub(crate) async fn end(self) {
        drop(self.messages);
        // It goes by itself too, a little later.
        let _ = self.stream.delete_consumer(&self.consumer).await;
    }
}
