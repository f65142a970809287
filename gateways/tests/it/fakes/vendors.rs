//! Clients that others made and use, installed once into the folder of the build: what takes a fake for the real thing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use uuid::Uuid;

/// For the installer and the network.
const INSTALL_LIMIT: Duration = Duration::from_secs(300);

/// The folder with a package of Python, such as `openai==3.52.0`; `None` where there is no Python with pip.
pub async fn pip(package: &str) -> Option<PathBuf> {
    if !runs(Command::new("python3").args(["-m", "pip", "--version"])).await {
        skipped("python3 with pip is missing (Debian: apt-get install python3-pip)");
        return None;
    }
    let install = |new: &Path| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        pip.args(["--only-binary", ":all:", "--target"]).arg(new).arg(package);
        pip.env("PIP_ROOT_USER_ACTION", "ignore");
        pip
    };
    Some(installed(package, install).await)
}

/// The folder with packages of Node.js, such as `tmi.js@1.8.5`, in its `node_modules`; `None` where there is no npm.
pub async fn npm(packages: &[&str]) -> Option<PathBuf> {
    if !runs(Command::new("npm").arg("--version")).await {
        skipped("npm is missing (Debian: apt-get install npm)");
        return None;
    }
    let install = |new: &Path| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]);
        npm.args(["--loglevel=error", "--prefix"]).arg(new).args(packages);
        npm
    };
    Some(installed(&packages.join("+").replace('/', "-"), install).await)
}

/// Says why a test is none here, where the harness does not keep it to itself as it keeps what the macros print. `make test`
/// shows and counts it.
fn skipped(why: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or("a test"));
    // In one piece, so that no other line comes between; where nobody takes it, nobody reads it.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

async fn runs(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// The folder of the package, filled by `install` where it is not there.
async fn installed(name: &str, install: impl FnOnce(&Path) -> Command) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.is_dir() {
        return folder;
    }
    // Beside it and moved into place, so that a run that was ended leaves nothing half.
    let new = folder.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    std::fs::create_dir_all(&new).expect("a folder");
    let output = install(&new).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(INSTALL_LIMIT, output).await.expect("in time");
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if std::fs::rename(&new, &folder).is_err() {
        // Another run was faster.
        std::fs::remove_dir_all(&new).expect("removed");
    }
    folder
}
