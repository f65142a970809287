//! Its connections.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{CHANNEL, Client, LOGIN, Order, ROOM, SPEAKER, Shared, TOKEN};
use crate::sandbox::twitch::Speaker;
use crate::sandbox::{QUEUE_MAX, keep};
use crate::simulate::Viewer;

const CAPABILITIES: [&str; 3] = ["twitch.tv/commands", "twitch.tv/membership", "twitch.tv/tags"];
/// What only those hear who asked for `twitch.tv/commands`.
const COMMANDS: [&str; 8] = [
    "CLEARCHAT",
    "CLEARMSG",
    "GLOBALUSERSTATE",
    "NOTICE",
    "RECONNECT",
    "ROOMSTATE",
    "USERNOTICE",
    "USERSTATE",
];

/// What Twitch reads of one line: 4096 of tags, and 512 of the rest.
pub const LINE_BYTES_MAX: usize = 4_608;
/// As much of one is kept.
const KEPT_CHARS_MAX: usize = 600;
/// How many lines of somebody wait until they are answered.
const HEARD_MAX: usize = 1_024;

/// Whoever speaks IRC with us, by whatever carries the lines.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
    said: mpsc::Sender<String>,
    capabilities: BTreeSet<String>,
    password: String,
    login: Option<String>,
    /// Whose login it is, but for one who only reads.
    pub(super) speaker: Option<Speaker>,
}

