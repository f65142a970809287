//! The private servers: nothing is lost and nothing is left over, whatever is killed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use gateways::embedded::{Options, Servers};
use rustix::process::{Pid, Signal};
use sqlx::{Connection, PgConnection};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::world::{PATIENCE, TAPEDECK};

/// A folder for a test that starts servers in it more than once; the last start removes it.
fn options() -> Options {
    Options::for_tests(TAPEDECK).expect("a temporary folder")
}

async fn start(options: &Options) -> Servers {
    Servers::start(options.clone()).await.expect("the private servers start")
}

async fn count(servers: &Servers) -> i64 {
    let mut connection = PgConnection::connect(&servers.owner_database_url).await.expect("ready");
    sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut connection).await.expect("kept")
}

async fn keep_a_row(servers: &Servers) {
    let mut connection = PgConnection::connect(&servers.owner_database_url).await.expect("ready");
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)")
        .execute(&mut connection)
        .await
        .expect("written");
}

async fn jetstream(servers: &Servers) -> async_nats::jetstream::Context {
    let password = servers.nats_passwords["admin"].clone();
    let client = async_nats::ConnectOptions::with_user_and_password("admin".to_owned(), password)
        .custom_inbox_prefix("_INBOX.admin")
        .connect(&servers.nats_url)
        .await
        .expect("nats-server lets the admin in");
    async_nats::jetstream::new(client)
}

async fn keep_a_stream(servers: &Servers) {
    let settings = async_nats::jetstream::stream::Config {
        name: "KEPT".to_owned(),
        subjects: vec!["kept.>".to_owned()],
        ..Default::default()
    };
    jetstream(servers).await.create_stream(settings).await.expect("created");
}

async fn stream_is_kept(servers: &Servers) -> bool {
    jetstream(servers).await.get_stream("KEPT").await.is_ok()
}

/// Waits until no process of the folder's servers, nor a guard, holds the server's lock.
async fn released(lock: PathBuf) {
    let waited = tokio::task::spawn_blocking(move || {
        let file = OpenOptions::new().write(true).open(&lock).expect("the lock file");
        file.lock().expect("locked");
    });
    timeout(PATIENCE, waited).await.expect("a server was left over").expect("waited");
}

async fn nothing_is_left(data: &Path) {
    released(data.join("postgres.lock")).await;
    released(data.join("nats/server.lock")).await;
}

fn server_ids(data: &Path) -> [u32; 2] {
    ["postgres.lock", "nats/server.lock"].map(|lock| {
        std::fs::read_to_string(data.join(lock)).expect("a lock").trim().parse().expect("an id")
    })
}

fn is_alive(id: u32) -> bool {
    Path::new(&format!("/proc/{id}/stat")).exists()
        && !std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default().is_empty()
}

fn signal(id: u32, signal: Signal) {
    let pid = Pid::from_raw(id.cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("signalled");
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(5));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let waited = async {
        while !condition() {
            ticks.tick().await;
        }
    };
    timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

fn pass_on(output: impl Read + Send + 'static, say: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Read to the end even when nobody listens: a full pipe would stop the process.
            let _ = say.send(line);
        }
    });
}

/// A `tapedeck up` of its own, as a person would start it.
struct Up {
    process: Child,
    said: mpsc::Receiver<String>,
}

impl Up {
    fn start(data: &Path) -> Self {
        let mut process = Command::new(TAPEDECK)
            .args(["up", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tapedeck up");
        let (say, said) = mpsc::channel();
        pass_on(process.stdout.take().expect("its output"), say.clone());
        pass_on(process.stderr.take().expect("its errors"), say);
        Self { process, said }
    }

    /// The screen ends with how to stop it.
    fn is_up(&self) {
        let mut screen = Vec::new();
        while !screen.iter().any(|line: &String| line.contains("Ctrl-C")) {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) => screen.push(line),
                Err(_) => panic!("tapedeck up did not come up, it said: {screen:#?}"),
            }
        }
    }

    fn signal(&self, sent: Signal) {
        signal(self.process.id(), sent);
    }

    async fn ended(mut self) -> ExitStatus {
        let waited = tokio::task::spawn_blocking(move || self.process.wait());
        timeout(PATIENCE, waited).await.expect("ends in time").expect("waited").expect("a status")
    }

