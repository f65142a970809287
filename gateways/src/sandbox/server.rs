//! A server of the sandbox: on this machine only, until it is dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// More is said to nothing here, but where a route takes files.
const BODY_BYTES_MAX: usize = 65_536;

pub struct Server {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Server {
    /// Answers at this port, or for 0 at a free one.
    pub async fn start(port: u16, router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        // A page in the browser of whoever rehearses reaches this address as well.
        let router = router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        let router = router.layer(axum::middleware::from_fn(only_from_here));
        let serving = tokio::spawn(async move {
            // It ends only when it is dropped.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Server { address, _serving: AbortOnDropHandle::new(serving) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers who calls this machine by a name of its own, and no page of another site: neither one that sends something here,
/// nor one whose own name leads here.
async fn only_from_here(request: Request, next: Next) -> Response {
    match is_from_here(request.headers()) {
        true => next.run(request).await,
        false => (StatusCode::FORBIDDEN, "this is answered on this machine only").into_response(),
    }
}

fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_here = |address: Option<&str>| {
        let host =
            address.map(|address| address.rsplit_once(':').map_or(address, |(host, _)| host));
        host.is_some_and(|host| host == "127.0.0.1" || host.eq_ignore_ascii_case("localhost"))
    };
    let origin_is_here = text(header::ORIGIN).is_none_or(|origin| {
        let origin = origin.parse::<Uri>().ok();
        is_here(origin.as_ref().and_then(Uri::host))
    });
    is_here(text(header::HOST)) && origin_is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_is_refused_and_one_of_this_machine_is_not() {
        for (host, origin, good) in [
            ("127.0.0.1:8092", None, true),
            ("localhost:8092", Some("http://localhost:8091"), true),
            ("127.0.0.1", Some("http://127.0.0.1:5173"), true),
            ("rebound.example:8092", None, false),
            ("127.0.0.1.example", None, false),
            ("127.0.0.1:8092", Some("https://evil.example"), false),
            ("127.0.0.1:8092", Some("http://localhost.evil.example"), false),
            ("127.0.0.1:8092", Some("http://127.0.0.1@evil.example"), false),
            ("127.0.0.1:8092", Some("null"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().expect("a header"));
            }
            assert_eq!(is_from_here(&headers), good, "{host} {origin:?}");
        }
        assert!(!is_from_here(&HeaderMap::new()), "a browser always names the host");
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_read() {
        let taking = axum::routing::post(async |body: axum::body::Bytes| body.len().to_string());
        let server = Server::start(0, Router::new().route("/", taking)).await.expect("a port");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        for (bytes, status) in [(BODY_BYTES_MAX, 200), (BODY_BYTES_MAX + 1, 413)] {
            let url = format!("http://{}/", server.address());
            let answer = client.post(url).body(vec![b'a'; bytes]).send().await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
    }
}
