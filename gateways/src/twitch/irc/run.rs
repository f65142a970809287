//! The part of a process that reads chat over IRC. Any number of processes may run it: one reads, the others wait to follow
//! it. Two that read for a moment do no harm, because what they read has the same names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use journal::ingest::Publisher;
use journal::leader::{self, Lock};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::keeper::Keeper;
use super::record::Row;
use super::session::Session;
use super::settings::Settings;
use super::whois::Whois;
use crate::observe;
use crate::outgoing::BaseUrl;
use crate::twitch::calls::Credentials;
use crate::twitch::eventsub::intake;
use crate::twitch::webhook::Webhook;

/// The name of the lock.
const NAME: &str = "irc";
const FAILED_WAIT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// For so long we read on while PostgreSQL does not say whose turn it is.
const REGAIN_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(12);
const NOTES_MAX: usize = 256;

/// What reading needs.
#[derive(Clone)]
pub struct Irc {
    pub pool: PgPool,
    pub publisher: Publisher,
    /// Where what is said goes, as the configuration of the moment has it.
    pub webhook: watch::Receiver<Arc<Webhook>>,
    pub settings: Settings,
    pub broadcaster: String,
    /// Where it is asked who is called a name, if anywhere.
    pub helix: Option<(Credentials, BaseUrl)>,
}

impl Irc {
    /// Reads until told to stop.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let leads = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                leads = leader::wait(&self.pool, Lock::Work(NAME)) => leads,
            };
            let led = match leads {
                Ok(leader) => self.lead(leader, &stop).await,
                Err(error) => Err(error.into()),
            };
            if stop.is_cancelled() {
                return led;
            }
            if let Err(error) = led {
                observe::begins_again("IRC", &error);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(FAILED_WAIT) => {}
            }
        }
    }

    /// Reads while we are the one.
    async fn lead(&self, leader: PgConnection, stop: &CancellationToken) -> anyhow::Result<()> {
        let ending = stop.child_token();
        let _cut = ending.clone().drop_guard();
        let mut tasks = self.tasks(&ending);
        let failed = tokio::select! {
            // Looked at first: the order to stop also ends the tasks, which is then no failure.
            biased;
            () = stop.cancelled() => None,
            error = self.keep_leading(leader) => Some(error),
            Some(ended) = tasks.join_next() => match ended? {
                Ok(()) => Some(anyhow::anyhow!("a part of it ended by itself")),
                Err(error) => Some(error),
            },
        };
        ending.cancel();
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        match (timeout(STOP_LIMIT, all).await, failed) {
            (_, Some(error)) => Err(error),
            (Ok(ended), None) => ended,
            (Err(_), None) => bail!("it did not stop in time"),
        }
    }

    fn tasks(&self, stop: &CancellationToken) -> JoinSet<anyhow::Result<()>> {
        let broadcaster = self.broadcaster.clone();
        let row = Row { pool: self.pool.clone(), broadcaster, reader: Uuid::new_v4() };
        let (notes, noted) = mpsc::channel(NOTES_MAX);
        // Nothing waits for its turn: what two read is one.
        let (_, alone) = watch::channel(true);
        let (queue, hands_on, stored) = intake::queue(self.webhook.clone(), alone, stop.clone());
        let whois = Whois::new(self.helix.clone());
        let of = (self.settings.clone(), self.broadcaster.clone());
        let session = Session::new(of, queue, notes, whois, stop.clone());
        let keeper = Keeper { row, publisher: self.publisher.clone(), notes: noted, stored };
        let mut tasks = JoinSet::new();
        tasks.spawn(session.run());
        tasks.spawn(hands_on.run());
        tasks.spawn(keeper.run());
        tasks
    }

    /// Ends when somebody else is the one, or nobody can say.
    async fn keep_leading(&self, mut leader: PgConnection) -> anyhow::Error {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let asked = sqlx::query("SELECT 1").execute(&mut leader);
            if matches!(timeout(ANSWER_LIMIT, asked).await, Ok(Ok(_))) {
                continue;
            }
            tracing::warn!("PostgreSQL does not say whether we still read chat over IRC");
            match timeout(REGAIN_LIMIT, self.regained()).await {
                Ok(connection) => leader = connection,
                Err(_) => return anyhow::anyhow!("another process reads, or PostgreSQL is gone"),
            }
        }
    }

    async fn regained(&self) -> PgConnection {
        loop {
            match leader::wait(&self.pool, Lock::Work(NAME)).await {
                Ok(leader) => return leader,
                Err(error) => tracing::debug!(%error, "not yet"),
            }
            tokio::time::sleep(FAILED_WAIT).await;
        }
    }
}
