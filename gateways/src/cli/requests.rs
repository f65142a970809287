//! `tapedeck requests`: what viewers asked for with points, and what came of it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::Utc;
use domain::chat_request::Wish;
use domain::generation::{Command as Decision, Generation as Aggregate};
use journal::broker::Broker;
use journal::ingest::Publisher;
use journal::replies::Replies;
use journal::{Decision as Decided, Envelope, Origin};
use projections::Page;
use projections::generations::{self, Filter, Generation, One};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Globals, print};
use crate::config::Config;
use crate::generation::{by_hand, standing};

/// How long a command may take to be decided.
const DECISION_LIMIT: Duration = Duration::from_secs(10);
/// The one at the terminal, as history names who did it.
const ACTOR: &str = "cli";

/// List, show, cancel and retry requests for pictures
///
/// A request is paid for with a viewer's points, worked on by the first worker that is free, in the
/// order of submission, and shown when its picture is there. What ends without a picture gives the
/// points back.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck requests list\n  \
    tapedeck requests list --stage failed\n  \
    tapedeck requests show 5f3c0000-0000-5000-8000-000000000001\n  \
    tapedeck requests cancel 5f3c0000-0000-5000-8000-000000000001 --reason \"not tonight\"\n  \
    tapedeck requests retry 5f3c0000-0000-5000-8000-000000000001")]
