//! `tapedeck audit`: reads the whole history and proves what is known from it.
//!
//! One pass over history checks what history says about itself: positions, the hash chain, the numbers within each
//! aggregate, and every account's books. What was made from it is compared with it: the balances one by one, the larger
//! copies by how many there are and what they add up to; with [`Options::everything`], and to name whatever disagrees,
//! all of them row for row. All reads of PostgreSQL see the same moment, so the audit runs beside a live system. Memory
//! depends on the number of accounts, never on the length of history.

mod accounts;
mod balances;
mod broker;
mod chain;
mod commands;
mod compare;
mod delivery;
mod export;
mod finding;
mod gaps;
mod holds;
mod import;
mod least;
mod ledger;
#[cfg(test)]
mod made;
mod merge;
mod outcomes;
mod progress;
pub mod proof;
mod published;
mod rebuild;
mod report;
mod reversals;
mod sequences;
mod snapshot;
mod walk;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use journal::broker::Broker;
use journal::head::{self, Head};
use journal::history;
use journal::recorded::GENESIS;
use projections::AsOf;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

pub use accounts::{Line, Totals};
pub use finding::{Disagreement, Findings, Proof};
pub use import::check as import_check;
pub use progress::Progress;
pub use report::Report;

use accounts::Accounts;
use broker::Allowed;
use compare::{Along, Checkpoints, Compare, Compared};
use export::{Exporter, Header, Trailer};
use least::{Least, Tally};
use snapshot::Snapshot;
use walk::{Readers, Walk};

/// How many connections to PostgreSQL an audit uses at most: one for each comparison, all at once, and all projections have
/// one. With fewer, the last waits in vain where the history is long.
pub const CONNECTIONS: u32 = 16;

/// What is to be proved.
#[derive(Clone, Debug)]
pub struct Options {
    /// Balances as they were at this moment; then only history up to it, and the statements up to it, are checked.
    pub as_of: AsOf,
    /// Only the books of these accounts, with their entries; all accounts when empty.
    pub accounts: Vec<String>,
    /// All copies of history row for row: each outcome, each row of every projection, each message of EVENTS.
    pub everything: bool,
    /// Where to write history while it is read.
    pub export: Option<PathBuf>,
    /// How long EVENTS may take to reach the position of the snapshot.
    pub patience: Duration,
    /// Where EVENTS begins, if somebody trimmed it on purpose.
    pub events_from: i64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            as_of: AsOf::Now,
            accounts: Vec::new(),
            everything: false,
            export: None,
            patience: Duration::from_secs(10),
            events_from: 1,
        }
    }
}

/// Why an audit could not be made. Disagreements are no errors: they are in the report.
#[derive(Debug, Error)]
pub enum Error {
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error("NATS: {0}")]
    Broker(String),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("there is no position {0}: the journal ends at {1}")]
    NoSuchPosition(i64, i64),
    #[error("the audit stopped: {0}")]
    Stopped(String),
}

impl Error {
    /// Whether a server did not answer, so that nothing can be said.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Error::Broker(_) => true,
            Error::Database(error) => !matches!(error, sqlx::Error::Database(_)),
            _ => false,
        }
    }
}

/// Audits the journal that `pool` and `broker` lead to. Where the least disagrees, everything is compared to name it.
pub async fn run(
    pool: &PgPool,
    broker: &Broker,
    options: &Options,
    progress: &Progress,
) -> Result<Report, Error> {
    let least = pass(pool, broker, options, progress).await?;
    if least.agrees || options.everything || options.as_of != AsOf::Now {
        return Ok(least);
    }
    let options = Options { everything: true, export: None, ..options.clone() };
    Ok(match pass(pool, broker, &options, progress).await {
        Ok(everything) if !everything.agrees => {
            Report { took: least.took + everything.took, ..everything }
        }
        // What was wrong and cannot be seen any more is still said.
        _ => least,
    })
}

