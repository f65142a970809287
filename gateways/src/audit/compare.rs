//! What was made from history against history: outcomes, projections, EVENTS.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use journal::broker::Broker;
use journal::{Projection, copy, history};
use projections::AsOf;
use sqlx::{PgConnection, PgPool};
use tokio_util::task::AbortOnDropHandle;

use super::accounts::Accounts;
use super::commands::Commands;
use super::finding::{Disagreement, Findings, Proof};
use super::merge::{Merge, alerts_query, statements_query};
use super::progress::Progress;
use super::snapshot::Snapshot;
use super::walk::Walk;
use super::{
    Error, Options, balances, broker, outcomes, read_in_order, rebuild, reversals, worker_failed,
};

const BALANCES: &str = projections::balances::NAME;
const STATEMENTS: &str = projections::statements::NAME;
const ALERTS: &str = projections::alerts::NAME;

/// Where the live generation of each projection is: its schema and its position.
pub struct Checkpoints(HashMap<String, (String, i64)>);

impl Checkpoints {
    pub async fn read(connection: &mut PgConnection) -> Result<Self, Error> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT name, schema, position FROM public.checkpoints WHERE status = 'live'",
        )
        .fetch_all(connection)
        .await?;
        Ok(Checkpoints(rows.into_iter().map(|(name, schema, at)| (name, (schema, at))).collect()))
    }

    /// Up to where the accounts are compared: `balances` has the present, for the past they are as they end.
    pub fn of_balances(&self, as_of: AsOf) -> i64 {
        match (as_of, self.0.get(BALANCES)) {
            (AsOf::Now, Some((_, position))) => *position,
            _ => i64::MAX,
        }
    }

    fn get(&self, name: &str) -> Option<(&str, i64)> {
        self.0.get(name).map(|(schema, position)| (schema.as_str(), *position))
    }
}

/// The comparisons of one audit.
#[derive(Clone)]
pub struct Compare {
    pub snapshot: Arc<Snapshot>,
    pub checkpoints: Arc<Checkpoints>,
    /// The last position that the audit looks at.
    pub head: i64,
}

/// What the comparisons proved.
pub struct Compared {
    pub proofs: Vec<Proof>,
    /// EVENTS was read from after this position on, and nothing in it disagrees.
    pub published_after: Option<i64>,
}

impl Compare {
    /// Makes all comparisons that `options` asks for, side by side.
    pub async fn all(
        &self,
        pool: &PgPool,
        broker: &Broker,
        options: &Options,
        walk: &mut Walk,
        progress: &Progress,
    ) -> Result<Compared, Error> {
        if options.as_of != AsOf::Now || options.quick {
            let proof = match options.as_of {
                AsOf::Now => self.balances(&mut walk.accounts).await?,
                _ => self.balances_as_of(&mut walk.accounts).await?,
            };
            return Ok(Compared { proofs: vec![proof], published_after: None });
        }
        progress.begin("projections and EVENTS", self.head.saturating_mul(2));
        let projections = beside({
            let (this, progress) = (self.clone(), progress.clone());
            async move { this.projections(&progress).await }
        });
        let events = beside({
            let (this, pool, broker) = (self.clone(), pool.clone(), broker.clone());
            let (patience, progress) = (options.patience, progress.clone());
            async move { this.events(&pool, &broker, patience, &progress).await }
        });
        let Walk { commands, accounts, .. } = walk;
        let ledger = async {
            let mut proofs = self.commands(commands).await?;
            proofs.push(self.reversals().await?);
            proofs.push(self.balances(accounts).await?);
            Ok::<_, Error>(proofs)
        };
        let (mut proofs, projections, (events, after)) =
            tokio::try_join!(ledger, projections, events)?;
        proofs.extend(projections);
        let published_after = events.findings.is_empty().then_some(after);
        proofs.push(events);
        Ok(Compared { proofs, published_after })
    }

