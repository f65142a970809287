//! Reading the configuration again while the process runs.
//!
//! A file may be read while somebody writes it, and half a file may be one that is understood. So a text counts when it was
//! read three times in a row, and then it is that text that is taken, and not the file once more. What follows from it is
//! made whole first, and then put in the place of what was there: whatever is handled meanwhile is handled with one of
//! the two.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Reading, Refusal, Source};
use crate::observe;

/// How often the file is looked at, and how often in a row it says the same when nobody writes it any more.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const SAME_MIN: u32 = 3;

/// What the file said when the process began, and where it is said how the configuration is.
pub(super) struct Beginning {
    first: Text,
    reading: watch::Sender<Reading>,
}

/// To be called before anything is waited for: what is written into the file from then on is a change.
pub(super) fn begin(config: &Config) -> (Beginning, watch::Receiver<Reading>) {
    let source = config.source.as_ref();
    let first = source.map_or(Ok(None), |source| read(std::fs::read_to_string(&source.file)));
    let (reading, now) = watch::channel(Reading::of(config));
    (Beginning { first, reading }, now)
}

/// Looks at the file that `running` was read from until told to stop, and has changes applied. A file that is refused
/// is logged and changes nothing; `reading` says how it is.
pub(super) async fn run<F>(
    running: Arc<Config>,
    mut apply: F,
    Beginning { first, reading }: Beginning,
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
    let loaded = Config::of_text(first.clone().ok().flatten(), &source.file, &source.data);
    let mut before = loaded.unwrap_or_else(|_| Config::clone(&running));
    let mut file = Watched::new(first);
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        let Some(text) = file.look(text_of(&source.file).await) else { continue };
        let name = source.file.display();
        match taken(text, &source, &running, &before, &mut apply) {
            Err(error) => {
                tracing::error!(file = %name, error, "refused; the old configuration stays");
                let refused = Some(Refusal { since: Utc::now(), error });
                reading.send_modify(|reading| reading.refused = refused);
            }
            Ok(Taken { changed, now, later }) => {
                tracing::info!(file = %name, "the configuration was read again");
                let known = reading.borrow().later.clone();
                let later = known.into_iter().chain(later).collect();
                reading.send_replace(Reading { later, ..Reading::of(&changed) });
                (running, before) = (changed, now);
            }
        }
    }
    Ok(())
}

/// A text of a file; `None` where there is none, and words where it cannot be read.
type Text = Result<Option<String>, String>;

/// A file that is looked at.
struct Watched {
    /// What was taken or refused last.
    known: Text,
    /// What was read last, and how often in a row.
    last: Text,
    same: u32,
}

impl Watched {
    fn new(text: Text) -> Self {
        Watched { known: text.clone(), last: text, same: 0 }
    }

    /// Another text than is known, once it was read often enough in a row.
    fn look(&mut self, text: Text) -> Option<Text> {
        self.same = if text == self.last { self.same.saturating_add(1) } else { 1 };
        self.last = text;
        if self.last == self.known || self.same < SAME_MIN {
            return None;
        }
        self.known = self.last.clone();
        Some(self.known.clone())
    }
}

/// A configuration that has taken effect.
struct Taken {
    changed: Arc<Config>,
    now: Config,
    /// What changed and takes effect at the next start.
    later: Vec<String>,
}

/// Has the configuration that `text` is take effect, or says why not.
fn taken<F>(
    text: Text,
    source: &Source,
    running: &Config,
    before: &Config,
    apply: &mut F,
) -> Result<Taken, String>
where
    F: FnMut(Arc<Config>) -> anyhow::Result<()>,
{
    let now = Config::of_text(text?, &source.file, &source.data);
    let now = now.map_err(|error| error.to_string())?;
    let mut take_effect = || {
        let (changed, later) = running.changed(before, &now)?;
        let changed = Arc::new(changed);
        if changed.log != running.log {
            observe::log_instead(&changed.log)?;
        }
        apply(Arc::clone(&changed))?;
        anyhow::Ok((changed, later))
    };
    let (changed, later) = take_effect().map_err(|error| format!("{error:#}"))?;
    if !later.is_empty() {
        tracing::warn!(keys = later.join(", "), "changed, and take effect at the next start");
    }
    Ok(Taken { changed, now, later })
}

async fn text_of(file: &Path) -> Text {
    read(tokio::fs::read_to_string(file).await)
}

fn read(text: std::io::Result<String>) -> Text {
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn a_text_counts_when_nobody_writes_it_any_more() {
        let mut file = Watched::new(text("a"));
        for _ in 0..5 {
            assert_eq!(file.look(text("a")), None, "it is known");
        }
        assert_eq!([file.look(text("b")), file.look(text("b"))], [None, None]);
        assert_eq!(file.look(text("bc")), None, "somebody still writes");
        assert_eq!([file.look(text("b")), file.look(text("b"))], [None, None]);
        assert_eq!(file.look(text("b")), Some(text("b")));
        assert_eq!(file.look(text("b")), None, "it is taken once");
        // Gone and back: as if nothing had been.
        assert_eq!([file.look(Ok(None)), file.look(Ok(None))], [None, None]);
        assert_eq!(file.look(text("b")), None);
    }
}
