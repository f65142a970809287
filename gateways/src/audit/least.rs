//! The least that an audit compares with history. Balances and reversals one by one; of the large copies how many there
//! are and what they add up to, which tells whether anything is missing or any points moved.

use std::time::{Duration, Instant};

use journal::broker::Broker;
use sqlx::{PgPool, Postgres, Transaction};

use super::Error;
use super::broker::{Against, Allowed};
use super::commands::Commands;
use super::compare::{Compare, Compared, STATEMENTS, Work, beside, made};
use super::finding::{Disagreement, Findings, Proof};
use super::ledger::Said;
use super::report::grouped;
use super::snapshot::Snapshot;
use super::walk::Walk;

/// What is read while history is.
pub struct Least {
    reversals: Work<Proof>,
    /// How many commands were accepted that have events, and how many events they have.
    commands: Work<(i64, i64)>,
    statements: Work<(Proof, Option<Entries>)>,
}

/// How many entries there are, and how many points they move.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Entries {
    rows: i64,
    available: i128,
    held: i128,
}

/// The entries of history up to a position.
#[derive(Debug, Default)]
pub struct Tally {
    until: i64,
    entries: Entries,
}

impl Tally {
    pub fn up_to(until: i64) -> Self {
        Tally { until, entries: Entries::default() }
    }

    /// The next event of history.
    pub fn see(&mut self, position: i64, said: &Said) {
        if let Some(Ok(entry)) = said
            && position <= self.until
        {
            let moves = entry.moves();
            self.entries.rows += 1;
            self.entries.available += i128::from(moves.available);
            self.entries.held += i128::from(moves.held);
        }
    }
}

impl Compare {
    /// Begins what reads along with the pass over history.
    pub fn least(&self) -> Least {
        let this = self.clone();
        let reversals = beside(async move { this.reversals().await });
        let this = self.clone();
        let commands = beside(async move { this.accepted().await });
        let this = self.clone();
        let statements = beside(async move { this.statements().await });
        Least { reversals, commands, statements }
    }

    /// Ends it, once the pass has come to its end.
    pub async fn finish_least(
        &self,
        least: Least,
        pool: &PgPool,
        broker: &Broker,
        allowed: Allowed,
        walk: &mut Walk,
    ) -> Result<Compared, Error> {
        let as_proof = |made: Result<Proof, Proof>| made.unwrap_or_else(|failed| failed);
        let accepted = made("commands", least.commands.await)?;
        let statements = made(STATEMENTS, least.statements.await)?;
        let proofs = vec![
            as_proof(accepted.map(|accepted| commands(&mut walk.commands, accepted))),
            as_proof(made("reversals", least.reversals.await)?),
            self.balances(&mut walk.accounts).await?,
            as_proof(statements.map(|stored| add_up(stored, walk.tally.entries))),
        ];
        let events = self.events(pool, broker, Against::Newest(&self.snapshot), allowed).await;
        let (events, originals) =
            made("EVENTS", Ok(events))?.unwrap_or_else(|failed| (failed, Vec::new()));
        Ok(Compared { proofs: proofs.into_iter().chain([events]).collect(), originals })
    }

    async fn accepted(&self) -> Result<(i64, i64), Error> {
        let mut connection = alone(&self.snapshot).await?;
        let query = "SELECT count(*), coalesce(sum(events), 0)::bigint FROM public.command_outcomes
                     WHERE outcome = 'accepted' AND events > 0";
        Ok(sqlx::query_as(query).fetch_one(&mut *connection).await?)
    }

    async fn statements(&self) -> Result<(Proof, Option<Entries>), Error> {
        let begun = Instant::now();
        let mut proof = self.proof_of(STATEMENTS, "rows");
        proof.claim =
            "statements has as many rows as history has entries, and they add up to the same points".to_owned();
        let Some((schema, _)) = self.live(STATEMENTS, &mut proof) else { return Ok((proof, None)) };
        let mut connection = alone(&self.snapshot).await?;
        let query = format!(
            "SELECT count(*), coalesce(sum(available_delta), 0)::text, coalesce(sum(held_delta), 0)::text
             FROM {schema}.statements"
        );
        let (rows, available, held): (i64, String, String) =
            sqlx::query_as(&query).fetch_one(&mut *connection).await?;
        let sum = |text: String| {
            text.parse().map_err(|_| sqlx::Error::Protocol(format!("{text} is no sum of points")))
        };
        let stored = Entries { rows, available: sum(available)?, held: sum(held)? };
        proof.took = begun.elapsed();
        Ok((proof, Some(stored)))
    }
}

/// A transaction whose queries have no helpers: they would take more of the processors than they give back.
async fn alone(snapshot: &Snapshot) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut connection = snapshot.another().await?;
    sqlx::query("SET LOCAL max_parallel_workers_per_gather = 0").execute(&mut *connection).await?;
    Ok(connection)
}

/// As many commands as history has, with as many events.
fn commands(made: &mut Commands, accepted: (i64, i64)) -> Proof {
    let (commands, events) = made.end();
    let mut findings = Findings::default();
    if (commands, events) != accepted {
        let said = |(commands, events): (i64, i64)| {
            format!("{} commands with {} events", grouped(commands), grouped(events))
        };
        let (expected, found) = (said((commands, events)), said(accepted));
        findings.add(|| disagreement("commands", "outcomes", expected, found));
    }
    Proof {
        check: "commands",
        claim: "as many commands were accepted as history has, with as many events".to_owned(),
        proved: commands.unsigned_abs(),
        of: "commands",
        note: None,
        findings,
        took: Duration::ZERO,
    }
}

fn add_up((mut proof, stored): (Proof, Option<Entries>), entries: Entries) -> Proof {
    let Some(stored) = stored else { return proof };
    proof.proved = stored.rows.unsigned_abs();
    if stored != entries {
        let said = |Entries { rows, available, held }: Entries| {
            format!("{} entries of {available} available and {held} held points", grouped(rows))
        };
        let (expected, found) = (said(entries), said(stored));
        proof.findings.add(|| disagreement(STATEMENTS, "rows", expected, found));
    }
    proof
}

fn disagreement(
    about: &'static str,
    field: &'static str,
    expected: String,
    found: String,
) -> Disagreement {
    Disagreement {
        position: None,
        about: about.to_owned(),
        field: field.to_owned(),
        sentence: format!("{about}: {found}, history says {expected}"),
        expected,
        found,
    }
}
