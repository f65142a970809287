//! `tapedeck serve`: the parts of the backend in this process. The only place where everything is
//! wired.

mod admitting;
mod caching;
mod connected;
mod directing;
mod hearing;
mod making;
mod parts;
mod reach;
mod reload;
mod talking;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chrono::Utc;
use futures::FutureExt;
use journal::broker::Broker;
use journal::positions::Positions;
use journal::replies::Replies;
use journal::{Process, follower, head, process, processor, publication, relay};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::parts::{Parts, stop_on_signal};
use self::reach::{built, reach};
use super::Globals;
use crate::chat;
use crate::config::{Config, Reading};
use crate::feed::{self, Hub, own};
use crate::generation;
use crate::golden_vcr::{self, GoldenVcr};
use crate::http::keys::Keys;
use crate::http::limits::Limits;
use crate::http::{self, Api, listener};
use crate::login::{Login, Sessions};
use crate::signing::Signing;
use crate::twitch::cache::Cache;
use crate::twitch::eventsub::posted::Beat;
use crate::twitch::{self, Accounts, Secrets, Versions};
use crate::{expiry, observe, processes};

/// How long PostgreSQL and NATS may take to answer at the start.
const REACH_LIMIT: Duration = Duration::from_secs(30);
/// Connections beside those of feed readers.
const CONNECTIONS_BESIDE: usize = 1_024 + own::READERS_MAX;
const METRICS_CONNECTIONS_MAX: usize = 64;

/// Run the backend against a NATS and a PostgreSQL that are already there
///
/// All parts run in this process unless --roles names some. As many processes as wanted can run
/// each part: processors share the work by lease, one relay leads and others wait, and any number
/// of gateways answer.
///
/// The servers are named by DATABASE_URL and NATS_URL, or in tapedeck.toml. Pending migrations are
/// applied, and streams that are missing are made.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    DATABASE_URL=postgres://… NATS_URL=nats://… tapedeck serve\n  \
    tapedeck serve --roles gateway                 only answer HTTP\n  \
    tapedeck serve --roles processor,relay         decide and publish, answer nobody\n\n\
    Stop it with Ctrl-C or SIGTERM: what was taken in is finished first.")]
pub struct Serve {
    /// Which parts run here, divided by commas
    #[arg(long, value_enum, value_delimiter = ',', env = "TAPEDECK_ROLES", default_values_t = Role::ALL)]
    roles: Vec<Role>,
    /// Where to answer HTTP; stronger than `listen` of tapedeck.toml
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where to answer Prometheus; stronger than `metrics_listen` of tapedeck.toml
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
}

/// A part of the backend that can run in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Webhooks, API, feed and overlay
    Gateway,
    /// Decides commands and records events
    Processor,
    /// Publishes recorded events to the EVENTS stream
    Relay,
    /// Folds events into the tables that queries read
    Projections,
    /// Answers events with what follows from them: requests are paid for, holds that are due end
    Processes,
    /// Makes the pictures that were asked for and paid for
    Making,
    /// Decides what plays on the stage, and when
    Directing,
    /// Says what happens to programs written against Golden VCR, where [compatibility] turns it on
    Compatibility,
    /// Answers what was asked in chat
    Replies,
    /// Has Twitch tell what happens, where [twitch.eventsub] says under which account, and reads chat over IRC, where
    /// [twitch.irc] turns it on
    Eventsub,
}

impl Role {
    pub const ALL: [Role; 10] = [
        Role::Gateway,
        Role::Processor,
        Role::Relay,
        Role::Projections,
        Role::Processes,
        Role::Making,
        Role::Directing,
        Role::Compatibility,
        Role::Replies,
        Role::Eventsub,
    ];
}

impl std::fmt::Display for Role {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Role::Gateway => "gateway",
            Role::Processor => "processor",
            Role::Relay => "relay",
            Role::Projections => "projections",
            Role::Processes => "processes",
            Role::Making => "making",
            Role::Directing => "directing",
            Role::Compatibility => "compatibility",
            Role::Replies => "replies",
            Role::Eventsub => "eventsub",
        })
    }
}

/// Said once everything runs.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Where HTTP is answered, with the port that was found for port 0; `None` without the gateway.
    pub listen: Option<SocketAddr>,
    pub metrics_listen: SocketAddr,
}

impl Serve {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let mut config = globals.config()?;
        config.listen = self.listen.unwrap_or(config.listen);
        config.metrics_listen = self.metrics_listen.unwrap_or(config.metrics_listen);
        config.require_servers(globals.data())?;
        let observed = observe::begin(&config)?;
        let stop = stop_on_signal()?;
        let served = serve(config, &self.roles, stop, |Ready { listen, metrics_listen }| {
            let listen = listen.map(tracing::field::display);
            tracing::info!(listen, metrics = %metrics_listen, "tapedeck serves");
        })
        .await;
        observed.end().await;
        served.map(|()| ExitCode::SUCCESS)
    }
}

