//! The commands that are sent: cheers, as `domain::account` takes them, and for a history all the rest of a night.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::Utc;
use domain::account::{Account, Command, Facts};
use domain::rules::Tier;
use futures::{StreamExt, TryStreamExt};
use journal::command::ViewerName;
use journal::ingest::Publisher;
use journal::{Envelope, Origin};
use uuid::Uuid;

use crate::measure::Latencies;

pub const ACCOUNTS: u64 = 1_000;
pub const POINTS: i64 = 100;

const FIRST_ACCOUNT: u64 = 100_000;
/// Tasks that make and send commands; each has accounts of its own, so that their commands stay in order.
const SENDERS: u64 = 4;
const SEND_MAX: Duration = Duration::from_secs(60);

/// What kind of commands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mix {
    /// Cheers of 100 bits, for the comparison: the command and where it came from.
    Cheers,
    /// Cheers as the webhook sends them: with the body that arrived, and the viewer's name.
    Webhooks,
    /// Cheers, subscriptions, and points held, captured and released.
    Night,
}

/// `count` commands over a thousand accounts. Equal runs are equal commands.
#[derive(Clone)]
pub struct Work {
    pub run: Arc<str>,
    pub count: u64,
    pub mix: Mix,
}

impl Work {
    pub fn new(run: &str, count: u64, mix: Mix) -> Self {
        Work { run: run.into(), count, mix }
    }

    pub fn account(n: u64) -> String {
        (FIRST_ACCOUNT + n % ACCOUNTS).to_string()
    }

    /// Command `n`. Every command of every mix makes one event.
    pub fn command(&self, n: u64) -> Command {
        let entry = self.entry(n);
        let credit = |facts| Command::Credit { entry, points: POINTS, rules: 1, facts };
        let turn = if self.mix == Mix::Night { n / ACCOUNTS % 10 } else { 0 };
        match turn {
            4 => credit(Facts::Subscription { tier: Tier::One, gift: false }),
            7 => {
                let (purpose, expires_at) = ("image alert".to_owned(), Utc::now());
                Command::Hold { entry, points: POINTS, purpose, expires_at }
            }
            8 => {
                let hold = self.entry(n.saturating_sub(ACCOUNTS));
                if n / ACCOUNTS % 20 < 10 {
                    Command::Capture { entry, hold }
                } else {
                    Command::Release { entry, hold, reason: "refused".to_owned() }
                }
            }
            9 => credit(Facts::Resubscription {
                tier: Tier::Two,
                months: 7,
                streak: None,
                message: "seven months already".to_owned(),
            }),
            _ => credit(Facts::Cheer { bits: POINTS, message: "Cheer100 what a night".to_owned() }),
        }
    }

    pub fn envelope(&self, n: u64) -> anyhow::Result<Envelope> {
        let account = Self::account(n);
        let command = self.command(n);
        let raw = (self.mix == Mix::Webhooks).then(|| self.body(n));
        let origin = Origin {
            source: "eventsub".to_owned(),
            source_id: format!("{}-{n}", self.run),
            actor: None,
            received_at: Utc::now(),
            raw,
        };
        let mut envelope = Envelope::new::<Account>(&account, &command, origin)?;
        if self.mix == Mix::Webhooks {
            let (login, name) =
                (Some(format!("viewer{account}")), Some(format!("Viewer{account}")));
            envelope.names.push(ViewerName { id: account, login, name });
        }
        Ok(envelope)
    }

    /// What `channel.cheer` looks like when it arrives.
    pub fn body(&self, n: u64) -> String {
        let account = Self::account(n);
        serde_json::json!({
            "subscription": {
                "id": "f1c2a387-161a-49f9-a165-0f21d7a4e1c4", "status": "enabled",
                "type": "channel.cheer", "version": "1", "cost": 0,
                "condition": { "broadcaster_user_id": BROADCASTER },
                "transport": { "method": "webhook", "callback": "https://example.com/webhooks/twitch" },
                "created_at": "2026-08-01T10:11:12.634234626Z",
            },
            "event": {
                "is_anonymous": false, "user_id": account,
                "user_login": format!("viewer{account}"), "user_name": format!("Viewer{account}"),
                "broadcaster_user_id": BROADCASTER, "broadcaster_user_login": "deck",
                "broadcaster_user_name": "Deck", "message": format!("Cheer100 what a night {n}"),
                "bits": POINTS,
            },
        })
        .to_string()
    }

    fn entry(&self, n: u64) -> Uuid {
        domain::entry_id("bench", &format!("{}-{n}", self.run))
    }
}

pub const BROADCASTER: &str = "1000";

/// Sends all of it with `in_flight` commands waiting for their acknowledgement at any time. Gives how long each waited.
pub async fn send(publisher: &Publisher, work: &Work, in_flight: u64) -> anyhow::Result<Latencies> {
    let tasks: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (publisher, work) = (publisher.clone(), work.clone());
            tokio::spawn(send_share(publisher, work, sender, (in_flight / SENDERS) as usize))
        })
        .collect();
    let mut latencies = Latencies::default();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(latencies)
}

async fn send_share(
    publisher: Publisher,
    work: Work,
    sender: u64,
    in_flight: usize,
) -> anyhow::Result<Latencies> {
    let numbers = (sender..work.count).step_by(SENDERS as usize);
    let sent = futures::stream::iter(numbers).map(|n| {
        let (publisher, envelope) = (&publisher, work.envelope(n));
        async move {
            let started = Instant::now();
            let envelope = envelope?;
            tokio::time::timeout(SEND_MAX, publisher.send(&envelope))
                .await
                .context("no acknowledgement")??;
            Ok::<_, anyhow::Error>(started.elapsed())
        }
    });
    sent.buffered(in_flight.max(1))
        .try_fold(Latencies::default(), async |mut all, latency| {
            all.add(latency);
            Ok(all)
        })
        .await
}