    async fn commands(&self, commands: &mut Commands) -> Result<Vec<Proof>, Error> {
        let begun = Instant::now();
        let mut connection = self.snapshot.another().await?;
        let mut findings = Findings::default();
        outcomes::read(&mut connection, commands).await?;
        if !commands.finish() {
            outcomes::explain(&mut connection, &mut findings).await?;
        }
        outcomes::contradictions(&mut connection, &mut findings).await?;
        let proof = |check, claim: &str, proved, of, findings| Proof {
            check,
            claim: claim.to_owned(),
            proved,
            of,
            note: None,
            findings,
            took: begun.elapsed(),
        };
        let claim = "every accepted command is in history exactly once, with exactly its events";
        let ids = "every event's id is derived from its command";
        let (count, derived) = (commands.count(), std::mem::take(&mut commands.findings));
        Ok(vec![
            proof("commands", claim, count, "commands", findings),
            proof("event ids", ids, u64::try_from(self.head).unwrap_or(0), "events", derived),
        ])
    }

    async fn reversals(&self) -> Result<Proof, Error> {
        let begun = Instant::now();
        let mut connection = self.snapshot.another().await?;
        let mut findings = Findings::default();
        let proved = reversals::check(&mut connection, &mut findings).await?;
        let claim = "every reversal undoes one earlier entry of its account, exactly and once";
        Ok(Proof {
            check: "reversals",
            claim: claim.to_owned(),
            proved,
            of: "reversals",
            note: None,
            findings,
            took: begun.elapsed(),
        })
    }

    async fn balances(&self, accounts: &mut Accounts) -> Result<Proof, Error> {
        let begun = Instant::now();
        let mut proof = self.proof_of(BALANCES, "accounts");
        let Some((schema, _)) = self.live(BALANCES, &mut proof) else { return Ok(proof) };
        let mut connection = self.snapshot.another().await?;
        proof.proved =
            balances::check(&mut connection, schema, accounts, &mut proof.findings).await?;
        proof.took = begun.elapsed();
        Ok(proof)
    }

    /// The past is not in `balances`; it is the sum of `statements`.
    async fn balances_as_of(&self, accounts: &mut Accounts) -> Result<Proof, Error> {
        let begun = Instant::now();
        let mut proof = self.proof_of(STATEMENTS, "accounts");
        proof.claim =
            format!("every balance at position {}, as the sum of its statement", self.head);
        let Some((schema, at)) = self.live(STATEMENTS, &mut proof) else { return Ok(proof) };
        if at < self.head {
            proof.note = Some(format!("not compared: the statements have come to {at} only"));
            return Ok(proof);
        }
        let mut connection = self.snapshot.another().await?;
        let findings = &mut proof.findings;
        proof.note = None;
        proof.proved =
            balances::check_as_of(&mut connection, schema, self.head, accounts, findings).await?;
        proof.took = begun.elapsed();
        Ok(proof)
    }

    async fn projections(&self, progress: &Progress) -> Result<Vec<Proof>, Error> {
        let mut proofs = self.by_position(progress).await?;
        for projection in projections::all() {
            if ![BALANCES, STATEMENTS, ALERTS].contains(&projection.name()) {
                proofs.push(self.rebuilt(&*projection).await?);
            }
        }
        Ok(proofs)
    }

