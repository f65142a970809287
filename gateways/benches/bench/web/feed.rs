//! Readers of the feed, which note when each alert arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::Serving;
use crate::measure::Latencies;

/// What stands before the number of a cheer in its message.
pub const MARK: &str = "what a night ";
const READ_MAX: Duration = Duration::from_secs(60);

/// When each cheer was due, in nanoseconds after the first moment.
#[derive(Clone)]
pub struct Clock {
    begun: Instant,
    due: Arc<[AtomicU64]>,
}

impl Clock {
    pub fn new(count: usize) -> Self {
        Clock { begun: Instant::now(), due: (0..count).map(|_| AtomicU64::new(0)).collect() }
    }

    pub fn is_due(&self, n: usize, at: Instant) {
        let nanos = u64::try_from((at - self.begun).as_nanos()).unwrap_or(u64::MAX);
        self.due[n].store(nanos, Ordering::Relaxed);
    }

    fn since(&self, n: usize) -> Option<Duration> {
        let due = Duration::from_nanos(self.due.get(n)?.load(Ordering::Relaxed));
        Some(self.begun.elapsed().saturating_sub(due))
    }
}

/// An open connection to the feed that has had its `hello`.
pub struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    pub async fn open(serving: &Serving) -> anyhow::Result<Self> {
        let stream = ask(TcpSocket::new_v4()?, serving).await?;
        let mut reader = Reader { stream, buffer: Vec::with_capacity(4096) };
        while !contains(&reader.buffer, b"\"hello\"") {
            reader.more().await?;
        }
        ensure!(reader.buffer.starts_with(b"HTTP/1.1 200"), "the feed did not answer 200");
        reader.buffer.clear();
        Ok(reader)
    }

    /// Reads until `count` cheers have come, each once. Gives how long after their due time they came.
    pub async fn read(mut self, clock: Clock, count: usize) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::default();
        let mut seen = 0;
        while seen < count {
            self.more().await?;
            let end = self.buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            for line in self.buffer[..end].split(|byte| *byte == b'\n') {
                let Some(n) = number(line) else { continue };
                let Some(latency) = clock.since(n) else { continue };
                latencies.add(latency);
                seen += 1;
            }
            self.buffer.drain(..end);
        }
        ensure!(seen == count, "{seen} alerts came, {count} were caused");
        Ok(latencies)
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let read = tokio::time::timeout(READ_MAX, self.stream.read_buf(&mut self.buffer));
        let read = read.await.context("the feed is silent")??;
        ensure!(read > 0, "the feed was cut: {}", String::from_utf8_lossy(&self.buffer));
        Ok(())
    }
}

/// A reader that asks and then reads nothing. Its own buffer is small, as a bad connection's would be.
pub async fn open_and_never_read(serving: &Serving) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    ask(socket, serving).await
}

/// Reads what a neglected connection still holds, to its end. Gives how many cheers were in it, and whether it ended.
pub async fn read_out(mut stream: TcpStream) -> (usize, bool) {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
    let count = bytes.split(|byte| *byte == b'\n').filter(|line| number(line).is_some()).count();
    (count, read.is_ok())
}

async fn ask(socket: TcpSocket, serving: &Serving) -> anyhow::Result<TcpStream> {
    let mut stream = socket.connect(serving.address).await?;
    let request = format!(
        "GET /api/v1/feed HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        serving.address, serving.key
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// The number of the cheer in a `data` line.
fn number(line: &[u8]) -> Option<usize> {
    if !line.starts_with(b"data: ") {
        return None;
    }
    let mark = MARK.as_bytes();
    let at = line.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let digits = line[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
