//! The feed of one's own account.

use super::*;

use futures::StreamExt;
use gateways::http::keys::Scope;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// What a poll answers, line by line.
async fn poll(browser: &mut Browser, query: &str) -> Vec<Value> {
    let seen = browser.get(&format!("/api/v1/me/feed?poll=1{query}")).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text);
    seen.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_feed_has_every_entry_once_and_goes_on_where_it_was() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let asker = serving.world.asker().await;
    let mut browser = Browser::logged_in(&serving, "5001").await;

    // Over a WebSocket, with the cookie alone and from our own page.
    let url = format!("ws://{}/api/v1/me/feed/ws", serving.listen);
    let mut request = url.into_client_request().expect("a request");
    let cookie = format!("tapedeck_session={}", browser.secret());
    request.headers_mut().insert("cookie", cookie.parse().expect("a header"));
    request.headers_mut().insert("origin", browser.base.parse().expect("a header"));
    let socket = tokio::net::TcpStream::connect(serving.listen).await.expect("a connection");
    let (mut socket, _) = tokio_tungstenite::client_async(request, socket).await.expect("open");
    let mut next = async || loop {
        let read = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
        let text = read.expect("open").expect("a frame").into_text().expect("text");
        let envelope: Value = serde_json::from_str(&text).expect("JSON");
        if envelope["type"] != "ping" {
            return envelope;
        }
    };
    assert_eq!(next().await["type"], "hello");
    let mut last = 0;
    for n in 1..=300 {
        asker.ask(cheer("5002", &format!("other-{n}"), 5)).await;
        let outcome = asker.ask(cheer("5001", &format!("own-{n}"), n)).await;
        last = outcome.last_position().expect("a position");
    }
    let mut positions = Vec::new();
    for n in 1..=300_i64 {
        let entry = next().await;
        assert_eq!((&entry["type"], &entry["mode"]), (&json!("credited"), &json!("live")));
        assert_eq!(
            (&entry["data"]["points"], &entry["data"]["available"]),
            (&json!(n), &json!(n * (n + 1) / 2))
        );
        positions.push(entry["position"].as_i64().expect("a position"));
    }
    assert!(positions.is_sorted() && positions.last() == Some(&last));

    // From any position the rest follows, page after page, and nothing of another viewer.
    let rest = poll(&mut browser, &format!("&after={}", positions[9])).await;
    assert_eq!(rest.len(), 1 + 290);
    assert!(rest[0]["data"]["resumed"] == true && rest[1]["mode"] == "replay");
    let found: Vec<i64> =
        rest[1..].iter().map(|entry| entry["position"].as_i64().expect("one")).collect();
    assert_eq!(found, positions[10..]);
    assert_eq!(poll(&mut browser, "").await.len(), 1, "from now, without a position");
    let _ = socket.close(None).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_feed_ends_with_the_session_and_is_for_people() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut browser = Browser::logged_in(&serving, "5001").await;
    let key = serving.key(&[Scope::Admin]).await;
    let (status, body) = serving.get(&key, "/me/feed").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::FORBIDDEN, &json!("no_session")));
    assert_eq!(serving.get("", "/me/feed").await.0, StatusCode::UNAUTHORIZED);

    let open = || serving.request(Method::GET, &browser.secret(), "/me/feed").send();
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(open().await.expect("an answer"));
    }
    let ninth = open().await.expect("an answer");
    assert_eq!(ninth.status(), StatusCode::TOO_MANY_REQUESTS);
    let mut reader = readers.remove(0).bytes_stream();
    browser.send(Method::DELETE, "/api/v1/session", Value::Null).await;
    let mut all = String::new();
    let read = async {
        while let Some(Ok(bytes)) = reader.next().await {
            all += std::str::from_utf8(&bytes).expect("text");
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("it is cut");
    assert!(all.contains("\"bye\"") && all.contains("revoked"), "{all}");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_moderator_any_more_reads_no_further() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |config| config.login.moderators_from_twitch = true).await;
    let admit = "INSERT INTO moderators VALUES ('5001', clock_timestamp())";
    sqlx::query(admit).execute(&serving.world.pool).await.expect("Twitch lists them");
    let browser = Browser::logged_in(&serving, "5001").await;
    let reader = serving.request(Method::GET, &browser.secret(), "/feed").send().await;
    let reader = reader.expect("an answer");
    assert_eq!(reader.status(), StatusCode::OK);
    sqlx::query("DELETE FROM moderators").execute(&serving.world.pool).await.expect("not any more");
    let all = tokio::time::timeout(PATIENCE, reader.text()).await.expect("it is cut");
    let all = all.expect("text");
    assert!(all.contains("\"bye\"") && all.contains("revoked"), "{all}");
    // They are still logged in.
    assert_eq!(serving.get(&browser.secret(), "/session").await.1["role"], "viewer");
    serving.stop().await;
}
