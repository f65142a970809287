//! The part of a process that has Twitch tell us what happens. Any number of processes may run it: one listens, the others
//! wait to follow it.

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

use super::intake;
use super::keeper::Keeper;
use super::record::Row;
use super::session::Session;
use super::settings::{Settings, Transport};
use super::subscriptions::Subscriptions;
use super::wanted::wanted;
use crate::observe;
use crate::outgoing::BaseUrl;
use crate::twitch::accounts::NoGrant;
use crate::twitch::calls::{Calls, Credentials};
use crate::twitch::webhook::{self, Webhook};

/// The name of the lock.
const NAME: &str = "eventsub";
const FAILED_WAIT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(2);
const REFUSED_WAIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// For so long we listen on while PostgreSQL does not say whose turn it is; what is told waits. A turn that is not
/// confirmed is over after nine seconds ([`leader::wait`]), and it is asked for more often.
const REGAIN_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(12);
const NOTES_MAX: usize = 256;

/// What listening needs.
#[derive(Clone)]
pub struct EventSub {
    pub pool: PgPool,
    pub publisher: Publisher,
    /// Where what is told goes, as the configuration of the moment has it.
    pub webhook: watch::Receiver<Arc<Webhook>>,
    pub settings: Settings,
    pub helix_url: BaseUrl,
    pub credentials: Credentials,
    pub broadcaster: String,
    /// Where the world reaches us, for webhooks, and the secret that signs them.
    pub public_url: String,
    pub secret: String,
}

impl EventSub {
    /// Listens until told to stop, from when somebody has granted what it takes.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.granted(&stop).await;
        while !stop.is_cancelled() {
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
                observe::begins_again("EventSub", &error);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(FAILED_WAIT) => {}
            }
        }
        Ok(())
    }

    /// Waits until there is something to ask Twitch with.
    async fn granted(&self, stop: &CancellationToken) {
        let mut is_said = false;
        while !stop.is_cancelled() {
            let Err(missing) = self.credentials.bearer.shown().await else { return };
            if !is_said {
                tracing::info!(%missing, "Twitch is not asked to tell anything yet");
                is_said = true;
            }
            // Somebody connects an account now; what Twitch does not grant the application, it will not so soon.
            let wait = match missing {
                NoGrant::Unreachable(_) => REFUSED_WAIT,
                _ => LOOK_EVERY,
            };
            let _ = timeout(wait, stop.cancelled()).await;
        }
    }

    /// Listens while we are the one.
    async fn lead(&self, leader: PgConnection, stop: &CancellationToken) -> anyhow::Result<()> {
        let ending = stop.child_token();
        let _cut = ending.clone().drop_guard();
        let broadcaster = self.broadcaster.clone();
        let row = Row { pool: self.pool.clone(), broadcaster, listener: Uuid::new_v4() };
        let (alone, is_alone) = watch::channel(true);
        let mut tasks = self.tasks(&row, is_alone, &ending);
        let leading = keep_leading(leader, row, alone);
        let failed = tokio::select! {
            // Looked at first: the order to stop also ends the parts, which is then no failure.
            biased;
            () = stop.cancelled() => None,
            error = leading => Some(error),
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

    fn tasks(
        &self,
        row: &Row,
        alone: watch::Receiver<bool>,
        stop: &CancellationToken,
    ) -> JoinSet<anyhow::Result<()>> {
        let Settings { transport, exclusive, ref user_id, ref leave_out, .. } = self.settings;
        let mut tasks = JoinSet::new();
        let (notes, noted) = mpsc::channel(NOTES_MAX);
        let (queue, hands_on, stored) = intake::queue(self.webhook.clone(), alone, stop.clone());
        let calls = Calls::new(self.credentials.clone());
        let base_url = self.helix_url.clone();
        let reader = if user_id.is_empty() { &self.broadcaster } else { user_id };
        let keeper = Keeper {
            row: row.clone(),
            publisher: self.publisher.clone(),
            subscriptions: Arc::new(Subscriptions::new(calls, base_url, self.secret.clone())),
            transport,
            wanted: wanted(&self.broadcaster, reader, leave_out),
            exclusive,
            callback: format!("{}{}", self.public_url.trim_end_matches('/'), webhook::PATH),
            notes: noted,
            stored,
            stop: stop.clone(),
        };
        match transport {
            Transport::Websocket => {
                let session = Session::new(self.settings.clone(), queue, notes, stop.clone());
                tasks.spawn(session.run());
                tasks.spawn(hands_on.run());
                tasks.spawn(keeper.run());
            }
            Transport::Webhook => {
                tasks.spawn(async move {
                    let kept = keeper.run().await;
                    drop(notes);
                    kept
                });
            }
        }
        tasks
    }
}

/// Ends when somebody else is the one, or nobody can say.
async fn keep_leading(
    mut leader: PgConnection,
    row: Row,
    alone: watch::Sender<bool>,
) -> anyhow::Error {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let asked = sqlx::query("SELECT 1").execute(&mut leader);
        if matches!(timeout(ANSWER_LIMIT, asked).await, Ok(Ok(_))) {
            continue;
        }
        tracing::warn!(
            "PostgreSQL does not say whether we still listen to EventSub: what is told waits"
        );
        alone.send_replace(false);
        match timeout(REGAIN_LIMIT, regained(&row)).await {
            Ok(Some(connection)) => leader = connection,
            Ok(None) => return anyhow::anyhow!("another process has listened meanwhile"),
            Err(_) => return anyhow::anyhow!("another process listens, or PostgreSQL is gone"),
        }
        alone.send_replace(true);
    }
}

/// The lock again, unless somebody else has begun to listen.
async fn regained(row: &Row) -> Option<PgConnection> {
    loop {
        match leader::wait(&row.pool, Lock::Work(NAME)).await {
            Ok(leader) => match row.is_ours().await {
                Ok(ours) => return ours.then_some(leader),
                Err(error) => tracing::debug!(%error, "not yet"),
            },
            Err(error) => tracing::debug!(%error, "not yet"),
        }
        tokio::time::sleep(FAILED_WAIT).await;
    }
}
