//! Helix, as far as it counts calls: so many points in a minute, the headers that say how many are left, and 429 for
//! whoever asks for more. Its minute may be shorter than that of the real one; a reset is at a whole second, as there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::Utc;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Calls that were on their way when one was told that there are no more.
const ON_THEIR_WAY: Duration = Duration::from_millis(1_500);

pub struct Points {
    shared: Arc<Shared>,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

struct Shared {
    most: i64,
    minute_s: i64,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    /// By the number of the minute, how many points were spent and how many calls refused.
    spent: BTreeMap<i64, i64>,
    refused: i64,
    /// The next call is one too many, whatever is left.
    inject: bool,
    /// Since when nobody may call, until the end of that minute.
    stopped: Option<(Instant, i64)>,
    calls_while_stopped: i64,
}

impl Points {
    pub async fn start(most: i64, minute_s: i64) -> Self {
        let shared = Arc::new(Shared { most, minute_s, all: Mutex::default() });
        let router = Router::new()
            .route("/helix/users", get(call))
            .route("/helix/games", get(call))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Points { shared, address, _server: AbortOnDropHandle::new(server) }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/helix", self.address)
    }

    pub fn url(&self) -> reqwest::Url {
        format!("{}/users", self.base_url()).parse().expect("a URL")
    }

    /// The number of the minute that it is.
    pub fn minute(&self) -> i64 {
        Utc::now().timestamp() / self.shared.minute_s
    }

    pub fn spent(&self, minute: i64) -> i64 {
        self.all().spent.get(&minute).copied().unwrap_or(0)
    }

    pub fn refused(&self) -> i64 {
        self.all().refused
    }

    /// The next call is answered 429.
    pub fn inject(&self) {
        self.all().inject = true;
    }

    /// How many called between that answer, when it had gone round, and the reset.
    pub fn calls_while_stopped(&self) -> i64 {
        self.all().calls_while_stopped
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.shared.all.lock().expect("whole")
    }
}

async fn call(State(shared): State<Arc<Shared>>) -> Response {
    let mut all = shared.all.lock().expect("whole");
    let minute = Utc::now().timestamp() / shared.minute_s;
    if let Some((since, of)) = all.stopped
        && of == minute
    {
        all.calls_while_stopped += i64::from(since.elapsed() > ON_THEIR_WAY);
        return answer(429, &shared, 0, minute);
    }
    if std::mem::take(&mut all.inject) {
        all.stopped = Some((Instant::now(), minute));
        return answer(429, &shared, 0, minute);
    }
    let spent = all.spent.entry(minute).or_default();
    if *spent >= shared.most {
        all.refused += 1;
        return answer(429, &shared, 0, minute);
    }
    *spent += 1;
    let left = shared.most - *spent;
    answer(200, &shared, left, minute)
}

fn answer(status: u16, shared: &Shared, left: i64, minute: i64) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let mut answer = (status, Json(json!({ "data": [] }))).into_response();
    let reset = (minute + 1) * shared.minute_s;
    let headers = [
        ("ratelimit-limit", shared.most),
        ("ratelimit-remaining", left),
        ("ratelimit-reset", reset),
    ];
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from(value));
    }
    answer
}
