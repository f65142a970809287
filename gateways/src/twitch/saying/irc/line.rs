//! One connection to Twitch's IRC over which something is said: logged in as whoever speaks, and joined, so that Twitch says
//! whether that account moderates. What else is said in the chat is passed over.

use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::dropped::is_about_what_was_said;
use super::super::plain;
use crate::outgoing::{Outgoing, Pipe};
use crate::twitch::irc;
use crate::twitch::irc::line::{CHANNEL_REFUSED, LOGIN_REFUSED};
use crate::twitch::irc::said::Said as Heard;
use crate::twitch::irc::wire::{Lines, Read};

/// How long connecting, logging in and joining may take.
const OPEN_LIMIT: Duration = Duration::from_secs(4);
/// How long Twitch may take to say what became of a line.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(3);
const WRITE_LIMIT: Duration = Duration::from_secs(2);
const REASON_CHARS_MAX: usize = 150;
/// How many lines are taken at once that came while nothing was said.
const READY_MAX: usize = 1_000;

/// What a connection is opened with.
pub struct Opening<'a> {
    pub settings: &'a irc::Settings,
    pub outgoing: &'a Outgoing,
    /// Whoever speaks, and in whose chat, by user id.
    pub sender: &'a str,
    pub broadcaster: &'a str,
    pub login: &'a str,
    /// As it is sent. It is in no reason.
    pub password: &'a str,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq)]
pub struct NotOpened {
    pub reason: String,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It may be there again soon.
    Passing,
    /// Another grant may be let in.
    Login,
    /// Somebody has to mend it.
    Refused,
}

/// What came of a line that was sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Came {
    /// It is there. Under which id, Twitch may not say.
    Taken { id: Option<String> },
    /// It is not, for the reason that Twitch names so, and describes in these words.
    Dropped { code: String, words: String },
    /// Nobody knows, and nobody will know over this connection.
    Lost { reason: String },
}

/// What came over an idle connection.
pub enum Idle {
    Goes,
    Over,
}

/// A connection over which something can be said. It is cut when this is dropped.
pub struct Line {
    lines: Lines<ReadHalf<Box<dyn Pipe>>>,
    writer: WriteHalf<Box<dyn Pipe>>,
    channel: String,
    sender: String,
    broadcaster: String,
    entry: Entry,
    /// Twitch has told us to leave it.
    is_ending: bool,
    /// Somebody was asked for a sign of life.
    asked: bool,
    silences: (Duration, Duration),
    quiet_until: Instant,
}

/// What Twitch has said of us.
#[derive(Default)]
struct Entry {
    capable: bool,
    welcome: bool,
    /// We have asked to join.
    joining: bool,
    room: bool,
    moderates: Option<bool>,
}

impl Line {
    pub async fn open(opening: Opening<'_>) -> Result<Self, NotOpened> {
        let late = NotOpened::passing("it did not let us in in time");
        timeout(OPEN_LIMIT, Self::enter(opening)).await.unwrap_or(Err(late))
    }

    async fn enter(opening: Opening<'_>) -> Result<Self, NotOpened> {
        let Opening { settings, outgoing, sender, broadcaster, login, password } = opening;
        let url = settings.address.url();
        let url = url.ok_or_else(|| NotOpened::passing("the address cannot be read"))?;
        let pipe = outgoing.connect(&url).await.map_err(NotOpened::passing)?;
        let (reader, writer) = tokio::io::split(pipe);
        let silences = settings.silences();
        let mut line = Line {
            lines: Lines::new(reader),
            writer,
            channel: settings.channel.clone(),
            sender: sender.to_owned(),
            broadcaster: broadcaster.to_owned(),
            entry: Entry::default(),
            is_ending: false,
            asked: false,
            quiet_until: Instant::now() + silences.0,
            silences,
        };
        let greeting = format!(
            "CAP REQ :twitch.tv/tags twitch.tv/commands\r\nPASS {password}\r\nNICK {login}\r\n"
        );
        line.write(&greeting).await.map_err(NotOpened::passing)?;
        while !(line.entry.room && line.entry.moderates.is_some()) {
            let read = line.lines.next().await;
            if let Some(heard) = line.heard(read).await.map_err(NotOpened::passing)? {
                line.enters(&heard).await?;
            }
        }
        Ok(line)
    }

