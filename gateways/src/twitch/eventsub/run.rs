//! The part of a process that has Twitch tell us what happens. Any number of processes may run it: one listens, the others
//! wait to follow it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use journal::ingest::Publisher;
use journal::leader::{self, Lock};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::conduits::calls::Conduits;
use super::conduits::rows::Rows;
use super::conduits::{Conductor, Holder};
use super::intake;
use super::keeper::Keeper;
use super::plan::{self, Existing};
use super::record::{self, Feed, Row};
use super::session::Session;
use super::settings::{Settings, Transport};
use super::subscriptions::Subscriptions;
use super::wanted::wanted;
use crate::leading::{self, FAILED_WAIT};
use crate::outgoing::BaseUrl;
use crate::twitch::accounts::NoGrant;
use crate::twitch::calls::{Calls, Credentials};
use crate::twitch::secrets::Versions;
use crate::twitch::webhook::{self, Webhook};

/// The account of the application itself, where no person is meant.
pub const APPLICATION: &str = "application";
/// The name of the lock.
const NAME: &str = "eventsub";
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is asked whether it is still our turn. Whoever follows us needs longer to be told anything.
const ASK_EVERY: Duration = Duration::from_millis(500);
const REFUSED_WAIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// For so long we listen on while PostgreSQL does not say whose turn it is; what is told waits. A turn that is not
/// confirmed is over after nine seconds ([`leader::wait`]), and it is asked for more often.
const REGAIN_LIMIT: Duration = Duration::from_secs(60);
const NOTES_MAX: usize = 256;
const LEFT: &str =
    "the WebSocket waits until the webhooks of before, which tell the same, are removed";

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
    /// What the application itself asks with, where it has a secret.
    pub application: Option<Credentials>,
    pub broadcaster: String,
    /// Where the world reaches us, for webhooks, and the secret that signs them.
    pub public_url: String,
    pub secret: String,
    /// Its versions, where they can be kept.
    pub versions: Option<Arc<Versions>>,
}

impl EventSub {
    /// Listens until told to stop, from when somebody has granted what it takes.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.granted(&stop).await;
        let (led, held) = tokio::join!(self.take_turns(&stop), self.hold(&stop));
        led.and(held)
    }

    /// Holds shards of a conduit, which every process does.
    async fn hold(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        if self.settings.transport != Transport::Conduit {
            return Ok(());
        }
        let holder = Holder {
            id: Uuid::new_v4(),
            rows: self.rows(),
            publisher: self.publisher.clone(),
            webhook: self.webhook.clone(),
            settings: self.settings.clone(),
        };
        holder.run(stop.clone()).await
    }

    fn rows(&self) -> Rows {
        Rows { pool: self.pool.clone(), broadcaster: self.broadcaster.clone() }
    }

    /// Does what one process does of all, whenever it is our turn.
    async fn take_turns(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let work = |leader| self.lead(leader, stop);
        leading::lead(&self.pool, (NAME, "EventSub"), stop, work).await
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
        if !self.is_clear(stop).await? {
            return Ok(());
        }
        let broadcaster = self.broadcaster.clone();
        let row = Row { pool: self.pool.clone(), broadcaster, listener: Uuid::new_v4() };
        let (alone, is_alone) = watch::channel(true);
        let tasks = self.tasks(&row, is_alone, &ending);
        leading::together(tasks, keep_leading(leader, row, alone), stop, &ending).await
    }

    /// What webhooks of before tell would count beside what is told over a WebSocket, whose list does not even show them:
    /// they go first.
    async fn leave_webhooks(&self, former: &Feed) -> anyhow::Result<()> {
        let application = self.application.clone().context("no twitch.client_secret is set")?;
        let calls = Calls::new(application).shared(self.pool.clone(), APPLICATION);
        let subscriptions = Subscriptions::new(calls, self.helix_url.clone(), String::new());
        let listed = subscriptions.list().await?;
        let callback = webhook::callback(&self.public_url);
        let made = former.report.iter().flat_map(|report| &report.statuses);
        let made: Vec<&str> = made.filter_map(|status| status.id.as_deref()).collect();
        let is_ours = |one: &Existing| {
            made.contains(&one.id.as_str()) || plan::version_at(&callback, one).is_some()
        };
        for one in listed.existing.iter().filter(|one| one.is_posted()) {
            if self.settings.exclusive || is_ours(one) {
                tracing::info!(one.id, one.kind, "a webhook of EventSub is removed");
                subscriptions.delete(&one.id).await?;
            }
        }
        Ok(())
    }

    /// Waits until nothing of before counts beside what is told now. Whether that is so.
    async fn is_clear(&self, stop: &CancellationToken) -> anyhow::Result<bool> {
        let former = record::find(&self.pool, &self.broadcaster).await?;
        let posted = former.filter(|former| former.transport == Transport::Webhook.name());
        let (Some(former), Transport::Websocket) = (posted, self.settings.transport) else {
            return Ok(true);
        };
        loop {
            let left = stop.run_until_cancelled(self.leave_webhooks(&former)).await;
            let why = match left {
                None => return Ok(false),
                Some(Ok(())) => return Ok(true),
                Some(Err(error)) => format!("{LEFT}: {error:#}"),
            };
            tracing::warn!("{why}");
            record::waits(&self.pool, &self.broadcaster, &why).await?;
            if timeout(REFUSED_WAIT, stop.cancelled()).await.is_ok() {
                return Ok(false);
            }
        }
    }

    fn tasks(
        &self,
        row: &Row,
        alone: watch::Receiver<bool>,
        stop: &CancellationToken,
    ) -> JoinSet<anyhow::Result<()>> {
        let Settings { transport, exclusive, ref leave_out, .. } = self.settings;
        let mut tasks = JoinSet::new();
        let (notes, noted) = mpsc::channel(NOTES_MAX);
        let (queue, hands_on, mut stored) =
            intake::queue(self.webhook.clone(), alone.clone(), stop.clone());
        let base_url = self.helix_url.clone();
        let reader = self.settings.reader(&self.broadcaster);
        // A WebSocket's are asked for with a token of an account, all others with the application's own.
        let account = if transport == Transport::Websocket { reader } else { APPLICATION };
        let calls = || Calls::new(self.credentials.clone()).shared(self.pool.clone(), account);
        let mut conductor = None;
        if transport == Transport::Conduit {
            let (sender, of_shards) = watch::channel(None);
            stored = of_shards;
            conductor = Some(Conductor {
                rows: self.rows(),
                publisher: self.publisher.clone(),
                conduits: Conduits::new(calls(), base_url.clone()),
                client_id: self.credentials.client_id.clone(),
                callback: webhook::callback(&self.public_url),
                shards: self.settings.shards,
                exclusive,
                notes: notes.clone(),
                stored: sender,
                stop: stop.clone(),
            });
        }
        let keeper = Keeper {
            row: row.clone(),
            publisher: self.publisher.clone(),
            subscriptions: Arc::new(Subscriptions::new(
                calls(),
                base_url.clone(),
                self.secret.clone(),
            )),
            transport,
            wanted: wanted(&self.broadcaster, reader, leave_out),
            exclusive,
            callback: webhook::callback(&self.public_url),
            versions: self.versions.clone(),
            notes: noted,
            alone,
            stored,
            stop: stop.clone(),
        };
        match transport {
            Transport::Conduit => {
                tasks.spawn(keeper.run());
                if let Some(conductor) = conductor {
                    tasks.spawn(conductor.run());
                }
            }
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
        tokio::time::sleep(ASK_EVERY).await;
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
