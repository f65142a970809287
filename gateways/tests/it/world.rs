//! A whole Tapedeck for one test: private servers, migrated and with their streams, and the parts that a test starts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::account::{self, Account, Facts};
use domain::entry_id;
use gateways::embedded::{Options, Servers};
use journal::broker::{Broker, BrokerConfig, Role};
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::replies::Replies;
use journal::streams::{self, StreamsFile};
use journal::{Envelope, MIGRATOR, Origin, Outcome, Process, follower, process, processor, relay};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const TAPEDECK: &str = env!("CARGO_BIN_EXE_tapedeck");
/// Longer than anything here takes, on a busy machine too; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What is refused at NATS is not answered; this long is waited for an answer, and no longer for one that is allowed.
pub const REFUSED_AFTER: Duration = Duration::from_secs(2);

pub struct World {
    pub servers: Servers,
    /// As the runtime role.
    pub pool: PgPool,
    pub broker: Broker,
}

impl World {
    pub async fn start() -> Self {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let servers = Servers::start(Options::for_tests(TAPEDECK).expect("a temporary folder"))
            .await
            .expect("the private servers start");
        let owner = PgPool::connect(&servers.owner_database_url).await.expect("the owner gets in");
        MIGRATOR.run(&owner).await.expect("the migrations apply");
        owner.close().await;
        let pool = pool(&servers.database_url).await;
        let broker = broker(&servers);
        let admin = broker.jetstream(Role::Admin).await.expect("the admin gets in");
        let file = StreamsFile::built_in().expect("streams.yaml is right");
        streams::apply(&admin, &file).await.expect("the streams are made");
        World { servers, pool, broker }
    }

    /// Processor, relay and projections, as one process runs them.
    pub fn run(&self) -> Parts {
        let mut parts = Parts::new(self.pool.clone(), broker(&self.servers));
        parts.processor();
        parts.relay();
        parts.follower();
        parts
    }

    /// Parts of another process: with connections of their own.
    pub fn parts(&self) -> Parts {
        Parts::new(self.pool.clone(), broker(&self.servers))
    }

    pub async fn publisher(&self) -> Publisher {
        Publisher::start(&self.broker).await.expect("the gateway gets in")
    }

    pub async fn asker(&self) -> Asker {
        let replies = Replies::start(&self.broker).await.expect("the gateway gets in");
        Asker { publisher: self.publisher().await, replies }
    }

    pub async fn head(&self) -> i64 {
        journal::head::read(&self.pool).await.expect("the head is there").position
    }

    /// Waits until every projection has folded all that is recorded.
    pub async fn caught_up(&self) -> i64 {
        let head = self.head().await;
        let positions = Positions::start(self.pool.clone(), &self.broker).await.expect("positions");
        for projection in projections::all() {
            let name = projection.name();
            positions.wait(name, head, PATIENCE).await.unwrap_or_else(|at| {
                panic!("{name} is still at {at} of {head}");
            });
        }
        head
    }

    /// Waits until EVENTS ends at the head.
    pub async fn relayed(&self) -> i64 {
        let mut head = 0;
        let admin = self.broker.jetstream(Role::Admin).await.expect("the admin gets in");
        until("EVENTS ends at the head", async || {
            head = self.head().await;
            let Ok(stream) = admin.get_stream(relay::EVENTS).await else { return false };
            stream.cached_info().state.last_sequence == head as u64
        })
        .await;
        head
    }

