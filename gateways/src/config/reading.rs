//! How the configuration of a running process is: since when it has the one it works with, and why not another.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Config;

/// All of it is of one moment: the versions are those that the process works with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reading {
    /// Since when it works with this one.
    pub since: DateTime<Utc>,
    /// The versions of the rules, of the prices, and of what is understood in chat.
    pub rules: u32,
    pub prices: u32,
    pub chat: u32,
    /// The file as it is now is refused, and this one stays.
    pub refused: Option<Refusal>,
    /// Keys that changed, and take effect at the next start.
    pub later: BTreeSet<String>,
}

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refusal {
    pub since: DateTime<Utc>,
    /// In words that repeat nothing of what the file says but the names of keys.
    pub error: String,
}

impl Reading {
    pub fn of(config: &Config) -> Self {
        Reading {
            since: Utc::now(),
            rules: config.rules.version,
            prices: config.prices.version,
            chat: config.chat.version,
            refused: None,
            later: BTreeSet::new(),
        }
    }
}

/// What is wrong, without what stands in the file: it may be a secret in the wrong place.
pub(super) fn harmless(error: &str) -> String {
    // A parser shows the line that it does not understand, with bars beside it.
    let shown = |line: &&str| {
        let rest = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        rest.trim_start().starts_with('|')
    };
    let lines: Vec<&str> = error.lines().filter(|line| !shown(line)).map(str::trim_end).collect();
    let mut words = lines.join(": ");
    // And what a value is that should be another.
    for (open, close) in [("string \"", "\", expected"), ("integer `", "`"), ("float `", "`")] {
        let Some(begin) = words.find(open).map(|at| at + open.len()) else { continue };
        if let Some(end) = words.get(begin..).and_then(|rest| rest.find(close)) {
            words.replace_range(begin..begin + end, "…");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(file: &str) -> String {
        let file = ("tapedeck.toml".to_owned(), file.to_owned());
        let refused = Config::layered(None, Some(file), []).expect_err("it is wrong");
        refused.to_string()
    }

    #[test]
    fn what_is_wrong_is_said_without_what_stands_there() {
        for file in [
            "eventsub_secret = \"hush-hush-hush",
            "eventsub_secret = hush-hush-hush",
            "database_connections = \"hush-hush-hush\"",
            "[twitch]\nclient_secret = [\"hush-hush-hush\"",
            "listen = \"hush-hush-hush\"",
            "[rules]\nversion = \"hush-hush-hush, expected\"",
        ] {
            let words = refused(file);
            assert!(words.contains("tapedeck.toml"), "{words}");
            assert!(!words.contains("hush"), "{words}");
        }
        let words = refused("[rules]\nversion = 1\npoints = 2");
        assert!(words.contains("points"), "a key is named: {words}");
        let words = refused("a = 1\nb = \"unfinished");
        assert!(words.contains("line 2"), "and the line: {words}");
    }
}
