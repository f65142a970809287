//! `tapedeck guard`: keeps one private server and stops it when tapedeck is gone.
//!
//! It holds a pipe from tapedeck on its standard input. The pipe ends when tapedeck lets go of it,
//! and also when tapedeck was killed with -9, so a server never outlives the process it serves.
//!
//! The server in turn holds a lock file on *its* standard input. A lock belongs to the open file,
//! so it lasts exactly as long as the server and its children live, even when this guard was
//! killed; the file names the server's process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How a server is asked to stop in good order.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum StopSignal {
    /// A fast shutdown of PostgreSQL.
    Interrupt,
    /// What nats-server and most programs expect.
    Terminate,
}

impl StopSignal {
    pub fn signal(self) -> Signal {
        match self {
            Self::Interrupt => Signal::INT,
            Self::Terminate => Signal::TERM,
        }
    }

    /// The value of `--stop` that means this signal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminate",
        }
    }
}

/// The arguments of the hidden subcommand; written by `crate::embedded`, never by a person.
#[derive(Debug, clap::Args)]
pub struct Guard {
    /// The file that the server keeps locked while it lives
    #[arg(long)]
    lock: PathBuf,
    /// How to ask the server to stop
    #[arg(long, value_enum)]
    stop: StopSignal,
    /// Seconds the server may take to stop before it is killed
    #[arg(long, default_value_t = 60)]
    grace: u64,
    /// Run the server as this user
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    /// Run the server as this group
    #[arg(long, requires = "uid")]
    gid: Option<u32>,
    /// The server and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Guard {
    /// Runs the server until it ends or tapedeck is gone, then ends this process with its status.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        // Watched before the server starts, so that no signal can come between.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let parent_gone = watch_parent();

        let mut lock = self.lock_file()?;
        let mut child = self.spawn(&lock)?;
        record_process(&mut lock, &child)?;

        let status = tokio::select! {
            status = child.wait() => status?,
            _ = parent_gone => self.stop(&mut child).await?,
            _ = terminate.recv() => self.stop(&mut child).await?,
            _ = interrupt.recv() => self.stop(&mut child).await?,
        };
        // The thread that reads standard input cannot be joined, so the process ends here.
        std::process::exit(exit_code(status));
    }

    fn lock_file(&self) -> anyhow::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.lock)
            .with_context(|| format!("cannot open {}", self.lock.display()))?;
        file.try_lock().with_context(|| {
            format!("{} is locked: a server of this folder still runs", self.lock.display())
        })?;
        Ok(file)
    }

    fn spawn(&self, lock: &File) -> anyhow::Result<Child> {
        let (program, arguments) =
            self.command.split_first().context("guard needs a command to run")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::from(lock.try_clone()?));
        if let (Some(uid), Some(gid)) = (self.uid, self.gid) {
            command.uid(uid).gid(gid);
        }
        command.spawn().with_context(|| format!("cannot start {program}"))
    }

    async fn stop(&self, child: &mut Child) -> anyhow::Result<ExitStatus> {
        send(child, self.stop.signal());
        if let Ok(status) = timeout(Duration::from_secs(self.grace), child.wait()).await {
            return Ok(status?);
        }
        // PostgreSQL takes its backends down with it on SIGQUIT; with SIGKILL it could not.
        send(child, Signal::QUIT);
        if let Ok(status) = timeout(Duration::from_secs(5), child.wait()).await {
            return Ok(status?);
        }
        send(child, Signal::KILL);
        Ok(child.wait().await?)
    }
}

/// Resolves when the pipe on standard input has ended.
fn watch_parent() -> oneshot::Receiver<()> {
    let (gone, parent_gone) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0_u8; 64];
        while matches!(std::io::stdin().read(&mut ignored), Ok(read) if read > 0) {}
        let _ = gone.send(());
    });
    parent_gone
}

fn record_process(lock: &mut File, child: &Child) -> anyhow::Result<()> {
    let id = child.id().context("the server ended at once")?;
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{id}")?;
    Ok(())
}

/// A child that has not been waited for keeps its id, so the signal can reach nobody else.
fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
