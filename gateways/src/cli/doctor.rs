//! `tapedeck doctor`: what is well and what is not, with the command that mends it.

mod accounts;
mod disk;
mod hearing;
mod keys;
mod reach;
mod screen;

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use journal::broker::{Broker, Role};
use journal::dead_letters;
use journal::streams::{self, Step, StreamsFile};
use serde::Serialize;
use sqlx::PgPool;

use super::{EXIT_FAILED, EXIT_NOT_REACHABLE, Globals, print};
use crate::config::{Config, open_database};
use crate::generation::ProviderError;
use crate::http::health::{self, Lag};

/// How long one check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(10);
const CLOCK_SKEW_MAX_MS: i64 = 1_000;
const BEHIND_MAX_S: f64 = 30.0;
const NATS_MIN: (u64, u64) = (2, 12);
const POSTGRES_MIN: i32 = 140_000;
const RUNNING: &str =
    "is `tapedeck up` or `tapedeck serve` running? Its relay, projections and processes catch up";

/// Check everything Tapedeck needs, and say how to mend what is wrong
///
/// Looks at the configuration, NATS, its streams, PostgreSQL, its safety settings, the migrations,
/// the clocks, the disk and its file system, the projections, the processes, the dead letters, logging in, what Twitch
/// tells us, whether its webhooks would reach us and until when the certificate is good, whether an overlay is there, and
/// who makes the pictures. Exits 0 when all is well, 1 when
/// something is wrong, 4 when a server does not answer.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Print one line of JSON for each check
    #[arg(long)]
    json: bool,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    words: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Well,
    /// It works, and may not be what is wanted.
    Note,
    Wrong,
    Unreachable,
}

impl Doctor {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let findings = examine(globals).await;
        for finding in &findings {
            if self.json { print::json(finding)? } else { print::text(&finding.lines())? }
        }
        let any = |state| findings.iter().any(|finding| finding.state == state);
        Ok(match (any(State::Unreachable), any(State::Wrong)) {
            (true, _) => ExitCode::from(EXIT_NOT_REACHABLE),
            (_, true) => ExitCode::from(EXIT_FAILED),
            _ => ExitCode::SUCCESS,
        })
    }
}

async fn examine(globals: &Globals) -> Vec<Finding> {
    let config = match globals.config() {
        Ok(config) => config,
        Err(error) => {
            let mend = "correct it; every key is explained in tapedeck.example.toml";
            return vec![wrong("configuration", format!("{error:#}"), mend)];
        }
    };
    let mut findings = configuration(&config);
    findings.push(pictures(&config).await);
    if let Err(error) = config.require_servers(globals.data()) {
        findings.push(unreachable("servers", error.to_string(), "tapedeck up"));
        return findings;
    }
    findings.extend(limited("NATS", nats(&config)).await);
    findings.extend(limited("PostgreSQL", postgres(&config)).await);
    findings.extend(reach::examine(&config).await);
    findings.extend(disk::examine(globals));
    findings
}

/// Runs a group of checks with a limit; a failure of the whole group means that its server does not
/// answer.
async fn limited(
    check: &'static str,
    group: impl Future<Output = anyhow::Result<Vec<Finding>>>,
) -> Vec<Finding> {
    let mend = "is it running? `tapedeck up` starts both servers; `tapedeck serve` uses yours";
    match tokio::time::timeout(CHECK_LIMIT, group).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(error)) => vec![unreachable(check, format!("{error:#}"), mend)],
        Err(_) => vec![unreachable(check, format!("no answer in {CHECK_LIMIT:?}"), mend)],
    }
}

fn configuration(config: &Config) -> Vec<Finding> {
    let mut findings = vec![well("configuration", "is understood".to_owned())];
    if config.eventsub_secret.is_empty() && !config.keeps_webhooks() {
        let words = "eventsub_secret is empty: every webhook is refused".to_owned();
        let mend = "set TAPEDECK_EVENTSUB_SECRET to the secret of your EventSub subscriptions";
        findings.push(note("configuration", words, mend));
    }
    if config.broadcaster_id.is_empty() {
        let words = "broadcaster_id is empty: broadcasts cannot be queried".to_owned();
        let mend = "set it in tapedeck.toml to your Twitch user id, which `tapedeck connect` says";
        findings.push(note("configuration", words, mend));
    }
    findings.extend(keys::signing(config));
    findings.push(keys::login(config));
    findings
}

