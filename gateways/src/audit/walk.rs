//! The one pass over history: every event once, in order, through the checks that need nothing but history, and past
//! whoever reads along.

use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use journal::head::Head;
use journal::history::Row;
use journal::{Content, Hash, Recorded};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Error;
use super::accounts::Accounts;
use super::chain::Chain;
use super::commands::Commands;
use super::export::Exporter;
use super::gaps::Gaps;
use super::least::Tally;
use super::ledger::{self, Said};
use super::progress::Progress;
use super::sequences::Sequences;

/// Batches that may wait for one reader: a few megabytes, and enough that nobody waits for a moment's work of another.
const WAITING_MAX: usize = 4;

/// A part of history, which all its readers share.
pub type Batch = Arc<Part>;

/// Some events that follow each other, and what the accounts' events among them say.
#[derive(Debug)]
pub struct Part {
    pub rows: Vec<Row>,
    said: Vec<Said>,
}

impl Part {
    pub fn new(rows: Vec<Row>) -> Self {
        let said = rows.iter().map(|row| ledger::read(&row.content())).collect();
        Part { rows, said }
    }

    /// Each event with what was read in it.
    pub fn events(&self) -> impl Iterator<Item = (&Row, &Said)> {
        self.rows.iter().zip(&self.said)
    }
}

/// Those who read history along with the pass.
#[derive(Default)]
pub struct Readers {
    senders: Vec<mpsc::Sender<Batch>>,
}

impl Readers {
    /// One more reader. It may stop at any time by dropping what it has been given.
    pub fn another(&mut self) -> mpsc::Receiver<Batch> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        self.senders.push(sender);
        receiver
    }

    /// Shows `rows` to everybody, to their end or until they are cut.
    pub async fn show(
        mut self,
        rows: impl Stream<Item = Result<Vec<Row>, sqlx::Error>> + Send,
    ) -> Result<(), sqlx::Error> {
        let mut rows = std::pin::pin!(rows);
        while let Some(batch) = rows.try_next().await? {
            let batch = Arc::new(Part::new(batch));
            let mut staying = Vec::with_capacity(self.senders.len());
            for sender in self.senders {
                if sender.send(Arc::clone(&batch)).await.is_ok() {
                    staying.push(sender);
                }
            }
            self.senders = staying;
            if self.senders.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

/// The checks of the pass, and what they know at its end.
#[derive(Default)]
pub struct Walk {
    pub chain: Chain,
    pub sequences: Sequences,
    pub accounts: Accounts,
    pub commands: Commands,
    pub gaps: Gaps,
    pub tally: Tally,
    pub exporter: Option<Exporter>,
}

impl Walk {
    /// Hashes and adds up what it is shown, on a core of its own.
    pub fn along(
        mut self,
        mut history: mpsc::Receiver<Batch>,
        progress: &Progress,
    ) -> JoinHandle<Result<Self, Error>> {
        let progress = progress.clone();
        tokio::task::spawn_blocking(move || {
            while let Some(batch) = history.blocking_recv() {
                for (row, said) in batch.events() {
                    self.see(row, said)?;
                }
                progress.add(batch.rows.len());
            }
            Ok(self)
        })
    }

    /// Ends the checks that look at the end.
    pub fn finish(&mut self, head: &Head) {
        self.chain.finish(head);
    }

    /// The next event, from wherever it comes.
    pub fn see_event(&mut self, event: &Recorded) {
        let content = event.content();
        self.see_content(&content, &event.hash, &ledger::read(&content));
    }

    fn see_content(&mut self, content: &Content<'_>, hash: &Hash, said: &Said) {
        self.chain.see(content, hash);
        self.sequences.see(content);
        self.accounts.see_read(content, said);
        self.commands.see(content);
        self.gaps.see(content);
        self.tally.see(content.position, said);
    }

    fn see(&mut self, row: &Row, said: &Said) -> Result<(), Error> {
        self.see_content(&row.content(), row.hash(), said);
        match &mut self.exporter {
            Some(exporter) => exporter.event(&row.recorded()),
            None => Ok(()),
        }
    }
}
