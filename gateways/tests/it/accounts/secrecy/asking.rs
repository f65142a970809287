//! All that a running server answers to whoever asks: the API, the pages, how it is, and its numbers.

use futures::StreamExt;
use reqwest::Url;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use uuid::Uuid;

use crate::processes::Site;
use crate::world::{PATIENCE, World, until};

/// What is answered beside what the document describes, and where nothing is.
const BESIDE: [&str; 9] = [
    "/healthz",
    "/readyz",
    "/.well-known/jwks.json",
    "/",
    "/overlay",
    "/chat",
    "/api/v1/openapi.json",
    "/api/v1/keys",
    "/api/v1/nothing",
];

/// The answers to every GET that the server's own document describes, asked as administrator and as whoever has this
/// session, to what is beside it, and to whoever reads its numbers: heads and bodies, whether they are good or not. `name`
/// is that of the process.
pub async fn everything(world: &World, site: &Site, name: &str, session: &str) -> String {
    let client = reqwest::Client::builder().redirect(Policy::none()).timeout(PATIENCE);
    let client = client.build().expect("a client");
    let get = async |url: Url, bearer: &str| {
        let asked = client.get(url.clone()).bearer_auth(bearer).send().await.expect("an answer");
        let (status, headers) = (asked.status(), format!("{:?}", asked.headers()));
        let body = asked.text().await.expect("text");
        (status, format!("{url} {status} {headers}\n{body}\n"))
    };
    let document = client.get(site.url("/api/v1/openapi.json")).send().await.expect("an answer");
    let document: Value = document.json().await.expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let gets = paths.iter().filter(|(_, methods)| methods["get"].is_object());
    let gets: Vec<&String> = gets.map(|(path, _)| path).collect();
    assert!(gets.len() > 30, "{gets:?}");

    let command = command(&client, site, name).await;
    let (mut answers, mut asked, mut good) = (String::new(), 0, 0);
    for path in &gets {
        let path = filled(path, &command);
        for bearer in [site.key.as_str(), session] {
            let (status, answer) = get(site.url(&path), bearer).await;
            assert!(!answer.contains("there is no such endpoint"), "{answer}");
            answers += &answer;
            if bearer == site.key {
                asked += 1;
                good += usize::from(status.is_success());
            }
            // What was asked for plainly is refused: the first frame is what it says otherwise.
            if path.ends_with("/ws") {
                answers += &first_frame(site, &path, bearer).await;
            }
        }
    }
    assert!(asked >= gets.len(), "{asked} of {gets:?}");
    assert!(good >= 15, "the administrator is answered only {good} times: {answers}");
    for path in BESIDE {
        answers += &get(site.url(path), &site.key).await.1;
    }
    let numbers = get(metrics(world, name).await, "").await.1;
    assert!(numbers.contains("tapedeck_http_request_seconds"), "{numbers}");
    answers + &numbers
}

/// A command that was decided.
async fn command(client: &reqwest::Client, site: &Site, name: &str) -> String {
    let credit = client.post(site.url("/api/v1/accounts/5001/credits")).bearer_auth(&site.key);
    let credit = credit.header("Idempotency-Key", format!("asked-{name}"));
    let credit = credit.json(&json!({"points": 1, "note": "to be asked about"}));
    let answer: Value = credit.send().await.expect("an answer").json().await.expect("JSON");
    answer["command_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// A path of the document with something in each of its places. What streams is asked for what there is.
fn filled(path: &str, command: &str) -> String {
    let query = match path {
        "/feed" | "/me/feed" => "?poll=1&after=0",
        "/twitch/users" => "?id=5001",
        "/twitch/games" => "?id=509658",
        _ => "",
    };
    let filled = path
        .replace("{viewer}", "5001")
        .replace("{number}", "1")
        .replace("{name}", "main")
        .replace("{content}", &"0".repeat(64))
        .replace("{request}", &Uuid::nil().to_string())
        .replace("{id}", command);
    assert!(!filled.contains('{'), "nobody said what to ask for at {filled}");
    format!("/api/v1{filled}{query}")
}

/// The first frame of a WebSocket, or why there is none.
async fn first_frame(site: &Site, path: &str, bearer: &str) -> String {
    let url = format!("ws://127.0.0.1:{}{path}", site.port);
    let mut request = url.into_client_request().expect("a request");
    let bearer = format!("Bearer {bearer}").parse().expect("a header");
    request.headers_mut().insert("authorization", bearer);
    let stream = TcpStream::connect(("127.0.0.1", site.port)).await.expect("it listens");
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((mut socket, _)) => {
            let read = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
            let frame = read.expect("open").expect("a frame");
            frame.into_text().expect("text").to_string()
        }
        Err(Error::Http(refused)) => {
            let body = refused.into_body().unwrap_or_default();
            String::from_utf8_lossy(&body).into_owned()
        }
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Where the process answers Prometheus, which it logs when it serves.
async fn metrics(world: &World, name: &str) -> Url {
    let log = world.servers.data.join(format!("{name}.log"));
    let mut found = None;
    until("it says where its numbers are", async || {
        let log = std::fs::read_to_string(&log).expect("a log");
        let mut lines = log.lines().filter(|line| line.contains("tapedeck serves"));
        let said = lines.find_map(|line| serde_json::from_str::<Value>(line).ok());
        found = said.and_then(|said| Some(said["metrics"].as_str()?.to_owned()));
        found.is_some()
    })
    .await;
    let address = found.expect("an address");
    format!("http://{address}/metrics").parse().expect("a URL")
}
