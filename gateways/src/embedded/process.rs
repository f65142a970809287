//! One private server as a child process: started under a guard, waited for, stopped, killed, and
//! found again when it was left behind.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal};

use super::unprivileged::User;
use crate::cli::guard::StopSignal;

/// How long a server may take to write what it holds and end.
const STOP_MAX: Duration = Duration::from_secs(60);
/// The guard's own last resorts come after that.
const GUARD_MAX: Duration = Duration::from_secs(75);
const POLL: Duration = Duration::from_millis(10);
const LOG_BYTES_MAX: u64 = 10 << 20;

/// How a server is run.
pub struct Recipe {
    pub name: &'static str,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(String, String)>,
    /// A private server is never run in the folder tapedeck happened to be started in.
    pub folder: PathBuf,
    pub lock: PathBuf,
    pub log: PathBuf,
    pub stop: StopSignal,
    pub user: Option<User>,
    /// The tapedeck binary, which has the guard.
    pub guard: PathBuf,
}

/// A running server and its guard. Letting go of it stops the server, though nobody then waits.
pub struct Server {
    recipe: Recipe,
    guard: Child,
    /// The guard stops the server when this end of the pipe is gone.
    hold: Option<ChildStdin>,
}

impl Server {
    /// Starts the server, after one that an earlier run left behind in the same folder has ended.
    pub async fn start(recipe: Recipe) -> anyhow::Result<Self> {
        recipe.end_stale().await?;
        let log = recipe.open_log()?;
        let mut command = Command::new(&recipe.guard);
        command
            .args(["guard", "--stop", recipe.stop.name(), "--grace"])
            .arg(STOP_MAX.as_secs().to_string())
            .arg("--lock")
            .arg(&recipe.lock);
        if let Some(user) = &recipe.user {
            command.args(["--uid", &user.uid.to_string(), "--gid", &user.gid.to_string()]);
        }
        command
            .arg("--")
            .arg(&recipe.program)
            .args(&recipe.arguments)
            .envs(recipe.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&recipe.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal reaches tapedeck alone, which stops its servers last.
            .process_group(0);
        let mut guard = command
            .spawn()
            .with_context(|| format!("cannot start {} guard", recipe.guard.display()))?;
        let hold = guard.stdin.take();
        Ok(Self { recipe, guard, hold })
    }

    /// The server's status when it has ended by itself.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.guard.try_wait()?)
    }

    /// Why the server is not there, in its own words.
    pub fn failure(&self, what: &str) -> anyhow::Error {
        anyhow::anyhow!(
            "{} {what}; the end of {}:\n{}",
            self.recipe.name,
            self.recipe.log.display(),
            tail(&self.recipe.log),
        )
    }

    /// Waits for the server to end by itself, and returns whether it did so successfully.
    pub async fn finished(mut self, limit: Duration) -> anyhow::Result<()> {
        let status = wait(&mut self.guard, limit).await?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(_) => Err(self.failure("failed")),
            None => Err(self.failure("did not end in time")),
        }
    }

    /// Asks the server to stop in good order and waits until it has.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.hold.take());
        match wait(&mut self.guard, GUARD_MAX).await? {
            Some(_) => Ok(()),
            None => Err(self.failure("did not stop")),
        }
    }

    /// Kills the server with -9, as a test of what survives, and waits until it is gone.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + GUARD_MAX;
        while Instant::now() < deadline {
            if let Some(pid) = self.recipe.running()? {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                break;
            }
            if self.guard.try_wait()?.is_some() {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        wait(&mut self.guard, GUARD_MAX).await?;
        self.recipe.end_stale().await
    }

    /// The process of the server itself, not of its guard.
    pub fn process_id(&self) -> anyhow::Result<Option<u32>> {
        Ok(self.recipe.running()?.map(|pid| pid.as_raw_nonzero().get().cast_unsigned()))
    }

    pub fn guard_id(&self) -> u32 {
        self.guard.id()
    }

    /// Lets go of the server and waits a little without a runtime, for use while dropping.
    pub fn abandon(&mut self, limit: Duration) {
        drop(self.hold.take());
        let deadline = Instant::now() + limit;
        while matches!(self.guard.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
}

impl Recipe {
    /// Stops the server that a killed tapedeck, or a killed guard, left in this folder.
    pub async fn end_stale(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut asked = None;
        while self.is_locked()? {
            let waited = started.elapsed();
            if waited > GUARD_MAX {
                bail!("an earlier {} still holds {}", self.name, self.lock.display());
            }
            if let Some(pid) = self.running()? {
                let signal = if waited > STOP_MAX { Signal::KILL } else { self.stop.signal() };
                if asked != Some((pid, signal)) {
                    tracing::info!(server = self.name, pid = %pid, "stopping an earlier one");
                    let _ = rustix::process::kill_process(pid, signal);
                    asked = Some((pid, signal));
                }
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether a guard or a server of this folder lives: the lock is theirs as long as they do.
    fn is_locked(&self) -> anyhow::Result<bool> {
        match OpenOptions::new().write(true).open(&self.lock) {
            Ok(file) => Ok(file.try_lock().is_err()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("cannot open {}", self.lock.display()))
            }
        }
    }

    /// The process that the lock file names, if it is this server and not one that has since
    /// been given the same id.
    fn running(&self) -> anyhow::Result<Option<Pid>> {
        let Ok(written) = std::fs::read_to_string(&self.lock) else { return Ok(None) };
        let Some(pid) = written.trim().parse().ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let line = command_line(pid);
        let ours = self.arguments.iter().filter_map(|argument| argument.to_str());
        let folder = self.folder.to_string_lossy();
        let mut telling = ours.filter(|argument| argument.contains(&*folder)).peekable();
        let named = telling.peek().is_some() && telling.all(|argument| line.contains(argument));
        Ok(named.then_some(pid))
    }

    fn open_log(&self) -> anyhow::Result<File> {
        if std::fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            let _ = std::fs::rename(&self.log, self.log.with_extension("log.1"));
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.log)
            .with_context(|| format!("cannot open {}", self.log.display()))
    }
}

async fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The arguments of a process, separated by spaces; empty when there is no such process.
fn command_line(pid: Pid) -> String {
    let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let arguments = if Path::new("/proc/self/cmdline").exists() {
        std::fs::read(process.join("cmdline")).unwrap_or_default()
    } else {
        let id = pid.as_raw_nonzero().to_string();
        let listed = Command::new("ps").args(["-ww", "-o", "args=", "-p", &id]).output();
        listed.map(|output| output.stdout).unwrap_or_default()
    };
    String::from_utf8_lossy(&arguments).replace('\0', " ")
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    const BYTES_MAX: u64 = 4096;
    const LINES_MAX: usize = 15;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let kept = lines[lines.len().saturating_sub(LINES_MAX)..].iter();
    kept.map(|line| format!("  {line}\n")).collect()
}
