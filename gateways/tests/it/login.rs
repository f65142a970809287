//! Logging in with Twitch, on a whole Tapedeck and a fake Twitch (`src/sandbox/twitch.rs`).

mod forged;
mod keeping;
mod own_feed;
mod refused;
mod rights;
mod secrecy;

use std::collections::BTreeMap;

use chrono::Utc;
use gateways::cli::serve::Role;
use gateways::config::Config;
use gateways::http::keys::{self, Keys, Scope};
use gateways::login::Sessions;
use gateways::outgoing::Secret;
use gateways::twitch::Settings;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::fakes::browser::consent;
use crate::http::{BROADCASTER, Serving};
use crate::world::{PATIENCE, cheer, until};
use gateways::sandbox::twitch::{CLIENT_ID, CLIENT_SECRET, REDIRECT, Twitch};

const MODERATOR: &str = "7";

/// A Tapedeck whose people log in at the fake.
async fn serving(twitch: &Twitch, change: impl FnOnce(&mut Config)) -> Serving {
    Serving::with(&Role::ALL, |config| {
        configure(config, twitch);
        change(config);
    })
    .await
}

fn configure(config: &mut Config, twitch: &Twitch) {
    config.twitch = Settings {
        client_id: CLIENT_ID.to_owned(),
        client_secret: Secret::new(CLIENT_SECRET),
        id_url: twitch.id_url().try_into().expect("a base"),
        helix_url: twitch.helix_url().try_into().expect("a base"),
        ..Settings::default()
    };
    config.login.redirect_url = Some(REDIRECT.to_owned());
    config.login.moderators = vec![MODERATOR.to_owned()];
    config.login.attempts_per_minute = 0;
}

/// A browser: it keeps cookies, says where a request comes from, and follows nothing by itself.
#[derive(Clone)]
struct Browser {
    client: reqwest::Client,
    cookies: BTreeMap<String, String>,
    base: String,
}

struct Seen {
    status: StatusCode,
    headers: header::HeaderMap,
    text: String,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    fn code(&self) -> (u16, String) {
        let code = self.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), code)
    }

    fn location(&self) -> String {
        let location = self.headers.get(header::LOCATION).expect("a location");
        location.to_str().expect("text").to_owned()
    }
}

