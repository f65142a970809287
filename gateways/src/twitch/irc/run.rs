//! The part of a process that reads chat over IRC. Any number of processes may run it: one reads, the others wait to follow
//! it. Two that read for a moment do no harm, because what they read has the same names.

use std::sync::Arc;
use std::time::Duration;

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
use crate::leading::{self, FAILED_WAIT};
use crate::twitch::cache::Cache;
use crate::twitch::eventsub::intake;
use crate::twitch::webhook::Webhook;

/// The name of the lock.
const NAME: &str = "irc";
const LOOK_EVERY: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// For so long we read on while PostgreSQL does not say whose turn it is.
const REGAIN_LIMIT: Duration = Duration::from_secs(60);
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
    /// Who is asked who is called a name, if anybody.
    pub cache: Arc<Cache>,
}

impl Irc {
    /// Reads until told to stop.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let work = |leader| self.lead(leader, &stop);
        leading::lead(&self.pool, (NAME, "IRC"), &stop, work).await
    }

    /// Reads while we are the one.
    async fn lead(&self, leader: PgConnection, stop: &CancellationToken) -> anyhow::Result<()> {
        let ending = stop.child_token();
        let _cut = ending.clone().drop_guard();
        let tasks = self.tasks(&ending);
        leading::together(tasks, self.keep_leading(leader), stop, &ending).await
    }

    fn tasks(&self, stop: &CancellationToken) -> JoinSet<anyhow::Result<()>> {
        let broadcaster = self.broadcaster.clone();
        let row = Row { pool: self.pool.clone(), broadcaster, reader: Uuid::new_v4() };
        let (notes, noted) = mpsc::channel(NOTES_MAX);
        // Nothing waits for its turn: what two read is one.
        let (_, alone) = watch::channel(true);
        let (queue, hands_on, stored) = intake::queue(self.webhook.clone(), alone, stop.clone());
        let whois = Whois::new(self.cache.clone());
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
