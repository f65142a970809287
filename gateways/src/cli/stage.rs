//! `tapedeck stage`: what plays in OBS, what waits, and what to do about it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use domain::alerting::Kind;
use domain::stage::{Command as Decision, Sound, Stage as Aggregate};
use journal::broker::Broker;
use journal::ingest::Publisher;
use journal::replies::Replies;
use journal::{Decision as Decided, Envelope, Origin};
use projections::Page;
use projections::stages::{self, View};
use serde_json::{Map, Value};
use sqlx::PgPool;
use uuid::Uuid;

use super::many::actor;
use super::{Globals, print};
use crate::config::Config;
use crate::stage::presence;
use crate::stage::samples;

mod tables;

/// How long a command may take to be decided.
const DECISION_LIMIT: Duration = Duration::from_secs(10);

/// Show what plays in OBS and what waits, and direct it
///
/// The server decides from when to when each alert is shown, and every overlay of a stage shows the
/// same. An alert waits until an overlay is there to show it, and its row says what became of it:
///
///   waiting    in line; nothing starts while the stage is paused or no overlay shows its type
///   playing    started, and no overlay has said yet that it is on the screen
///   shown      on a screen, now or before
///   skipped    taken off while it played
///   cleared    taken out of the line
///   expired    waited for longer than its type may
///   unknown    sent to an overlay that never said anything about it, or paid for and still in line
///              when the configuration did not name its stage any more: replay it, or leave it
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "EXAMPLES\n  \
    tapedeck stage show                     what plays, what waits, which overlays are there\n  \
    tapedeck stage pause                    start nothing more; what plays ends by itself\n  \
    tapedeck stage skip                     take off what plays, now\n  \
    tapedeck stage clear                    take everything that waits out of the line\n  \
    tapedeck stage alerts --state unknown   of what nobody knows whether it was shown\n  \
    tapedeck stage replay 5f3c0000-0000-5000-8000-000000000001\n  \
    tapedeck stage mute sound\n  \
    tapedeck stage test ghost --with '{\"subject\": \"a lighthouse\"}'"
)]
pub struct Stage {
    /// Which stage, where there are several
    #[arg(long, global = true, value_name = "NAME", default_value = "main")]
    stage: String,
    /// Who does this, as history keeps it
    #[arg(long, global = true, value_name = "NAME")]
    actor: Option<String>,
    /// Print one line of JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what plays, what waits, and the overlays that are there
    Show,
    /// List alerts with what became of them, newest first
    Alerts {
        /// Only those in this state
        #[arg(long, value_parser = stages::STATES)]
        state: Option<String>,
        /// Only those recorded before this position
        #[arg(long, value_name = "POSITION")]
        before: Option<i64>,
        /// How many at most
        #[arg(long, default_value_t = Page::LIMIT_DEFAULT,
              value_parser = clap::value_parser!(i64).range(1..=Page::LIMIT_MAX))]
        limit: i64,
    },
    /// Start nothing more; what plays ends by itself
    Pause,
    /// Go on after a pause
    Resume,
    /// Take off what plays
    Skip {
        /// Only if it is this alert that plays
        alert: Option<Uuid>,
    },
    /// Take one alert, or all that wait now, out of the line
    Clear {
        /// Only this one
        alert: Option<Uuid>,
    },
    /// Show one again that is over, after those that wait
    Replay { alert: Uuid },
    /// Let one that waits come next
    Prioritise { alert: Uuid },
    /// Make alerts silent
    Mute {
        /// sound or speech
        #[arg(value_parser = sound)]
        what: Sound,
    },
    /// End a muting
    Unmute {
        /// sound or speech
        #[arg(value_parser = sound)]
        what: Sound,
    },
    /// Make an alert to look at: it takes the way of every alert, and moves no points
    Test {
        /// follow, cheer, sub, resub, gift, raid, hype_train, ghost, friend, tape, static or notice
        #[arg(value_parser = kind, value_name = "TYPE")]
        kind: Kind,
        /// What is to be different from the ordinary test of this type: {"bits": 5000}
        #[arg(long, value_name = "JSON")]
        with: Option<String>,
    },
}

impl Stage {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let Stage { stage, actor: named, json, command } = self;
        let (config, pool) = globals.database("stage").await?;
        let desk = Desk { config, pool, stage, actor: actor(named.as_deref()), json };
        let known = desk.config.stage.names.contains(&desk.stage);
        ensure!(known, "there is no stage {}; there are {}", desk.stage, desk.names());
        let (entry, now) = (Uuid::new_v4(), Utc::now());
        let (decision, said) = match command {
            Command::Show => {
                desk.show(now).await?;
                return Ok(ExitCode::SUCCESS);
            }
            Command::Alerts { state, before, limit } => {
                let page = Page { before, limit: Some(limit) };
                desk.list(state.as_deref(), page).await?;
                return Ok(ExitCode::SUCCESS);
            }
            other => desk.decision(entry, now, other).await?,
        };
        desk.carry_out(&decision, now, said).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What a command of the terminal works with.
struct Desk {
    config: Config,
    pool: PgPool,
    stage: String,
    actor: String,
    json: bool,
}

impl Desk {
    fn names(&self) -> String {
        self.config.stage.names.join(", ")
    }

    async fn view(&self) -> anyhow::Result<View> {
        let (_, view) = stages::view(&self.pool, &self.stage).await?;
        view.context("the stage was never opened: is `tapedeck serve` or `up` running?")
    }

