//! A configuration file as `tapedeck init` writes it: the example with every key, explained, and some of them set.

use super::{Config, ConfigError};

/// Every key with its default, each behind a `#`.
pub const EXAMPLE: &str = include_str!("../../../tapedeck.example.toml");

/// A key of a table, or of no table, and its value. Values are text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub table: &'static str,
    pub key: &'static str,
    pub value: String,
}

impl Set {
    /// The name that it has in what is printed.
    pub fn name(&self) -> String {
        match self.table {
            "" => self.key.to_owned(),
            table => format!("{table}.{}", self.key),
        }
    }
}

/// The file with these keys set and nothing else changed, which is read as a configuration before it is given.
pub fn filled(file: &str, sets: &[Set]) -> Result<String, ConfigError> {
    let mut text = file.to_owned();
    for set in sets {
        let missing = || ConfigError::Refused(format!("{} has no place in the file", set.name()));
        text = with(&text, set).ok_or_else(missing)?;
    }
    Config::layered(None, Some(("the file".to_owned(), text.clone())), [])?;
    Ok(text)
}

/// The text with the line of `set` in place of the one that names its key, and the head of its table in force.
fn with(text: &str, set: &Set) -> Option<String> {
    let value = serde_json::to_string(&set.value).ok()?;
    let (mut table, mut head, mut place) = ("", None, None);
    for (n, line) in text.lines().enumerate() {
        let said = line.trim_start_matches('#');
        if let Some(name) = said.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name;
            head = if table == set.table { Some(n) } else { head };
        } else if table == set.table
            && said.split_once('=').is_some_and(|(key, _)| key.trim_end() == set.key)
        {
            place = place.or(Some(n));
        }
    }
    let place = place?;
    let lines = text.lines().enumerate().map(|(n, line)| {
        if n == place {
            format!("{} = {value}\n", set.key)
        } else if Some(n) == head {
            format!("{}\n", line.trim_start_matches('#'))
        } else {
            format!("{line}\n")
        }
    });
    Some(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(table: &'static str, key: &'static str, value: &str) -> Set {
        Set { table, key, value: value.to_owned() }
    }

    #[test]
    fn the_keys_that_are_set_are_read_and_everything_else_stays() {
        let sets = [
            set("", "broadcaster_id", "1000"),
            set("twitch", "client_id", "abc"),
            set("twitch.eventsub", "transport", "webhook"),
        ];
        let text = filled(EXAMPLE, &sets).expect("filled");
        let read = Config::layered(None, Some(("x".to_owned(), text.clone())), []).expect("read");
        assert_eq!((read.broadcaster_id.as_str(), read.twitch.client_id.as_str()), ("1000", "abc"));
        assert_eq!(read.twitch.eventsub.transport, crate::twitch::eventsub::Transport::Webhook);
        let changed: Vec<(&str, &str)> =
            EXAMPLE.lines().zip(text.lines()).filter(|(before, now)| before != now).collect();
        assert_eq!(
            changed,
            [
                ("#broadcaster_id = \"\"", "broadcaster_id = \"1000\""),
                ("#[twitch]", "[twitch]"),
                ("#client_id = \"\"", "client_id = \"abc\""),
                ("#[twitch.eventsub]", "[twitch.eventsub]"),
                ("#transport = \"websocket\"", "transport = \"webhook\""),
            ]
        );
        assert_eq!(EXAMPLE.lines().count(), text.lines().count());
        let again = filled(&text, &[set("", "broadcaster_id", "2000")]).expect("set again");
        assert_eq!(again, text.replace("\"1000\"", "\"2000\""));
    }

    #[test]
    fn what_cannot_be_read_back_or_has_no_place_is_refused() {
        assert!(filled(EXAMPLE, &[set("", "broadcaster", "1000")]).is_err());
        assert!(filled(EXAMPLE, &[set("twitch", "helix_url", "ftp://x")]).is_err());
        let hostile = filled(EXAMPLE, &[set("twitch", "client_id", "a\"\nlog = \"debug")]);
        assert!(hostile.is_err(), "a client id has no quotes");
    }
}
