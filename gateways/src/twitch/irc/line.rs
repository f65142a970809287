//! One connection to Twitch's IRC, from its opening to its end: logging in, joining, signs of life both ways. Comes in;
//! nothing goes out but what these need.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::heard::COMMANDS;
use super::said::Said;
use super::settings::Settings;
use super::wire::{Lines, Read};
use crate::outgoing::{Outgoing, Pipe};

/// How long Twitch may take to let us in.
const JOIN_LIMIT: Duration = Duration::from_secs(15);
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection that we close may take to end.
const CLOSE_LIMIT: Duration = Duration::from_secs(4);
const REASON_CHARS_MAX: usize = 150;
/// What Twitch says where a login is not good. It closes the connection then.
pub const LOGIN_REFUSED: [&str; 4] = [
    "Login authentication failed",
    "Login unsuccessful",
    "Improperly formatted auth",
    "Invalid NICK",
];
/// What it says, as `msg-id`, where a channel cannot be read.
pub const CHANNEL_REFUSED: [&str; 3] = ["msg_channel_suspended", "msg_banned", "tos_ban"];

/// What is heard on which connection.
#[derive(Debug)]
pub struct Word {
    pub line: u64,
    pub at: DateTime<Utc>,
    pub heard: Heard,
}

#[derive(Debug, PartialEq)]
pub enum Heard {
    /// From now on what is said in the channel is said here.
    Joined,
    /// A line about what is said in the channel.
    Said(String),
    /// Anything else that can be read.
    Alive,
    /// This connection ends soon.
    Reconnect,
    /// Something that cannot be read, and why.
    Garbage(String),
    Ended(End),
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Up to when everything was received, where that is known.
    pub since: Option<DateTime<Utc>>,
    pub reason: String,
    /// We are not let in, and trying again soon will not help.
    pub refused: bool,
}

/// An open connection, or one that is being opened. It is cut when this is dropped.
pub struct Line {
    pub number: u64,
    close: CancellationToken,
    _reading: AbortOnDropHandle<()>,
}

/// What a connection needs.
#[derive(Clone)]
pub struct Opening {
    pub settings: Settings,
    pub broadcaster: String,
    pub outgoing: Arc<Outgoing>,
    pub words: mpsc::Sender<Word>,
}

impl Line {
    /// Opens a connection; what is heard on it goes to `words`, and last that it ended.
    pub fn open(number: u64, opening: Opening) -> Self {
        let close = CancellationToken::new();
        let talking = Talking { number, opening, close: close.clone() };
        let reading = tokio::spawn(talking.run());
        Line { number, close, _reading: AbortOnDropHandle::new(reading) }
    }

    /// Closes it in good order: what Twitch has sent before it heard of it is still received.
    pub fn close(&self) {
        self.close.cancel();
    }
}

struct Talking {
    number: u64,
    opening: Opening,
    close: CancellationToken,
}

/// How far logging in is.
#[derive(Default)]
struct Entry {
    /// Twitch gives us tags, and has let us in.
    capable: bool,
    welcome: bool,
    /// We have asked to join.
    asked: bool,
    joined: bool,
}

/// What follows from a line.
enum Then {
    Say(Heard),
    Answer(String),
    End(End),
}

impl Talking {
    async fn run(self) {
        let end = match self.connect().await {
            Ok(pipe) => self.talk(pipe).await,
            Err(reason) => End { since: None, reason, refused: false },
        };
        self.say(Heard::Ended(end)).await;
    }

    async fn connect(&self) -> Result<Box<dyn Pipe>, String> {
        let Opening { settings, outgoing, .. } = &self.opening;
        let url = settings.address.url().ok_or("the address cannot be read")?;
        outgoing.connect(&url).await.map_err(|error| error.to_string())
    }

    async fn say(&self, heard: Heard) {
        // Whoever listened may have gone.
        let word = Word { line: self.number, at: Utc::now(), heard };
        let _ = self.opening.words.send(word).await;
    }

    async fn talk(&self, pipe: Box<dyn Pipe>) -> End {
        let (reader, mut writer) = tokio::io::split(pipe);
        let mut lines = Lines::new(reader);
        let (login, password) = self.opening.settings.account();
        let greeting = format!(
            "CAP REQ :twitch.tv/tags twitch.tv/commands\r\nPASS {password}\r\nNICK {login}\r\n"
        );
        match write(&mut writer, &greeting).await {
            Ok(()) => self.read(&mut lines, &mut writer).await,
            Err(end) => end,
        }
    }

