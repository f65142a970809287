//! What a person may decide: `tapedeck.toml`, the environment over it, and nothing else.
//!
//! From weakest to strongest: the defaults, what a running `tapedeck up` wrote into its data
//! folder, the file, and the environment (`TAPEDECK_<KEY>`, and plain `DATABASE_URL` and
//! `NATS_URL`). A key that does not exist is an error wherever it stands. Every key is in
//! `tapedeck.example.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};
use domain::chat_request::Prices;
use domain::rules::Rules;
use journal::broker::BrokerConfig;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::chat::replies;
use crate::generation;
use crate::golden_vcr;
use crate::http::address::Network;
use crate::login;
use crate::pictures::bucket::Bucket;
use crate::pictures::{self, Pictures};
use crate::stage;
use crate::twitch;

mod checks;
pub(crate) mod layers;
mod reading;
mod servers;
pub mod template;

use reading::harmless;
pub use reading::{Reading, Refusal};
pub use servers::{CONNECT_FILE, Connect, EXAMPLE_BROADCASTER, NotReachable, open_database};

/// The file that is read when `--config` names no other. It may be absent.
pub const FILE: &str = "tapedeck.toml";

/// Every key, with its default. Printing it with `{:?}` shows no secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// PostgreSQL, as the role that may add to the record and not change it.
    pub database_url: String,
    /// PostgreSQL, as the owner of the tables: for migrations. Without it `database_url` migrates.
    pub owner_database_url: Option<String>,
    /// The most connections one process keeps to PostgreSQL.
    pub database_connections: u32,
    /// NATS, without a user when `nats_passwords` has one for each role.
    pub nats_url: String,
    /// By role of nats.conf: admin, gateway, processor, relay, follower, chat, cache, compatibility, reader, golden_vcr.
    pub nats_passwords: BTreeMap<String, String>,
    /// Where webhooks, the API, the feed and the overlay are answered.
    pub listen: SocketAddr,
    /// Where Prometheus reads `/metrics`; kept apart, so that it is never open to the internet by
    /// accident.
    pub metrics_listen: SocketAddr,
    /// Where the world reaches `listen`, for the addresses that are shown and sent to Twitch.
    pub public_url: Option<String>,
    /// The channel's Twitch user id. Notifications of another channel are refused.
    pub broadcaster_id: String,
    /// The secret that signs EventSub notifications: 10 to 100 ASCII characters. One that was
    /// replaced is believed until no subscription is left that was made with it, and a grace more.
    pub eventsub_secret: String,
    /// Points per deed; raise `version` with any change.
    pub rules: Rules,
    /// Who makes the pictures that were asked for, and how many, how fast and how dearly at most.
    pub generation: generation::Settings,
    /// Where pictures are kept; `pictures` in the data folder, if left out.
    pub pictures_folder: Option<PathBuf>,
    /// A bucket that they are kept in instead, if it has a name.
    pub pictures_bucket: pictures::bucket::Settings,
    /// What can be asked for with points, and for how many; raise `version` with any change.
    pub prices: Prices,
    /// What plays in OBS, for how long, and what becomes of what nobody shows.
    pub stage: stage::Settings,
    /// What is said to programs that were written against another system.
    pub compatibility: golden_vcr::Compatibility,
    /// Who may ask for what in chat and how often, and what has a fixed answer; raise `version` with
    /// any change.
    pub chat: domain::chat::Settings,
    /// How that is answered.
    pub replies: replies::Settings,
    /// Our application at Twitch, and the account that speaks there in chat.
    pub twitch: twitch::Settings,
    /// An OTLP/HTTP collector, such as `http://127.0.0.1:4318`. Without it no traces are sent.
    pub otlp_endpoint: Option<String>,
    /// What is logged, as `level` or `module=level,…`.
    pub log: String,
    pub log_format: LogFormat,
    pub requests_per_minute: RequestsPerMinute,
    /// The proxies in front of `listen`, which are believed about whom they ask for.
    pub trusted_proxies: Vec<Network>,
    /// The most readers of the feed at one time.
    pub feed_readers_max: usize,
    /// The key that signs proofs of statements; `signing.key` in the data folder, if left out.
    pub signing_key_file: Option<PathBuf>,
    /// The key that seals what Twitch grants and what signs; `sealing.key` in the data folder, if left out.
    pub sealing_key_file: Option<PathBuf>,
    /// Who may log in as what.
    pub login: login::Settings,
    /// Where this was read, so that it can be read again.
    #[serde(skip)]
    pub source: Option<Source>,
}

