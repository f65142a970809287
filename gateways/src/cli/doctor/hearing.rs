//! Whether Twitch tells us what happens, over EventSub and over IRC, since when it may not have, and whether it says later
//! what it did not tell.

use chrono::{DateTime, TimeDelta, Utc};
use projections::{Page, gaps};
use sqlx::PgPool;

use super::{Finding, note, well, wrong};
use crate::config::Config;
use crate::twitch::accounts::store;
use crate::twitch::eventsub::record::{self, Feed};
use crate::twitch::eventsub::round::State;
use crate::twitch::irc;
use crate::twitch::missed::standing::{self, Standing, Verdict};
use crate::twitch::secrets::listed::{self, Listed};
use crate::twitch::settings::Hearing;

const CHECK: &str = "EventSub";
const IRC: &str = "IRC";
const MISSED: &str = "missed";
const SECRET: &str = "secret";
const START: &str = "start `tapedeck serve` or `tapedeck up`";
/// Whoever runs begins to listen seconds after an account is connected, unless it began before there was a client id.
const AGAIN: &str = "start `tapedeck serve` or `tapedeck up`; stop first what began before twitch.client_id was set";
/// By then all subscriptions were made again, if Twitch answers.
const MOVED_MAX: TimeDelta = TimeDelta::minutes(15);
const LIST: &str = "tapedeck eventsub list";
/// A look at all subscriptions that is older than this is overdue.
const LOOKED_MAX: TimeDelta = TimeDelta::minutes(90);

pub(super) async fn examine(pool: &PgPool, config: &Config) -> anyhow::Result<Vec<Finding>> {
    let hearing = config.twitch.hearing(&config.broadcaster_id);
    let mut findings = eventsub(pool, config, hearing.as_ref()).await?;
    if config.keeps_webhooks() {
        findings.push(secrets(&listed::list(pool).await?, Utc::now()));
    }
    findings.extend(irc(pool, config).await?);
    findings.extend(standing::all(pool, config).await?.into_iter().map(missed));
    if (hearing.is_some() || config.twitch.irc.enabled)
        && let Ok(list) = gaps::list(pool, true, Page::of(1)).await
        && list.open > 0
    {
        let words = format!("{} gaps last: not everything reaches us", list.open);
        findings.push(wrong("gaps", words, LIST));
    }
    Ok(findings)
}

/// Whether every subscription has followed the secret.
fn secrets(all: &[Listed], now: DateTime<Utc>) -> Finding {
    let Some(current) = all.iter().find(|one| one.replaced_at.is_none()) else {
        let mend = "start `tapedeck serve`: it writes the secret down, or makes one";
        return wrong(SECRET, "no secret is written down yet".to_owned(), mend);
    };
    let number = current.version;
    let left = all.iter().find(|one| one.replaced_at.is_some() && one.until.is_none());
    match left.and_then(|old| Some((old.version, old.replaced_at?))) {
        Some((old, since)) if now - since > MOVED_MAX => {
            let since = since.format("%Y-%m-%d %H:%M:%S");
            let words = format!(
                "version {old} was replaced by {number} at {since} UTC, and subscriptions are left of it: it is believed"
            );
            wrong(SECRET, words, LIST)
        }
        Some((old, _)) => {
            well(SECRET, format!("subscriptions move from version {old} to {number}"))
        }
        None => well(SECRET, format!("webhooks are signed with version {number}")),
    }
}

async fn eventsub(
    pool: &PgPool,
    config: &Config,
    hearing: Option<&Hearing>,
) -> anyhow::Result<Vec<Finding>> {
    let Some(hearing) = hearing else { return Ok(vec![off(config)]) };
    if let Some(feed) = record::find(pool, &config.broadcaster_id).await? {
        return Ok(of(&feed, Utc::now()));
    }
    let is_granted = match hearing {
        Hearing::Fixed(_) => true,
        Hearing::Account(role) => {
            matches!(
                store::find(pool, *role).await?.state,
                store::State::Good | store::State::Unreachable
            )
        }
    };
    // That nobody is connected is said of the account.
    Ok(is_granted
        .then(|| wrong(CHECK, "nobody listens yet".to_owned(), AGAIN))
        .into_iter()
        .collect())
}