/// Reads history once.
async fn pass(
    pool: &PgPool,
    broker: &Broker,
    options: &Options,
    progress: &Progress,
) -> Result<Report, Error> {
    let begun = Instant::now();
    let mut snapshot = Snapshot::take(pool).await?;
    let head = head::read(&mut *snapshot.connection()).await?;
    let until = resolve(snapshot.connection(), options.as_of, head.position).await?;
    let checkpoints = Checkpoints::read(snapshot.connection()).await?;
    let end = end_of(snapshot.connection(), &head, until).await?;
    let now = Utc::now();

    progress.begin("history", until);
    let walk = Walk {
        accounts: Accounts::new(&options.accounts, checkpoints.of_balances(options.as_of)),
        tally: Tally::up_to(checkpoints.of_statements()),
        exporter: exporter(options, &end, now)?,
        ..Walk::default()
    };
    let compare =
        Compare { snapshot: Arc::new(snapshot), checkpoints: Arc::new(checkpoints), head: until };
    let mut readers = Readers::default();
    let allowed = Allowed { patience: options.patience, begins_at: options.events_from };
    let comparing = match (options.as_of, options.everything) {
        (AsOf::Now, true) => Comparing::Everything(compare.along(
            pool,
            broker,
            allowed,
            &walk.commands,
            &mut readers,
        )),
        (AsOf::Now, false) => Comparing::Least(compare.least()),
        _ => Comparing::Past,
    };
    let walking = walk.along(readers.another(), progress);
    // Beyond the head there is nothing, or it is found.
    let last = if options.as_of == AsOf::Now { i64::MAX } else { until };
    let mut reading = compare.snapshot.another().await?;
    readers.show(history::stored(&mut reading, 0, last, None)).await?;
    reading.rollback().await?;
    let mut walk = walking.await.map_err(worker_failed)??;
    walk.finish(&end);
    if let Some(exporter) = walk.exporter.take() {
        exporter.finish(Trailer::of(walk.chain.count, &walk.accounts))?;
    }

    let mut report = Report::new(end, until, now);
    report.head = head.position;
    report.proofs = history_proofs(&mut walk, begun.elapsed());
    let (seen, proof) = walk.gaps.finish();
    report.gaps = seen;
    report.proofs.extend(proof);
    let compared = match comparing {
        Comparing::Everything(along) => compare.finish(along, &mut walk).await?,
        Comparing::Least(least) => {
            report.counted = true;
            compare.finish_least(least, pool, broker, allowed, &mut walk).await?
        }
        Comparing::Past => {
            let proofs = vec![compare.balances_as_of(&mut walk.accounts).await?];
            Compared { proofs, originals: Vec::new() }
        }
    };
    name_originals(&mut report.proofs, &compared.originals);
    report.proofs.extend(compared.proofs);
    progress.end();
    report.took = begun.elapsed();
    report.finish(&mut walk);
    Ok(report)
}

/// What is compared with history.
enum Comparing {
    Everything(Along),
    Least(Least),
    /// The balances as they were: of the past there is nothing else.
    Past,
}

/// What the pass over history has proved.
fn history_proofs(walk: &mut Walk, took: Duration) -> Vec<Proof> {
    let events = walk.chain.count;
    let (last, _) = walk.chain.end();
    let mut proofs = Vec::new();
    let mut proof = |check, claim: &str, proved, of, findings: &mut Findings| {
        let findings = std::mem::take(findings);
        proofs.push(Proof {
            check,
            claim: claim.to_owned(),
            proved,
            of,
            note: None,
            findings,
            took,
        });
    };
    let claim =
        format!("positions are 1 to {} without gaps, and the head agrees", report::grouped(last));
    proof("positions", &claim, events, "events", &mut walk.chain.positions);
    let claim = "every link follows from the one before it and the event's content, from the first to the head";
    proof("hash chain", claim, events, "events", &mut walk.chain.links);
    proof(
        "times",
        "no event was recorded before the one before it",
        events,
        "events",
        &mut walk.chain.times,
    );
    let claim = "every event's id is derived from its command";
    proof("event ids", claim, events, "events", &mut walk.commands.findings);
    let aggregates = walk.sequences.aggregates();
    let claim = "the events of every aggregate are numbered 1, 2, 3";
    proof("sequences", claim, aggregates, "aggregates", &mut walk.sequences.findings);
    let claim = "after every entry credits = available + held + captured - reversed, held is the open holds, \
                 and available is not negative";
    proof("accounts", claim, walk.accounts.events, "entries", &mut walk.accounts.findings);
    proofs
}

/// Where an event was changed and its message still has what was recorded: says so.
fn name_originals(proofs: &mut [Proof], originals: &[i64]) {
    let chain = proofs.iter_mut().filter(|proof| proof.check == "hash chain");
    for found in chain.flat_map(|proof| &mut proof.findings.first) {
        if let Some(position) = found.position
            && originals.contains(&position)
            && found.about != "head"
        {
            let original = format!("; message {position} of EVENTS still has what was recorded");
            found.sentence.push_str(&original);
        }
    }
}

/// The position to prove up to.
async fn resolve(connection: &mut PgConnection, as_of: AsOf, head: i64) -> Result<i64, Error> {
    match as_of {
        AsOf::Now => Ok(head),
        AsOf::Position(position) if (0..=head).contains(&position) => Ok(position),
        AsOf::Position(position) => Err(Error::NoSuchPosition(position, head)),
        AsOf::Time(time) => Ok(history::position_at_within(connection, time).await?),
    }
}

/// What the head was when `until` was the last event.
async fn end_of(connection: &mut PgConnection, head: &Head, until: i64) -> Result<Head, Error> {
    if until == head.position {
        return Ok(head.clone());
    }
    let hash: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM public.events WHERE position = $1")
            .bind(until)
            .fetch_optional(connection)
            .await?;
    let hash = hash.and_then(|hash| hash.try_into().ok()).unwrap_or(GENESIS);
    Ok(Head { position: until, hash, epoch: head.epoch })
}

fn exporter(
    options: &Options,
    end: &Head,
    now: chrono::DateTime<Utc>,
) -> Result<Option<Exporter>, Error> {
    let Some(path) = &options.export else { return Ok(None) };
    let header = Header {
        format: export::FORMAT.to_owned(),
        epoch: end.epoch,
        head: end.position,
        hash: end.hash,
        at: now,
    };
    Exporter::create(path, &header).map(Some)
}

/// Until the transaction ends, the planner reads tables along their index on the position.
async fn read_in_order(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query(
        "SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
                set_config('enable_bitmapscan', 'off', true)",
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn worker_failed(error: tokio::task::JoinError) -> Error {
    Error::Stopped(error.to_string())
}
