//! Where the servers are, and getting to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;

use super::{Config, ConfigError};

/// What a running `tapedeck up` leaves in its data folder, readable by its owner only.
pub const CONNECT_FILE: &str = "connect.json";

/// The channel of a newcomer who has named neither one nor an application at Twitch: `tapedeck up` makes it up, and
/// `tapedeck simulate` plays a night of it.
pub const EXAMPLE_BROADCASTER: &str = "1000";

/// How long PostgreSQL may take to let us in, or to give us a connection later.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Where a running `tapedeck up` can be reached, as `<data>/connect.json`.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Connect {
    pub nats_url: String,
    #[serde(default)]
    pub nats_passwords: BTreeMap<String, String>,
    pub database_url: String,
    #[serde(default)]
    pub owner_database_url: Option<String>,
    /// The base of the HTTP API, such as `http://127.0.0.1:8090`.
    #[serde(default)]
    pub api_url: Option<String>,
    #[serde(default)]
    pub broadcaster_id: Option<String>,
    /// The channel is made up, and counts for nothing once somebody names their application.
    #[serde(default)]
    pub is_example: bool,
    #[serde(default)]
    pub eventsub_secret: Option<String>,
}

/// A server that a command needs does not answer, or nobody says where it is. Ends a command with
/// exit code 4.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct NotReachable(pub String);

impl Config {
    /// Takes the channel of a newcomer where neither one nor an application at Twitch is named: whoever has an application
    /// has a channel of their own.
    pub fn or_example(&mut self) {
        if self.broadcaster_id.is_empty() && self.twitch.client_id.is_empty() {
            EXAMPLE_BROADCASTER.clone_into(&mut self.broadcaster_id);
        }
    }

    /// Whether it is that channel.
    fn is_example(&self) -> bool {
        self.broadcaster_id == EXAMPLE_BROADCASTER && self.twitch.client_id.is_empty()
    }
}

impl Connect {
    /// What `config` says of the channel: its id, where it is not made up, and whether it is.
    pub fn channel(config: &Config) -> (Option<String>, bool) {
        let id = Some(config.broadcaster_id.clone());
        (id.filter(|id| !id.is_empty() && !config.is_example()), config.is_example())
    }

    /// What is true of the next run as well: the channel, and where the world reaches us, are what is configured then.
    pub fn lasting(self) -> Self {
        Connect { broadcaster_id: None, is_example: false, api_url: None, ..self }
    }

    /// What `tapedeck up` left in `data`; `None` when it never ran there.
    pub fn read(data: &Path) -> Result<Option<Self>, ConfigError> {
        let path = data.join(CONNECT_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| ConfigError::Refused(format!("{}: {error}", path.display())))
    }

    /// The keys of [`Config`] that it knows.
    pub(super) fn layer(self) -> serde_json::Value {
        let mut layer = serde_json::json!({
            "nats_url": self.nats_url,
            "nats_passwords": self.nats_passwords,
            "database_url": self.database_url,
        });
        let optional = [
            ("owner_database_url", self.owner_database_url),
            ("public_url", self.api_url),
            ("broadcaster_id", self.broadcaster_id),
            ("eventsub_secret", self.eventsub_secret),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                layer[key] = value.into();
            }
        }
        layer
    }
}

/// Opens PostgreSQL for `purpose`, or says in words why not.
pub async fn open_database(
    url: &str,
    connections: u32,
    purpose: &str,
) -> Result<PgPool, NotReachable> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|error| NotReachable(format!("database_url cannot be read: {error}")))?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let options = options.application_name(&format!("tapedeck {purpose}"));
    let refused = |reason: String| {
        NotReachable(format!(
            "PostgreSQL at {place} does not let us in: {reason}. Is `tapedeck up` running, or is \
             DATABASE_URL right?"
        ))
    };
    // One connection alone says why it cannot be made; a pool would only say that it took too long.
    match tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect_with(&options)).await {
        Err(_) => return Err(refused(format!("no answer in {CONNECT_LIMIT:?}"))),
        Ok(Err(error)) => return Err(refused(error.to_string())),
        Ok(Ok(connection)) => drop(connection.close().await),
    }
    let pool = journal::pool::options().max_connections(connections).acquire_timeout(CONNECT_LIMIT);
    pool.connect_with(options).await.map_err(|error| refused(error.to_string()))
}
