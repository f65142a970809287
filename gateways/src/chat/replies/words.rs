//! What is to be said: found out when it is said, from what is known then.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::chat::{Ending, NoGift, Request};
use journal::positions::Positions;
use projections::leaderboard::{self, By};
use projections::{AsOf, balances, broadcasts};
use sqlx::PgPool;

use super::lease::Lease;
use super::texts::{Texts, addressed, filled};

/// How long it is waited until a projection has seen what it is asked about.
const SEEN_LIMIT: Duration = Duration::from_secs(3);
const PLACES: i64 = 5;

/// What finding the words needs.
#[derive(Clone)]
pub struct Wordsmith {
    pub pool: PgPool,
    pub positions: Positions,
    pub texts: Texts,
    /// Fixed texts, by topic.
    pub help: BTreeMap<String, String>,
}

impl Wordsmith {
    /// The whole line that answers; `None` for a fixed text that was taken out of the configuration since.
    pub async fn line(&self, lease: &Lease, now: DateTime<Utc>) -> anyhow::Result<Option<String>> {
        let name = self.name(&lease.viewer).await?;
        let text = match (&lease.ending, &lease.request) {
            (Some(ending), request) => Some(self.ending(request, ending).await?),
            (None, Request::Help { topic }) => self.help.get(topic).cloned(),
            (None, _) => Some(self.answer(lease, now).await?),
        };
        Ok(text.map(|text| addressed(name.as_deref(), &text)))
    }

    async fn answer(&self, lease: &Lease, now: DateTime<Utc>) -> anyhow::Result<String> {
        let texts = &self.texts;
        Ok(match &lease.request {
            Request::Balance {} => self.balance(lease).await?,
            Request::Uptime {} => self.uptime(lease, now).await?,
            Request::Tape {} => self.tape(lease, now).await?,
            Request::Top {} => self.top(lease).await?,
            Request::Unclear { unclear, .. } => {
                filled(&texts.unclear, &[("why", unclear.to_string())])
            }
            Request::NoGift { why } => match why {
                NoGift::Unclear => texts.give_unclear.clone(),
                NoGift::NobodyKnown => texts.give_to_nobody_known.clone(),
                NoGift::ToThemselves => texts.give_to_oneself.clone(),
            },
            Request::Help { .. } | Request::Wish { .. } | Request::Give { .. } => {
                anyhow::bail!("it is due before it has ended")
            }
        })
    }

    async fn balance(&self, lease: &Lease) -> anyhow::Result<String> {
        self.seen(balances::NAME, lease).await;
        let sums = balances::of(&self.pool, &lease.viewer, AsOf::Now).await?.sums;
        let template = match sums.held {
            0 => &self.texts.balance,
            _ => &self.texts.balance_with_held,
        };
        let with = [("available", sums.available.to_string()), ("held", sums.held.to_string())];
        Ok(filled(template, &with))
    }

    async fn uptime(&self, lease: &Lease, now: DateTime<Utc>) -> anyhow::Result<String> {
        self.seen(broadcasts::NAME, lease).await;
        let current = broadcasts::current(&self.pool, &lease.chat).await?;
        let Some(broadcast) = current.broadcast.filter(|broadcast| broadcast.live) else {
            return Ok(self.texts.not_live.clone());
        };
        let minutes = (now - broadcast.started_at).num_minutes().max(0);
        let with = [("hours", (minutes / 60).to_string()), ("minutes", (minutes % 60).to_string())];
        Ok(filled(&self.texts.live, &with))
    }

    async fn tape(&self, lease: &Lease, now: DateTime<Utc>) -> anyhow::Result<String> {
        self.seen(broadcasts::NAME, lease).await;
        let current = broadcasts::current(&self.pool, &lease.chat).await?;
        let Some(screening) = current.screening else { return Ok(self.texts.no_tape.clone()) };
        let minutes = (now - screening.started_at).num_minutes().max(0);
        let with = [("tape", screening.tape), ("minutes", minutes.to_string())];
        Ok(filled(&self.texts.tape, &with))
    }

    async fn top(&self, lease: &Lease) -> anyhow::Result<String> {
        self.seen(balances::NAME, lease).await;
        let board = leaderboard::of(&self.pool, By::Total, PLACES).await?;
        let places: Vec<String> = board
            .places
            .into_iter()
            .map(|place| {
                // Whoever was erased, or never named, keeps the place.
                let name = place.viewer.name.unwrap_or_else(|| "somebody".to_owned());
                format!("{}. {name} {}", place.place, place.points)
            })
            .collect();
        Ok(match places.is_empty() {
            true => self.texts.top_of_nobody.clone(),
            false => filled(&self.texts.top, &[("places", places.join(", "))]),
        })
    }

    async fn ending(&self, request: &Request, ending: &Ending) -> anyhow::Result<String> {
        let texts = &self.texts;
        let template = match ending {
            Ending::Shown {} => &texts.shown,
            Ending::TooFewPoints { .. } => &texts.too_few_points,
            Ending::Rejected {} => &texts.rejected,
            Ending::Refused {} => &texts.refused,
            Ending::Failed {} => &texts.failed,
            Ending::Cancelled {} => &texts.cancelled,
            Ending::Expired {} => &texts.expired,
            Ending::Given {} => &texts.given,
            Ending::NoRoom {} => &texts.no_room,
        };
        let mut with = Vec::new();
        match request {
            Request::Wish { wish, price, .. } => {
                with.push(("style", wish.style().replace('-', " ")));
                with.push(("price", price.to_string()));
            }
            Request::Give { to, points } => {
                let receiver = self.name(to).await?.unwrap_or_else(|| "somebody".to_owned());
                with.push(("receiver", receiver));
                with.push(("points", points.to_string()));
                with.push(("price", points.to_string()));
            }
            _ => {}
        }
        if let Ending::TooFewPoints { available } = ending {
            with.push(("available", available.to_string()));
        }
        Ok(filled(template, &with))
    }

    /// What somebody is called now.
    async fn name(&self, viewer: &str) -> sqlx::Result<Option<String>> {
        let name: Option<Option<String>> = sqlx::query_scalar(
            "SELECT coalesce(name, login) FROM viewer_names WHERE viewer_id = $1",
        )
        .bind(viewer)
        .fetch_optional(&self.pool)
        .await?;
        Ok(name.flatten())
    }

    /// Waits a little until a projection has seen what came before the question.
    async fn seen(&self, projection: &str, lease: &Lease) {
        let waited = self.positions.wait(projection, lease.due_position, SEEN_LIMIT).await;
        if let Err(at) = waited {
            tracing::debug!(projection, at, wanted = lease.due_position, "answered from before");
        }
    }
}
