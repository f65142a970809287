//! `tapedeck gaps`: from when until when Twitch may have told us nothing.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use projections::Page;
use projections::gaps::{self, Gap, List};

use super::{Globals, print};

/// Show when nothing reached us from Twitch, and of what
///
/// A gap is an interval in which something may have happened that was not told: a connection was lost, nobody was
/// listening, or Twitch took a right away. What falls into one is not in the journal, unless it was found otherwise.
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
        let (_, pool) = globals.database("gaps").await?;
        let page = Page { before: self.before, limit: Some(self.limit) };
        let list = gaps::list(&pool, self.open, page).await?;
        if self.json {
            print::json(&list)?;
        } else {
            rows(&list, Utc::now())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn rows(list: &List, now: DateTime<Utc>) -> anyhow::Result<()> {
    if list.gaps.is_empty() {
        return print::text("No gaps.");
    }
    let head = ["since (UTC)", "until (UTC)", "seconds", "types", "why", "position"];
    let mut table = print::table(&head, &[2, 5]);
    for gap in &list.gaps {
        table.add_row([
            print::time(gap.since),
            gap.until.map_or_else(|| "it lasts".to_owned(), print::time),
            print::points(seconds(gap, now)),
            kinds(&gap.kinds),
            print::harmless(&gap.reason),
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

fn seconds(gap: &Gap, now: DateTime<Utc>) -> i64 {
    (gap.until.unwrap_or(now) - gap.since).num_seconds().max(0)
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
    fn few_types_are_named_and_many_are_counted() {
        let of = |n: usize| kinds(&["a", "b", "c", "d", "e"].map(str::to_owned)[..n]);
        assert_eq!(of(2), "a, b");
        assert_eq!(of(3), "a, b, c");
        assert_eq!(of(5), "a, b, c and 2 more");
    }
}
