//! A made PostgreSQL to be copied: making one takes a second, copying it a tenth of that. For tests.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

use super::Options;
use super::postgres::template_key;
use super::programs::Postgres;
use super::setup::Setup;

const MADE_MAX: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(20);

/// The template of this PostgreSQL inside `folder`, made by whoever comes first.
pub async fn provide(
    folder: &Path,
    options: &Options,
    programs: &Postgres,
) -> anyhow::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
    ensure!(
        std::fs::symlink_metadata(folder)?.uid() == rustix::process::geteuid().as_raw(),
        "the template folder {} belongs to somebody else",
        folder.display(),
    );
    let made = folder.join(template_key(programs));
    let lock_path = made.with_extension("lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path)?;
    let deadline = Instant::now() + MADE_MAX;
    while lock.try_lock().is_err() {
        if Instant::now() > deadline {
            bail!("somebody else has been making {} for too long", made.display());
        }
        tokio::time::sleep(POLL).await;
    }
    if !made.exists() {
        let new = made.with_extension("new");
        if new.exists() {
            std::fs::remove_dir_all(&new)?;
        }
        // In a future of its own, because making a template is a setup without a template.
        let mut setup = Box::pin(Setup::open(options, &new)).await?;
        setup.make().await?;
        drop(setup);
        std::fs::rename(&new, &made)?;
    }
    Ok(made)
}

/// Copies a template into a data folder that has neither passwords nor a PostgreSQL yet.
pub async fn copy(template: &Path, data: &Path) -> anyhow::Result<()> {
    let new = data.join("postgres.new-copy");
    copy_all(&template.join("postgres"), &new).await?;
    copy_all(&template.join("secrets.json"), &data.join("secrets.json")).await?;
    std::fs::rename(&new, data.join("postgres"))?;
    Ok(())
}

/// With owners and permissions, which PostgreSQL insists on.
async fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("cp");
    command.arg("-Rp").arg(from).arg(to).kill_on_drop(true);
    let output = command.output().await.context("cannot run cp")?;
    ensure!(
        output.status.success(),
        "cannot copy {}: {}",
        from.display(),
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    Ok(())
}
