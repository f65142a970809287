//! `tapedeck gaps`: from when until when Twitch may have told us nothing.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use domain::intake::Found;
use projections::Page;
use projections::gaps::{self, Gap, List};
use sqlx::PgPool;

use super::{Globals, print};
use crate::twitch::missed;

/// Show when nothing reached us from Twitch, and of what
///
/// A gap is an interval in which something may have happened that was not told: a connection was lost, nobody was
/// listening, or Twitch took a right away. What falls into one is not in the journal, but for what Twitch tells when
/// it is asked later: follows, redemptions of rewards that this application made, and whether the channel is live.
/// Bits, subs, gifts, raids, hype trains and chat are told once and never again.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck gaps                 the newest first\n  \
    tapedeck gaps --open          those that last")]
pub struct Gaps {
    /// Only those that last
    #[arg(long)]
    open: bool,
    /// Only what is older than this position
    #[arg(long, value_name = "POSITION")]
    before: Option<i64>,
    /// How many at most
    #[arg(long, default_value_t = Page::LIMIT_DEFAULT,
          value_parser = clap::value_parser!(i64).range(1..=Page::LIMIT_MAX))]
    limit: i64,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Gaps {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (config, pool) = globals.database("gaps").await?;
        let page = Page { before: self.before, limit: Some(self.limit) };
        let list = gaps::list(&pool, self.open, page).await?;
        if self.json {
            print::json(&list)?;
        } else {
            rows(&list, Utc::now())?;
            if !list.gaps.is_empty() {
                not_asked(&pool, &config.broadcaster_id).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn rows(list: &List, now: DateTime<Utc>) -> anyhow::Result<()> {
    if list.gaps.is_empty() {
        return print::text("No gaps.");
    }
    let head = ["since (UTC)", "until (UTC)", "seconds", "types", "why", "found again", "position"];
    let mut table = print::table(&head, &[2, 6]);
    for gap in &list.gaps {
        table.add_row([
            print::time(gap.since),
            gap.until.map_or_else(|| "it lasts".to_owned(), print::time),
            print::points(seconds(gap, now)),
            kinds(&gap.kinds),
            print::harmless(&gap.reason),
            again(gap),
            print::points(gap.position),
        ]);
    }
    print::rows(table)?;
    let open = match list.open {
        0 => "None of them lasts.".to_owned(),
        open => format!("{} last: tapedeck eventsub list says why.", print::points(open)),
    };
    let older = match list.before {
        Some(before) => format!(" Older: --before {before}"),
        None => String::new(),
    };
    print::text(&format!("\n{open}{older}"))
}

/// What could be found in gaps, if somebody granted it.
async fn not_asked(pool: &PgPool, broadcaster: &str) -> anyhow::Result<()> {
    for (source, words) in missed::record::refused(pool, broadcaster).await? {
        print::text(&format!("Not all {source} are found: {}", print::harmless(&words)))?;
    }
    Ok(())
}

fn seconds(gap: &Gap, now: DateTime<Utc>) -> i64 {
    (gap.until.unwrap_or(now) - gap.since).num_seconds().max(0)
}

/// What was found of it later, and of how many types nothing can be.
fn again(gap: &Gap) -> String {
    if gap.reconciled_at.is_none() {
        return "not looked for yet".to_owned();
    }
    let whole = |one: &Found| if one.whole { "" } else { " or more" };
    let found = gap.found.iter().filter(|(_, one)| one.found > 0);
    let found =
        found.map(|(kind, one)| format!("{kind} {}{}", print::points(one.found), whole(one)));
    let untold = gap.found.iter().filter(|(_, one)| one.untold > 0).map(|(kind, one)| {
        format!("{kind}: {} seen that no notification told", print::points(one.untold))
    });
    let lost = gap.kinds.iter().filter(|kind| !gap.found.get(*kind).is_some_and(|one| one.whole));
    let lost = match lost.count() {
        0 => None,
        1 => Some("1 type cannot be asked for".to_owned()),
        count => Some(format!("{count} types cannot be asked for")),
    };
    let all: Vec<String> = found.chain(untold).collect();
    let all = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
    [Some(all), lost].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// All of them, if they are few.
fn kinds(kinds: &[String]) -> String {
    match kinds {
        [first, second, third, _, ..] => {
            format!("{first}, {second}, {third} and {} more", kinds.len() - 3)
        }
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_says_what_was_found_again_and_what_cannot_be() {
        let kinds = ["channel.cheer", "channel.follow", "channel.subscribe", "stream.online"];
        let mut gap = Gap {
            position: 1,
            ended_position: Some(2),
            broadcaster: "1000".to_owned(),
            kinds: kinds.map(str::to_owned).to_vec(),
            since: DateTime::UNIX_EPOCH,
            until: Some(DateTime::UNIX_EPOCH),
            reason: "x".to_owned(),
            reconciled_at: None,
            found: Default::default(),
        };
        assert_eq!(again(&gap), "not looked for yet");
        let found = |found, whole, untold| Found { found, whole, untold };
        let all = [
            ("channel.follow", found(2, true, 0)),
            ("channel.subscribe", found(0, false, 3)),
            ("stream.online", found(0, true, 0)),
        ];
        gap.reconciled_at = gap.until;
        gap.found = all.map(|(kind, found)| (kind.to_owned(), found)).into();
        let says = "channel.follow 2, channel.subscribe: 3 seen that no notification told; \
                    2 types cannot be asked for";
        assert_eq!(again(&gap), says);
        gap.kinds = vec!["stream.online".to_owned()];
        gap.found.retain(|kind, _| kind == "stream.online");
        assert_eq!(again(&gap), "nothing");
    }

    #[test]
    fn few_types_are_named_and_many_are_counted() {
        let of = |n: usize| kinds(&["a", "b", "c", "d", "e"].map(str::to_owned)[..n]);
        assert_eq!(of(2), "a, b");
        assert_eq!(of(3), "a, b, c");
        assert_eq!(of(5), "a, b, c and 2 more");
    }
}
