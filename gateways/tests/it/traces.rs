//! Traces of the real binary: one trace from the request that sent a command to the decision about it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use gateways::http::keys::{self, Scope};
use serde_json::json;
use tokio::process::Command;

use crate::processes::free_port;
use crate::world::{PATIENCE, TAPEDECK, World, until};

/// A collector that keeps the bodies it was sent, as protobuf.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let keeping = Arc::clone(&received);
    let keep = async move |body: Bytes| keeping.lock().expect("whole").extend_from_slice(&body);
    let router = Router::new().route("/v1/traces", post(keep));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), received)
}

fn contains(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_request_through_the_broker_to_the_decision() {
    let world = World::start().await;
    let (endpoint, received) = collector().await;
    let listen = format!("127.0.0.1:{}", free_port());
    let passwords = world.servers.nats_passwords.iter();
    let passwords = passwords.map(|(role, password)| {
        (format!("TAPEDECK_NATS_PASSWORDS__{}", role.to_uppercase()), password)
    });
    let mut serving = Command::new(TAPEDECK)
        .args(["serve", "--listen", &listen, "--metrics-listen", "127.0.0.1:0"])
        .current_dir(&world.servers.data)
        .env("DATABASE_URL", &world.servers.database_url)
        .env("TAPEDECK_OWNER_DATABASE_URL", &world.servers.owner_database_url)
        .env("NATS_URL", &world.servers.nats_url)
        .envs(passwords)
        .env("TAPEDECK_OTLP_ENDPOINT", endpoint)
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let client = reqwest::Client::new();
    until("it is ready", async || {
        let ready = client.get(format!("http://{listen}/readyz")).send().await;
        ready.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let (_, key) = keys::issue(&world.pool, "tester", &[Scope::Admin]).await.expect("a key");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let credit = client
        .post(format!("http://{listen}/api/v1/accounts/5001/credits"))
        .bearer_auth(key)
        .header("Idempotency-Key", "traced")
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .json(&json!({"points": 5, "note": "traced"}));
    let answer = credit.timeout(PATIENCE).send().await.expect("an answer");
    assert_eq!(answer.status(), 201);

    let trace = hex::decode(trace).expect("hex");
    until("both spans of the trace arrived", async || {
        let received = received.lock().expect("whole");
        contains(&received, &trace) >= 2
            && contains(&received, b"POST /api/v1/accounts/{viewer}/credits") == 1
            && contains(&received, b"command") >= 1
    })
    .await;
    let stored: String = sqlx::query_scalar(
        "SELECT metadata->>'traceparent' FROM events WHERE aggregate_type = 'account'",
    )
    .fetch_one(&world.pool)
    .await
    .expect("recorded");
    assert!(stored.contains("0af7651916cd43dd8448eb211c80319c"), "{stored}");

    let id = serving.id().expect("it runs");
    let process = rustix::process::Pid::from_raw(id as i32).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("asked to stop");
    let ended = tokio::time::timeout(PATIENCE, serving.wait()).await.expect("in time");
    assert!(ended.expect("it ends").success(), "a good end");
}
