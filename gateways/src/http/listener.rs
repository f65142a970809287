//! Accepting connections, and ending those whose other side does not read.
//!
//! The body of a feed is only asked for more while its socket takes bytes, so a reader that stops
//! reading would be kept for ever. [`Impatient`] ends a connection on which a write made no
//! progress for [`WRITE_LIMIT`]; together with a small socket buffer this bounds what any one
//! reader can hold.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
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

/// How long a write may make no progress.
pub const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long the head of the next request may take to arrive. Longer than proxies keep idle
/// connections, so that it is them who close and no request meets a closed door.
const HEAD_LIMIT: Duration = Duration::from_secs(75);
/// How long a connection whose other side has vanished is kept while bytes are on their way.
const UNANSWERED_LIMIT_MS: u32 = 30_000;
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
                let connection = connection(stream, peer, routers.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
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
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
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
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
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