    async fn show(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let view = self.view().await?;
        let overlays = presence::of(&self.pool, &self.stage).await?;
        let here: Vec<_> = overlays.into_iter().filter(|overlay| overlay.here).collect();
        match self.json {
            true => print::json(&serde_json::json!({"stage": view, "overlays": here})),
            false => tables::show(&view, &here, now),
        }
    }

    async fn list(&self, state: Option<&str>, page: Page) -> anyhow::Result<()> {
        let list = stages::list(&self.pool, &self.stage, state, page).await?;
        if self.json { print::json(&list) } else { tables::list(&list) }
    }

    /// What to send, and what to say when it is accepted.
    async fn decision(
        &self,
        entry: Uuid,
        at: DateTime<Utc>,
        command: Command,
    ) -> anyhow::Result<(Decision, &'static str)> {
        let actor = self.actor.clone();
        Ok(match command {
            Command::Pause => (Decision::Pause { entry, actor }, "Paused."),
            Command::Resume => (Decision::Resume { entry, actor }, "It goes on."),
            Command::Skip { alert } => {
                let alert = match alert {
                    Some(alert) => alert,
                    None => self.playing(at).await?,
                };
                (Decision::Skip { entry, alert, actor, at }, "Skipped.")
            }
            Command::Clear { alert: Some(alert) } => {
                let until = self.require(alert, &["waiting"]).await?;
                (Decision::Clear { entry, alert: Some(alert), until, actor }, "Cleared.")
            }
            Command::Clear { alert: None } => {
                let until = self.view().await?.position;
                (Decision::Clear { entry, alert: None, until, actor }, "Nothing waits any more.")
            }
            Command::Replay { alert } => {
                self.require(alert, &["shown", "skipped", "expired", "unknown", "cleared"]).await?;
                (Decision::Replay { entry, alert, actor, at }, "It waits again.")
            }
            Command::Prioritise { alert } => {
                self.require(alert, &["waiting"]).await?;
                (Decision::Prioritise { entry, alert, actor }, "It comes next.")
            }
            Command::Mute { what } => (Decision::Mute { entry, what, actor }, "Muted."),
            Command::Unmute { what } => (Decision::Unmute { entry, what, actor }, "Unmuted."),
            Command::Test { kind, with } => {
                let wanted: Map<String, Value> = match with {
                    Some(json) => {
                        serde_json::from_str(&json).context("--with wants a JSON object")?
                    }
                    None => Map::new(),
                };
                let data = samples::data(&self.config.pictures(), kind, &wanted, entry).await?;
                let said = "It waits: tapedeck stage show";
                (Decision::Test { entry, kind, data, actor }, said)
            }
            Command::Show | Command::Alerts { .. } => bail!("this is looked at, and not decided"),
        })
    }

    async fn playing(&self, now: DateTime<Utc>) -> anyhow::Result<Uuid> {
        let playing = self.view().await?.playing;
        let playing = playing.filter(|playing| tables::is_on(playing, now));
        Ok(playing.context("nothing plays on the stage")?.alert.id)
    }

    /// Refuses an alert that is not in one of these states; gives the position at which it is.
    async fn require(&self, alert: Uuid, states: &[&str]) -> anyhow::Result<i64> {
        let (position, showing) = stages::one(&self.pool, &self.stage, alert).await?;
        let showing = showing.with_context(|| {
            format!("there is no alert {alert} on this stage; see tapedeck stage alerts")
        })?;
        let state = showing.state;
        let wanted = states.join(" or ");
        ensure!(states.contains(&state.as_str()), "this alert is {state}, and not {wanted}");
        Ok(position)
    }

    /// Sends a command and waits for its outcome.
    async fn carry_out(
        &self,
        command: &Decision,
        received_at: DateTime<Utc>,
        said: &str,
    ) -> anyhow::Result<()> {
        let broker = Broker::new(self.config.broker());
        let (publisher, replies) =
            (Publisher::start(&broker).await?, Replies::start(&broker).await?);
        let origin = Origin {
            source: "terminal".to_owned(),
            source_id: Uuid::new_v4().to_string(),
            actor: Some(self.actor.clone()),
            received_at,
            raw: None,
        };
        let envelope = Envelope::new::<Aggregate>(&self.stage, command, origin)?;
        let id = envelope.id;
        let asked = replies.ask(&publisher, envelope, DECISION_LIMIT);
        let asked = tokio::time::timeout(DECISION_LIMIT * 2, asked).await;
        let outcome = asked.context("the broker does not answer")??;
        let outcome =
            outcome.with_context(|| format!("command {id} is sent and not decided yet"))?;
        if self.json {
            print::json(&outcome)?;
        }
        match outcome.decision {
            Decided::Accepted if self.json => Ok(()),
            Decided::Accepted if outcome.events == 0 => print::text("It was so already."),
            Decided::Accepted => print::text(said),
            Decided::Rejected | Decided::Dead => bail!(outcome.reason.unwrap_or_default()),
        }
    }
}

fn sound(name: &str) -> Result<Sound, String> {
    match name {
        "sound" => Ok(Sound::Sound),
        "speech" => Ok(Sound::Speech),
        _ => Err("sound: what belongs to a picture; speech: what is read aloud".to_owned()),
    }
}

fn kind(name: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| format!("there are {}", Kind::ALL.map(Kind::name).join(", ")))
}
