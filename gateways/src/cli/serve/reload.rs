//! Reading the configuration again while the process runs.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{Config, Source};
use crate::observe;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks at the file that `running` was read from until told to stop, and has changes applied. A file that is refused
/// is logged and changes nothing.
pub(super) async fn run<F>(
    running: Arc<Config>,
    mut apply: F,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    F: FnMut(Arc<Config>) -> anyhow::Result<()>,
{
    let Some(source) = running.source.clone() else {
        stop.cancelled().await;
        return Ok(());
    };
    let mut running = running;
    let mut seen = text_of(&source).await;
    let loaded = Config::load(source.named(), &source.data);
    let mut read = loaded.unwrap_or_else(|_| Config::clone(&running));
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        let text = text_of(&source).await;
        if text == seen {
            continue;
        }
        seen = text;
        let file = source.file.display();
        match Config::load(source.named(), &source.data) {
            Err(error) => tracing::error!(%file, %error, "refused; the old configuration stays"),
            Ok(now) => match take_effect(&running, &read, &now, &mut apply) {
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(%file, error, "refused; the old configuration stays");
                }
                Ok(changed) => {
                    tracing::info!(%file, "the configuration was read again");
                    (running, read) = (changed, now);
                }
            },
        }
    }
    Ok(())
}

fn take_effect<F>(
    running: &Config,
    before: &Config,
    now: &Config,
    apply: &mut F,
) -> anyhow::Result<Arc<Config>>
where
    F: FnMut(Arc<Config>) -> anyhow::Result<()>,
{
    let (changed, later) = running.changed(before, now)?;
    let changed = Arc::new(changed);
    if changed.log != running.log {
        observe::log_instead(&changed.log)?;
    }
    apply(Arc::clone(&changed))?;
    if !later.is_empty() {
        tracing::warn!(keys = later.join(", "), "changed, and take effect at the next start");
    }
    Ok(changed)
}

/// The file's text; `None` where there is none.
async fn text_of(source: &Source) -> Option<String> {
    tokio::fs::read_to_string(&source.file).await.ok()
}

impl Source {
    /// The file to name when reading again: one that need not be there is not named.
    fn named(&self) -> Option<&std::path::Path> {
        self.file.exists().then_some(self.file.as_path())
    }
}
