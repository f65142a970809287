//! One WebSocket connection to Twitch, from its opening to its end. Comes in; nothing but pongs goes out.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{SinkExt, StreamExt};
use reqwest::Url;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::frame::{self, Frame};
use super::settings::silent_after;
use crate::outgoing::{Outgoing, Pipe};

/// How long Twitch may take to agree to a WebSocket, and then to say welcome.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const WELCOME_LIMIT: Duration = Duration::from_secs(15);
/// How long a connection that we close may take to end.
const CLOSE_LIMIT: Duration = Duration::from_secs(4);

/// What is heard on which connection.
#[derive(Debug)]
pub struct Word {
    pub line: u64,
    pub at: DateTime<Utc>,
    pub heard: Heard,
}

#[derive(Debug)]
pub enum Heard {
    Frame(Frame),
    /// Something that cannot be read, and why.
    Garbage(String),
    Ended(End),
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Up to when everything was received, where that is known: Twitch says nothing after a close.
    pub since: Option<DateTime<Utc>>,
    pub reason: String,
}

/// An open connection, or one that is being opened. It is cut when this is dropped.
pub struct Line {
    pub number: u64,
    close: CancellationToken,
    _reading: AbortOnDropHandle<()>,
}

impl Line {
    /// Opens a connection; what is heard on it goes to `words`, and last that it ended.
    pub fn open(number: u64, outgoing: Arc<Outgoing>, url: Url, words: mpsc::Sender<Word>) -> Self {
        let close = CancellationToken::new();
        let reading = Reading { number, words, close: close.clone() };
        let reading = tokio::spawn(async move { reading.run(&outgoing, &url).await });
        Line { number, close, _reading: AbortOnDropHandle::new(reading) }
    }

    /// Closes it in good order: what Twitch has sent before it heard of it is still received.
    pub fn close(&self) {
        self.close.cancel();
    }
}

struct Reading {
    number: u64,
    words: mpsc::Sender<Word>,
    close: CancellationToken,
}

type Socket = WebSocketStream<Box<dyn Pipe>>;

impl Reading {
    async fn run(self, outgoing: &Outgoing, url: &Url) {
        let end = match connect(outgoing, url).await {
            Ok(mut socket) => self.read(&mut socket).await,
            Err(reason) => End { since: None, reason },
        };
        self.say(Heard::Ended(end)).await;
    }

    async fn say(&self, heard: Heard) {
        // Whoever listened may have gone.
        let _ = self.words.send(Word { line: self.number, at: Utc::now(), heard }).await;
    }

    async fn read(&self, socket: &mut Socket) -> End {
        let (mut limit, mut closing) = (WELCOME_LIMIT, false);
        let mut until = Instant::now() + limit;
        loop {
            let heard = tokio::select! {
                () = self.close.cancelled(), if !closing => {
                    (closing, until) = (true, Instant::now() + CLOSE_LIMIT);
                    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                    let _ = timeout(CLOSE_LIMIT, socket.close(Some(frame))).await;
                    continue;
                }
                heard = timeout_at(until, socket.next()) => heard,
            };
            let Ok(heard) = heard else {
                let silent =
                    format!("keepalive lost: nothing was heard for {} s", limit.as_secs_f32());
                let reason = if closing { "closed by us".to_owned() } else { silent };
                return End { since: None, reason };
            };
            match heard {
                Some(Ok(Message::Text(text))) => {
                    let read = frame::read(&text);
                    if let Ok(Frame::Welcome { keepalive, .. }) = &read {
                        limit = silent_after(*keepalive);
                    }
                    self.say(read.map_or_else(Heard::Garbage, Heard::Frame)).await;
                }
                Some(Ok(Message::Close(frame))) => {
                    let since = Some(Utc::now());
                    let _ = timeout(CLOSE_LIMIT, socket.flush()).await;
                    let reason = if closing { "closed by us".to_owned() } else { closed(frame) };
                    return End { since, reason };
                }
                Some(Ok(Message::Binary(_))) => {
                    self.say(Heard::Garbage("it is not text".to_owned())).await;
                }
                // Answered by the library, when it is polled next.
                Some(Ok(_)) => continue,
                Some(Err(Error::ConnectionClosed)) | None => {
                    return End { since: None, reason: "the connection was cut".to_owned() };
                }
                Some(Err(error)) => {
                    return End { since: None, reason: format!("the connection broke: {error}") };
                }
            }
            if !closing {
                until = Instant::now() + limit;
            }
        }
    }
}

async fn connect(outgoing: &Outgoing, url: &Url) -> Result<Socket, String> {
    let pipe = outgoing.connect(url).await.map_err(|error| error.to_string())?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(frame::BYTES_MAX))
        .max_frame_size(Some(frame::BYTES_MAX));
    let shaken = client_async_with_config(url.as_str(), pipe, Some(config));
    match timeout(HANDSHAKE_LIMIT, shaken).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(answer))) => {
            Err(format!("Twitch answered {}", answer.status().as_u16()))
        }
        Ok(Err(error)) => Err(format!("it does not speak WebSocket: {error}")),
        Err(_) => Err("it did not agree to a WebSocket in time".to_owned()),
    }
}

/// Why Twitch closed a connection, in its documentation's words.
fn closed(frame: Option<CloseFrame>) -> String {
    let Some(frame) = frame else { return "closed by Twitch without a reason".to_owned() };
    let code = u16::from(frame.code);
    let words = match code {
        4000 => "internal server error",
        4001 => "we sent something",
        4002 => "failed ping-pong",
        4003 => "connection unused",
        4004 => "the time to reconnect was over",
        4005 => "network timeout",
        4006 => "network error",
        4007 => "invalid reconnect",
        _ => return format!("closed by Twitch: {code}"),
    };
    format!("closed by Twitch: {code}, {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_says_what_it_means() {
        let of = |code: u16| {
            closed(Some(CloseFrame { code: CloseCode::from(code), reason: "x".into() }))
        };
        let said: std::collections::BTreeSet<String> = (4000..=4007).map(of).collect();
        assert_eq!(said.len(), 8);
        assert!(said.iter().all(|words| words.contains(", ")), "{said:?}");
        assert_eq!(of(4002), "closed by Twitch: 4002, failed ping-pong");
        assert_eq!(of(1006), "closed by Twitch: 1006");
        assert_eq!(closed(None), "closed by Twitch without a reason");
    }
}
