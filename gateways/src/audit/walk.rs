//! The one pass over history: every event once, in order, through the checks that need nothing but history.

use futures::{Stream, TryStreamExt};
use journal::head::Head;
use journal::history::Row;
use journal::{Content, Hash, Recorded};
use tokio::sync::mpsc;

use super::accounts::Accounts;
use super::chain::Chain;
use super::commands::Commands;
use super::export::Exporter;
use super::progress::Progress;
use super::sequences::Sequences;
use super::{Error, worker_failed};

/// Batches that may wait for the worker: a few megabytes, and enough that neither side waits for the other.
const WAITING_MAX: usize = 4;

/// The checks of the pass, and what they know at its end.
#[derive(Default)]
pub struct Walk {
    pub chain: Chain,
    pub sequences: Sequences,
    pub accounts: Accounts,
    pub commands: Commands,
    pub exporter: Option<Exporter>,
}

impl Walk {
    /// Reads `rows` to their end. The connection is read on one core while another hashes and adds up.
    pub async fn read(
        self,
        rows: impl Stream<Item = Result<Vec<Row>, sqlx::Error>> + Send,
        progress: &Progress,
    ) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let reported = progress.clone();
        let worker = tokio::task::spawn_blocking(move || self.work(receiver, &reported));
        let mut rows = std::pin::pin!(rows);
        let mut cut = Ok(());
        loop {
            match rows.try_next().await {
                Ok(Some(batch)) => {
                    if sender.send(batch).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    cut = Err(error.into());
                    break;
                }
            }
        }
        drop(sender);
        let walk = worker.await.map_err(worker_failed)?;
        cut.and(walk)
    }

    /// Ends the checks that look at the end.
    pub fn finish(&mut self, head: &Head) {
        self.chain.finish(head);
    }

    /// The next event, from wherever it comes.
    pub fn see_event(&mut self, event: &Recorded) {
        self.see_content(&event.content(), &event.hash);
    }

    fn see_content(&mut self, content: &Content<'_>, hash: &Hash) {
        self.chain.see(content, hash);
        self.sequences.see(content);
        self.accounts.see(content);
        self.commands.see(content);
    }

    fn work(
        mut self,
        mut batches: mpsc::Receiver<Vec<Row>>,
        progress: &Progress,
    ) -> Result<Self, Error> {
        while let Some(batch) = batches.blocking_recv() {
            for row in &batch {
                self.see(row)?;
            }
            progress.add(batch.len());
        }
        Ok(self)
    }

    fn see(&mut self, row: &Row) -> Result<(), Error> {
        self.see_content(&row.content(), row.hash());
        match &mut self.exporter {
            Some(exporter) => exporter.event(&row.recorded()),
            None => Ok(()),
        }
    }
}
