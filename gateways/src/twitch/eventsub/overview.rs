//! How EventSub is, for whoever asks: the command line and the API say the same. And the order to look at everything now.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use projections::{Page, QueryError, gaps};
use serde::Serialize;
use sqlx::PgPool;
use thiserror::Error;
use utoipa::ToSchema;
use uuid::Uuid;

use super::conduits::rows::{Rows, Shard};
use super::record::{self, Feed};
use super::round::{Report, State, Status};
use super::settings::Transport;
use super::subscriptions::{Cost, Made};
use super::wanted::{Wanted, wanted};
use crate::config::Config;
use crate::twitch::secrets::listed::{self, Listed};

/// What is said where nobody can grant what it takes.
pub const OFF: &str = "Twitch is not asked to tell anything: set twitch.client_id, then `tapedeck connect`, which says what \
     broadcaster_id is, and start again";

/// How often whoever waits for an answer looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The most gaps that are shown. There is one for each loss, and those that last are few.
const GAPS_SHOWN: i64 = 20;

/// What Twitch is asked to tell us, and whether it does.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EventsubAnswer)]
pub struct Overview {
    /// The gaps are those at this position.
    pub position: i64,
    /// How Twitch is to tell us, as the configuration has it.
    #[schema(example = "websocket")]
    pub transport: &'static str,
    /// Whoever listens, or listened last; `null` where nobody ever did.
    pub listener: Option<Listener>,
    /// Each type that is wanted, the dearest first.
    #[serde(rename = "types")]
    pub wanted: Vec<WantedNow>,
    /// What the last look at all of them came to.
    pub round: Option<Round>,
    /// The shards of the conduit, where one tells us, and which process holds each.
    pub shards: Vec<Shard>,
    /// The gaps that last, the newest first: of these types, not everything may reach us now.
    pub gaps: Vec<OpenGap>,
    /// The versions of the secret that signs webhooks, the newest first, without the secrets.
    pub secrets: Vec<Listed>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EventsubListener)]
pub struct Listener {
    pub id: Uuid,
    #[schema(example = "websocket")]
    pub transport: String,
    /// `connecting`, `connected`, `subscribed` (webhooks) or `stopped`.
    #[schema(example = "connected")]
    pub state: String,
    pub why: Option<String>,
    pub since: DateTime<Utc>,
    /// All that Twitch told before this is stored.
    pub heard_at: Option<DateTime<Utc>>,
    /// The types that reach us.
    pub kinds: Vec<String>,
}

/// A type that is wanted, and how its subscription is.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EventsubType)]
pub struct WantedNow {
    #[serde(rename = "type")]
    #[schema(example = "channel.cheer")]
    pub kind: String,
    pub version: String,
    pub condition: BTreeMap<String, String>,
    pub state: StateNow,
    /// Why it is not enabled.
    pub why: Option<String>,
    /// What Twitch calls it.
    pub id: Option<String>,
    pub cost: Option<i64>,
    /// The version of the secret that it was made with, where it is known.
    pub secret: Option<i64>,
    /// Since when we know it to be so.
    pub at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EventsubState)]
pub enum StateNow {
    /// It was not looked at yet.
    Wanted,
    Enabled,
    /// Twitch waits for our answer to its challenge.
    Pending,
    Failing,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EventsubRound)]
pub struct Round {
    pub at: DateTime<Utc>,
    pub enabled: usize,
    pub pending: usize,
    pub failing: usize,
    /// How many were taken away, and how many left alone because they are none of ours.
    pub removed: u32,
    pub left: usize,
    /// How many are still told by one that was made with another secret.
    pub moving: usize,
    pub cost: Cost,
    pub calls: Made,
    /// Why not all could be looked at.
    pub failed: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EventsubGap)]
pub struct OpenGap {
    pub position: i64,
    pub kinds: Vec<String>,
    pub since: DateTime<Utc>,
    pub reason: String,
}

