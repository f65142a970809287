//! `tapedeck give`: points from one viewer to another.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::Utc;
use domain::account::{Account, Event};
use domain::{entry_id, giving};
use journal::{Decision, Envelope, Origin, Outcome};
use sqlx::PgPool;

use super::many::{Desk, actor};
use super::{EXIT_FAILED, Globals, print};
use crate::http::gifts::{Arrival, arrived};

const ARRIVAL_LIMIT: Duration = Duration::from_secs(10);

/// Give points of one viewer to another: both sides or neither
///
/// The points are set aside on the giver's account, credited to the receiver, and then spent; wherever that is
/// interrupted, it goes on from there. Whoever has too few gives nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck give 5001 5002 100\n  \
    tapedeck give 5001 5002 100 --id bet-17     once, however often it is repeated")]
pub struct Give {
    /// The giver's Twitch user id
    from: String,
    /// The receiver's Twitch user id
    to: String,
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    points: i64,
    /// Names this gift, so that repeating it gives nothing twice; another gift needs another name
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Who does this, as history keeps it
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

impl Give {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let Give { from, to, points, id, actor: named } = self;
        journal::command::check_id(&to)?;
        ensure!(from != to, "nobody gives points to themselves");
        let desk = Desk::open(globals, "give").await?;
        // Without a name the moment is the name: the next gift is another one.
        let id = match id {
            Some(id) => id,
            None => format!("{from}:{to}:{}", journal::head::read(&desk.pool).await?.position),
        };
        let gift = entry_id("give", &id);
        let received_at = Utc::now();
        let origin = Origin {
            source: "terminal".to_owned(),
            source_id: id.clone(),
            actor: Some(actor(named.as_deref())),
            received_at,
            raw: None,
        };
        let command = giving::begin(gift, &to, points, received_at);
        let envelope = Envelope::new::<Account>(&from, &command, origin)?;
        let Some(outcome) = desk.sender.ask(envelope).await? else {
            bail!(
                "it is stored and not decided yet: is `tapedeck serve` running? The same again with --id {id} tells"
            );
        };
        if outcome.aggregate_id != from {
            let giver = &outcome.aggregate_id;
            bail!("--id {id} names a gift of viewer {giver}, and nothing was given now");
        }
        if outcome.decision != Decision::Accepted {
            bail!("refused: {}", outcome.reason.unwrap_or_default());
        }
        match recorded(&desk.pool, &outcome).await? {
            Event::Held { points: held, purpose, .. } => same(&id, (&to, points), held, &purpose)?,
            Event::Declined { points: wanted, purpose, .. } => {
                same(&id, (&to, points), wanted, &purpose)?;
                bail!("viewer {from} has fewer than {} points available", print::points(points));
            }
            other => bail!("--id {id} names something else: {other:?}"),
        }
        let (words, code) = match arrived(&desk.pool, gift, ARRIVAL_LIMIT).await?.status {
            Arrival::Arrived => ("has", ExitCode::SUCCESS),
            Arrival::OnItsWay => ("will have", ExitCode::SUCCESS),
            Arrival::GivenBack => ("has no room for", ExitCode::from(EXIT_FAILED)),
        };
        print::text(&format!("Viewer {to} {words} {} points of {from}.", print::points(points)))?;
        Ok(code)
    }
}

/// What the outcome's command did, perhaps long ago: the same name is the same command, whatever it asks for now.
async fn recorded(pool: &PgPool, outcome: &Outcome) -> anyhow::Result<Event> {
    let payload: Option<String> =
        sqlx::query_scalar("SELECT payload::text FROM events WHERE position = $1")
            .bind(outcome.last_position())
            .fetch_optional(pool)
            .await?;
    let payload = payload.context("the journal lacks its event: run tapedeck audit")?;
    serde_json::from_str(&payload).context("its event is none of an account")
}

/// Refuses a name that was given to another gift.
fn same(id: &str, wanted: (&str, i64), points: i64, purpose: &str) -> anyhow::Result<()> {
    let receiver = giving::receiver(purpose).unwrap_or(purpose);
    if wanted == (receiver, points) {
        return Ok(());
    }
    let points = print::points(points);
    bail!("--id {id} names a gift of {points} points to {receiver}, and nothing was given now")
}
