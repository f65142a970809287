//! `tapedeck login`: whether people can log in, who did, and logging them out.

use std::process::ExitCode;

use anyhow::bail;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;

use super::{Globals, print};
use crate::config::Config;
use crate::login::moderators::Kept;
use crate::login::{Readiness, Role, readiness};

/// See whether people can log in with Twitch, and who is logged in; log somebody out
///
/// Viewers who log in see their own points and may give some; moderators see everybody's over the API; the broadcaster
/// may do everything. Register an application in Twitch's developer console for it: `tapedeck login status` says what to
/// enter there, and what to set here.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck login status            what is configured, and who is logged in\n  \
    tapedeck login end 5001          log a viewer out everywhere")]
pub struct Login {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show whether people can log in, what is missing, and who is logged in
    Status {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// End all sessions of a viewer; what Twitch granted for them is revoked there
    End {
        /// The Twitch user id
        #[arg(value_name = "VIEWER")]
        viewer: String,
    },
}

/// A session that goes on.
#[derive(Debug, Serialize, sqlx::FromRow)]
struct Open {
    viewer: String,
    logged_in_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    /// When Twitch last said that the grant is good.
    checked_at: DateTime<Utc>,
    is_listed: bool,
}

impl Login {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (config, pool) = globals.database("login").await?;
        match self.command {
            Command::Status { json } => status(&config, &pool, json).await?,
            Command::End { viewer } => {
                let ended = sqlx::query(
                    "UPDATE sessions SET ended_at = clock_timestamp(), ended_by = 'logout',
                            check_at = clock_timestamp()
                     WHERE viewer = $1 AND ended_at IS NULL AND expires_at > clock_timestamp()",
                )
                .bind(&viewer)
                .execute(&pool)
                .await?
                .rows_affected();
                if ended == 0 {
                    bail!("{} is not logged in", print::harmless(&viewer));
                }
                let lasts = crate::http::lookup::BELIEVED_FOR.as_secs();
                print::text(&format!(
                    "Ended {ended}. They work for up to {lasts} more seconds; a running `tapedeck up` or `tapedeck serve` \
                     revokes the grants at Twitch."
                ))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn status(config: &Config, pool: &PgPool, as_json: bool) -> anyhow::Result<()> {
    let open: Vec<Open> = sqlx::query_as(
        "SELECT viewer, logged_in_at, expires_at, checked_at,
                EXISTS (SELECT FROM listed_moderators m WHERE m.viewer = s.viewer) AS is_listed
         FROM sessions s WHERE ended_at IS NULL AND expires_at > clock_timestamp()
         ORDER BY logged_in_at DESC LIMIT 1000",
    )
    .fetch_all(pool)
    .await?;
    let kept = Kept::read(pool).await?;
    let role = |open: &Open| Role::of(&open.viewer, open.is_listed, config).name();
    if as_json {
        let (redirect_url, missing) = match readiness(config) {
            Readiness::Ready(url) => (Some(url.to_string()), Vec::new()),
            Readiness::Missing(keys) => (None, keys),
        };
        let described = |open: &Open| json!({"role": role(open), "session": open});
        let sessions: Vec<_> = open.iter().map(described).collect();
        let listed = json!({"viewers": kept.listed, "at": kept.listed_at});
        return print::json(&json!({"redirect_url": redirect_url, "missing": missing,
                                   "sessions": sessions, "moderators_from_twitch": listed}));
    }
    print::text(&words(config))?;
    if config.login.moderators_from_twitch {
        print::text(&moderators(&kept))?;
    }
    if open.is_empty() {
        return print::text("Nobody is logged in.");
    }
    let head = ["viewer", "role", "logged in (UTC)", "until (UTC)", "Twitch asked (UTC)"];
    let mut table = print::table(&head, &[]);
    for open in &open {
        table.add_row([
            print::harmless(&open.viewer),
            role(open).to_owned(),
            print::time(open.logged_in_at),
            print::time(open.expires_at),
            print::time(open.checked_at),
        ]);
    }
    print::rows(table)
}

/// What to enter at Twitch, and what to set here.
pub(super) fn words(config: &Config) -> String {
    let url = match readiness(config) {
        Readiness::Ready(url) => url,
        Readiness::Missing(keys) => {
            return format!(
                "Logging in is off. Register an application at https://dev.twitch.tv/console/apps, then set {}. \
                 tapedeck.example.toml explains each.",
                keys.join(", "),
            );
        }
    };
    let login = url.as_str().trim_end_matches("/callback");
    let mut words = format!(
        "Logging in is on. Its address: {login}\n\
         At https://dev.twitch.tv/console/apps, the application has this OAuth redirect URL: {url}"
    );
    if config.login.moderators_from_twitch {
        words += &format!(
            "\nSo that Twitch's list of moderators is read, log in once as the broadcaster at {login}?as=broadcaster"
        );
    }
    words
}

/// How many moderators Twitch's list makes, and of when it is.
pub(super) fn moderators(kept: &Kept) -> String {
    let Some(listed_at) = kept.listed_at else {
        return "Twitch's list of moderators was not read, or nobody is on it.".to_owned();
    };
    let (all, at) = (kept.moderators, print::time(listed_at));
    match kept.is_too_old() {
        false => format!("Twitch lists {all} moderators, read at {at} (UTC)."),
        true => format!(
            "Twitch listed {all} moderators at {at} (UTC). That is more than a day ago, so they are none now: \
             the broadcaster is to log in again."
        ),
    }
}