/// Why there is nothing to be said.
#[derive(Debug, Error)]
pub enum Unsaid {
    #[error("{OFF}")]
    Off,
    #[error("nobody ever listened: start `tapedeck serve` or `tapedeck up`")]
    NobodyListened,
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// How it is now.
pub async fn now(pool: &PgPool, config: &Config) -> Result<Overview, Unsaid> {
    let broadcaster = &config.broadcaster_id;
    if config.twitch.hearing(broadcaster).is_none() {
        return Err(Unsaid::Off);
    }
    let settings = &config.twitch.eventsub;
    let all = wanted(broadcaster, settings.reader(broadcaster), &settings.leave_out);
    let feed = record::find(pool, broadcaster).await?;
    let secrets = listed::list(pool).await?;
    let open = match gaps::list(pool, true, Page::of(GAPS_SHOWN)).await {
        // Nothing was ever folded here, so nothing was ever lost.
        Err(QueryError::NotBuilt(_)) => {
            gaps::List { position: 0, gaps: Vec::new(), open: 0, before: None }
        }
        open => open?,
    };
    let shards = match settings.transport {
        Transport::Conduit => {
            Rows { pool: pool.clone(), broadcaster: broadcaster.clone() }.shards().await?
        }
        Transport::Webhook | Transport::Websocket => Vec::new(),
    };
    let report = feed.as_ref().and_then(|feed| feed.report.as_ref());
    Ok(Overview {
        position: open.position,
        transport: settings.transport.name(),
        wanted: all.into_iter().map(|one| WantedNow::of(one, report, &secrets)).collect(),
        round: report.map(Round::of),
        gaps: open.gaps.into_iter().map(OpenGap::of).collect(),
        secrets,
        shards,
        listener: feed.map(Listener::of),
    })
}

/// Asks whoever listens to look at everything. Once it is answered up to the number that is given, it was done.
pub async fn ask(pool: &PgPool, config: &Config) -> Result<i64, Unsaid> {
    if config.twitch.hearing(&config.broadcaster_id).is_none() {
        return Err(Unsaid::Off);
    }
    record::ask(pool, &config.broadcaster_id).await?.ok_or(Unsaid::NobodyListened)
}

/// What came of it, if it comes within the limit.
pub async fn answered(
    pool: &PgPool,
    config: &Config,
    asked: i64,
    limit: Duration,
) -> Result<Option<Report>, Unsaid> {
    let answered = async {
        loop {
            let feed = record::find(pool, &config.broadcaster_id).await?;
            if let Some(Feed { answered, report: Some(report), .. }) = feed
                && answered >= asked
            {
                return Result::<Report, Unsaid>::Ok(report);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(limit, answered).await.ok().transpose()
}

impl Listener {
    fn of(feed: Feed) -> Self {
        let Feed { listener, transport, state, why, since, heard_at, kinds, .. } = feed;
        Listener { id: listener, transport, state, why, since, heard_at, kinds }
    }
}

impl WantedNow {
    fn of(one: Wanted, report: Option<&Report>, secrets: &[Listed]) -> Self {
        let found = report.and_then(|report| report.statuses.iter().find(|is| is.wanted == one));
        let Wanted { kind, version, condition } = one;
        let unknown = WantedNow {
            kind,
            version,
            condition,
            state: StateNow::Wanted,
            why: None,
            id: None,
            cost: None,
            secret: None,
            at: None,
        };
        let Some(status) = found else { return unknown };
        WantedNow {
            state: status.state.into(),
            why: status.why.clone(),
            id: status.id.clone(),
            cost: Some(status.cost),
            secret: version_of(status, secrets),
            at: Some(status.at),
            ..unknown
        }
    }
}

/// The version of the secret that it was made with.
fn version_of(status: &Status, secrets: &[Listed]) -> Option<i64> {
    let name = status.secret.as_ref()?;
    secrets.iter().find(|secret| secret.name == *name).map(|secret| secret.version)
}

impl From<State> for StateNow {
    fn from(state: State) -> Self {
        match state {
            State::Enabled => StateNow::Enabled,
            State::Pending => StateNow::Pending,
            State::Failing => StateNow::Failing,
        }
    }
}

impl StateNow {
    pub fn name(self) -> &'static str {
        match self {
            StateNow::Wanted => "wanted",
            StateNow::Enabled => "enabled",
            StateNow::Pending => "pending",
            StateNow::Failing => "failing",
        }
    }
}

impl Round {
    pub fn of(report: &Report) -> Self {
        let [enabled, pending, failing] =
            [State::Enabled, State::Pending, State::Failing].map(|state| report.count(state));
        Round {
            at: report.at,
            enabled,
            pending,
            failing,
            removed: report.removed,
            left: report.left,
            moving: report.moving,
            cost: report.cost,
            calls: report.made,
            failed: report.failed.clone(),
        }
    }
}

impl OpenGap {
    fn of(gap: gaps::Gap) -> Self {
        let gaps::Gap { position, kinds, since, reason, .. } = gap;
        OpenGap { position, kinds, since, reason }
    }
}
