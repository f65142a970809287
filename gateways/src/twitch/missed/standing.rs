//! How it stands with what Twitch did not tell: when it was last asked for each thing with success, what is not told, and
//! what mends that. For `tapedeck doctor` and `/readyz`.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::ask::State;
use super::record::{self, Asked, Source};
use super::run::Missed;
use crate::config::Config;
use crate::twitch::accounts::Role;
use crate::twitch::eventsub;
use crate::twitch::settings::Hearing;

/// Who was not told for so many times as long as it is asked after is overdue.
const OVERDUE_AFTER: i32 = 3;
const START: &str = "start `tapedeck serve` or `tapedeck up`";
const WAIT: &str = "it is tried again by itself; look at https://status.twitch.com";
const TOKEN: &str = "grant what is missing, and set twitch.eventsub.token to the new token";
const SECRET: &str = "set TAPEDECK_TWITCH__CLIENT_SECRET";
const LOST: &str = "nothing does; `tapedeck gaps` says when some may have been missed";

/// How it stands with one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub source: Source,
    pub verdict: Verdict,
    pub words: String,
    /// The command that mends it, or what else does; nothing where all is well.
    pub mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Well,
    /// Twitch answers, and not everything is in its answer, or it does not answer for the moment.
    Partial,
    Wrong,
}

/// How everything stands that is asked for; nothing where nobody can ask, or somebody has to connect an account first.
pub async fn all(pool: &PgPool, config: &Config) -> sqlx::Result<Vec<Standing>> {
    let broadcaster = &config.broadcaster_id;
    let Some(hearing) = config.twitch.hearing(broadcaster) else { return Ok(Vec::new()) };
    let is_account = matches!(hearing, Hearing::Account(_));
    if is_account && eventsub::record::find(pool, broadcaster).await?.is_none() {
        return Ok(Vec::new());
    }
    let rows = record::asked(pool, broadcaster).await?;
    let every = TimeDelta::from_std(config.twitch.missed.every()).unwrap_or(TimeDelta::MAX);
    let sources = Missed::sources(&config.twitch.eventsub.leave_out).into_iter();
    let standing = |source: Source| {
        let row = rows.iter().find(|row| row.source == source.name());
        of(source, row, &hearing, every, Utc::now())
    };
    Ok(sources.map(standing).collect())
}

fn of(
    source: Source,
    asked: Option<&Asked>,
    hearing: &Hearing,
    every: TimeDelta,
    now: DateTime<Utc>,
) -> Standing {
    let standing = |verdict, words: String, mend: Option<&str>| {
        let words = format!("{}: {words}", source.name());
        Standing { source, verdict, words, mend: mend.map(str::to_owned) }
    };
    let Some(asked) = asked else {
        return standing(Verdict::Partial, "not asked for yet".to_owned(), Some(START));
    };
    let told = asked.succeeded_at.map_or("never told yet".to_owned(), |at| {
        format!("told last at {} UTC", at.format("%Y-%m-%d %H:%M:%S"))
    });
    let why = asked.failed.as_deref().map(|why| format!("; {why}")).unwrap_or_default();
    let words = format!("{told}{why}");
    let since = asked.succeeded_at.unwrap_or(asked.began_at);
    // Who is subscribed is asked only at first and after a gap.
    let is_overdue = source != Source::Subscribers && now - since > every * OVERDUE_AFTER;
    match (State::of(&asked.state), &asked.failed) {
        (State::Refused, _) => standing(Verdict::Wrong, words, Some(&grants(source, hearing))),
        (State::Unanswered, _) if is_overdue => standing(Verdict::Wrong, words, Some(WAIT)),
        (State::Unanswered, _) => standing(Verdict::Partial, words, Some(WAIT)),
        (State::Answered, _) if is_overdue => {
            standing(Verdict::Wrong, format!("{words}; nobody has asked since"), Some(START))
        }
        (State::Answered, Some(_)) => standing(Verdict::Partial, words, Some(LOST)),
        (State::Answered, None) => standing(Verdict::Well, words, None),
    }
}

/// What mends it where Twitch says that somebody has to grant something.
fn grants(source: Source, hearing: &Hearing) -> String {
    match (hearing, source) {
        (Hearing::Fixed(_), _) => TOKEN.to_owned(),
        (Hearing::Account(Role::App), Source::Live | Source::Titles) => SECRET.to_owned(),
        // What only the broadcaster may know, the application does not ask for itself.
        (Hearing::Account(Role::App), _) => format!("tapedeck connect {}", Role::Broadcaster),
        (Hearing::Account(role), _) => format!("tapedeck connect {role}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    /// How a thing stands that was told 100 s ago and is asked for every minute.
    fn standing(source: Source, state: State, failed: Option<&str>, now: i64) -> Standing {
        let asked = Asked {
            source: source.name().to_owned(),
            began_at: at(0),
            succeeded_at: Some(at(100)),
            failed: failed.map(str::to_owned),
            state: state.name().to_owned(),
        };
        let hearing = Hearing::Account(Role::Broadcaster);
        of(source, Some(&asked), &hearing, TimeDelta::minutes(1), at(now))
    }

    #[test]
    fn what_was_not_told_for_three_times_as_long_as_it_is_asked_after_is_wrong() {
        let well = standing(Source::Live, State::Answered, None, 280);
        assert_eq!((well.verdict, &well.mend), (Verdict::Well, &None));
        assert_eq!(well.words, "live: told last at 1970-01-01 00:01:40 UTC");
        let nobody = standing(Source::Live, State::Answered, None, 281);
        assert_eq!((nobody.verdict, nobody.mend.as_deref()), (Verdict::Wrong, Some(START)));
        let away = |now| standing(Source::Followers, State::Unanswered, Some("it is away"), now);
        assert_eq!((away(280).verdict, away(281).verdict), (Verdict::Partial, Verdict::Wrong));
        assert_eq!(away(281).mend.as_deref(), Some(WAIT));
        assert!(away(280).words.ends_with("; it is away"), "{}", away(280).words);
        // It is not asked for until there is a gap.
        let rare = standing(Source::Subscribers, State::Answered, None, 9_999);
        assert_eq!(rare.verdict, Verdict::Well);
        let hearing = Hearing::Account(Role::Broadcaster);
        let never = of(Source::Live, None, &hearing, TimeDelta::minutes(1), at(1));
        assert_eq!((never.verdict, never.mend.as_deref()), (Verdict::Partial, Some(START)));
    }

    #[test]
    fn what_has_to_be_granted_is_wrong_at_once_and_says_by_whom() {
        let refused = standing(Source::Followers, State::Refused, Some("it lacks a right"), 101);
        assert_eq!(refused.verdict, Verdict::Wrong);
        assert_eq!(refused.mend.as_deref(), Some("tapedeck connect broadcaster"));
        let app = Hearing::Account(Role::App);
        assert_eq!(grants(Source::Live, &app), SECRET);
        assert_eq!(grants(Source::Followers, &app), "tapedeck connect broadcaster");
        assert_eq!(grants(Source::Live, &Hearing::Account(Role::Bot)), "tapedeck connect bot");
        assert_eq!(grants(Source::Live, &Hearing::Fixed(Default::default())), TOKEN);
        // Nobody can grant what only another application may read.
        let lacks = standing(Source::Redemptions, State::Answered, Some("1 of 2 rewards"), 101);
        assert_eq!((lacks.verdict, lacks.mend.as_deref()), (Verdict::Partial, Some(LOST)));
    }
}