pub async fn over_tcp(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let (hearing, heard) = mpsc::channel(HEARD_MAX);
    let (said, mut saying) = mpsc::channel::<String>(QUEUE_MAX);
    let reading = tokio::spawn(async move {
        let mut reader = BufReader::new(reader);
        // Whoever says a longer line, or none that is text, is not heard any more.
        while let Some(line) = next_line(&mut reader).await {
            if hearing.send(line).await.is_err() {
                return;
            }
        }
    });
    let writing = tokio::spawn(async move {
        while let Some(line) = saying.recv().await {
            if writer.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    });
    serve(shared, heard, said).await;
    let _ = writing.await;
    reading.abort();
}

pub async fn over_websocket(shared: Arc<Shared>, mut socket: WebSocket) {
    let (hearing, heard) = mpsc::channel(HEARD_MAX);
    let (said, mut saying) = mpsc::channel::<String>(QUEUE_MAX);
    let serving = tokio::spawn(serve(shared, heard, said));
    loop {
        tokio::select! {
            line = saying.recv() => match line {
                None => break,
                Some(line) => if socket.send(Message::text(line)).await.is_err() {
                    break;
                },
            },
            heard = socket.recv() => match heard {
                Some(Ok(Message::Text(text))) => {
                    for line in text.lines() {
                        let _ = hearing.try_send(line.to_owned());
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => break,
            },
        }
    }
    drop(hearing);
    let _ = serving.await;
}

/// A line without its end; nothing where there is none, or one that is too long.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    let mut limited = reader.take(LINE_BYTES_MAX as u64);
    limited.read_until(b'\n', &mut line).await.ok()?;
    let line = line.strip_suffix(b"\n")?;
    String::from_utf8(line.strip_suffix(b"\r").unwrap_or(line).to_vec()).ok()
}

/// Until it ends, by our doing or theirs.
async fn serve(shared: Arc<Shared>, mut heard: mpsc::Receiver<String>, said: mpsc::Sender<String>) {
    let (orders, mut ordered) = mpsc::channel(QUEUE_MAX);
    let number = {
        let mut all = shared.all();
        if all.is_away {
            return;
        }
        all.connections += 1;
        let number = all.connections;
        all.clients.insert(number, Client { orders, joined: BTreeSet::new(), hushed: false });
        number
    };
    let mut connection = Connection {
        shared: Arc::clone(&shared),
        number,
        said,
        capabilities: BTreeSet::new(),
        password: String::new(),
        login: None,
        speaker: None,
    };
    let mut hushed = false;
    loop {
        tokio::select! {
            // What was ordered is done first.
            biased;
            order = ordered.recv() => match order {
                Some(Order::Say(line)) if !hushed => connection.say(&line),
                Some(Order::Say(_)) => {}
                Some(Order::Hush) => hushed = true,
                Some(Order::Cut) | None => break,
            },
            line = heard.recv() => {
                let Some(line) = line else { break };
                keep(&mut shared.all().heard, line.chars().take(KEPT_CHARS_MAX).collect());
                if !hushed && !connection.answer(&line) {
                    break;
                }
            }
        }
    }
    shared.all().clients.remove(&number);
}

impl Connection {
    /// Does what a line asks for. Whether the connection stays.
    fn answer(&mut self, line: &str) -> bool {
        let tagged = line.strip_prefix('@').and_then(|line| line.split_once(' '));
        let (tags, line) = tagged.unwrap_or(("", line));
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "PRIVMSG" => return self.speaks(tags, rest),
            "CAP" => self.capable(rest),
            "PASS" => rest.clone_into(&mut self.password),
            "NICK" => return self.log_in(rest),
            "PING" => self.say(&format!(":tmi.twitch.tv PONG tmi.twitch.tv {rest}")),
            "PONG" => {}
            "QUIT" => return false,
            "JOIN" => rest.split(',').for_each(|channel| self.join(channel)),
            "PART" => {
                let login = self.login.clone().unwrap_or_default();
                self.client(|client| client.joined.remove(rest.trim_start_matches('#')));
                self.say(&format!(":{login}!{login}@{login}.tmi.twitch.tv PART {rest}"));
            }
            _ => {
                let login = self.login.as_deref().unwrap_or("you");
                self.say(&format!(":tmi.twitch.tv 421 {login} {command} :Unknown command"));
            }
        }
        true
    }

    fn capable(&mut self, rest: &str) {
        let Some(asked) = rest.strip_prefix("REQ ") else { return };
        let asked = asked.trim_start_matches(':').trim();
        let known = asked.split(' ').all(|one| CAPABILITIES.contains(&one));
        if known {
            self.capabilities.extend(asked.split(' ').map(str::to_owned));
        }
        let word = if known { "ACK" } else { "NAK" };
        self.say(&format!(":tmi.twitch.tv CAP * {word} :{asked}"));
    }

    fn log_in(&mut self, login: &str) -> bool {
        let number = login.strip_prefix("justinfan");
        let anonymous = number.is_some_and(|number| number.parse::<u64>().is_ok());
        let speaker = match self.password.strip_prefix("oauth:") {
            _ if anonymous => Ok(None),
            None => Err("Improperly formatted auth"),
            Some(token) if token == TOKEN && login == LOGIN => {
                let person = Viewer::new(SPEAKER, LOGIN, LOGIN);
                Ok(Some(Speaker { person, may_speak: true, moderates: false }))
            }
            Some(token) => {
                (self.shared.judge)(token).map(Some).ok_or("Login authentication failed")
            }
        };
        match speaker {
            Ok(speaker) => self.speaker = speaker,
            Err(words) => {
                // Said to whoever has no capabilities yet, too.
                let _ = self.said.try_send(format!(":tmi.twitch.tv NOTICE * :{words}\r\n"));
                return false;
            }
        }
        self.login = Some(login.to_owned());
        for (number, words) in [
            ("001", ":Welcome, GLHF!"),
            ("002", ":Your host is tmi.twitch.tv"),
            ("003", ":This server is rather new"),
            ("004", ":-"),
            ("375", ":-"),
            ("372", ":You are in a maze of twisty passages, all alike."),
            ("376", ":>"),
        ] {
            self.say(&format!(":tmi.twitch.tv {number} {login} {words}"));
        }
        if let Some(Speaker { person, .. }) = &self.speaker {
            let (id, name) = (&person.id, &person.name);
            self.say(&format!(
                "@badge-info=;badges=;color=;display-name={name};emote-sets=0;user-id={id};user-type= \
                 :tmi.twitch.tv GLOBALUSERSTATE"
            ));
        }
        true
    }

    fn join(&mut self, channel: &str) {
        let Some(login) = self.login.clone() else { return };
        let name = channel.trim().trim_start_matches('#');
        if name != CHANNEL {
            self.say(&format!(
                "@msg-id=msg_channel_suspended :tmi.twitch.tv NOTICE #{name} :This channel does not exist or has been suspended."
            ));
            return;
        }
        self.say(&format!(":{login}!{login}@{login}.tmi.twitch.tv JOIN #{name}"));
        self.say(&format!(":{login}.tmi.twitch.tv 353 {login} = #{name} :{login}"));
        self.say(&format!(":{login}.tmi.twitch.tv 366 {login} #{name} :End of /NAMES list"));
        if let Some(speaker) = &self.speaker {
            self.say(&self.state(speaker, ""));
        }
        self.say(&format!(
            "@emote-only=0;followers-only=-1;r9k=0;room-id={ROOM};slow=0;subs-only=0 :tmi.twitch.tv ROOMSTATE #{name}"
        ));
        // From here on it hears what is said.
        self.client(|client| client.joined.insert(name.to_owned()));
    }

    fn client(&self, change: impl FnOnce(&mut Client) -> bool) {
        self.shared.all().clients.get_mut(&self.number).map(change);
    }

    /// Says a line as far as the client has asked for what is in it.
    pub(super) fn say(&self, line: &str) {
        let bare = match line.strip_prefix('@').and_then(|line| line.split_once(' ')) {
            Some((_, bare)) => bare,
            None => line,
        };
        let command = bare.split(' ').nth(usize::from(bare.starts_with(':'))).unwrap_or_default();
        let has = |name: &str| self.capabilities.contains(name);
        if COMMANDS.contains(&command) && !has("twitch.tv/commands") {
            return;
        }
        let line = if has("twitch.tv/tags") { line } else { bare };
        let _ = self.said.try_send(format!("{line}\r\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_has_no_end_is_not_read_on() {
        let text = b"CAP LS\r\nPASS x\n".to_vec();
        let mut endless = BufReader::new(std::io::Cursor::new([text, vec![b'a'; 9_999]].concat()));
        assert_eq!(next_line(&mut endless).await.as_deref(), Some("CAP LS"));
        assert_eq!(next_line(&mut endless).await.as_deref(), Some("PASS x"));
        assert_eq!(next_line(&mut endless).await, None);
    }
}
