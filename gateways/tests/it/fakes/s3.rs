//! A bucket of S3, as far as objects are put and got: it checks the signature in the query (Signature Version 4) by itself,
//! and answers errors in XML.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub const REGION: &str = "us-east-1";
pub const BUCKET: &str = "tapedeck-pictures";

pub struct S3 {
    state: Arc<Shared>,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    objects: Mutex<HashMap<String, (String, Bytes)>>,
    /// What it answers instead, once each.
    troubles: Mutex<VecDeque<StatusCode>>,
    calls: Mutex<Vec<String>>,
    /// Whether its key may not list the bucket.
    is_secretive: AtomicBool,
}

impl S3 {
    pub async fn start() -> Self {
        let state = Arc::new(Shared::default());
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::max(32 * 1024 * 1024))
            .with_state(Arc::clone(&state));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        S3 { state, address, _server: AbortOnDropHandle::new(server) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn troubles(&self, statuses: impl IntoIterator<Item = StatusCode>) {
        self.state.troubles.lock().expect("whole").extend(statuses);
    }

    /// From now on it does not say what is not there.
    pub fn grows_secretive(&self) {
        self.state.is_secretive.store(true, Ordering::Relaxed);
    }

    /// Method and path of everything that was asked.
    pub fn calls(&self) -> Vec<String> {
        self.state.calls.lock().expect("whole").clone()
    }

    /// The objects, with their media types.
    pub fn objects(&self) -> Vec<(String, String)> {
        let objects = self.state.objects.lock().expect("whole");
        objects.iter().map(|(path, (media_type, _))| (path.clone(), media_type.clone())).collect()
    }

    pub fn spoil(&self, path: &str) {
        let mut objects = self.state.objects.lock().expect("whole");
        objects.get_mut(path).expect("it is there").1 = Bytes::from_static(b"spoiled");
    }
}

async fn answer(
    State(state): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    state.calls.lock().expect("whole").push(format!("{method} {path}"));
    if let Some(trouble) = state.troubles.lock().expect("whole").pop_front() {
        return (trouble, "<html>in front of the store</html>").into_response();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let query = uri.query().unwrap_or_default();
    if signature(&method, &path, query, host).as_deref() != parameter(query, "X-Amz-Signature") {
        return failure(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    }
    if !path.starts_with(&format!("/{BUCKET}/")) {
        return failure(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    let mut objects = state.objects.lock().expect("whole");
    match method {
        Method::PUT => {
            let media_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            objects.insert(path, (media_type.unwrap_or_default().to_owned(), body));
            StatusCode::OK.into_response()
        }
        Method::GET => match objects.get(&path) {
            Some((media_type, bytes)) => {
                ([(header::CONTENT_TYPE, media_type.clone())], bytes.clone()).into_response()
            }
            None if state.is_secretive.load(Ordering::Relaxed) => {
                failure(StatusCode::FORBIDDEN, "AccessDenied")
            }
            None => failure(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

fn failure(status: StatusCode, code: &str) -> Response {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|p| p.1)
}

/// The signature that a request should have, by the rules that AWS publishes.
fn signature(method: &Method, path: &str, query: &str, host: &str) -> Option<String> {
    let sorted: BTreeMap<&str, &str> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| *key != "X-Amz-Signature")
        .collect();
    let is_ours = sorted.get("X-Amz-Algorithm") == Some(&"AWS4-HMAC-SHA256")
        && sorted.get("X-Amz-SignedHeaders") == Some(&"host");
    let credential = sorted.get("X-Amz-Credential")?.replace("%2F", "/");
    let scope = credential.strip_prefix(&format!("{ACCESS_KEY}/"))?;
    let day = scope.strip_suffix(&format!("/{REGION}/s3/aws4_request"))?;
    if !is_ours {
        return None;
    }
    let pairs: Vec<String> = sorted.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pairs = pairs.join("&");
    let canonical = format!("{method}\n{path}\n{pairs}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
    let hash = hex::encode(Sha256::digest(canonical));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", sorted.get("X-Amz-Date")?);
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for part in [day, REGION, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    Some(hex::encode(mac(&key, &text)))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The example in "Authenticating Requests: Using Query Parameters" of the Amazon S3 API Reference.
#[test]
fn the_fake_computes_the_signature_of_amazons_own_example() {
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host";
    let signed = signature(&Method::GET, "/test.txt", query, "examplebucket.s3.amazonaws.com");
    let amazons = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    assert_eq!(signed.as_deref(), Some(amazons));
}
