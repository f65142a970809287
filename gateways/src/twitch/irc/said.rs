//! One line of IRC: its tags, who sent it, what it is and what it says. The grammar is that of the crate `twitch-irc`.

use twitch_irc::message::{IRCMessage, IRCPrefix};

/// A line.
#[derive(Clone, Debug)]
pub struct Said(IRCMessage);

impl Said {
    /// What `line` says, or why it cannot be read.
    pub fn read(line: &str) -> Result<Self, String> {
        IRCMessage::parse(line).map(Said).map_err(|error| error.to_string())
    }

    /// `PRIVMSG`, `001`, in capitals.
    pub fn command(&self) -> &str {
        &self.0.command
    }

    /// An empty tag says as little as one that is not there.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.0.tags.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn parameter(&self, number: usize) -> Option<&str> {
        self.0.params.get(number).map(String::as_str)
    }

    /// The login of whoever said it.
    pub fn login(&self) -> Option<&str> {
        match self.0.prefix.as_ref()? {
            IRCPrefix::Full { nick, .. } => Some(nick),
            IRCPrefix::HostOnly { .. } => None,
        }
    }

    /// Whether it is about the channel of this login.
    pub fn is_about(&self, channel: &str) -> bool {
        let named = self.parameter(0).and_then(|name| name.strip_prefix('#'));
        named.is_some_and(|name| name.eq_ignore_ascii_case(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_unescaped_and_an_empty_one_says_nothing() {
        let line =
            r"@a=x\s\:\\y\r\n;b=;c;d=1;d=2;e=\ :ann!ann@ann.tmi.twitch.tv PRIVMSG #Bob :hi : there";
        let said = Said::read(line).expect("a line");
        assert_eq!(said.tag("a"), Some("x ;\\y\r\n"));
        assert_eq!([said.tag("b"), said.tag("c"), said.tag("e"), said.tag("z")], [None; 4]);
        assert_eq!(said.tag("d"), Some("2"));
        assert_eq!((said.command(), said.login()), ("PRIVMSG", Some("ann")));
        assert_eq!(said.parameter(1), Some("hi : there"));
        assert!(said.is_about("bob") && !said.is_about("bo"));
    }

    #[test]
    fn no_line_is_hostile_enough_for_a_panic() {
        let tags = ["", "@", "@ ", "@;", "@=;=;== ", "@a=\\", "@a=\\ ", "@é=ü "];
        let prefixes = ["", ":", ": ", ":é!@ ", ":!@!@ ", ":a "];
        let commands = [
            "",
            " ",
            "privmsg",
            "PRIVMSG #",
            "001",
            "PRIVMSG  # :x",
            "PRIVMSG #b :\u{0}\u{1}",
            "🦀",
            "CLEARCHAT",
        ];
        for tags in tags {
            for prefix in prefixes {
                for command in commands {
                    let line = format!("{tags}{prefix}{command}");
                    if let Ok(said) = Said::read(&line) {
                        said.is_about("b");
                        assert!(!said.command().is_empty(), "{line}");
                    }
                }
            }
        }
        for wrong in ["", " ", "@a=b", "@ PING", ":a", "PI\rNG", "PING\n", "\u{0}"] {
            assert!(Said::read(wrong).is_err(), "{wrong:?}");
        }
    }
}
