use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// An authority that nobody else trusts, and the certificate that it gave to `localhost`; both for tests alone.
const AUTHORITY: &[u8] = include_bytes!("../../tests/data/tls/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../tests/data/tls/localhost.pem");
const KEY: &[u8] = include_bytes!("../../tests/data/tls/localhost.key");
const END: &str = "2126-10-28T10:38:44+00:00";

/// Says `answer` to one connection, and what it was asked.
async fn server(answer: Vec<u8>, stays: bool) -> (u16, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (said, asked) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        serve(stream, &answer, stays, said).await;
    });
    (port, asked)
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &[u8],
    stays: bool,
    said: oneshot::Sender<String>,
) {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await.expect("a byte"));
    }
    let _ = said.send(String::from_utf8_lossy(&asked).into_owned());
    // The other side may have left by now.
    let _ = stream.write_all(answer).await;
    let _ = stream.flush().await;
    if stays {
        std::future::pending::<()>().await;
    }
}

/// A server that speaks TLS with the certificate for `localhost`.
async fn secure_server(answer: &'static [u8]) -> u16 {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        if let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
            serve(stream, answer, false, oneshot::channel().0).await;
        }
    });
    port
}

fn trusting_the_authority() -> Outgoing {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY).expect("PEM")).expect("an authority");
    Outgoing { tls: OnceLock::from(connector(roots)) }
}

fn ask(url: &str) -> Ask {
    Ask {
        method: Method::GET,
        url: url.parse().expect("a URL"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        time_limit: Duration::from_secs(20),
        body_bytes_max: 10,
    }
}

async fn asked(answer: &str, stays: bool) -> Result<Answer, Unanswered> {
    let (port, _) = server(answer.as_bytes().to_vec(), stays).await;
    Outgoing::default().send(ask(&format!("http://127.0.0.1:{port}/"))).await
}

#[tokio::test]
async fn an_answer_is_read_and_the_request_says_where_it_goes() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789".to_vec();
    let (port, said) = server(answer, true).await;
    let answer = Outgoing::default().send(ask(&format!("http://127.0.0.1:{port}/a/b?c=d"))).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"0123456789"[..]));
    let said = said.await.expect("it was asked");
    assert!(said.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{said}");
    assert!(said.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{said}");
}

#[tokio::test]
async fn too_large_an_answer_is_left_whether_it_says_so_or_not() {
    let large = Unanswered::TooLarge { bytes_max: 10 };
    // Nothing of it has come: what it says of itself is enough.
    let said = asked("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", true).await;
    assert_eq!(said.expect_err("too large"), large);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let silent = asked(&format!("{head}8\r\n01234567\r\n8\r\n01234567\r\n"), true).await;
    assert_eq!(silent.expect_err("too large"), large);
}

#[tokio::test]
async fn a_cut_answer_is_no_answer_but_a_failure_stays_one() {
    let cut = asked("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n0123", false).await;
    assert!(matches!(cut.expect_err("cut"), Unanswered::Cut { .. }));
    let silent = asked("", false).await;
    assert!(matches!(silent.expect_err("cut"), Unanswered::Cut { .. }));
    let failed = "HTTP/1.1 429 Busy\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n0123";
    let failed = asked(failed, false).await.expect("a status");
    assert_eq!((failed.status, failed.body.len()), (StatusCode::TOO_MANY_REQUESTS, 0));
    assert_eq!(failed.headers["retry-after"], "7");
}

#[tokio::test]
async fn who_does_not_answer_is_left_at_the_time_limit() {
    let (port, _) = server(b"HTTP/1.1 200 OK\r\nContent-".to_vec(), true).await;
    let limit = Duration::from_millis(50);
    let ask = Ask { time_limit: limit, ..ask(&format!("http://127.0.0.1:{port}/")) };
    assert_eq!(Outgoing::default().send(ask).await.expect_err("late"), Unanswered::Late { limit });
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let away = "HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let answer = asked(away, true).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn nobody_there_means_that_nothing_was_asked() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = nobody.local_addr().expect("an address").port();
    drop(nobody);
    let error = Outgoing::default().send(ask(&format!("http://127.0.0.1:{port}/"))).await;
    assert!(matches!(error.expect_err("nobody"), Unanswered::NotConnected { .. }));
}

#[tokio::test]
async fn over_tls_a_certificate_has_to_be_of_a_trusted_authority_and_of_that_name() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let port = secure_server(ANSWER).await;
    let trusting = trusting_the_authority();
    let answer = trusting.send(ask(&format!("https://localhost:{port}/"))).await;
    assert_eq!(&answer.expect("an answer").body[..], b"ok");

    let port = secure_server(ANSWER).await;
    let error = trusting.send(ask(&format!("https://127.0.0.1:{port}/"))).await;
    let Err(Unanswered::NotConnected { reason }) = error else { panic!("another name: {error:?}") };
    assert!(reason.contains("certificate"), "{reason}");

    let port = secure_server(ANSWER).await;
    let error = Outgoing::default().send(ask(&format!("https://localhost:{port}/"))).await;
    assert!(matches!(error.expect_err("a stranger"), Unanswered::NotConnected { .. }));
}

#[tokio::test]
async fn a_certificate_says_until_when_it_is_good() {
    let until = async |outgoing: Outgoing| {
        let port = secure_server(b"").await;
        let url = format!("https://localhost:{port}/").parse().expect("a URL");
        outgoing.certificate_until(&url).await
    };
    let end = until(trusting_the_authority()).await.expect("trusted").expect("it says so");
    assert_eq!(end.to_rfc3339(), END);
    assert!(until(Outgoing::default()).await.is_err(), "of a stranger nothing is believed");
}
