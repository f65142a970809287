//! Accepting connections, and ending those whose other side does not read.
//!
//! The body of a feed is only asked for more while its socket takes bytes, so a reader that stops
//! reading would be kept for ever. [`Impatient`] ends a connection on which a write made no
//! progress for [`WRITE_LIMIT`]; together with a small socket buffer this bounds what any one
//! reader can hold.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::address::network_of;

/// How long a write may make no progress.
pub const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long the head of the first request may take to arrive: a connection that says nothing holds a
/// place that others need.
const FIRST_HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long the head of the next request may take to arrive. Longer than proxies keep idle
/// connections, so that it is them who close and no request meets a closed door.
const HEAD_LIMIT: Duration = Duration::from_secs(75);
/// How long a connection whose other side has vanished is kept while bytes are on their way.
const UNANSWERED_LIMIT_MS: u32 = 30_000;
/// How many places one address leaves to all others, so that nobody alone can shut Twitch out. Not a
/// small number of connections for each: behind a proxy on another machine all come from one address.
const LEFT_TO_OTHERS: usize = 512;
/// What the kernel keeps for a reader that is behind.
const SEND_BUFFER_BYTES: u32 = 128 * 1024;
const BACKLOG: u32 = 4_096;
/// How long connections have to end by themselves when the process stops.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// After an error such as "too many open files".
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Opens `address` for listening.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let open = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // Connections inherit the size of their listener's buffer.
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().with_context(|| {
        format!("cannot listen on {address}: is it taken by another program? `listen` chooses another address")
    })
}

/// Answers connections until told to stop, at most `connections_max` at a time; the others wait to
/// be accepted.
pub async fn serve(
    listener: TcpListener,
    routers: watch::Receiver<Router>,
    connections_max: usize,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(connections_max));
    let addresses = Arc::new(Addresses::new(connections_max.saturating_sub(LEFT_TO_OTHERS)));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(counted) = Counted::one_more(&addresses, peer.ip()) else {
                    metrics::counter!("tapedeck_http_refused_total", "reason" => "connections")
                        .increment(1);
                    continue;
                };
                let connection = connection(stream, peer, routers.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop((place, counted));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(CLOSE_LIMIT, connections.wait()).await.is_err() {
        tracing::info!(connections = connections.len(), "connections were left to end by force");
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    routers: watch::Receiver<Router>,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNANSWERED_LIMIT_MS);
    let asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&asked);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(peer));
        let router = routers.borrow().clone();
        router.oneshot(Request::from(request.map(axum::body::Body::new)))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(Impatient::new(stream)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = silence(&asked) => {
            tracing::debug!(%peer, "a connection asked for nothing");
            return;
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// Ends when nothing was asked for in time.
async fn silence(asked: &AtomicBool) {
    sleep(FIRST_HEAD_LIMIT).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// How many connections each address has.
struct Addresses {
    counts: Mutex<HashMap<IpAddr, usize>>,
    /// The most for one address.
    each_max: usize,
}

impl Addresses {
    fn new(each_max: usize) -> Self {
        Addresses { counts: Mutex::default(), each_max: each_max.max(1) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of an address, until dropped. Those of this machine are not counted: they are its
/// own programs, and the proxy beside us.
struct Counted {
    addresses: Arc<Addresses>,
    address: Option<IpAddr>,
}

impl Counted {
    fn one_more(addresses: &Arc<Addresses>, peer: IpAddr) -> Option<Self> {
        let address = Some(network_of(peer)).filter(|address| !address.is_loopback());
        if let Some(address) = address {
            let mut counts = addresses.lock();
            let count = counts.entry(address).or_default();
            if *count >= addresses.each_max {
                return None;
            }
            *count += 1;
        }
        Some(Counted { addresses: Arc::clone(addresses), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut counts = self.addresses.lock();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// A connection that fails when a write makes no progress for [`WRITE_LIMIT`].
struct Impatient<Io = TcpStream> {
    io: Io,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<Io> Impatient<Io> {
    fn new(io: Io) -> Self {
        Impatient { io, patience: None }
    }

    /// Passes a write's progress on, and turns a wait that is too long into a failure.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.patience = None;
            return progress;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(WRITE_LIMIT)));
        ready!(patience.as_mut().poll(context));
        metrics::counter!("tapedeck_http_unread_connections_total").increment(1);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not read")))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Impatient<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Impatient<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write(context, bytes);
        self.judge(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write_vectored(context, bytes);
        self.judge(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn connected() -> TcpStream {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let router = Router::new().route("/", axum::routing::get(async || "here"));
        let routers = watch::Sender::new(router).subscribe();
        tokio::spawn(serve(listener, routers, 600, CancellationToken::new()));
        TcpStream::connect(address).await.expect("it listens")
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_is_ended_soon() {
        let mut silent = connected().await;
        silent.write_all(b"GET / HTTP/1.1\r\nHost:").await.expect("half a head");
        let began = tokio::time::Instant::now();
        assert_eq!(silent.read(&mut [0; 64]).await.expect("closed in good order"), 0);
        assert!(began.elapsed() < FIRST_HEAD_LIMIT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asked_may_rest_before_it_asks_again() {
        let mut resting = connected().await;
        let mut answer = [0; 1_024];
        for _ in 0..2 {
            resting.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.expect("open");
            let read = resting.read(&mut answer).await.expect("open");
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{read} bytes");
            sleep(FIRST_HEAD_LIMIT * 3).await;
        }
    }

    #[test]
    fn one_address_leaves_places_to_the_others() {
        let addresses = Arc::new(Addresses::new(2));
        let more =
            |address: &str| Counted::one_more(&addresses, address.parse().expect("an address"));
        let first = more("192.0.2.1").expect("a place");
        let _second = more("::ffff:192.0.2.1").expect("a place, as the same address");
        assert!(more("192.0.2.1").is_none());
        let _other = more("192.0.2.2").expect("a place of its own");
        drop(first);
        let _again = more("192.0.2.1").expect("a place that became free");
        let _network = [more("2001:db8::1"), more("2001:db8::2")].map(|one| one.expect("a place"));
        assert!(more("2001:db8::3").is_none(), "one host has a whole network");
        let here: Vec<_> = (0..9).map(|_| more("127.0.0.1").expect("not counted")).collect();
        drop(here);
        assert_eq!(addresses.lock().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_fails_in_time() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut ours = Impatient::new(ours);
        let began = tokio::time::Instant::now();
        let error = ours.write_all(&[0; 100]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), WRITE_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_reads_is_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Impatient::new(ours);
        let reading = tokio::spawn(async move {
            let mut buffer = [0; 32];
            let mut read = 0;
            while read < 320 {
                sleep(WRITE_LIMIT * 9 / 10).await;
                read += theirs.read(&mut buffer).await.expect("open");
            }
        });
        ours.write_all(&[0; 320]).await.expect("it reads, slowly");
        reading.await.expect("all read");
    }
}
