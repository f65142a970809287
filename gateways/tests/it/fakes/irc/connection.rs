//! Its connections.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{CHANNEL, Client, LOGIN, Order, ROOM, Shared, TOKEN};

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

/// Whoever speaks IRC with us, by whatever carries the lines.
struct Connection {
    shared: Arc<Shared>,
    number: u64,
    said: mpsc::UnboundedSender<String>,
    capabilities: BTreeSet<String>,
    password: String,
    login: Option<String>,
}

pub async fn over_tcp(shared: Arc<Shared>, stream: TcpStream) {
    stream.set_nodelay(true).expect("set");
    let (reader, mut writer) = stream.into_split();
    let (hearing, heard) = mpsc::unbounded_channel();
    let (said, mut saying) = mpsc::unbounded_channel::<String>();
    let reading = tokio::spawn(async move {
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if hearing.send(line).is_err() {
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
    let (hearing, heard) = mpsc::unbounded_channel();
    let (said, mut saying) = mpsc::unbounded_channel::<String>();
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
                        let _ = hearing.send(line.to_owned());
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => break,
            },
        }
    }
    drop(hearing);
    serving.await.expect("no panic");
}

/// Until it ends, by our doing or theirs.
async fn serve(
    shared: Arc<Shared>,
    mut heard: mpsc::UnboundedReceiver<String>,
    said: mpsc::UnboundedSender<String>,
) {
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let number = {
        let mut all = shared.all();
        all.connections += 1;
        let number = all.connections;
        all.clients.insert(number, Client { orders, joined: BTreeSet::new() });
        number
    };
    let (capabilities, password, login) = (BTreeSet::new(), String::new(), None);
    let mut connection =
        Connection { shared: Arc::clone(&shared), number, said, capabilities, password, login };
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
                shared.all().heard.push(line.clone());
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
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
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
        let refused = match self.password.strip_prefix("oauth:") {
            _ if anonymous => None,
            None => Some("Improperly formatted auth"),
            Some(token) if token == TOKEN && login == LOGIN => None,
            Some(_) => Some("Login authentication failed"),
        };
        if let Some(words) = refused {
            // Said to whoever has no capabilities yet, too.
            let _ = self.said.send(format!(":tmi.twitch.tv NOTICE * :{words}\r\n"));
            return false;
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
        if !anonymous {
            self.say(&format!(
                "@badge-info=;badges=;color=;display-name={login};emote-sets=0;user-id=9000;user-type= \
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
        if !login.starts_with("justinfan") {
            self.say(&format!(
                "@badge-info=;badges=;color=;display-name={login};emote-sets=0;mod=0;subscriber=0;user-type= \
                 :tmi.twitch.tv USERSTATE #{name}"
            ));
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
    fn say(&self, line: &str) {
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
        let _ = self.said.send(format!("{line}\r\n"));
    }
}