    async fn read(&self, lines: &mut Lines<ReadHalf<Box<dyn Pipe>>>, writer: &mut Writer) -> End {
        let (silence, answer) = self.opening.settings.silences();
        let (mut entry, mut asked, mut closing) = (Entry::default(), false, false);
        let mut until = Instant::now() + JOIN_LIMIT;
        loop {
            let read = tokio::select! {
                () = self.close.cancelled(), if !closing => {
                    (closing, until) = (true, Instant::now() + CLOSE_LIMIT);
                    let _ = write(writer, "QUIT\r\n").await;
                    continue;
                }
                read = timeout_at(until, lines.next()) => read,
            };
            let answered = match read {
                Err(_) if closing => return End::of("closed by us"),
                Err(_) if !entry.joined => return End::of("it did not let us in in time"),
                Err(_) if asked => {
                    let s = (silence + answer).as_secs_f32();
                    return End::of(format!("keepalive lost: nothing was heard for {s} s"));
                }
                Err(_) => {
                    (asked, until) = (true, Instant::now() + answer);
                    write(writer, "PING :tapedeck\r\n").await
                }
                Ok(Err(error)) => return End::of(format!("the connection broke: {error}")),
                Ok(Ok(None)) => {
                    // Whatever was sent before a goodbye has come.
                    let reason = if closing { "closed by us" } else { "closed by Twitch" };
                    return End { since: Some(Utc::now()), ..End::of(reason) };
                }
                Ok(Ok(Some(read))) => {
                    if entry.joined && !closing {
                        (asked, until) = (false, Instant::now() + silence);
                    }
                    match self.then(read, &mut entry) {
                        Then::End(end) => return end,
                        Then::Answer(text) => write(writer, &text).await,
                        Then::Say(heard) => {
                            if heard == Heard::Joined && !closing {
                                until = Instant::now() + silence;
                            }
                            self.say(heard).await;
                            Ok(())
                        }
                    }
                }
            };
            if let Err(end) = answered {
                return end;
            }
        }
    }

    fn then(&self, read: Read, entry: &mut Entry) -> Then {
        let Read::Line(text) = read else {
            return Then::Say(Heard::Garbage("it is too long".to_owned()));
        };
        let said = match Said::read(&text) {
            Ok(said) => said,
            Err(why) => return Then::Say(Heard::Garbage(why)),
        };
        let Opening { settings, broadcaster, .. } = &self.opening;
        let is_ours = said.is_about(&settings.channel);
        match said.command() {
            "PING" => {
                let token = said.parameter(0).unwrap_or("tmi.twitch.tv");
                return Then::Answer(format!("PONG :{token}\r\n"));
            }
            "CAP" if said.parameter(1) == Some("NAK") => {
                return Then::End(End::refused("Twitch does not give tags"));
            }
            "CAP" if said.parameter(1) == Some("ACK") => entry.capable = true,
            "001" => entry.welcome = true,
            "NOTICE" if !entry.joined => {
                let words = said.parameter(1).unwrap_or_default();
                let id = said.tag("msg-id").unwrap_or_default();
                if LOGIN_REFUSED.iter().any(|refused| words.starts_with(refused))
                    || CHANNEL_REFUSED.contains(&id)
                {
                    return Then::End(End::refused(words));
                }
            }
            "ROOMSTATE" if is_ours && !entry.joined => {
                if said.tag("room-id") != Some(broadcaster) {
                    let words =
                        format!("#{} is not the channel of {broadcaster}", settings.channel);
                    return Then::End(End::refused(&words));
                }
                entry.joined = true;
                return Then::Say(Heard::Joined);
            }
            "RECONNECT" => return Then::Say(Heard::Reconnect),
            command if is_ours && entry.joined && COMMANDS.contains(&command) => {
                return Then::Say(Heard::Said(text));
            }
            _ => {}
        }
        if entry.capable && entry.welcome && !entry.asked {
            entry.asked = true;
            return Then::Answer(format!("JOIN #{}\r\n", settings.channel));
        }
        Then::Say(Heard::Alive)
    }
}

type Writer = WriteHalf<Box<dyn Pipe>>;

async fn write(writer: &mut Writer, text: &str) -> Result<(), End> {
    let written = async {
        writer.write_all(text.as_bytes()).await?;
        writer.flush().await
    };
    match timeout(WRITE_LIMIT, written).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(End::of(format!("the connection broke: {error}"))),
        Err(_) => Err(End::of("it takes nothing any more")),
    }
}

impl End {
    fn of(reason: impl Into<String>) -> Self {
        End { since: None, reason: reason.into(), refused: false }
    }

    /// In Twitch's own words, as far as they can be shown.
    fn refused(words: &str) -> Self {
        let plain = words.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX);
        End { refused: true, ..End::of(format!("refused: {}", plain.collect::<String>())) }
    }
}
