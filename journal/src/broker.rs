//! Connections to NATS, one for each role, with that role's credentials.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_nats::jetstream;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{OnceCell, broadcast, watch};

use crate::following::News;
use crate::positions::Local;
use crate::recorded::Recorded;
use crate::tail::Ours;

/// How long a request to the broker may take.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// How many committed batches a follower in the same process may be behind before it reads them elsewhere.
const COMMITTED_MAX: usize = 64;

/// Where the broker is, and the password of each role. Without passwords the URL's own credentials serve all roles.
#[derive(Clone, Default, Deserialize)]
pub struct BrokerConfig {
    pub url: String,
    #[serde(default)]
    pub passwords: BTreeMap<String, String>,
}

impl std::fmt::Debug for BrokerConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BrokerConfig").finish_non_exhaustive()
    }
}

/// The users of `nats.conf` that the binary connects as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Admin,
    Gateway,
    Processor,
    Relay,
    Follower,
    /// Publishes for programs that were written against another system.
    Compatibility,
    /// Writes and reads the lines of chat.
    Chat,
    /// Keeps what Twitch said of users and games.
    Cache,
}

impl Role {
    /// The last one says how many there are.
    const COUNT: usize = Role::Cache as usize + 1;

    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Gateway => "gateway",
            Role::Processor => "processor",
            Role::Relay => "relay",
            Role::Follower => "follower",
            Role::Compatibility => "compatibility",
            Role::Chat => "chat",
            Role::Cache => "cache",
        }
    }
}

#[derive(Debug, Error)]
pub enum BrokerError {
    #[error("cannot connect to NATS as {role}: {reason}")]
    Connect { role: &'static str, reason: String },
    #[error("NATS refused: {0}")]
    Refused(String),
}

/// The broker as this process sees it. Clones share connections, and the committed batches and positions that
/// pass between the parts of one process without a detour.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    config: BrokerConfig,
    clients: [OnceCell<async_nats::Client>; Role::COUNT],
    connections: [watch::Sender<u64>; Role::COUNT],
    committed: broadcast::Sender<Arc<Vec<Recorded>>>,
    ours: Ours,
    positions: Local,
    news: Mutex<Weak<News>>,
}

impl Broker {
    pub fn new(config: BrokerConfig) -> Self {
        let inner = Inner {
            config,
            clients: Default::default(),
            connections: Default::default(),
            committed: broadcast::Sender::new(COMMITTED_MAX),
            ours: Ours::default(),
            positions: Local::default(),
            news: Mutex::default(),
        };
        Broker { inner: Arc::new(inner) }
    }

    /// The connection of `role`. Once made it reconnects by itself for ever.
    pub async fn client(&self, role: Role) -> Result<async_nats::Client, BrokerError> {
        let cell = &self.inner.clients[role as usize];
        cell.get_or_try_init(|| self.connect(role)).await.cloned()
    }

    /// Ends every connection, as a program does that outlives its servers.
    pub async fn close(&self) {
        for client in self.inner.clients.iter().filter_map(OnceCell::get) {
            if let Err(error) = client.drain().await {
                tracing::debug!(%error, "a connection to NATS was gone already");
            }
        }
    }

    /// The JetStream context of `role`.
    pub async fn jetstream(&self, role: Role) -> Result<jetstream::Context, BrokerError> {
        let mut context = jetstream::new(self.client(role).await?);
        context.set_timeout(REQUEST_LIMIT);
        Ok(context)
    }

    /// Changes when `role` was connected again: its consumers may be gone, and need not wait to find out.
    pub(crate) fn connections(&self, role: Role) -> watch::Receiver<u64> {
        self.inner.connections[role as usize].subscribe()
    }

    async fn connect(&self, role: Role) -> Result<async_nats::Client, BrokerError> {
        let name = role.name();
        let connections = self.inner.connections[role as usize].clone();
        let mut options = async_nats::ConnectOptions::new()
            .name(format!("tapedeck-{name}"))
            .custom_inbox_prefix(format!("_INBOX.{name}"))
            .request_timeout(Some(REQUEST_LIMIT))
            .connection_timeout(REQUEST_LIMIT)
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(50 * u64::try_from(attempts.min(20)).unwrap_or(20))
            })
            .event_callback(move |event| {
                let connections = connections.clone();
                async move {
                    match event {
                        async_nats::Event::Connected => {
                            connections.send_modify(|count| *count += 1);
                            tracing::info!(role = name, "NATS connected");
                        }
                        ending @ (async_nats::Event::Closed | async_nats::Event::Draining) => {
                            tracing::debug!(role = name, event = %ending, "NATS connection");
                        }
                        other => tracing::warn!(role = name, event = %other, "NATS connection"),
                    }
                }
            });
        if let Some(password) = self.inner.config.passwords.get(name) {
            options = options.user_and_password(name.to_owned(), password.clone());
        }
        options
            .connect(&self.inner.config.url)
            .await
            .map_err(|error| BrokerError::Connect { role: name, reason: error.to_string() })
    }

    /// Hands on what a processor of this process has committed.
    pub(crate) fn hand_on(&self, events: Vec<Recorded>) {
        self.inner.ours.add(&events);
        let _ = self.inner.committed.send(Arc::new(events));
    }

    /// Batches of events as the processors of this process commit them.
    pub(crate) fn committed(&self) -> broadcast::Receiver<Arc<Vec<Recorded>>> {
        self.inner.committed.subscribe()
    }

    /// Which positions those have.
    pub(crate) fn ours(&self) -> &Ours {
        &self.inner.ours
    }

    /// What happens now, read once for all who hold it.
    pub(crate) fn news(&self) -> Arc<News> {
        let mut shared = self.inner.news.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let news = Arc::new(News::start(self));
            *shared = Arc::downgrade(&news);
            news
        })
    }

    /// How far the projections are, as far as this process knows.
    pub(crate) fn positions(&self) -> &Local {
        &self.inner.positions
    }
}
