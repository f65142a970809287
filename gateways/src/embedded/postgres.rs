//! The private PostgreSQL: made once, in one piece; then started on loopback.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use sqlx::{ConnectOptions, Connection};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::folder::Folder;
use super::process::{Recipe, Server};
use super::programs::Postgres;
use super::secrets::Secrets;
use super::unprivileged::User;
use crate::cli::guard::StopSignal;

pub const DATABASE: &str = "tapedeck";

const INITIALISE_MAX: Duration = Duration::from_secs(120);
/// After a crash it first replays up to `max_wal_size` of its log.
const READY_MAX: Duration = Duration::from_secs(180);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest address of a unix socket is 108 bytes on Linux and 104 elsewhere.
const SOCKET_PATH_MAX: usize = 100;

/// Everybody proves a password, also on the machine itself.
const HBA: &str = "\
# Written by tapedeck.
local all all              scram-sha-256
host  all all 127.0.0.1/32 scram-sha-256
";

/// What we answered for is on the disk: fsync and synchronous_commit are on, and said so.
const SETTINGS: &str = "\
# Written by tapedeck at every start. Settings of your own belong into postgresql.conf, below the
# line that includes this file.
fsync = on
synchronous_commit = on
full_page_writes = on
password_encryption = 'scram-sha-256'
max_connections = 100
shared_buffers = 256MB
max_wal_size = 2GB
wal_compression = on
random_page_cost = 1.1
jit = off
log_checkpoints = off
log_line_prefix = '%m [%p] %q%u@%d '
log_timezone = 'UTC'
timezone = 'UTC'
";

/// Where a private PostgreSQL is kept and how it is run.
pub struct Cluster<'a> {
    pub folder: &'a Folder,
    pub programs: &'a Postgres,
    pub user: Option<&'a User>,
    pub guard: &'a Path,
    pub secrets: &'a Secrets,
}