/// Where a configuration was read.
#[derive(Clone, Debug)]
pub struct Source {
    pub file: PathBuf,
    pub data: PathBuf,
}

/// The keys that take effect while a process runs. The others do when it is started again.
const LIVE: [&str; 10] = [
    "broadcaster_id",
    "eventsub_secret",
    "log",
    "login",
    "prices",
    "public_url",
    "requests_per_minute",
    "rules",
    "stage",
    "trusted_proxies",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

/// How many requests the API answers each minute, by who asks. 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestsPerMinute {
    /// Without a key, per network address.
    pub anonymous: u32,
    /// Per key that may only read.
    pub user: u32,
    /// Per key that may write.
    pub service: u32,
}

impl Default for RequestsPerMinute {
    fn default() -> Self {
        RequestsPerMinute { anonymous: 60, user: 600, service: 6_000 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            database_url: String::new(),
            owner_database_url: None,
            database_connections: 16,
            nats_url: String::new(),
            nats_passwords: BTreeMap::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8090)),
            metrics_listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            public_url: None,
            broadcaster_id: String::new(),
            eventsub_secret: String::new(),
            rules: Rules::default(),
            generation: generation::Settings::default(),
            pictures_folder: None,
            pictures_bucket: pictures::bucket::Settings::default(),
            prices: Prices::default(),
            stage: stage::Settings::default(),
            compatibility: golden_vcr::Compatibility::default(),
            chat: domain::chat::Settings::default(),
            replies: replies::Settings::default(),
            twitch: twitch::Settings::default(),
            otlp_endpoint: None,
            log: "info".to_owned(),
            log_format: LogFormat::Auto,
            requests_per_minute: RequestsPerMinute::default(),
            trusted_proxies: Vec::new(),
            feed_readers_max: 2_000,
            signing_key_file: None,
            sealing_key_file: None,
            login: login::Settings::default(),
            source: None,
        }
    }
}

/// Why there is no configuration to work with.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The words name the key and where it stands.
    #[error("the configuration is refused: {0}")]
    Refused(String),
}

impl Config {
    /// Reads `file` (or [`FILE`], if it is there), the environment of this process, and beneath
    /// both `connect`: what `tapedeck up` wrote into `data`.
    pub fn load(
        file: Option<&Path>,
        data: &Path,
        connect: Option<Connect>,
    ) -> Result<Self, ConfigError> {
        let text = match file {
            Some(path) => Some(read(path)?),
            None => Path::new(FILE).exists().then(|| read(Path::new(FILE))).transpose()?,
        };
        Self::over(connect, text, file.unwrap_or(Path::new(FILE)), data)
    }

    /// The same of a text that was read from `file`, if there was one, over what is in `data` now.
    pub fn of_text(text: Option<String>, file: &Path, data: &Path) -> Result<Self, ConfigError> {
        Self::over(Connect::read(data)?, text, file, data)
    }

    fn over(
        connect: Option<Connect>,
        text: Option<String>,
        file: &Path,
        data: &Path,
    ) -> Result<Self, ConfigError> {
        let (file, name) = (file.to_owned(), file.display().to_string());
        let read = Self::layered(connect, text.map(|text| (name, text)), std::env::vars())?;
        Ok(Config { source: Some(Source { file, data: data.to_owned() }), ..read })
    }

    /// This configuration with what changed between two readings of its source, and the names of the
    /// keys that changed but cannot take effect now.
    pub fn changed(
        &self,
        before: &Config,
        now: &Config,
    ) -> Result<(Config, Vec<String>), ConfigError> {
        let refused = |error: serde_json::Error| ConfigError::Refused(error.to_string());
        let value = |config: &Config| serde_json::to_value(config).map_err(refused);
        let (mut mine, before, now) = (value(self)?, value(before)?, value(now)?);
        let mut later = Vec::new();
        for (key, value) in now.as_object().into_iter().flatten() {
            if before[key] == *value {
                continue;
            }
            if LIVE.contains(&key.as_str()) {
                mine[key] = value.clone();
            } else {
                later.push(key.clone());
            }
        }
        let changed: Config = serde_json::from_value(mine).map_err(refused)?;
        Ok((Config { source: self.source.clone(), ..changed }, later))
    }