/// Runs the given parts until told to stop, or until one of them fails. `ready` is called once all
/// of them run.
pub async fn serve(
    config: Config,
    roles: &[Role],
    stop: CancellationToken,
    ready: impl FnOnce(Ready),
) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let (beginning, reading_now) = reload::begin(&config);
    let metrics = observe::record_metrics()?;
    let broker = Broker::new(config.broker());
    let pool = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        reached = reach(&config, &broker) => reached?,
    };
    let mut parts = Parts::new(stop);
    let (prices, prices_now) = watch::channel(config.prices.clone());
    let (stage, stage_now) = watch::channel(Arc::new(config.stage.clone()));
    let (configs, configs_now) = watch::channel(Arc::clone(&config));
    let processes = processes::all(prices_now);
    // Before anything is taken in: what is recorded from now on is for the processes.
    process::register(&pool, &processes).await?;
    if roles.contains(&Role::Directing) {
        directing::open(&pool, &broker, &config.stage, &mut parts).await?;
    }
    if config.compatibility.golden_vcr {
        publication::register(&pool, golden_vcr::NAME).await?;
    }

    let metrics_at = listener::bind(config.metrics_listen)?;
    let metrics_listen = metrics_at.local_addr()?;
    let metrics = observe::metrics_router(metrics);
    let metrics = watch::Sender::new(metrics).subscribe();
    let scrapes = listener::serve(metrics_at, metrics, METRICS_CONNECTIONS_MAX, parts.rest.clone());
    parts.runs("metrics", scrapes);

    let accounts = connected::begin(roles, &config, &pool, configs.subscribe(), &mut parts);
    caching::sweep(roles, &pool, &broker, &mut parts);
    let versions = hearing::versions(roles, &config, &pool, configs.subscribe(), &mut parts).await;
    // What comes in, and is closed first.
    let mut listen = None;
    if roles.contains(&Role::Gateway) {
        let listening = listener::bind(config.listen)?;
        listen = Some(listening.local_addr()?);
        let cache = caching::begin(&config, &pool, &broker, accounts.as_ref());
        let known = (configs.subscribe(), reading_now, cache);
        let api = gateway(known, &pool, &broker, &mut parts).await?;
        admitting::keep(&api, configs.subscribe(), &mut parts);
        let mut secrets = Secrets::new(hearing::secret(&config)?);
        let (believed, speakers) = (versions.clone(), accounts.clone());
        let routed = router(&api, &secrets, believed.clone(), speakers.as_ref());
        let routers = watch::Sender::new(routed);
        let (intake, answering) = (parts.intake.clone(), routers.subscribe());
        let connections_max = config.feed_readers_max + CONNECTIONS_BESIDE;
        parts.comes_in("http", listener::serve(listening, answering, connections_max, intake));
        let nats = broker.client(journal::broker::Role::Gateway).await?;
        let posted = Beat { pool: pool.clone(), nats, configs: configs.subscribe() };
        parts.comes_in("posted", posted.run(parts.intake.clone()));
        let apply = move |now: Arc<Config>| {
            secrets = secrets.replaced_by(hearing::secret(&now)?, Utc::now());
            if let Some(versions) = &believed {
                versions.expect(&now);
            }
            prices.send_replace(now.prices.clone());
            directing::settings(&stage, &now);
            configs.send_replace(Arc::clone(&now));
            let api = Api { config: now, ..api.clone() };
            let routed = router(&api, &secrets, believed.clone(), speakers.as_ref());
            drop(routers.send_replace(routed));
            Ok(())
        };
        let reloading = reload::run(Arc::clone(&config), apply, beginning, parts.rest.clone());
        parts.runs("reload", reloading);
    } else {
        let apply = move |now: Arc<Config>| {
            prices.send_replace(now.prices.clone());
            directing::settings(&stage, &now);
            configs.send_replace(Arc::clone(&now));
            Ok(())
        };
        let reloading = reload::run(Arc::clone(&config), apply, beginning, parts.rest.clone());
        parts.runs("reload", reloading);
    }

    if roles.contains(&Role::Eventsub) {
        let cache = caching::begin(&config, &pool, &broker, accounts.as_ref());
        let knows = (versions, accounts.as_ref(), cache);
        hearing::begin(&config, &pool, &broker, configs_now, knows, &mut parts).await?;
    }
    inside(roles, &config, &pool, &broker, processes, accounts, &mut parts).await?;
    if roles.contains(&Role::Directing) {
        directing::begin(&pool, &broker, stage_now, &mut parts).await?;
    }
    let lag = observe::measure_lag(pool.clone(), broker.clone(), parts.rest.clone());
    parts.runs("lag", lag.map(Ok));

    if roles.contains(&Role::Projections) {
        built(&pool, &parts.stop).await;
    }
    ready(Ready { listen, metrics_listen });
    parts.until_stopped().await
}