async fn nats(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let broker = Broker::new(config.broker());
    let client = broker.client(Role::Admin).await?;
    let info = client.server_info();
    let mut findings = vec![match version_of(&info.version) {
        Some(version) if version >= NATS_MIN => well("NATS", format!("version {}", info.version)),
        _ => wrong(
            "NATS",
            format!("version {} is older than {}.{}", info.version, NATS_MIN.0, NATS_MIN.1),
            "install nats-server 2.12 or later; `make tools` provides one",
        ),
    }];
    let jetstream = broker.jetstream(Role::Admin).await?;
    match streams::plan(&jetstream, &StreamsFile::built_in()?).await {
        Err(error) => findings.push(wrong(
            "JetStream",
            format!("does not answer: {error:#}"),
            "start nats-server with nats.conf, which switches JetStream on",
        )),
        Ok(steps) => findings.extend(steps.into_iter().map(stream_finding)),
    }
    // A server tells no client how it syncs; only its own configuration file does.
    findings.push(note(
        "NATS sync",
        "cannot be asked over the network; what was answered 2xx survives a power cut only with sync_interval: always"
            .to_owned(),
        "start nats-server with our nats.conf, as `tapedeck up` does",
    ));
    Ok(findings)
}

fn stream_finding(step: Step) -> Finding {
    match &step {
        Step::Keep { stream } => well("stream", format!("{stream} is as streams.yaml says")),
        Step::Leave { stream } => well("stream", format!("{stream} is not ours and left alone")),
        Step::Create { stream } => {
            wrong("stream", format!("{stream} is missing"), "tapedeck streams apply")
        }
        Step::Extend { .. } | Step::Renew { .. } => {
            note("stream", step.to_string(), "tapedeck streams apply")
        }
        Step::Refuse { .. } => wrong("stream", step.to_string(), "tapedeck streams plan"),
    }
}

async fn postgres(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let pool = open_database(&config.database_url, 2, "doctor").await?;
    let mut findings = vec![version(&pool).await?];
    findings.extend(settings(&pool).await?);
    findings.push(clocks(&pool).await?);
    let migrated = migrations(&pool, config).await?;
    let complete = migrated.state == State::Well;
    findings.push(migrated);
    if complete {
        findings.extend(lag(&pool, config).await?);
        findings.push(letters(&pool).await?);
        findings.extend(accounts::examine(&pool, config).await?);
        findings.extend(hearing::examine(&pool, config).await?);
        findings.extend(keys::moderators(&pool, config).await?);
        findings.extend(screen::examine(&pool, config).await?);
    }
    Ok(findings)
}

async fn version(pool: &PgPool) -> anyhow::Result<Finding> {
    let (number, name): (i32, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')",
    )
    .fetch_one(pool)
    .await?;
    Ok(match number >= POSTGRES_MIN {
        true => well("PostgreSQL", format!("version {name}")),
        false => wrong("PostgreSQL", format!("version {name} is older than 14"), "upgrade it"),
    })
}

/// The settings without which a power cut can take what was answered.
async fn settings(pool: &PgPool) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(pool).await?;
        let safe = !matches!(value.as_str(), "off" | "local" if name == "synchronous_commit")
            && value != "off";
        findings.push(match safe {
            true => well("PostgreSQL", format!("{name} = {value}")),
            false => wrong(
                "PostgreSQL",
                format!("{name} = {value}: a power cut can lose or tear what was recorded"),
                &format!("ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();"),
            ),
        });
    }
    Ok(findings)
}

async fn clocks(pool: &PgPool) -> anyhow::Result<Finding> {
    let before = Utc::now();
    let theirs: DateTime<Utc> =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(pool).await?;
    let ours = before + (Utc::now() - before) / 2;
    let skew_ms = (theirs - ours).num_milliseconds();
    Ok(match skew_ms.abs() <= CLOCK_SKEW_MAX_MS {
        true => well("clocks", format!("{skew_ms} ms apart from PostgreSQL's")),
        false => wrong(
            "clocks",
            format!("{skew_ms} ms apart from PostgreSQL's: webhooks are judged by their age"),
            "run an NTP client on both machines",
        ),
    })
}