    async fn ended_well(mut self) {
        let said = std::mem::replace(&mut self.said, mpsc::channel().1);
        let status = self.ended().await;
        assert!(status.success(), "{status}, it said: {:#?}", said.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_was_written_survives_a_stop_and_a_kill_of_either_server() {
    let options = options();
    let mut servers = start(&Options { temporary: false, ..options.clone() }).await;
    keep_a_row(&servers).await;
    keep_a_stream(&servers).await;
    let urls = (servers.nats_url.clone(), servers.database_url.clone());

    servers.kill_postgres().await.expect("killed");
    servers.kill_nats().await.expect("killed");
    assert!(servers.process_ids().expect("readable").is_empty());
    servers.start_postgres().await.expect("started again");
    servers.start_nats().await.expect("started again");
    keep_a_row(&servers).await;
    assert!(stream_is_kept(&servers).await);

    servers.restart_postgres().await.expect("restarted");
    servers.restart_nats().await.expect("restarted");
    assert_eq!((servers.nats_url.clone(), servers.database_url.clone()), urls);
    assert_eq!(count(&servers).await, 2);
    servers.stop().await.expect("stopped");
    nothing_is_left(&options.data).await;

    let servers = start(&options).await;
    assert_eq!(count(&servers).await, 2);
    assert!(stream_is_kept(&servers).await);
    servers.stop().await.expect("stopped");
    assert!(!options.data.exists(), "a temporary folder goes with its servers");
}

#[tokio::test]
async fn after_a_kill_of_tapedeck_nothing_is_left_and_the_folder_starts_again() {
    let options = options();
    let up = Up::start(&options.data);
    up.is_up();
    let servers = server_ids(&options.data);
    assert!(servers.into_iter().all(is_alive));
    let ports = || std::fs::read_to_string(options.data.join("ports.json")).expect("the ports");
    let before = ports();
    up.signal(Signal::KILL);
    assert!(!up.ended().await.success());
    // At once, while the guards may still be stopping the old servers.
    let again = Up::start(&options.data);
    again.is_up();
    assert!(!servers.into_iter().any(is_alive));
    assert_eq!(ports(), before, "it waited for the ports of the old servers");
    again.signal(Signal::KILL);
    again.ended().await;
    nothing_is_left(&options.data).await;
    start(&options).await.stop().await.expect("stopped");
}

#[tokio::test]
async fn ctrl_c_stops_everything_in_good_order() {
    let options = options();
    for sent in [Signal::INT, Signal::TERM] {
        let up = Up::start(&options.data);
        up.is_up();
        let servers = server_ids(&options.data);
        up.signal(sent);
        up.ended_well().await;
        assert!(!servers.into_iter().any(is_alive), "it ends after its servers");
        let lock = File::open(options.data.join("postgres.lock")).expect("the lock file");
        assert!(lock.try_lock().is_ok());
    }
    let log = std::fs::read_to_string(options.data.join("logs/postgres.log")).expect("a log");
    assert_eq!(log.matches("database system is shut down").count(), 2, "{log}");
    assert!(!log.contains("not properly shut down"), "{log}");
    std::fs::remove_dir_all(&options.data).expect("removed");
}

#[tokio::test]
async fn a_kill_while_postgresql_is_being_made_leaves_nothing_half_made() {
    let options = options();
    let up = Up::start(&options.data);
    let new = |inside: &str| {
        let entries = std::fs::read_dir(&options.data).expect("the data folder");
        entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("postgres.new-"))
            .any(|entry| entry.path().join(inside).exists())
    };
    let half_made = || new("base");
    // It stands still before initdb is done, so that it cannot put what is made into place.
    until("initdb begins", || new("")).await;
    up.signal(Signal::STOP);
    until("initdb is at work", half_made).await;
    up.signal(Signal::KILL);
    up.ended().await;
    assert!(!options.data.join("postgres").exists());
    released(options.data.join("initdb.lock")).await;
    let servers = start(&options).await;
    assert!(!half_made());
    keep_a_row(&servers).await;
    servers.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_second_start_on_the_same_folder_is_refused_and_says_who_has_it() {
    let options = options();
    let servers = start(&options).await;
    let refusal = Servers::start(options.clone()).await.expect_err("in use").to_string();
    assert!(refusal.contains("in use by another tapedeck"), "{refusal}");
    assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
    assert!(refusal.contains("--data"), "{refusal}");

    let output = Command::new(TAPEDECK)
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(&options.data)
        .output()
        .expect("tapedeck up");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("in use by another tapedeck"), "{said}");
    keep_a_row(&servers).await;
    servers.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_server_whose_guard_was_killed_is_stopped_by_the_next_start() {
    let options = options();
    let servers = start(&Options { temporary: false, ..options.clone() }).await;
    keep_a_row(&servers).await;
    let stale = servers.process_ids().expect("both run");
    assert_eq!(stale.len(), 2);
    for guard in servers.guard_ids() {
        signal(guard, Signal::KILL);
    }
    drop(servers);
    assert!(stale.iter().copied().all(is_alive), "nobody is left to stop them");

    let servers = start(&options).await;
    assert!(!stale.into_iter().any(is_alive));
    assert_eq!(count(&servers).await, 1);
    servers.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_server_that_ends_by_itself_is_started_again() {
    let mut servers = start(&options()).await;
    keep_a_row(&servers).await;
    let url = servers.owner_database_url.clone();
    let died = servers.process_ids().expect("both run");
    assert_eq!(died.len(), 2);
    for server in &died {
        signal(*server, Signal::KILL);
    }
    let mut ticks = interval(Duration::from_millis(20));
    let back = async {
        until("both have died", || !died.iter().copied().any(is_alive)).await;
        while PgConnection::connect(&url).await.is_err() {
            ticks.tick().await;
        }
    };
    tokio::select! {
        error = servers.keep_running() => panic!("{error:#}"),
        back = timeout(PATIENCE, back) => back.expect("PostgreSQL came back"),
    }
    assert_eq!(count(&servers).await, 1);
    servers.stop().await.expect("stopped");
}

#[tokio::test]
async fn postgresql_never_runs_as_root_and_reaches_a_folder_that_is_closed_to_others() {
    let options = options();
    let closed = options.data.join("closed to others");
    std::fs::create_dir(&closed).expect("a folder");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).expect("closed");
    let inside = Options { data: closed.join("data"), ..options.clone() };
    let servers = start(&inside).await;
    let [postgres, _] = server_ids(&inside.data);
    let owner = std::fs::metadata(format!("/proc/{postgres}")).expect("it runs").uid();
    assert_ne!(owner, 0);
    let ours = rustix::process::geteuid();
    assert!(ours.is_root() || ours.as_raw() == owner);
    let others = std::fs::metadata(&closed).expect("a folder").mode() & 0o007;
    assert_eq!(others, 0, "it stays closed to everybody else");
    let secrets = std::fs::metadata(inside.data.join("secrets.json")).expect("secrets");
    assert_eq!(secrets.mode() & 0o777, 0o600);
    servers.stop().await.expect("stopped");
    std::fs::remove_dir_all(&options.data).expect("removed");
}

#[tokio::test]
async fn lost_passwords_are_made_again() {
    let options = options();
    let servers = start(&Options { temporary: false, ..options.clone() }).await;
    keep_a_row(&servers).await;
    let before = servers.owner_database_url.clone();
    servers.stop().await.expect("stopped");
    std::fs::remove_file(options.data.join("secrets.json")).expect("removed");
    let servers = start(&options).await;
    assert_ne!(servers.owner_database_url, before);
    assert_eq!(count(&servers).await, 1);
    servers.stop().await.expect("stopped");
}

#[tokio::test]
async fn the_runtime_role_may_do_nothing_that_was_not_granted_to_it() {
    let servers = start(&options()).await;
    keep_a_row(&servers).await;
    let mut connection =
        PgConnection::connect(&servers.database_url).await.expect("it may connect");
    let read = sqlx::query("SELECT * FROM kept").execute(&mut connection).await;
    assert!(read.is_err());
    let created = sqlx::query("CREATE TABLE mine (n int)").execute(&mut connection).await;
    assert!(created.is_err());
    drop(connection);
    let wrong = servers.database_url.replacen("tapedeck:", "tapedeck:x", 1);
    assert!(PgConnection::connect(&wrong).await.is_err(), "a wrong password is refused");
    servers.stop().await.expect("stopped");
}
