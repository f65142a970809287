//! Until when the certificate of a server outside is good.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

use super::{CONNECT_LIMIT, Outgoing, Unanswered, not_connected, too_slow};

/// Later than any certificate says of itself.
const NEVER: Duration = Duration::from_secs(1 << 40);

impl Outgoing {
    /// Until when the certificate is good that the host of an `https` address shows; nothing where it does not say so.
    /// One that this machine does not trust now is no connection.
    pub async fn certificate_until(&self, url: &Url) -> Result<Option<DateTime<Utc>>, Unanswered> {
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let connected = timeout(CONNECT_LIMIT, TcpStream::connect((host.as_str(), port)));
        let stream = connected.await.map_err(|_| too_slow())?.map_err(not_connected)?;
        let name = ServerName::try_from(host).map_err(not_connected)?;
        let tls = timeout(CONNECT_LIMIT, self.tls()?.connect(name, stream));
        let stream = tls.await.map_err(|_| too_slow())?.map_err(not_connected)?;
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        Ok(chain.first().and_then(until))
    }
}

/// Whoever judges certificates says of one until when it was good, when it is asked as of a time after it. That is looked
/// at before who gave it.
fn until(certificate: &CertificateDer<'_>) -> Option<DateTime<Utc>> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let (nobody, later) = (RootCertStore::empty(), UnixTime::since_unix_epoch(NEVER));
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let judged =
        verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], later, algorithms);
    let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) = judged
    else {
        return None;
    };
    DateTime::from_timestamp(i64::try_from(not_after.as_secs()).ok()?, 0)
}
