//! What was made from history against history: outcomes, projections, EVENTS.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::broker::Broker;
use journal::{Projection, copy};
use projections::AsOf;
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::accounts::Accounts;
use super::broker::{Against, Allowed};
use super::commands::{Answers, Commands};
use super::finding::{Disagreement, Findings, Proof};
use super::merge::{Merge, alerts_query, statements_query};
use super::snapshot::Snapshot;
use super::walk::{Batch, Readers, Walk};
use super::{
    Error, balances, broker, holds, outcomes, read_in_order, rebuild, reversals, worker_failed,
};

const BALANCES: &str = projections::balances::NAME;
pub(super) const STATEMENTS: &str = projections::statements::NAME;
const ALERTS: &str = projections::alerts::NAME;
const HOLDS: &str = projections::holds::NAME;

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

    /// Up to where the statements are counted.
    pub fn of_statements(&self) -> i64 {
        self.0.get(STATEMENTS).map_or(0, |(_, position)| *position)
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

/// What is compared while history is read.
pub struct Along {
    answers: Work<(Answers, Findings)>,
    reversals: Work<Proof>,
    projections: Vec<(&'static str, Work<Vec<Proof>>)>,
    events: Work<(Proof, Vec<i64>)>,
}

/// What the comparisons proved.
pub struct Compared {
    pub proofs: Vec<Proof>,
    /// Messages of EVENTS that have what was recorded, where PostgreSQL has something else.
    pub originals: Vec<i64>,
}

impl Compare {
    /// Begins all comparisons that read along with the pass over history, each on its own.
    pub fn along(
        &self,
        pool: &PgPool,
        broker: &Broker,
        allowed: Allowed,
        commands: &Commands,
        readers: &mut Readers,
    ) -> Along {
        let (this, mut answers) = (self.clone(), commands.answers());
        let answers = beside(async move {
            let mut connection = this.snapshot.another().await?;
            outcomes::read(&mut connection, &mut answers).await?;
            let mut contradictions = Findings::default();
            outcomes::contradictions(&mut connection, &mut contradictions).await?;
            Ok((answers, contradictions))
        });
        let this = self.clone();
        let reversals = beside(async move { this.reversals().await });
        let (this, history) = (self.clone(), readers.another());
        let mut projections =
            vec![("statements and alerts", beside(async move { this.by_position(history).await }))];
        let (this, history) = (self.clone(), readers.another());
        let holds = async move { this.holds(history).await.map(|proof| vec![proof]) };
        projections.push((HOLDS, beside(holds)));
        for projection in projections::all() {
            if ![BALANCES, STATEMENTS, ALERTS, HOLDS].contains(&projection.name()) {
                let (this, history, name) = (self.clone(), readers.another(), projection.name());
                let rebuilt = async move {
                    this.rebuilt(&*projection, history).await.map(|proof| vec![proof])
                };
                projections.push((name, beside(rebuilt)));
            }
        }
        let (this, history) = (self.clone(), readers.another());
        let (pool, broker) = (pool.clone(), broker.clone());
        let against = Against::Pass(history);
        let events = beside(async move { this.events(&pool, &broker, against, allowed).await });
        Along { answers, reversals, projections, events }
    }

    /// Ends them, once the pass has come to its end. A comparison that could not be made is a disagreement.
    pub async fn finish(&self, along: Along, walk: &mut Walk) -> Result<Compared, Error> {
        let Walk { commands, accounts, .. } = walk;
        let mut proofs = Vec::new();
        match made("commands", along.answers.await)? {
            Ok((answers, contradictions)) => {
                proofs.push(self.commands(commands, &answers, contradictions).await?);
            }
            Err(failed) => proofs.push(failed),
        }
        proofs.push(made("reversals", along.reversals.await)?.unwrap_or_else(|failed| failed));
        proofs.push(self.balances(accounts).await?);
        for (name, projection) in along.projections {
            proofs.extend(made(name, projection.await)?.unwrap_or_else(|failed| vec![failed]));
        }
        let (events, originals) =
            made("EVENTS", along.events.await)?.unwrap_or_else(|failed| (failed, Vec::new()));
        proofs.push(events);
        Ok(Compared { proofs, originals })
    }

    async fn commands(
        &self,
        commands: &mut Commands,
        answers: &Answers,
        mut findings: Findings,
    ) -> Result<Proof, Error> {
        let begun = Instant::now();
        if !commands.finish(answers) {
            let mut connection = self.snapshot.another().await?;
            outcomes::explain(&mut connection, &mut findings).await?;
        }
        let claim = "every accepted command is in history exactly once, with exactly its events";
        Ok(Proof {
            check: "commands",
            claim: claim.to_owned(),
            proved: commands.count(),
            of: "commands",
            note: None,
            findings,
            took: begun.elapsed(),
        })
    }

    pub(super) async fn reversals(&self) -> Result<Proof, Error> {
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

    /// The balances as the projection has them.
    pub async fn balances(&self, accounts: &mut Accounts) -> Result<Proof, Error> {
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
    pub async fn balances_as_of(&self, accounts: &mut Accounts) -> Result<Proof, Error> {
        let begun = Instant::now();
        let mut proof = self.proof_of(STATEMENTS, "accounts");
        proof.claim =
            format!("every balance at position {}, as the sum of its statement", self.head);
        // They may have come further than the moment that is asked about.
        let live = self.live_up_to(i64::MAX, STATEMENTS, &mut proof);
        let Some((schema, at)) = live else { return Ok(proof) };
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

    /// The projections with one row per position.
    async fn by_position(&self, mut history: mpsc::Receiver<Batch>) -> Result<Vec<Proof>, Error> {
        let begun = Instant::now();
        let mut proofs = [self.proof_of(STATEMENTS, "rows"), self.proof_of(ALERTS, "rows")];
        let [of_statements, of_alerts] = &mut proofs;
        let (Some((schema, at)), Some((alerts_schema, alerts_at))) =
            (self.live(STATEMENTS, of_statements), self.live(ALERTS, of_alerts))
        else {
            return Ok(proofs.into());
        };
        let mut connections = (self.snapshot.another().await?, self.snapshot.another().await?);
        read_in_order(&mut connections.0).await?;
        read_in_order(&mut connections.1).await?;
        let rows = copy::rows::<6>(&mut connections.0, &statements_query(schema));
        let mut statements = Merge::statements(Box::pin(rows), at).await?;
        let rows = copy::rows::<6>(&mut connections.1, &alerts_query(alerts_schema));
        let mut alerts = Merge::alerts(Box::pin(rows), alerts_at).await?;
        while let Some(batch) = history.recv().await {
            for (row, said) in batch.events() {
                let content = row.content();
                statements.see(&content, said).await?;
                alerts.see(&content, said).await?;
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

    /// The open holds.
    async fn holds(&self, history: mpsc::Receiver<Batch>) -> Result<Proof, Error> {
        let begun = Instant::now();
        let mut proof = self.proof_of(HOLDS, "holds");
        let Some((schema, at)) = self.live(HOLDS, &mut proof) else { return Ok(proof) };
        let mut connection = self.snapshot.another().await?;
        let findings = &mut proof.findings;
        proof.proved = holds::check(&mut connection, schema, at, history, findings).await?;
        proof.took = begun.elapsed();
        Ok(proof)
    }

    /// Any other projection, by folding it again.
    async fn rebuilt(
        &self,
        projection: &dyn Projection,
        history: mpsc::Receiver<Batch>,
    ) -> Result<Proof, Error> {
        let begun = Instant::now();
        let mut proof = self.proof_of(projection.name(), "rows");
        let Some((schema, at)) = self.live(projection.name(), &mut proof) else { return Ok(proof) };
        let findings = &mut proof.findings;
        proof.proved =
            rebuild::check(&self.snapshot, projection, schema, at, history, findings).await?;
        proof.took = begun.elapsed();
        Ok(proof)
    }

    pub(super) async fn events(
        &self,
        pool: &PgPool,
        broker: &Broker,
        against: Against<'_>,
        allowed: Allowed,
    ) -> Result<(Proof, Vec<i64>), Error> {
        let begun = Instant::now();
        let compared = broker::check(broker, pool, against, self.head, allowed).await?;
        let proof = Proof {
            check: "EVENTS",
            claim: compared.claim,
            proved: compared.count,
            of: "messages",
            note: compared.note,
            findings: compared.findings,
            took: begun.elapsed(),
        };
        Ok((proof, compared.originals))
    }

    pub(super) fn proof_of(&self, name: &'static str, of: &'static str) -> Proof {
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
    pub(super) fn live(&self, name: &str, proof: &mut Proof) -> Option<(&str, i64)> {
        self.live_up_to(self.head, name, proof)
    }

    fn live_up_to(&self, end: i64, name: &str, proof: &mut Proof) -> Option<(&str, i64)> {
        let live = self.checkpoints.get(name);
        let found = match live {
            Some((_, at)) if at <= end => return live,
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

/// A task that ends with whoever waits for it.
pub(super) type Work<T> = AbortOnDropHandle<Result<T, Error>>;

/// What a comparison gave; a proof that failed where it came to no end. Servers that do not answer end the audit.
pub(super) fn made<T>(
    check: &'static str,
    ended: Result<Result<T, Error>, JoinError>,
) -> Result<Result<T, Proof>, Error> {
    let error = match ended.map_err(worker_failed) {
        Ok(Ok(made)) => return Ok(Ok(made)),
        Ok(Err(error)) if error.is_unreachable() => return Err(error),
        Ok(Err(error)) | Err(error) => error,
    };
    let mut findings = Findings::default();
    findings.add(|| Disagreement {
        position: None,
        about: check.to_owned(),
        field: "comparison".to_owned(),
        expected: "an end".to_owned(),
        sentence: format!("{check} could not be compared: {error}"),
        found: error.to_string(),
    });
    Ok(Err(Proof {
        check,
        claim: format!("{check} equals what history makes of it"),
        proved: 0,
        of: "rows",
        note: None,
        findings,
        took: Duration::ZERO,
    }))
}

pub(super) fn beside<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Work<T> {
    AbortOnDropHandle::new(tokio::spawn(work))
}