impl Cluster<'_> {
    pub fn exists(&self) -> bool {
        self.path().join("PG_VERSION").is_file()
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// Makes the cluster with its roles and its database, if it is not there yet. It is made
    /// beside and moved into place, so that a kill in the middle leaves nothing half-made.
    pub async fn ensure(&self) -> anyhow::Result<()> {
        self.remove_half_made()?;
        if self.exists() {
            return self.check_version();
        }
        tracing::info!(folder = %self.path().display(), "making the private PostgreSQL");
        let made = self.folder.join(&format!("postgres.new-{}", uuid::Uuid::new_v4().simple()));
        self.initialise(&made).await?;
        self.assign_roles(&made).await?;
        std::fs::rename(&made, self.path()).context("cannot move the new cluster into place")?;
        std::fs::File::open(self.folder.path())?.sync_all()?;
        Ok(())
    }

    /// Gives the roles of an existing cluster the passwords we know, after secrets.json was lost.
    pub async fn restore_passwords(&self) -> anyhow::Result<()> {
        self.assign_roles(&self.path()).await
    }

    /// Stops the one that an earlier run left behind.
    pub async fn end_stale(&self) -> anyhow::Result<()> {
        self.recipe(0)?.end_stale().await
    }

    /// Starts it without waiting until it answers.
    pub async fn spawn(&self, port: u16) -> anyhow::Result<Server> {
        let path = self.path();
        std::fs::write(path.join("tapedeck.conf"), SETTINGS)?;
        std::fs::write(path.join("pg_hba.conf"), HBA)?;
        Server::start(self.recipe(port)?).await
    }

    pub async fn ready(&self, server: &mut Server, port: u16) -> anyhow::Result<()> {
        let url = url(self.secrets, port, "postgres", "postgres");
        let options: sqlx::postgres::PgConnectOptions = url.parse()?;
        let options = options.disable_statement_logging();
        let deadline = Instant::now() + READY_MAX;
        while Instant::now() < deadline {
            if server.ended()?.is_some() {
                return Err(server.failure("ended while it was starting"));
            }
            if let Ok(Ok(mut connection)) = timeout(CONNECT_MAX, options.connect()).await {
                sqlx::query("select 1").execute(&mut connection).await?;
                connection.close().await?;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(server.failure("was not ready in time"))
    }

    fn recipe(&self, port: u16) -> anyhow::Result<Recipe> {
        let path = self.path();
        let socket = path.join(format!(".s.PGSQL.{port}"));
        let short = socket.as_os_str().len() <= SOCKET_PATH_MAX;
        let sockets = if short { path.as_path() } else { Path::new("") };
        let mut recipe = self.guarded("postgres", "postgres", path.clone())?;
        recipe.arguments = vec![
            "-D".into(),
            path.clone().into(),
            "-p".into(),
            port.to_string().into(),
            "-c".into(),
            "listen_addresses=127.0.0.1".into(),
            "-c".into(),
            format!("unix_socket_directories={}", sockets.display()).into(),
        ];
        Ok(recipe)
    }

    fn guarded(
        &self,
        name: &'static str,
        program: &str,
        folder: PathBuf,
    ) -> anyhow::Result<Recipe> {
        Ok(Recipe {
            name,
            program: self.programs.program(program),
            arguments: Vec::new(),
            // PostgreSQL is told everything by arguments, so the caller's PG* variables and
            // language do not matter to it.
            environment: vec![("LC_ALL".to_owned(), "C".to_owned())],
            folder,
            lock: self.folder.join(&format!("{name}.lock")),
            log: self.folder.private("logs")?.join(format!("{name}.log")),
            stop: StopSignal::Interrupt,
            user: self.user.cloned(),
            guard: self.guard.to_path_buf(),
        })
    }

    async fn initialise(&self, made: &Path) -> anyhow::Result<()> {
        std::fs::create_dir(made)?;
        if let Some(user) = self.user {
            user.own(made)?;
        }
        let mut recipe = self.guarded("initdb", "initdb", made.to_path_buf())?;
        let arguments = [
            "--username=postgres",
            "--encoding=UTF8",
            "--no-locale",
            "--data-checksums",
            // Replaced below, before the cluster is ever started.
            "--auth=trust",
        ];
        recipe.arguments = vec!["--pgdata".into(), made.into()];
        recipe.arguments.extend(arguments.map(Into::into));
        let initdb = Server::start(recipe).await?;
        initdb.finished(INITIALISE_MAX).await?;

        let settings = made.join("postgresql.conf");
        let written = std::fs::read_to_string(&settings)?;
        std::fs::write(&settings, format!("{written}\ninclude 'tapedeck.conf'\n"))?;
        for (name, content) in [("tapedeck.conf", SETTINGS), ("pg_hba.conf", HBA)] {
            std::fs::write(made.join(name), content)?;
            if let Some(user) = self.user {
                user.own(&made.join(name))?;
            }
        }
        Ok(())
    }

    /// Roles, passwords and the database, through a server that nobody else can connect to.
    async fn assign_roles(&self, cluster: &Path) -> anyhow::Result<()> {
        let mut statements = Vec::new();
        for (role, password) in &self.secrets.postgres {
            if role != "postgres" {
                statements.push(format!(
                    "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \
                     THEN CREATE ROLE {role} LOGIN; END IF; END $$"
                ));
            }
            statements.push(format!("ALTER ROLE {role} PASSWORD '{password}'"));
        }
        self.single_user(cluster, "postgres", &statements).await?;
        if cluster == self.path() {
            return Ok(());
        }
        let created = format!("CREATE DATABASE {DATABASE} OWNER tapedeck_owner");
        self.single_user(cluster, "postgres", &[created]).await?;
        let closed = [
            format!("REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC"),
            format!("GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO tapedeck"),
            // PostgreSQL 15 begins like this; 14 lets everybody create tables.
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC".to_owned(),
            "GRANT USAGE, CREATE ON SCHEMA public TO tapedeck_owner".to_owned(),
            "GRANT USAGE ON SCHEMA public TO tapedeck".to_owned(),
        ];
        self.single_user(cluster, DATABASE, &closed).await
    }

    /// It ends with its input, so it cannot outlive us either.
    async fn single_user(
        &self,
        cluster: &Path,
        database: &str,
        statements: &[String],
    ) -> anyhow::Result<()> {
        let mut command = Command::new(self.programs.program("postgres"));
        command
            .args(["--single", "-c", "exit_on_error=on", "-c", "log_statement=none", "-D"])
            .arg(cluster)
            .arg(database)
            .env("LC_ALL", "C")
            .current_dir(cluster)
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        let mut server = command.spawn().context("cannot start PostgreSQL to make its roles")?;
        let mut input = server.stdin.take().context("PostgreSQL has no input")?;
        input.write_all(format!("{}\n", statements.join("\n")).as_bytes()).await?;
        drop(input);
        let output = timeout(INITIALISE_MAX, server.wait_with_output())
            .await
            .context("PostgreSQL took too long to make its roles")??;
        ensure!(
            output.status.success(),
            "PostgreSQL could not make its roles: {}",
            String::from_utf8_lossy(&output.stderr).trim(),
        );
        Ok(())
    }

    fn check_version(&self) -> anyhow::Result<()> {
        let made_by = std::fs::read_to_string(self.path().join("PG_VERSION"))?;
        let (major, _) = self.programs.version;
        ensure!(
            made_by.trim() == major.to_string(),
            "{} was made by PostgreSQL {}, and {} is version {major}: name the older one's \
             programs with TAPEDECK_POSTGRES_BIN, or move the data with pg_dump",
            self.path().display(),
            made_by.trim(),
            self.programs.bin.display(),
        );
        Ok(())
    }

    fn remove_half_made(&self) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(self.folder.path())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("postgres.new-") {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }
}

/// What a template has to agree with to be used.
pub fn template_key(programs: &Postgres) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("1 {:?} {:?}", programs.version, programs.bin));
    hash.update(super::secrets::POSTGRES_ROLES.join(" "));
    hex::encode(&hash.finalize()[..8])
}

pub fn url(secrets: &Secrets, port: u16, role: &str, database: &str) -> String {
    let password = secrets.postgres.get(role).map_or("", String::as_str);
    format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
}
