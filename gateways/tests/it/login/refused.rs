//! Logins that are not what they say, and requests that other sites make.

use super::*;

/// The state was begun here, and not in that browser, not twice, and not never.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_good_once_and_in_its_own_browser() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let refused = (400, "login_state".to_owned());

    // Another browser has the whole address: an attacker logs a victim in, or steals a code.
    let mut browser = Browser::new(&serving);
    let back = browser.consented("5001", "").await;
    let mut other = Browser::new(&serving);
    assert_eq!(other.get(&back).await.code(), refused, "without any login of its own");
    other.consented("5002", "").await;
    assert_eq!(other.get(&back).await.code(), refused, "with a login of its own");
    assert!(!other.cookies.contains_key("tapedeck_session"));

    // The right one still goes through, and then never again.
    let cookie = browser.cookies["tapedeck_login"].clone();
    assert_eq!(browser.get(&back).await.status, StatusCode::SEE_OTHER);
    browser.cookies.insert("tapedeck_login".to_owned(), cookie.clone());
    assert_eq!(browser.get(&back).await.code(), refused, "the same again");

    // A state that was never begun, none at all, and one that took too long.
    for path in ["?code=abc&state=made-up", "?code=abc", "?state=", ""] {
        let path = format!("/api/v1/login/callback{path}");
        assert_eq!(browser.get(&path).await.code(), refused, "{path}");
    }
    let slow = browser.consented("5001", "").await;
    let pass = "UPDATE login_attempts SET expires_at = clock_timestamp() - interval '1 second'";
    let admin = sqlx::PgPool::connect(&serving.world.servers.admin_database_url).await;
    sqlx::query(pass).execute(&admin.expect("the admin")).await.expect("ten minutes pass");
    assert_eq!(browser.get(&slow).await.code(), refused);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once_and_a_denial_is_no_login() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut browser = Browser::new(&serving);
    let used = browser.consented("5001", "").await;
    assert_eq!(browser.get(&used).await.status, StatusCode::SEE_OTHER);
    browser.cookies.clear();
    // The used code under a good state of a new login.
    let fresh = browser.consented("5001", "").await;
    let part = |url: &str, name: &str| {
        let url = reqwest::Url::parse(&format!("http://x{url}")).expect("a URL");
        url.query_pairs().find(|(n, _)| n == name).expect("it is there").1.into_owned()
    };
    let (code, state) = (part(&used, "code"), part(&fresh, "state"));
    let replayed = format!("/api/v1/login/callback?code={code}&state={state}");
    assert_eq!(browser.get(&replayed).await.code(), (403, "login_refused".to_owned()));
    assert_eq!(browser.get(&fresh).await.code(), (400, "login_state".to_owned()), "used up");

    let denied = browser.consented("nobody", "").await;
    assert_eq!(browser.get(&denied).await.code(), (403, "login_denied".to_owned()));
    assert!(!browser.cookies.contains_key("tapedeck_session"));
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_others_begin_without_end_keep_nobody_out() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let fill = "INSERT INTO login_attempts
                SELECT sha256(n::text::bytea), sha256('b'), '/', clock_timestamp() + n * interval '1 ms'
                       + interval '1 minute'
                FROM generate_series(1, 20000) n";
    sqlx::query(fill).execute(&serving.world.pool).await.expect("filled");
    let mut browser = Browser::logged_in(&serving, "5001").await;
    assert_eq!(browser.get("/api/v1/session").await.status, StatusCode::OK);
    let open = "SELECT count(*) FROM login_attempts";
    assert_eq!(serving.world.count(open).await, 19_999, "the oldest went, and one is used up");
    let oldest = "SELECT count(*) FROM login_attempts WHERE state_hash = sha256('1'::bytea)";
    assert_eq!(serving.world.count(oldest).await, 0);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_request_changes_where_twitch_sends_people_back_to() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut browser = Browser::new(&serving);
    let evil = "https%3A%2F%2Fevil.example";
    let seen = browser.get(&format!("/api/v1/login?redirect_uri={evil}")).await;
    assert_eq!(seen.code(), (400, "bad_request".to_owned()));
    for path in [evil, "%2F%2Fevil.example", "%2F%5Cevil.example", "overlay"] {
        let seen = browser.get(&format!("/api/v1/login?return_to={path}")).await;
        assert_eq!(seen.code(), (400, "bad_request".to_owned()), "{path}");
    }
    let forwarded = [("host", "evil.example"), ("x-forwarded-host", "evil.example")];
    let seen = browser.ask(Method::GET, "/api/v1/login", &forwarded, Value::Null).await;
    let url = reqwest::Url::parse(&seen.location()).expect("a URL");
    let redirect = url.query_pairs().find(|(name, _)| name == "redirect_uri").expect("one").1;
    assert_eq!(redirect, REDIRECT);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_does_nothing_with_a_browsers_cookie() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut browser = Browser::logged_in(&serving, BROADCASTER).await;
    let path = "/api/v1/accounts/5001/credits";
    let body = || json!({"points": 5, "note": "a test"});
    let own = browser.base.clone();
    for origin in [vec![], vec![("origin", "https://evil.example")], vec![("origin", "null")]] {
        let headers = [origin.clone(), vec![("idempotency-key", "k")]].concat();
        let seen = browser.ask(Method::POST, path, &headers, body()).await;
        assert_eq!(seen.code(), (403, "cross_site".to_owned()), "{origin:?}");
        let seen = browser.ask(Method::DELETE, "/api/v1/session", &origin, Value::Null).await;
        assert_eq!(seen.code(), (403, "cross_site".to_owned()), "{origin:?}");
    }
    let mut socket = vec![("origin", "https://evil.example"), ("connection", "upgrade")];
    socket.extend([("upgrade", "websocket"), ("sec-websocket-version", "13")]);
    socket.push(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
    let seen = browser.ask(Method::GET, "/api/v1/me/feed/ws", &socket, Value::Null).await;
    assert_eq!(seen.code(), (403, "cross_site".to_owned()));
    let good = [("origin", own.as_str()), ("idempotency-key", "k")];
    assert_eq!(browser.ask(Method::POST, path, &good, body()).await.status, StatusCode::CREATED);
    // A program that sends the session itself is no browser.
    let (status, _) = serving.post(&browser.secret(), "/accounts/5001/credits", "k2", body()).await;
    assert_eq!(status, StatusCode::CREATED);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_too_many_logins_waits() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |config| {
        config.login.attempts_per_minute = 3;
        config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    })
    .await;
    let mut patient = Browser::new(&serving);
    let back = patient.consented("5001", "").await;
    let mut browser = Browser::new(&serving);
    for _ in 0..2 {
        assert_eq!(browser.get("/api/v1/login").await.status, StatusCode::SEE_OTHER);
    }
    let refused = browser.get("/api/v1/login").await;
    assert_eq!(refused.code(), (429, "too_many_logins".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
    for n in 0..4 {
        let seen = browser.get("/api/v1/login/callback?code=a&state=b").await;
        assert_eq!(seen.status.as_u16(), if n < 3 { 400 } else { 429 });
    }
    let seen = patient.get(&back).await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER, "who began a login ends it: {}", seen.text);
    // Behind the proxy each has an allowance of their own, whatever else they say.
    for n in 0..4 {
        let forwarded = [("x-forwarded-for", &*format!("192.0.2.{n}, 203.0.113.9"))];
        let seen = browser.ask(Method::GET, "/api/v1/login", &forwarded, Value::Null).await;
        assert_eq!(seen.status.as_u16(), if n < 3 { 303 } else { 429 });
    }
    assert_eq!(browser.get("/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
    serving.stop().await;
}
