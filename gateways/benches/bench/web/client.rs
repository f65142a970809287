//! As much of HTTP/1.1 as a measurement needs, so that the client costs little beside the server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::{SecondsFormat, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::SECRET;

const ANSWER_MAX: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// Posts a notification as Twitch does, and waits for the 2xx that promises that it is kept.
    pub async fn notify(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        let answer = tokio::time::timeout(ANSWER_MAX, self.answer()).await;
        let status = answer.context("no answer to a webhook")??;
        ensure!((200..300).contains(&status), "a webhook was answered with {status}");
        Ok(())
    }

    /// Reads one answer and gives its status.
    async fn answer(&mut self) -> anyhow::Result<u16> {
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(self.buffer.len() < HEAD_BYTES_MAX, "the head of an answer has no end");
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed the connection");
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length =
            text.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
                let wanted = name.eq_ignore_ascii_case("content-length");
                wanted.then(|| value.trim().parse::<usize>().ok()).flatten()
            });
        let whole = head + length.unwrap_or(0);
        while self.buffer.len() < whole {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed the connection");
        }
        status.context("an answer without a status")
    }
}

/// The bytes of a signed `channel.cheer`.
pub fn notification(address: SocketAddr, id: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    let sent_at = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    for part in [id, &sent_at, body] {
        mac.update(part.as_bytes());
    }
    let signature = hex::encode(mac.finalize().into_bytes());
    let request = format!(
        "POST /webhooks/twitch HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nTwitch-Eventsub-Message-Id: {id}\r\n\
         Twitch-Eventsub-Message-Retry: 0\r\nTwitch-Eventsub-Message-Type: notification\r\n\
         Twitch-Eventsub-Message-Signature: sha256={signature}\r\n\
         Twitch-Eventsub-Message-Timestamp: {sent_at}\r\n\
         Twitch-Eventsub-Subscription-Type: channel.cheer\r\n\
         Twitch-Eventsub-Subscription-Version: 1\r\n\r\n{body}",
        body.len(),
    );
    Ok(request.into_bytes())
}

pub async fn is_ready(address: SocketAddr) -> bool {
    let asked = async {
        let mut connection = Connection::open(address).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\n\r\n");
        connection.stream.write_all(request.as_bytes()).await?;
        connection.answer().await
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), asked).await, Ok(Ok(200)))
}