    /// The projections with one row per position, in one more pass over history.
    async fn by_position(&self, progress: &Progress) -> Result<Vec<Proof>, Error> {
        let begun = Instant::now();
        let mut proofs = [self.proof_of(STATEMENTS, "rows"), self.proof_of(ALERTS, "rows")];
        let [of_statements, of_alerts] = &mut proofs;
        let (Some((schema, at)), Some((alerts_schema, alerts_at))) =
            (self.live(STATEMENTS, of_statements), self.live(ALERTS, of_alerts))
        else {
            return Ok(proofs.into());
        };
        let mut connections = (
            self.snapshot.another().await?,
            self.snapshot.another().await?,
            self.snapshot.another().await?,
        );
        read_in_order(&mut connections.0).await?;
        read_in_order(&mut connections.1).await?;
        let rows = copy::rows::<6>(&mut connections.0, &statements_query(schema));
        let mut statements = Merge::statements(Box::pin(rows), at).await?;
        let rows = copy::rows::<6>(&mut connections.1, &alerts_query(alerts_schema));
        let mut alerts = Merge::alerts(Box::pin(rows), alerts_at).await?;
        {
            let until = at.max(alerts_at);
            let history = history::stored(&mut connections.2, 0, until, None);
            let mut history = std::pin::pin!(history);
            while let Some(batch) = history.try_next().await? {
                for row in &batch {
                    let content = row.content();
                    statements.see(&content).await?;
                    alerts.see(&content).await?;
                }
                progress.add(batch.len());
            }
        }
        statements.finish().await?;
        alerts.finish().await?;
        let merged = [
            (statements.compared, std::mem::take(&mut statements.findings)),
            (alerts.compared, std::mem::take(&mut alerts.findings)),
        ];
        for (proof, (compared, findings)) in proofs.iter_mut().zip(merged) {
            (proof.proved, proof.findings, proof.took) = (compared, findings, begun.elapsed());
        }
        Ok(proofs.into())
    }

    /// Any other projection, by folding it again.
    async fn rebuilt(&self, projection: &dyn Projection) -> Result<Proof, Error> {
        let begun = Instant::now();
        let mut proof = self.proof_of(projection.name(), "rows");
        let Some((schema, at)) = self.live(projection.name(), &mut proof) else { return Ok(proof) };
        proof.proved =
            rebuild::check(&self.snapshot, projection, schema, at, &mut proof.findings).await?;
        proof.took = begun.elapsed();
        Ok(proof)
    }

    async fn events(
        &self,
        pool: &PgPool,
        broker: &Broker,
        patience: Duration,
        progress: &Progress,
    ) -> Result<(Proof, i64), Error> {
        let begun = Instant::now();
        let mut links = self.snapshot.another().await?;
        let compared =
            broker::check(broker, pool, &mut links, self.head, patience, progress).await?;
        let proof = Proof {
            check: "EVENTS",
            claim: "each message of EVENTS is the event of its number".to_owned(),
            proved: compared.count,
            of: "messages",
            note: compared.note,
            findings: compared.findings,
            took: begun.elapsed(),
        };
        Ok((proof, compared.after))
    }

    fn proof_of(&self, name: &'static str, of: &'static str) -> Proof {
        let note = self.checkpoints.get(name).filter(|(_, at)| *at < self.head);
        Proof {
            check: name,
            claim: format!("{name} equals what history makes of it"),
            proved: 0,
            of,
            note: note.map(|(_, at)| format!("as of position {at}, where it has come to")),
            findings: Findings::default(),
            took: Duration::ZERO,
        }
    }

    /// The live generation of a projection. Without one there is nothing to prove, which is a disagreement as soon as
    /// there is history; so is one that has come further than history.
    fn live(&self, name: &str, proof: &mut Proof) -> Option<(&str, i64)> {
        let live = self.checkpoints.get(name);
        let found = match live {
            Some((_, at)) if at <= self.head || proof.check == STATEMENTS => return live,
            Some((_, at)) => format!("is at position {at}, beyond the head"),
            None if self.head == 0 => return None,
            None => "has no live tables; `tapedeck serve` makes them".to_owned(),
        };
        proof.findings.add(|| Disagreement {
            position: Some(self.head),
            about: name.to_owned(),
            field: "checkpoint".to_owned(),
            expected: format!("up to {}", self.head),
            sentence: format!("{name} {found}"),
            found,
        });
        None
    }
}

/// Runs `work` on another core; it ends with whoever waits for it.
async fn beside<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    AbortOnDropHandle::new(tokio::spawn(work)).await.map_err(worker_failed)?
}