    /// Takes a line of the login, and says what comes next.
    async fn enters(&mut self, heard: &Heard) -> Result<(), NotOpened> {
        match heard.command() {
            "CAP" if heard.parameter(1) == Some("NAK") => {
                return Err(NotOpened::refused(Why::Refused, "Twitch does not give tags"));
            }
            "CAP" if heard.parameter(1) == Some("ACK") => self.entry.capable = true,
            "001" => self.entry.welcome = true,
            // Another account may have been connected a moment ago, whose grant this is.
            "GLOBALUSERSTATE" if heard.tag("user-id").is_some_and(|id| id != self.sender) => {
                return Err(NotOpened::passing(format!("it is not the login of {}", self.sender)));
            }
            "ROOMSTATE" if heard.is_about(&self.channel) => {
                if heard.tag("room-id").is_some_and(|room| room != self.broadcaster) {
                    let (name, wanted) = (&self.channel, &self.broadcaster);
                    let words = format!("#{name} is not the channel of {wanted}");
                    return Err(NotOpened::refused(Why::Refused, &words));
                }
                self.entry.room = true;
            }
            "NOTICE" => {
                let words = heard.parameter(1).unwrap_or_default();
                if LOGIN_REFUSED.iter().any(|refused| words.starts_with(refused)) {
                    return Err(NotOpened::refused(Why::Login, words));
                }
                if CHANNEL_REFUSED.contains(&heard.tag("msg-id").unwrap_or_default()) {
                    return Err(NotOpened::refused(Why::Refused, words));
                }
            }
            _ => {}
        }
        if self.entry.capable && self.entry.welcome && !self.entry.joining {
            self.entry.joining = true;
            let join = format!("JOIN #{}\r\n", self.channel);
            self.write(&join).await.map_err(NotOpened::passing)?;
        }
        Ok(())
    }

    /// Whether it is the login of this account, in this chat.
    pub fn is_of(&self, sender: &str, broadcaster: &str) -> bool {
        self.sender == sender && self.broadcaster == broadcaster
    }

    pub fn moderates(&self) -> bool {
        self.entry.moderates == Some(true)
    }

    /// Whether Twitch has told us to leave it.
    pub fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// Takes what has come already. Whether something can still be said.
    pub async fn is_settled(&mut self) -> bool {
        for _ in 0..READY_MAX {
            let Some(read) = self.lines.next().now_or_never() else { return !self.is_ending };
            if self.heard(read).await.is_err() {
                return false;
            }
        }
        !self.is_ending
    }

    /// Says `text`, and waits for what Twitch says of it. `nonce` is handed back with that.
    pub async fn say(&mut self, nonce: &str, text: &str) -> Came {
        let line = format!("@client-nonce={nonce} PRIVMSG #{} :{text}\r\n", self.channel);
        if let Err(reason) = self.write(&line).await {
            return Came::Lost { reason };
        }
        let until = Instant::now() + ANSWER_LIMIT;
        while Instant::now() < until {
            let Ok(read) = timeout_at(until, self.lines.next()).await else { break };
            match self.heard(read).await {
                Err(reason) => return Came::Lost { reason },
                Ok(Some(heard)) => {
                    if let Some(came) = came(&heard, &self.channel, nonce) {
                        return came;
                    }
                }
                Ok(None) => {}
            }
        }
        Came::Lost { reason: "Twitch did not say in time what became of it".to_owned() }
    }

    /// What comes while nothing is said. Nothing is lost where nobody waits for it any more.
    pub async fn next(&mut self) -> std::io::Result<Option<Read>> {
        self.lines.next().await
    }

    /// Until when nothing needs to be heard.
    pub fn quiet_until(&self) -> Instant {
        self.quiet_until
    }

    /// Takes what came, or that nothing did until [`Line::quiet_until`].
    pub async fn idles(&mut self, read: Option<std::io::Result<Option<Read>>>) -> Idle {
        let gone = match read {
            Some(read) => self.heard(read).await.is_err(),
            None if self.asked => true,
            None => {
                (self.asked, self.quiet_until) = (true, Instant::now() + self.silences.1);
                self.write("PING :tapedeck\r\n").await.is_err()
            }
        };
        if gone || self.is_ending { Idle::Over } else { Idle::Goes }
    }

    /// Does what every line may ask for, and gives one that says something. Fails where the connection is over.
    async fn heard(
        &mut self,
        read: std::io::Result<Option<Read>>,
    ) -> Result<Option<Heard>, String> {
        let read = match read {
            Ok(Some(read)) => read,
            Ok(None) => return Err("closed by Twitch".to_owned()),
            Err(error) => return Err(format!("the connection broke: {error}")),
        };
        (self.asked, self.quiet_until) = (false, Instant::now() + self.silences.0);
        let Read::Line(text) = read else { return Ok(None) };
        let Ok(heard) = Heard::read(&text) else { return Ok(None) };
        match heard.command() {
            "PING" => {
                let answer = format!("PONG :{}\r\n", heard.parameter(0).unwrap_or("tmi.twitch.tv"));
                self.write(&answer).await?;
            }
            "RECONNECT" => self.is_ending = true,
            "USERSTATE" if heard.is_about(&self.channel) => {
                self.entry.moderates = Some(moderates(&heard));
            }
            _ => {}
        }
        Ok(Some(heard))
    }