    /// Puts the layers together; `file` is its name and text.
    pub fn layered(
        connect: Option<Connect>,
        file: Option<(String, String)>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut builder = config::Config::builder();
        let is_example = connect.as_ref().is_some_and(|connect| connect.is_example);
        if let Some(connect) = connect {
            builder = builder.add_source(layers::of_json(connect.layer())?);
        }
        if let Some((name, text)) = file {
            // Read alone first, so that the words name the file.
            let source = File::from_str(&text, FileFormat::Toml);
            let alone = config::Config::builder().add_source(source.clone()).build();
            alone.and_then(config::Config::try_deserialize::<Config>).map_err(|error| {
                ConfigError::Refused(format!("{name}: {}", harmless(&error.to_string())))
            })?;
            builder = builder.add_source(source);
        }
        let variables = layers::keys_of_environment(environment);
        let read: Config = builder
            .add_source(
                Environment::with_prefix("TAPEDECK")
                    .prefix_separator("_")
                    .separator("__")
                    .ignore_empty(true)
                    .source(Some(variables)),
            )
            .build()
            .and_then(config::Config::try_deserialize::<Config>)
            .map_err(|error| {
                let words = harmless(&error.to_string());
                ConfigError::Refused(format!("{words} (environment TAPEDECK_*)"))
            })?;
        let mut read = read.checked()?;
        if is_example {
            read.or_example();
        }
        Ok(read)
    }

    /// Where the world reaches the API, as far as anybody has said.
    pub fn reached_at(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.listen))
    }

    /// Where pictures are kept.
    pub fn pictures(&self) -> Pictures {
        let data = self.source.as_ref().map_or(Path::new("data"), |source| &source.data);
        if !self.pictures_bucket.name.is_empty()
            && let Some(bucket) = Bucket::new(&self.pictures_bucket)
        {
            return Pictures::in_bucket(bucket, data.join("spool"));
        }
        let folder = self.pictures_folder.clone().unwrap_or_else(|| data.join("pictures"));
        Pictures::in_folder(folder)
    }

    /// Where the key is that signs proofs, if anything says so.
    pub fn signing_key_path(&self) -> Option<PathBuf> {
        let in_data = || Some(self.source.as_ref()?.data.join("signing.key"));
        self.signing_key_file.clone().or_else(in_data)
    }

    /// Where the key is that seals, if anything says so.
    pub fn sealing_key_path(&self) -> Option<PathBuf> {
        let in_data = || Some(self.source.as_ref()?.data.join("sealing.key"));
        self.sealing_key_file.clone().or_else(in_data)
    }

    /// How the journal reaches NATS.
    pub fn broker(&self) -> BrokerConfig {
        BrokerConfig { url: self.nats_url.clone(), passwords: self.nats_passwords.clone() }
    }

    /// Whether anything says where the two servers are.
    pub fn require_servers(&self, data: &Path) -> Result<(), NotReachable> {
        let missing = match (self.database_url.is_empty(), self.nats_url.is_empty()) {
            (false, false) => return Ok(()),
            (true, true) => "PostgreSQL and NATS are",
            (true, false) => "PostgreSQL is",
            (false, true) => "NATS is",
        };
        Err(NotReachable(format!(
            "nothing says where {missing}: start `tapedeck up` (its folder is {}, another is named with --data), or \
             set DATABASE_URL and NATS_URL, or write them into {FILE}",
            data.display(),
        )))
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Config")
            .field("listen", &self.listen)
            .field("metrics_listen", &self.metrics_listen)
            .field("public_url", &self.public_url)
            .field("broadcaster_id", &self.broadcaster_id)
            .field("rules", &self.rules)
            .field("prices", &self.prices)
            .field("otlp_endpoint", &self.otlp_endpoint)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
