//! The messages of EVENTS in order, as one consumer pushes them. The server waits for us whenever a window of bytes is on
//! its way, so that it never sends more than we can take.

use std::time::Duration;

use async_nats::jetstream::consumer::push::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PushConsumer};
use async_nats::{Message, Subject, jetstream};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Error;
use super::broker::{NAME, unreachable};

/// Messages that are handed on together.
const BATCH_MAX: usize = 2048;
/// The server forgets the consumer this long after we have gone.
const INACTIVE_MAX: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_secs(5);
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How often the server may ask whether what it sent has arrived before it hears that it has: once in a heartbeat.
const UNHEARD_MAX: u32 = 3;

/// A message and its sequence in EVENTS.
pub type Numbered = (i64, Message);

/// Why a consumer was given up.
pub enum Ended {
    /// There is no more, or nobody wants more.
    Whole,
    /// There should be more.
    Silent(String),
}

/// Sends on what one consumer delivers after `last`, which moves with it.
///
/// Messages that were lost on the way are no hole in EVENTS: the consumer counts what it sends, and what does not
/// follow is asked for again.
pub async fn deliver(
    jetstream: &jetstream::Context,
    last: &mut i64,
    until: i64,
    sender: &mpsc::Sender<Vec<Numbered>>,
) -> Result<Ended, Error> {
    let client = jetstream.client();
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.map_err(unreachable)?;
    let consumer = consumer(jetstream, *last, inbox).await?;
    let info = consumer.cached_info();
    if info.num_pending == 0 && info.delivered.consumer_sequence == 0 {
        return Ok(Ended::Whole); // The rest was removed: there is nothing to wait for.
    }
    let (mut delivered, mut unheard) = (0, 0);
    loop {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let ended = loop {
            let next = match messages.next().now_or_never() {
                Some(next) => next,
                None => timeout(SILENCE_MAX, messages.next()).await.unwrap_or_default(),
            };
            let Some(message) = next else { break Some(Ended::Silent("no answer".to_owned())) };
            if message.status.is_some() {
                let Some(waiting) = who_waits(&message) else {
                    // It has sent what it had; whether that was all, the next consumer says.
                    break Some(Ended::Silent("nothing comes".to_owned()));
                };
                unheard += 1;
                if unheard > UNHEARD_MAX {
                    let reason =
                        "the server does not hear us; may the follower publish to $JS.FC.EVENTS.>?";
                    break Some(Ended::Silent(reason.to_owned()));
                }
                client.publish(waiting, bytes::Bytes::new()).await.map_err(unreachable)?;
                continue;
            }
            let Some(numbers) = message.reply.as_deref().and_then(Numbers::parse) else {
                return Err(Error::Broker("EVENTS delivers messages without numbers".to_owned()));
            };
            if numbers.delivered != delivered + 1 {
                break Some(Ended::Silent("messages are lost on the way".to_owned()));
            }
            (delivered, unheard) = (delivered + 1, 0);
            let Numbers { sequence, pending, .. } = numbers;
            if sequence <= until {
                *last = sequence;
                batch.push((sequence, message));
            }
            if pending == 0 || sequence >= until {
                break Some(Ended::Whole);
            }
            if batch.len() == BATCH_MAX {
                break None;
            }
        };
        if sender.send(batch).await.is_err() {
            return Ok(Ended::Whole);
        }
        if let Some(ended) = ended {
            return Ok(ended);
        }
    }
}

/// Where the server waits for a sign that what it sent has arrived; `None` for a mere sign of life.
fn who_waits(message: &Message) -> Option<Subject> {
    let stalled = || message.headers.as_ref()?.get("Nats-Consumer-Stalled");
    message.reply.clone().or_else(|| stalled().map(|subject| subject.as_str().into()))
}

/// What the reply subject of a delivered message says.
#[derive(Debug, PartialEq)]
struct Numbers {
    /// In EVENTS.
    sequence: i64,
    /// How many the consumer has delivered with this one.
    delivered: u64,
    /// How many are left.
    pending: u64,
}

impl Numbers {
    /// `$JS.ACK.<name>.<consumer>.<deliveries>.<sequence>.<delivered>.<time>.<pending>`; with domain and account before
    /// the name, and more after the numbers, where the server has a domain.
    fn parse(reply: &str) -> Option<Self> {
        let before = match reply.bytes().filter(|byte| *byte == b'.').count() {
            8 => 5,
            10.. => 7,
            _ => return None,
        };
        let mut parts = reply.as_bytes().split(|byte| *byte == b'.').skip(before);
        let sequence = i64::try_from(number(parts.next()?)?).ok()?;
        let delivered = number(parts.next()?)?;
        let pending = number(parts.nth(1)?)?;
        Some(Numbers { sequence, delivered, pending })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (!digits.is_empty()).then_some(number)
}

async fn consumer(
    jetstream: &jetstream::Context,
    after: i64,
    inbox: String,
) -> Result<PushConsumer, Error> {
    let config = Config {
        deliver_subject: inbox,
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: u64::try_from(after + 1).unwrap_or(1),
        },
        ack_policy: AckPolicy::None,
        flow_control: true,
        idle_heartbeat: HEARTBEAT,
        inactive_threshold: INACTIVE_MAX,
        memory_storage: true,
        num_replicas: 1,
        ..Config::default()
    };
    jetstream.create_consumer_on_stream(config, NAME).await.map_err(unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_read_with_and_without_a_domain() {
        let numbers = Some(Numbers { sequence: 17, delivered: 5, pending: 3 });
        assert_eq!(Numbers::parse("$JS.ACK.EVENTS.c.1.17.5.1700000000.3"), numbers);
        assert_eq!(Numbers::parse("$JS.ACK.hub.acc.EVENTS.c.1.17.5.1700000000.3"), numbers);
        assert_eq!(Numbers::parse("$JS.ACK.hub.acc.EVENTS.c.1.17.5.1700000000.3.x"), numbers);
    }

    #[test]
    fn a_reply_without_numbers_has_none() {
        for reply in ["", "_INBOX.a.b", "$JS.ACK.EVENTS.c.1.x.5.1.3", "$JS.ACK.EVENTS.c.1..5.1.3"] {
            assert_eq!(Numbers::parse(reply), None, "{reply}");
        }
        let too_large = format!("$JS.ACK.EVENTS.c.1.{}.5.1.3", u64::MAX);
        assert_eq!(Numbers::parse(&too_large), None);
    }
}