    /// The events of EVENTS, one by one.
    pub async fn events(&self) -> Vec<journal::Recorded> {
        let admin = self.broker.jetstream(Role::Admin).await.expect("the admin gets in");
        let stream = admin.get_stream(relay::EVENTS).await.expect("EVENTS is there");
        let state = &stream.cached_info().state;
        let mut events = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.expect("every message is there");
            events.push(serde_json::from_slice(&message.payload).expect("a recorded event"));
        }
        events
    }

    /// The events of PostgreSQL.
    pub async fn recorded(&self) -> Vec<journal::Recorded> {
        use futures::TryStreamExt;
        let head = self.head().await;
        let mut connection = self.pool.acquire().await.expect("a connection");
        let pages: Vec<Vec<journal::history::Row>> =
            journal::history::read(&mut connection, 0, head, None)
                .try_collect()
                .await
                .expect("dense");
        pages.iter().flatten().map(journal::history::Row::recorded).collect()
    }

    /// Available points of an account, from the balances.
    pub async fn available(&self, account: &str) -> i64 {
        self.caught_up().await;
        sqlx::query_scalar("SELECT available FROM projections.balances WHERE account = $1")
            .bind(account)
            .fetch_optional(&self.pool)
            .await
            .expect("balances answer")
            .unwrap_or(0)
    }

    /// The database as it is now, in a file.
    pub fn dump(&self) -> PathBuf {
        let file = self.servers.data.join("dump");
        let mut command = Command::new(self.servers.postgres_programs.join("pg_dump"));
        command.arg("-Fc").arg("-f").arg(&file).arg(&self.servers.admin_database_url);
        assert!(command.status().expect("it runs").success());
        file
    }

    /// The database as it was.
    pub fn restore(&self, dump: &Path) {
        let mut command = Command::new(self.servers.postgres_programs.join("pg_restore"));
        command.args(["--clean", "--if-exists", "--exit-on-error", "--single-transaction", "-d"]);
        command.arg(&self.servers.admin_database_url).arg(dump);
        assert!(command.status().expect("it runs").success());
    }

    pub async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.expect("the query is right")
    }
}

pub fn broker(servers: &Servers) -> Broker {
    let passwords = servers.nats_passwords.clone();
    Broker::new(BrokerConfig { url: servers.nats_url.clone(), passwords })
}

pub async fn pool(url: &str) -> PgPool {
    journal::pool::options().max_connections(30).connect(url).await.expect("PostgreSQL lets us in")
}

/// Running parts; dropping them kills them without a goodbye, as a crash would.
pub struct Parts {
    pool: PgPool,
    broker: Broker,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Parts {
    pub fn new(pool: PgPool, broker: Broker) -> Self {
        Parts { pool, broker, stop: CancellationToken::new(), tasks: JoinSet::new() }
    }

    pub fn processor(&mut self) {
        let (pool, broker, stop) = (self.pool.clone(), self.broker.clone(), self.stop.clone());
        self.tasks.spawn(processor::run(pool, broker, processor::Options::default(), stop));
    }

    pub fn relay(&mut self) {
        self.tasks.spawn(relay::run(self.pool.clone(), self.broker.clone(), self.stop.clone()));
    }

    pub fn follower(&mut self) {
        let (pool, broker, stop) = (self.pool.clone(), self.broker.clone(), self.stop.clone());
        self.tasks.spawn(follower::run(pool, broker, projections::all(), stop));
    }

    pub async fn processes(&mut self, processes: Vec<Arc<dyn Process>>) {
        let (pool, broker, stop) = (self.pool.clone(), self.broker.clone(), self.stop.clone());
        let publisher = Publisher::start(&broker).await.expect("the gateway gets in");
        self.tasks.spawn(process::run(pool, broker, publisher, processes, stop));
    }

    /// Stops them in good order.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(task) = self.tasks.join_next().await {
            task.expect("no part panics").expect("no part fails");
        }
    }
}

pub struct Asker {
    pub publisher: Publisher,
    replies: Replies,
}

impl Asker {
    /// Sends a command and waits for its outcome.
    pub async fn ask(&self, envelope: Envelope) -> Outcome {
        self.replies
            .ask(&self.publisher, envelope, PATIENCE)
            .await
            .expect("NATS takes the command")
            .expect("it is decided in time")
    }
}

pub fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("a time")
}

pub fn origin(source_id: &str) -> Origin {
    Origin {
        source: "test".to_owned(),
        source_id: source_id.to_owned(),
        actor: None,
        received_at: at(),
        raw: None,
    }
}

/// A cheer of `bits`, named by `key`.
pub fn cheer(viewer: &str, key: &str, bits: i64) -> Envelope {
    let facts = Facts::Cheer { bits, message: format!("Cheer{bits}") };
    let entry = entry_id("test", key);
    to_account(viewer, key, account::Command::Credit { entry, points: bits, rules: 1, facts })
}

pub fn hold(viewer: &str, key: &str, points: i64) -> Envelope {
    let entry = entry_id("test", key);
    let command = account::Command::Hold {
        entry,
        points,
        purpose: "a test".to_owned(),
        expires_at: at() + chrono::TimeDelta::hours(1),
    };
    to_account(viewer, key, command)
}

pub fn to_account(viewer: &str, key: &str, command: account::Command) -> Envelope {
    Envelope::new::<Account>(viewer, &command, origin(key)).expect("a good address")
}

/// Waits until `condition` holds, looking again and again.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let held = async {
        while !condition().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("never: {what}"));
}