/// Twitch is not asked to tell anything.
fn off(config: &Config) -> Finding {
    if config.twitch.client_id.is_empty() {
        let words = "[twitch] names no application: Twitch is not asked to tell anything";
        return note(CHECK, words.to_owned(), "set twitch.client_id, then `tapedeck connect`");
    }
    if !config.broadcaster_id.is_empty() {
        let words = "webhooks and conduits take a client_secret, and none is set here";
        return wrong(CHECK, words.to_owned(), "set TAPEDECK_TWITCH__CLIENT_SECRET");
    }
    let words = "nobody said whose channel it is: Twitch is not asked to tell anything";
    let mend = "set broadcaster_id to what `tapedeck connect --list` shows, and start again";
    wrong(CHECK, words.to_owned(), mend)
}

/// How chat is read over IRC, where it is to be.
async fn irc(pool: &PgPool, config: &Config) -> anyhow::Result<Option<Finding>> {
    let settings = &config.twitch.irc;
    if !settings.enabled {
        return Ok(None);
    }
    let Some(feed) = irc::record::find(pool, &config.broadcaster_id).await? else {
        return Ok(Some(wrong(IRC, "nobody listened yet".to_owned(), START)));
    };
    let why = feed.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let since = feed.since.format("%Y-%m-%d %H:%M:%S");
    let words = format!("#{}, {} since {since} UTC{why}", settings.channel, feed.state);
    Ok(Some(match feed.state.as_str() {
        "joined" => well(IRC, words),
        "stopped" => wrong(IRC, words, START),
        "refused" => {
            let mend = "correct token, login and channel of [twitch.irc], and start again";
            wrong(IRC, words, mend)
        }
        _ => wrong(IRC, words, "it is tried again by itself; look at https://status.twitch.com"),
    }))
}

/// Whether something is told that was asked for later.
fn missed(standing: Standing) -> Finding {
    let Standing { verdict, words, mend, .. } = standing;
    let mend = mend.unwrap_or_default();
    match verdict {
        Verdict::Well => well(MISSED, words),
        Verdict::Partial => note(MISSED, words, &mend),
        Verdict::Wrong => wrong(MISSED, words, &mend),
    }
}

fn of(feed: &Feed, now: DateTime<Utc>) -> Vec<Finding> {
    let Feed { transport, state, why, since, report, .. } = feed;
    let why = why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let words =
        format!("{transport}, {state} since {} UTC{why}", since.format("%Y-%m-%d %H:%M:%S"));
    let connection = match state.as_str() {
        "connected" | "subscribed" => well(CHECK, words),
        "stopped" => wrong(CHECK, words, START),
        _ => wrong(CHECK, words, "it is tried again by itself; look at https://status.twitch.com"),
    };
    let Some(report) = report else { return vec![connection] };
    let bad = report.statuses.iter().find(|status| status.state == State::Failing);
    let enabled = format!("{} of {} enabled", report.count(State::Enabled), report.statuses.len());
    let subscribed = match (bad, &report.failed) {
        (Some(one), _) => {
            let why = one.why.as_deref().unwrap_or("not enabled");
            wrong(CHECK, format!("{enabled}; {} is failing: {why}", one.wanted.kind), LIST)
        }
        (None, Some(why)) => wrong(CHECK, format!("{enabled}; {why}"), "tapedeck eventsub sync"),
        (None, None) if now - report.at > LOOKED_MAX => {
            let at = report.at.format("%Y-%m-%d %H:%M:%S");
            wrong(
                CHECK,
                format!("{enabled}; not looked at since {at} UTC"),
                "tapedeck eventsub sync",
            )
        }
        (None, None) => well(CHECK, enabled),
    };
    vec![connection, subscribed]
}