pub struct Requests {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show requests, newest first, and how many there are in each stage
    List {
        /// Only those in this stage
        #[arg(long, value_parser = generations::STAGES)]
        stage: Option<String>,
        /// Only those of this style: ghost, friend, or the id of a static alert
        #[arg(long)]
        style: Option<String>,
        /// Only those of this viewer, by Twitch user id
        #[arg(long)]
        viewer: Option<String>,
        /// Only those submitted before this position
        #[arg(long, value_name = "POSITION")]
        before: Option<i64>,
        /// How many at most
        #[arg(long, default_value_t = Page::LIMIT_DEFAULT,
              value_parser = clap::value_parser!(i64).range(1..=Page::LIMIT_MAX))]
        limit: i64,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one with its attempts and what it cost
    Show {
        id: Uuid,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Cancel one that is not made yet; its points go back
    Cancel {
        id: Uuid,
        /// Why
        #[arg(long, default_value = "cancelled at the terminal")]
        reason: String,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Have a picture shown that waits for review
    Approve {
        id: Uuid,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep a picture off the screen that waits for review; its points go back
    Reject {
        id: Uuid,
        /// Why
        #[arg(long, default_value = "rejected at the terminal")]
        reason: String,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Try one again that ended without a picture: a new request, paid for again
    Retry {
        id: Uuid,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
}

impl Requests {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (config, pool) = globals.database("requests").await?;
        match self.command {
            Command::List { stage, style, viewer, before, limit, json } => {
                let filter = Filter { stage, style, viewer };
                let page = Page { before, limit: Some(limit) };
                list(&config, &pool, &filter, page, json).await?;
            }
            Command::Show { id, json: true } => print::json(&find(&pool, id).await?)?,
            Command::Show { id, json: false } => show(&find(&pool, id).await?)?,
            Command::Cancel { id, reason, json } => {
                let (entry, actor) = (Uuid::new_v4(), ACTOR.to_owned());
                let command = Decision::Cancel { entry, actor, reason };
                carry_out(&config, id, &command, json, "It is cancelled.").await?;
            }
            Command::Approve { id, json } => {
                let (entry, actor) = (Uuid::new_v4(), ACTOR.to_owned());
                let command = Decision::Approve { entry, actor };
                carry_out(&config, id, &command, json, "It will be shown.").await?;
            }
            Command::Reject { id, reason, json } => {
                let (entry, actor) = (Uuid::new_v4(), ACTOR.to_owned());
                let command = Decision::Reject { entry, actor, reason };
                carry_out(&config, id, &command, json, "It will not be shown.").await?;
            }
            Command::Retry { id, json } => {
                let old = find(&pool, id).await?.generation;
                let (entry, now) = (Uuid::new_v4(), Utc::now());
                let (new, command) = by_hand::retry(entry, &old, &config.prices, now)?;
                let on_air = by_hand::on_air(&pool, &config.broadcaster_id).await?;
                let command = by_hand::stamped(command, on_air);
                let said =
                    format!("Submitted. tapedeck requests show {new} says what comes of it.");
                carry_out(&config, new, &command, json, &said).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn find(pool: &PgPool, request: Uuid) -> anyhow::Result<One> {
    let (_, one) = generations::one(pool, request).await?;
    one.with_context(|| format!("there is no request {request}; see tapedeck requests list"))
}

/// Sends a command and waits for its outcome.
async fn carry_out(
    config: &Config,
    request: Uuid,
    command: &Decision,
    json: bool,
    said: &str,
) -> anyhow::Result<()> {
    let broker = Broker::new(config.broker());
    let (publisher, replies) = (Publisher::start(&broker).await?, Replies::start(&broker).await?);
    let origin = Origin {
        source: "cli".to_owned(),
        source_id: Uuid::new_v4().to_string(),
        actor: Some(ACTOR.to_owned()),
        received_at: Utc::now(),
        raw: None,
    };
    let envelope = Envelope::new::<Aggregate>(&request.to_string(), command, origin)?;
    let id = envelope.id;
    let asked = replies.ask(&publisher, envelope, DECISION_LIMIT);
    let asked = tokio::time::timeout(DECISION_LIMIT, asked).await;
    let outcome = asked.context("the broker does not answer")??;
    let outcome = outcome.with_context(|| format!("command {id} is sent and not decided yet"))?;
    if json {
        print::json(&outcome)?;
    }
    match outcome.decision {
        Decided::Accepted if json => Ok(()),
        Decided::Accepted => print::text(said),
        Decided::Rejected | Decided::Dead => bail!(outcome.reason.unwrap_or_default()),
    }
}

async fn list(
    config: &Config,
    pool: &PgPool,
    filter: &Filter,
    page: Page,
    json: bool,
) -> anyhow::Result<()> {
    let list = generations::list(pool, filter, page).await?;
    if json {
        return print::json(&list);
    }
    if list.generations.is_empty() {
        return print::text("No requests.");
    }
    let head = ["submitted (UTC)", "request", "viewer", "wish", "stage", "points", "failed"];
    let mut table = print::table(&head, &[5, 6]);
    for one in &list.generations {
        table.add_row([
            print::time(one.submitted_at),
            one.id.to_string(),
            who(one),
            words(one),
            one.stage.clone(),
            print::points(one.price),
            print::points(one.attempts),
        ]);
    }
    print::rows(table)?;
    let counts = list.counts.iter().filter(|count| count.count > 0);
    let counts: Vec<String> =
        counts.map(|count| format!("{} {}", print::points(count.count), count.stage)).collect();
    print::text(&format!("\nIn all: {}", counts.join(", ")))?;
    let (limits, provider) = (config.generation.limits(), config.generation.provider());
    let cost = provider.cost_micros_max();
    let state = standing::state(pool, Utc::now(), &limits, cost).await?;
    let until = state.standing.until().map(|until| format!(" until {} UTC", print::time(until)));
    print::text(&format!(
        "Making: {}{}; {} of {} spent today",
        state.standing.name().replace('_', " "),
        until.unwrap_or_default(),
        dollars(state.spent_micros),
        dollars(state.budget_micros),
    ))
}

fn show(one: &One) -> anyhow::Result<()> {
    let request = &one.generation;
    let mut table = print::table(&["", ""], &[]);
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let time = |time: Option<chrono::DateTime<Utc>>| time.map(print::time).unwrap_or_default();
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let picture = request.picture.as_ref();
    for (name, value) in [
        ("request", request.id.to_string()),
        ("viewer", who(request)),
        ("wish", words(request)),
        ("points", print::points(request.price)),
        ("stage", request.stage.clone()),
        ("points were", optional(&request.settlement)),
        ("picture", picture.map(|picture| picture.content.clone()).unwrap_or_default()),
        ("name", picture.and_then(|picture| picture.name.clone()).unwrap_or_default()),
        ("cost", dollars(request.cost_micros)),
        ("code", optional(&request.code)),
        ("reason", optional(&request.reason)),
        ("tries again", id(request.retry_of)),
        ("tried again by", id(one.retried_as)),
        ("submitted (UTC)", print::time(request.submitted_at)),
        ("next attempt (UTC)", time(request.retry_at)),
        ("ended (UTC)", time(request.ended_at)),
    ] {
        if !value.is_empty() {
            table.add_row([name.to_owned(), print::harmless(&value)]);
        }
    }
    print::rows(table)?;
    if one.attempts.is_empty() {
        return Ok(());
    }
    let mut table = print::table(&["attempt", "failed at (UTC)", "reason"], &[0]);
    for attempt in &one.attempts {
        let reason = print::harmless(&attempt.reason);
        table.add_row([attempt.attempt.to_string(), print::time(attempt.at), reason]);
    }
    print::text("")?;
    print::rows(table)
}

fn who(request: &Generation) -> String {
    let name = request.viewer.name.as_deref().map(print::harmless);
    name.unwrap_or_else(|| request.viewer.id.clone())
}

/// What was asked for, in words.
fn words(request: &Generation) -> String {
    let wish = serde_json::from_value(request.wish.clone());
    let words = match wish {
        Ok(Wish::Ghost { subject }) => format!("ghost of {subject}"),
        Ok(Wish::Friend { colour: Some(colour), subject }) => {
            format!("{} friend: {subject}", colour.name())
        }
        Ok(Wish::Friend { colour: None, subject }) => format!("friend: {subject}"),
        Ok(Wish::Static { id, .. }) => id,
        Err(_) => request.style.clone(),
    };
    print::harmless(&words)
}

fn dollars(micros: i64) -> String {
    format!("${}.{:02}", micros / 1_000_000, micros.rem_euclid(1_000_000) / 10_000)
}