/// What happens inside, and goes out.
async fn inside(
    roles: &[Role],
    config: &Config,
    pool: &PgPool,
    broker: &Broker,
    processes: Vec<Arc<dyn Process>>,
    accounts: Option<Arc<Accounts>>,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let (pool, broker, rest) = (pool.clone(), broker.clone(), parts.rest.clone());
    if roles.contains(&Role::Processor) {
        let options = processor::Options { adopt_trace: observe::adopt, ..Default::default() };
        parts
            .runs("processor", processor::run(pool.clone(), broker.clone(), options, rest.clone()));
    }
    if roles.contains(&Role::Relay) {
        parts.runs("relay", relay::run(pool.clone(), broker.clone(), rest.clone()));
    }
    if roles.contains(&Role::Projections) {
        let all = projections::all();
        parts.runs("projections", follower::run(pool.clone(), broker.clone(), all, rest.clone()));
    }
    if roles.contains(&Role::Processes) {
        let publisher = parts.publisher(&broker).await?;
        let timer = expiry::run(pool.clone(), broker.clone(), publisher.clone(), rest.clone());
        parts.runs("expiry", timer);
        let (pool, broker) = (pool.clone(), broker.clone());
        parts.runs("processes", process::run(pool, broker, publisher, processes, rest.clone()));
    }
    if roles.contains(&Role::Making) {
        let publisher = parts.publisher(&broker).await?;
        let worker = making::worker(config, &pool, &broker, publisher).await?;
        parts.runs("making", generation::run(worker, rest.clone()));
    }
    if roles.contains(&Role::Compatibility) && config.compatibility.golden_vcr {
        let said = Arc::new(GoldenVcr::new(pool.clone(), &config.reached_at()));
        parts
            .runs("golden_vcr", publication::run(pool.clone(), broker.clone(), said, rest.clone()));
    }
    if roles.contains(&Role::Replies) {
        let publisher = parts.publisher(&broker).await?;
        let worker = talking::worker(config, &pool, &broker, publisher, accounts).await?;
        parts.runs("replies", chat::replies::run(worker, rest));
    }
    Ok(())
}

/// The API and the feed behind it.
async fn gateway(
    (now, reading, cache): (watch::Receiver<Arc<Config>>, watch::Receiver<Reading>, Arc<Cache>),
    pool: &PgPool,
    broker: &Broker,
    parts: &mut Parts,
) -> anyhow::Result<Api> {
    let config = Arc::clone(&now.borrow());
    let positions = Positions::start(pool.clone(), broker).await?;
    let head = head::read(pool).await?;
    let built: Option<i64> =
        sqlx::query_scalar("SELECT position FROM checkpoints WHERE name = $1 AND status = 'live'")
            .bind(projections::alerts::NAME)
            .fetch_optional(pool)
            .await?;
    // Before the first build nobody has seen an alert; what it will find is history and not news.
    let hub = Hub::new(head.epoch, built.unwrap_or(head.position), config.feed_readers_max);
    let looking = positions.clone();
    let rest = parts.rest.clone();
    parts.runs("positions", async move {
        looking.keep_looking(rest).await;
        Ok(())
    });
    let rest = parts.rest.clone();
    parts.runs("feed", feed::run(hub.clone(), pool.clone(), positions.clone(), rest));
    let own_feed = admitting::own_feed(pool, &positions, parts);
    let sessions = Sessions::new(pool.clone());
    let login = Login::new(&config, sessions.clone(), pool.clone())?;
    let stage = directing::hub(pool, &positions, parts);
    let (chat, lines) = (Arc::new(chat::Hub::default()), chat::Lines::start(broker).await?);
    parts.runs("chat", chat::hub::run(chat.clone(), lines.clone(), parts.rest.clone()));
    Ok(Api {
        config: Arc::clone(&config),
        now,
        reading,
        pool: pool.clone(),
        publisher: parts.publisher(broker).await?,
        replies: Replies::start(broker).await?,
        positions,
        broker: broker.clone(),
        hub,
        own_feed,
        chat,
        lines,
        keys: Keys::new(pool.clone()),
        sessions,
        signing: Signing::new(pool.clone()),
        login,
        line: Arc::default(),
        limits: Arc::new(Limits::default()),
        readied: Arc::default(),
        pictures: config.pictures(),
        stage,
        cache,
        stop: parts.intake.clone(),
    })
}

/// All that is answered over HTTP.
fn router(
    api: &Api,
    secrets: &Secrets,
    versions: Option<Arc<Versions>>,
    accounts: Option<&Arc<Accounts>>,
) -> Router {
    let needs = (api.publisher.clone(), api.lines.clone(), api.pool.clone());
    let believed = (secrets, versions);
    let webhooks = twitch::router(hearing::webhook(&api.config, believed, accounts, needs));
    http::router(Arc::new(api.clone()), webhooks)
}
