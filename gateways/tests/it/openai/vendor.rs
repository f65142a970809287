//! OpenAI's own Python client takes the fake for the real one.

use std::path::Path;

use tokio::process::Command;

use super::*;
use crate::fakes::vendors;

const PACKAGE: &str = "openai==3.52.0";
const CALLS_LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_own_client_understands_the_fake() {
    let Some(client) = vendors::pip(PACKAGE).await else { return };
    let fake = fake::OpenAi::start().await.expect("a fake");
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
    assert_eq!(fake.calls("images").len(), 15, "it asked what it was to ask, and no more");
}
