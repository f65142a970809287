//! Requests to servers outside, over TLS where their address says so. Goes out.
//!
//! Each request has a connection of its own: what is asked this way takes longer than a handshake. No redirect is
//! followed, so that a key goes to the server it is meant for and to no other; an answer is read up to a limit, and
//! everything together has a time limit.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::task::AbortOnDropHandle;

mod address;
mod certificate;
mod pipe;

pub use self::address::{BaseUrl, Secret};
pub use self::pipe::Pipe;

/// How long a connection may take, with its handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The most that is read of an answer that is no success.
const FAILURE_BYTES_MAX: usize = 64 * 1024;
/// The most room the head of an answer may take.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Asks servers outside.
#[derive(Default)]
pub struct Outgoing {
    /// Made when it is first needed: the authorities that this machine trusts are read from its disk.
    tls: OnceLock<Result<TlsConnector, String>>,
}

/// A request. It has no `Debug`, because its headers have keys in them.
pub struct Ask {
    pub method: Method,
    /// `http` or `https`.
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For all of it, from the first packet to the last byte.
    pub time_limit: Duration,
    /// The most that is read of a success.
    pub body_bytes_max: usize,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Whole where the status says success. Of another status, nothing where it could not be read to its end.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unanswered {
    /// Nothing was asked.
    #[error("it cannot be reached: {reason}")]
    NotConnected { reason: String },
    #[error("it did not answer within {} ms", limit.as_millis())]
    Late { limit: Duration },
    #[error("the connection broke: {reason}")]
    Cut { reason: String },
    #[error("its answer has more than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
}

impl Outgoing {
    pub async fn send(&self, ask: Ask) -> Result<Answer, Unanswered> {
        let limit = ask.time_limit;
        let late = Err(Unanswered::Late { limit });
        timeout(limit, self.exchange(ask)).await.unwrap_or(late)
    }

    async fn exchange(&self, ask: Ask) -> Result<Answer, Unanswered> {
        let (request, bytes_max) = (request(&ask)?, ask.body_bytes_max);
        speak(self.connect(&ask.url).await?, request, bytes_max).await
    }

    fn tls(&self) -> Result<&TlsConnector, Unanswered> {
        let tls = self.tls.get_or_init(|| connector(trusted_here()?));
        tls.as_ref().map_err(|reason| Unanswered::NotConnected { reason: reason.clone() })
    }
}

/// The authorities that this machine trusts; the variable SSL_CERT_FILE names others.
fn trusted_here() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        false => Ok(roots),
        true => {
            Err("this machine trusts no authority (Debian: apt-get install ca-certificates)"
                .to_owned())
        }
    }
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The request as it is written on the wire.
fn request(ask: &Ask) -> Result<Request<Body>, Unanswered> {
    let path = match ask.url.query() {
        Some(query) => format!("{}?{query}", ask.url.path()),
        None => ask.url.path().to_owned(),
    };
    let host = match (ask.url.host_str().unwrap_or_default(), ask.url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let body = match ask.body.is_empty() {
        true => Body::empty(),
        false => Body::from(ask.body.clone()),
    };
    let request = Request::builder().method(ask.method.clone()).uri(path).body(body);
    let mut request = request.map_err(not_connected)?;
    *request.headers_mut() = ask.headers.clone();
    let host = HeaderValue::from_str(&host).map_err(not_connected)?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// One request and its answer on a connection of their own.
async fn speak<S>(stream: S, request: Request<Body>, bytes_max: usize) -> Result<Answer, Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    let shaken = http.max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(not_connected)?;
    // What goes wrong on the connection is said to the sender too.
    let _connection = AbortOnDropHandle::new(tokio::spawn(async {
        let _ = connection.await;
    }));
    let (head, body) = sender.send_request(request).await.map_err(cut)?.into_parts();
    let (status, headers) = (head.status, head.headers);
    let body = match status.is_success() {
        true => read(Body::new(body), bytes_max).await?,
        false => read(Body::new(body), FAILURE_BYTES_MAX).await.unwrap_or_default(),
    };
    Ok(Answer { status, headers, body })
}

/// The whole body, if it has no more bytes than that. What is said to be longer is not begun.
async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Unanswered> {
    use hyper::body::Body as _;
    let too_large = Unanswered::TooLarge { bytes_max };
    let at_least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if at_least > bytes_max {
        return Err(too_large);
    }
    let mut read = BytesMut::with_capacity(at_least);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(cut)?;
        if read.len().saturating_add(piece.len()) > bytes_max {
            return Err(too_large);
        }
        read.extend_from_slice(&piece);
    }
    Ok(read.freeze())
}

fn too_slow() -> Unanswered {
    not_connected(format!("no connection within {} s", CONNECT_LIMIT.as_secs()))
}

fn not_connected(error: impl std::fmt::Display) -> Unanswered {
    Unanswered::NotConnected { reason: error.to_string() }
}

fn cut(error: impl std::error::Error) -> Unanswered {
    // The innermost cause says most, and repeats nothing.
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason = cause.to_string();
        source = cause.source();
    }
    Unanswered::Cut { reason }
}

#[cfg(test)]
mod tests;
