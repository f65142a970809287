//! A connection to a server outside that stays open, over TLS where its address says so.

use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{CONNECT_LIMIT, Outgoing, Unanswered, not_connected, too_slow};

/// Bytes in both directions.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

impl Outgoing {
    /// Connects to the host of `url`, over TLS unless it is `http` or `ws`.
    pub async fn connect(&self, url: &Url) -> Result<Box<dyn Pipe>, Unanswered> {
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let connected = timeout(CONNECT_LIMIT, TcpStream::connect((host.as_str(), port)));
        let stream = connected.await.map_err(|_| too_slow())?.map_err(not_connected)?;
        stream.set_nodelay(true).map_err(not_connected)?;
        if matches!(url.scheme(), "http" | "ws") {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host).map_err(not_connected)?;
        let tls = timeout(CONNECT_LIMIT, self.tls()?.connect(name, stream));
        let stream = tls.await.map_err(|_| too_slow())?.map_err(not_connected)?;
        Ok(Box::new(stream))
    }
}