impl Browser {
    fn new(serving: &Serving) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.timeout(PATIENCE).build().expect("a client");
        Browser { client, cookies: BTreeMap::new(), base: format!("http://{}", serving.listen) }
    }

    /// Somebody who has logged in.
    async fn logged_in(serving: &Serving, person: &str) -> Self {
        let mut browser = Browser::new(serving);
        let back = browser.consented(person, "").await;
        let seen = browser.get(&back).await;
        assert_eq!(seen.status, StatusCode::SEE_OTHER, "{}", seen.text);
        assert!(browser.cookies.contains_key("tapedeck_session"));
        browser
    }

    /// Begins a login and says yes at Twitch; the path that Twitch sends the browser back to.
    async fn consented(&mut self, person: &str, query: &str) -> String {
        let begun = self.get(&format!("/api/v1/login{query}")).await;
        assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.text);
        let back = consent(&begun.location(), person).await;
        back.strip_prefix("http://localhost").expect("our own address").to_owned()
    }

    async fn get(&mut self, path: &str) -> Seen {
        self.ask(Method::GET, path, &[], Value::Null).await
    }

    /// As a page of ours does it.
    async fn send(&mut self, method: Method, path: &str, body: Value) -> Seen {
        let origin = self.base.clone();
        self.ask(method, path, &[("origin", &origin), ("idempotency-key", path)], body).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Seen {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        let cookies = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        request = request.header(header::COOKIE, cookies.collect::<Vec<_>>().join("; "));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status(), answer.headers().clone());
        for set in headers.get_all(header::SET_COOKIE) {
            let text = set.to_str().expect("text");
            assert!(text.contains("HttpOnly") && text.contains("SameSite="), "{text}");
            let (name, value) =
                text.split(';').next().and_then(|s| s.split_once('=')).expect("one");
            match text.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        Seen { status, headers, text: answer.text().await.expect("text") }
    }

    /// The secret of the session, as a program would have it.
    fn secret(&self) -> String {
        self.cookies["tapedeck_session"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_logs_in_sees_who_they_are_and_logs_out() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    serving.world.asker().await.ask(cheer("5001", "c", 70)).await;
    let mut browser = Browser::new(&serving);
    let back = browser.consented("5001", "?return_to=/overlay%3Fa=1").await;
    let seen = browser.get(&back).await;
    assert_eq!((seen.status, seen.location()), (StatusCode::SEE_OTHER, "/overlay?a=1".to_owned()));
    assert!(!browser.cookies.contains_key("tapedeck_login"), "it is used up");

    let who = browser.get("/api/v1/session").await.json();
    assert_eq!((&who["viewer"]["id"], &who["role"]), (&json!("5001"), &json!("viewer")));
    assert_eq!(who["viewer"]["name"], "ReelDeal");
    assert!(who["expires_at"].is_string() && who.get("session").is_none(), "{who}");
    until("the cheer is in the balance", async || {
        browser.get("/api/v1/accounts/5001").await.json()["available"] == 70
    })
    .await;
    // The same secret as a bearer, as programs send it.
    let secret = browser.secret();
    assert_eq!(serving.get(&secret, "/accounts/5001").await.0, StatusCode::OK);

    let validated = twitch.calls("validate");
    for _ in 0..20 {
        browser.get("/api/v1/accounts/5001").await;
    }
    assert_eq!(twitch.calls("validate"), validated, "no request asks Twitch");
    assert_eq!(twitch.granted("5001"), 1);
    let ended = browser.send(Method::DELETE, "/api/v1/session", Value::Null).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert!(!browser.cookies.contains_key("tapedeck_session"));
    let (status, body) = serving.get(&secret, "/session").await;
    let code = &body["error"]["code"];
    assert_eq!((status, code), (StatusCode::UNAUTHORIZED, &json!("session_over")));
    until("it is revoked at Twitch", async || twitch.granted("5001") == 0).await;
    let kept = "SELECT count(*) FROM sessions WHERE granted IS NOT NULL";
    until("nothing is kept of it", async || serving.world.count(kept).await == 0).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_logs_in_and_refreshes_with_a_bearer() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut program = Browser::new(&serving);
    let back = program.consented(BROADCASTER, "").await;
    let json_wanted = [("accept", "application/json")];
    let seen = program.ask(Method::GET, &back, &json_wanted, Value::Null).await.json();
    assert_eq!((&seen["role"], &seen["scopes"]), (&json!("broadcaster"), &json!(["admin"])));
    let first = seen["session"].as_str().expect("the secret").to_owned();
    let refresh = async |secret: &str| {
        let request = serving.request(Method::POST, secret, "/session/refresh");
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.json::<Value>().await.expect("JSON"))
    };
    // Another process, which has looked both up a moment ago.
    let elsewhere = Sessions::new(serving.world.pool.clone());
    let keys_elsewhere = Keys::new(serving.world.pool.clone());
    let (key, old_key) =
        keys::issue(&serving.world.pool, "bot", &[Scope::FeedRead]).await.expect("a key");
    let opens =
        async |secret: &str| elsewhere.verify(secret, Utc::now()).await.expect("one").is_some();
    let key_opens = async |text: &str| keys_elsewhere.verify(text).await.expect("one").is_some();
    assert!(opens(&first).await && key_opens(&old_key).await);
    // Two at once, and one whose answer was lost: all have the same new secret.
    let ((status, refreshed), (_, at_once)) = tokio::join!(refresh(&first), refresh(&first));
    assert_eq!(status, StatusCode::OK);
    assert_eq!(refreshed["session"], at_once["session"]);
    assert_eq!(refresh(&first).await.1["session"], refreshed["session"]);
    let second = refreshed["session"].as_str().expect("a new secret").to_owned();
    assert_ne!(first, second);
    assert!(opens(&second).await, "a new secret is good everywhere at once");
    let (_, new_key) =
        keys::rotate(&serving.world.pool, key.id).await.expect("rotated").expect("one");
    assert!(key_opens(&new_key).await && !key_opens(&old_key).await, "a new key too");
    for secret in [&first, &second] {
        assert_eq!(
            serving.get(secret, "/session").await.0,
            StatusCode::OK,
            "the old one for a minute"
        );
    }
    let pass = "UPDATE sessions SET old_until = clock_timestamp() - interval '1 second'";
    sqlx::query(pass).execute(&serving.world.pool).await.expect("a minute passes");
    until("the old one is over", async || {
        serving.get(&first, "/session").await.0 == StatusCode::UNAUTHORIZED
    })
    .await;
    assert_eq!(serving.get(&second, "/session").await.0, StatusCode::OK);

    // In a browser the new secret goes where no script sees it.
    let mut browser = Browser { cookies: BTreeMap::new(), ..program };
    browser.cookies.insert("tapedeck_session".to_owned(), second.clone());
    let seen = browser.send(Method::POST, "/api/v1/session/refresh", Value::Null).await;
    assert_eq!(seen.status, StatusCode::OK);
    assert!(seen.json().get("session").is_none() && browser.secret() != second);
    assert_eq!(browser.get("/api/v1/session").await.status, StatusCode::OK);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_by_itself() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |config| config.requests_per_minute.anonymous = 100).await;
    let mut browser = Browser::logged_in(&serving, "5001").await;
    let stale = browser.cookies.clone();
    let over = "UPDATE sessions SET expires_at = clock_timestamp() - interval '1 second',
                                    check_at = clock_timestamp()";
    sqlx::query(over).execute(&serving.world.pool).await.expect("a week passes");
    until("it is over", async || {
        browser.get("/api/v1/session").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    assert!(!browser.cookies.contains_key("tapedeck_session"), "it sends it no more");
    browser.cookies = stale;
    let picture = browser.get(&format!("/api/v1/pictures/{}", "a".repeat(64))).await;
    assert_eq!(picture.status, StatusCode::NOT_FOUND);
    assert_eq!(picture.headers["x-ratelimit-limit"], "6000", "as of anybody who loads pictures");
    assert!(!picture.headers.contains_key("set-cookie"), "an answer that proxies keep");
    let late = browser.send(Method::POST, "/api/v1/session/refresh", Value::Null).await;
    assert_eq!(late.code(), (401, "session_over".to_owned()));
    until("it is revoked at Twitch", async || twitch.granted("5001") == 0).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_application_it_says_in_plain_words_what_to_configure() {
    let serving = Serving::start().await;
    for path in ["/login", "/login/callback?code=x&state=y"] {
        let (status, body) = serving.get("", path).await;
        let code = &body["error"]["code"];
        assert_eq!((status, code), (StatusCode::NOT_IMPLEMENTED, &json!("login_off")));
        let words = body["error"]["message"].as_str().expect("words");
        assert!(
            words.contains("twitch.client_id") && words.contains("developer console"),
            "{words}"
        );
    }
    assert_eq!(serving.get("", "/session").await.0, StatusCode::UNAUTHORIZED);
    serving.stop().await;
}