async fn migrations(pool: &PgPool, config: &Config) -> anyhow::Result<Finding> {
    // The runtime role may not read the table of migrations; the owner may.
    let owner = match &config.owner_database_url {
        Some(url) => open_database(url, 1, "doctor").await?,
        None => pool.clone(),
    };
    let applied: Result<Vec<i64>, _> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(&owner)
            .await;
    let applied = applied.unwrap_or_default();
    let missing: Vec<String> = journal::MIGRATOR
        .iter()
        .filter(|migration| !applied.contains(&migration.version))
        .map(|migration| format!("{} {}", migration.version, migration.description))
        .collect();
    Ok(match missing.is_empty() {
        true => well("migrations", format!("{} applied", applied.len())),
        false => wrong(
            "migrations",
            format!("not applied: {}", missing.join(", ")),
            "tapedeck up, or tapedeck serve with owner_database_url, applies them",
        ),
    })
}

async fn lag(pool: &PgPool, config: &Config) -> anyhow::Result<Vec<Finding>> {
    let mut lags = health::projections_behind(pool).await?;
    lags.extend(health::processes_behind(pool).await?);
    let mut findings: Vec<Finding> = lags.into_iter().map(lag_finding).collect();
    findings.push(match health::relay_behind(pool, &Broker::new(config.broker())).await {
        Ok(lag) => lag_finding(lag),
        Err(error) => wrong("lag", format!("the relay's EVENTS: {error:#}"), RUNNING),
    });
    Ok(findings)
}

fn lag_finding(lag: Lag) -> Finding {
    let Lag { name, position, events, seconds } = lag;
    let words =
        format!("{name} is at position {position}, {events} events ({seconds:.1} s) behind");
    match seconds <= BEHIND_MAX_S {
        true => well("lag", words),
        false => wrong("lag", words, RUNNING),
    }
}

async fn letters(pool: &PgPool) -> anyhow::Result<Finding> {
    const COUNTED_MAX: i64 = 100;
    let open = dead_letters::list(pool, true, COUNTED_MAX, None).await?.len();
    Ok(match open {
        0 => well("dead letters", "none open".to_owned()),
        open => {
            let more = if open as i64 == COUNTED_MAX { " or more" } else { "" };
            note("dead letters", format!("{open}{more} open"), "tapedeck dead list")
        }
    })
}

/// Whether whoever makes the pictures would answer; asking costs nothing.
async fn pictures(config: &Config) -> Finding {
    let provider = config.generation.provider();
    let name = provider.name();
    match tokio::time::timeout(CHECK_LIMIT, provider.check()).await {
        Ok(Ok(words)) => well("pictures", format!("{name}: {words}")),
        Ok(Err(error @ ProviderError::Retry { .. })) => unreachable(
            "pictures",
            error.to_string(),
            "requests wait; look at the provider's status page",
        ),
        Ok(Err(error)) => {
            wrong("pictures", error.to_string(), "correct [generation] of tapedeck.toml")
        }
        Err(_) => unreachable("pictures", format!("{name}: no answer in {CHECK_LIMIT:?}"), "wait"),
    }
}

/// `2.15.1` as (2, 15).
fn version_of(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn well(check: &'static str, words: String) -> Finding {
    Finding { check, state: State::Well, words, mend: None }
}

fn note(check: &'static str, words: String, mend: &str) -> Finding {
    Finding { check, state: State::Note, words, mend: Some(mend.to_owned()) }
}

fn wrong(check: &'static str, words: String, mend: &str) -> Finding {
    Finding { check, state: State::Wrong, words, mend: Some(mend.to_owned()) }
}

fn unreachable(check: &'static str, words: String, mend: &str) -> Finding {
    Finding { check, state: State::Unreachable, words, mend: Some(mend.to_owned()) }
}

impl Finding {
    fn lines(&self) -> String {
        let state = match self.state {
            State::Well => "ok   ",
            State::Note => "note ",
            State::Wrong => "WRONG",
            State::Unreachable => "DOWN ",
        };
        let line = format!("{state}  {:<14} {}", self.check, self.words);
        match &self.mend {
            None => line,
            Some(mend) => format!("{line}\n       {:<14} mend: {mend}", ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version_of("2.15.1") >= Some(NATS_MIN));
        assert!(version_of("2.9.10") < Some(NATS_MIN));
        assert!(version_of("2.12.0-RC.1") >= Some(NATS_MIN));
        assert_eq!(version_of("none"), None);
    }

    #[test]
    fn a_wrong_line_says_how_to_mend_it() {
        let lines =
            wrong("stream", "EVENTS is missing".to_owned(), "tapedeck streams apply").lines();
        assert!(
            lines.contains("EVENTS is missing") && lines.contains("mend: tapedeck streams apply")
        );
    }
}
