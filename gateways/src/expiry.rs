//! The timer of holds: what nobody captured or released in time is given back. Goes out, as commands.
//!
//! A hold that pays for a request ends with it, so the request is cancelled; any other hold is released. Each command's
//! id is derived from the hold's, so that sending it again changes nothing, and a command that comes too late is refused
//! by the aggregate.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::account::{self, Account};
use domain::entry_id;
use domain::generation::{self, EXPIRED, Generation, TIMER};
use journal::broker::Broker;
use journal::command::BadAddress;
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::{Envelope, Origin};
use projections::holds::{self, Due};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::leading;

/// The name of the lock, and the source of the commands.
const NAME: &str = "expiry";
/// How many holds are read at once.
const PAGE: i64 = 500;
/// The most pages of one round; what is left waits for the next.
const PAGES_MAX: usize = 200;
/// How long a hold whose command was sent may stay open before it is sent again: it may be on its way for long.
const SENT_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(60);
/// The longest and the shortest time between two rounds.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(500);
/// How long the connection that holds the lock may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Ends what is due until told to stop. Any number of processes may run this: one acts, others wait.
pub async fn run(
    pool: PgPool,
    broker: Broker,
    publisher: Publisher,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let work = |leader| leading::until(&stop, lead(&pool, &broker, &publisher, leader));
    leading::lead(&pool, (NAME, "the timer of holds"), &stop, work).await
}

/// Ends what is due while we are the one, until something fails.
async fn lead(
    pool: &PgPool,
    broker: &Broker,
    publisher: &Publisher,
    mut leader: PgConnection,
) -> anyhow::Result<()> {
    let positions = Positions::start(pool.clone(), broker).await?;
    let mut folded = positions.watch(holds::NAME);
    let mut timer = Timer::default();
    loop {
        tokio::time::timeout(ANSWER_LIMIT, still_leads(&mut leader)).await??;
        folded.borrow_and_update();
        let next = timer.round(pool, publisher, Utc::now()).await?;
        tokio::time::sleep(LOOK_AT_MOST_EVERY).await;
        let until_next = next.map(|next| (next - Utc::now()).to_std().unwrap_or_default());
        let wait = until_next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        // A new hold may be due sooner.
        let _ = tokio::time::timeout(wait, folded.changed()).await;
    }
}

async fn still_leads(leader: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT 1").execute(leader).await.map(drop)
}

/// What was sent for which hold, and when.
#[derive(Default)]
pub struct Timer {
    sent: HashMap<Uuid, DateTime<Utc>>,
}

impl Timer {
    /// Ends what is due at `now`, and says when to look again, if anything is known to become due.
    pub async fn round(
        &mut self,
        pool: &PgPool,
        publisher: &Publisher,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<DateTime<Utc>>> {
        self.sent.retain(|_, at| now - *at < SENT_AGAIN_AFTER);
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let due = holds::due(pool, now, after, PAGE).await?;
            let unsent = due.iter().filter(|hold| !self.sent.contains_key(&hold.id));
            let unsent: Vec<&Due> = unsent.collect();
            let envelopes = unsent.iter().map(|hold| ending(hold, now));
            let envelopes = envelopes.collect::<Result<Vec<_>, _>>()?;
            let sending = envelopes.iter().map(|envelope| publisher.send(envelope));
            futures::future::try_join_all(sending).await?;
            self.sent.extend(unsent.iter().map(|hold| (hold.id, now)));
            if !unsent.is_empty() {
                tracing::info!(holds = unsent.len(), "given back, as their time is over");
            }
            after = due.last().map(|hold| (hold.expires_at, hold.id));
            if (due.len() as i64) < PAGE {
                break;
            }
        }
        Ok(holds::next_due(pool, now).await?)
    }
}

/// The command that ends a hold whose time is over.
fn ending(hold: &Due, now: DateTime<Utc>) -> Result<Envelope, BadAddress> {
    let id = hold.id.to_string();
    let (entry, reason) = (entry_id(NAME, &id), EXPIRED.to_owned());
    let origin = Origin {
        source: NAME.to_owned(),
        source_id: id.clone(),
        actor: Some(TIMER.to_owned()),
        received_at: now,
        raw: None,
    };
    let envelope = if hold.of_request {
        let command = generation::Command::Cancel { entry, actor: TIMER.to_owned(), reason };
        Envelope::new::<Generation>(&id, &command, origin)?
    } else {
        let command = account::Command::Release { entry, hold: hold.id, reason };
        Envelope::new::<Account>(&hold.viewer, &command, origin)?
    };
    let correlation = hold.correlation.unwrap_or(hold.cause);
    Ok(Envelope { correlation, causation: Some(hold.cause), ..envelope })
}