    async fn write(&mut self, text: &str) -> Result<(), String> {
        let written = async {
            self.writer.write_all(text.as_bytes()).await?;
            self.writer.flush().await
        };
        match timeout(WRITE_LIMIT, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the connection broke: {error}")),
            Err(_) => Err("it takes nothing any more".to_owned()),
        }
    }

    /// Says goodbye, as far as anybody hears it.
    pub async fn close(mut self) {
        let _ = self.write("QUIT\r\n").await;
    }
}

/// What a line says of what was said in `channel` under `nonce`.
fn came(heard: &Heard, channel: &str, nonce: &str) -> Option<Came> {
    if !heard.is_about(channel) {
        return None;
    }
    match heard.command() {
        "USERSTATE" => match (heard.tag("client-nonce"), heard.tag("id")) {
            (Some(given), _) if given != nonce => None,
            // One line is on its way at a time, so what is told of any is told of this.
            (_, id) => Some(Came::Taken { id: id.map(plain) }),
        },
        "NOTICE" => {
            let code = heard.tag("msg-id").filter(|code| is_about_what_was_said(code))?;
            let words = heard.parameter(1).unwrap_or_default();
            Some(Came::Dropped { code: code.to_owned(), words: words.to_owned() })
        }
        _ => None,
    }
}

fn moderates(state: &Heard) -> bool {
    let badges = state.tag("badges").unwrap_or_default().split(',');
    let mut sets = badges.filter_map(|badge| badge.split('/').next());
    state.tag("mod") == Some("1") || sets.any(|set| matches!(set, "broadcaster" | "moderator"))
}

impl NotOpened {
    fn passing(reason: impl ToString) -> Self {
        NotOpened { reason: reason.to_string(), why: Why::Passing }
    }

    /// In Twitch's own words, as far as they can be shown.
    fn refused(why: Why, words: &str) -> Self {
        let plain = words.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX);
        NotOpened { reason: format!("refused: {}", plain.collect::<String>()), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(line: &str) -> Heard {
        Heard::read(line).expect("a line")
    }

    #[test]
    fn what_is_told_of_something_else_is_not_told_of_our_line() {
        let of = |line: &str| came(&heard(line), "goldenreel", "n-1");
        let taken = |id: Option<&str>| Some(Came::Taken { id: id.map(str::to_owned) });
        assert_eq!(of("@client-nonce=n-1;id=a-1 :t USERSTATE #goldenreel"), taken(Some("a-1")));
        assert_eq!(of("@client-nonce=n-1 :t USERSTATE #goldenreel"), taken(None));
        assert_eq!(of("@id=a-1 :t USERSTATE #goldenreel"), taken(Some("a-1")));
        assert_eq!(of("@mod=1 :t USERSTATE #goldenreel"), taken(None));
        let dropped = Came::Dropped { code: "msg_banned".into(), words: "You are banned.".into() };
        let banned = "@msg-id=msg_banned :t NOTICE #goldenreel :You are banned.";
        assert_eq!(of(banned), Some(dropped));
        for other in [
            "@client-nonce=n-2;id=a-1 :t USERSTATE #goldenreel",
            "@client-nonce=n-1;id=a-1 :t USERSTATE #another",
            "@msg-id=msg_banned :t NOTICE #another :You are banned.",
            "@msg-id=slow_on :t NOTICE #goldenreel :This room is now in slow mode.",
            ":t NOTICE #goldenreel :You are banned.",
            "@client-nonce=n-1;id=a-1 :a!a@a PRIVMSG #goldenreel :USERSTATE",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn whoever_moderates_is_known_by_the_badge_or_the_word() {
        for (tags, expected) in [
            ("badges=moderator/1,premium/1", true),
            ("badges=broadcaster/1", true),
            ("badges=;mod=1", true),
            ("badges=premium/1;mod=0", false),
            ("badges=moderatorish/1", false),
        ] {
            let state = heard(&format!("@{tags} :t USERSTATE #goldenreel"));
            assert_eq!(moderates(&state), expected, "{tags}");
        }
    }
}
