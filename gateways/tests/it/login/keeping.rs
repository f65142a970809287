//! What becomes of sessions when Twitch is away, when grants end, and when people take them back.

use super::*;

use gateways::login::moderators::Kept;

/// The hour is over: every grant is looked at.
async fn an_hour_passes(serving: &Serving) {
    let pass = "UPDATE sessions SET check_at = clock_timestamp(), checked_at = '2020-01-01'
                WHERE ended_at IS NULL";
    sqlx::query(pass).execute(&serving.world.pool).await.expect("an hour passes");
}

async fn checked(serving: &Serving) {
    let unchecked = "SELECT count(*) FROM sessions WHERE checked_at < '2021-01-01'";
    until("Twitch was asked", async || serving.world.count(unchecked).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_twitch_ends_no_session_and_a_revoked_grant_does() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut browser = Browser::logged_in(&serving, "5001").await;
    let mut other = Browser::logged_in(&serving, "5002").await;

    twitch.is_down(true);
    let before = twitch.calls("validate");
    an_hour_passes(&serving).await;
    until("Twitch was asked in vain", async || twitch.calls("validate") >= before + 2).await;
    for browser in [&mut browser, &mut other] {
        assert_eq!(browser.get("/api/v1/session").await.status, StatusCode::OK);
        let refreshed = browser.send(Method::POST, "/api/v1/session/refresh", Value::Null).await;
        assert_eq!(refreshed.status, StatusCode::OK, "not even a refresh waits for Twitch");
    }
    let mut late = Browser::new(&serving);
    let begun = late.get("/api/v1/login").await;
    twitch.is_down(false);
    let back = consent(&begun.location(), "5002").await.replace("http://localhost", "");
    twitch.is_down(true);
    let seen = late.get(&back).await;
    assert_eq!(seen.code(), (503, "twitch_unavailable".to_owned()));
    assert!(seen.text.contains("begin again"), "what was begun is used up: {}", seen.text);

    // What ends here while Twitch is away is revoked there when it is back.
    let revoked = twitch.calls("revoke");
    let ended = other.send(Method::DELETE, "/api/v1/session", Value::Null).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    until("it was tried", async || twitch.calls("revoke") > revoked).await;
    twitch.is_down(false);
    assert_eq!(twitch.granted("5002"), 1);
    sqlx::query("UPDATE sessions SET check_at = clock_timestamp() WHERE ended_at IS NOT NULL")
        .execute(&serving.world.pool)
        .await
        .expect("five minutes pass");
    until("it is revoked", async || twitch.granted("5002") == 0).await;

    an_hour_passes(&serving).await;
    checked(&serving).await;
    assert_eq!(browser.get("/api/v1/session").await.status, StatusCode::OK);
    twitch.disconnect("5001");
    an_hour_passes(&serving).await;
    until("the session is over", async || {
        browser.get("/api/v1/session").await.code() == (401, "session_over".to_owned())
    })
    .await;
    assert_eq!(
        serving.world.count("SELECT count(*) FROM sessions WHERE ended_by = 'revoked'").await,
        1
    );
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_whose_hours_are_over_is_refreshed_and_both_its_secrets_kept() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut browser = Browser::logged_in(&serving, "5001").await;
    // Twice: the second refresh needs the secret that the first one gave.
    for _ in 0..2 {
        twitch.hours_pass();
        an_hour_passes(&serving).await;
        checked(&serving).await;
        assert_eq!(twitch.granted("5001"), 1);
        assert_eq!(browser.get("/api/v1/session").await.status, StatusCode::OK);
    }
    assert_eq!(twitch.calls("token"), 3);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_ours_that_is_wrong_logs_nobody_out() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut browser = Browser::logged_in(&serving, "5001").await;
    twitch.has_another_secret(true);
    twitch.hours_pass();
    let asked = twitch.calls("token");
    an_hour_passes(&serving).await;
    until("a new grant was asked for", async || twitch.calls("token") > asked).await;
    let mut late = Browser::new(&serving);
    let back = late.consented("5002", "").await;
    assert_eq!(late.get(&back).await.code(), (503, "twitch_unavailable".to_owned()));

    // Whoever runs this puts the right one in.
    twitch.has_another_secret(false);
    an_hour_passes(&serving).await;
    checked(&serving).await;
    assert_eq!(twitch.granted("5001"), 1);
    assert_eq!(browser.get("/api/v1/session").await.status, StatusCode::OK);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_comes_when_its_session_is_over_is_revoked_too() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    Browser::logged_in(&serving, "5001").await;
    let gate = twitch.holds_back("token");
    twitch.hours_pass();
    an_hour_passes(&serving).await;
    until("a new grant is on its way", async || twitch.granted("5001") == 1).await;
    // Somebody logs out, and another process has revoked the old grant.
    let end =
        "UPDATE sessions SET ended_at = clock_timestamp(), ended_by = 'logout', granted = NULL";
    sqlx::query(end).execute(&serving.world.pool).await.expect("it ends");
    gate.add_permits(1);
    until("the new one is revoked", async || twitch.granted("5001") == 0).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moderators_are_those_whom_twitch_lists_once_the_broadcaster_lets_us_read_it() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    twitch.moderate(&["21", "22", "5001"]);
    let serving = serving(&twitch, |config| config.login.moderators_from_twitch = true).await;
    let mut viewer = Browser::logged_in(&serving, "5001").await;
    assert_eq!(viewer.get("/api/v1/session").await.json()["role"], "viewer");
    let mut broadcaster = Browser::new(&serving);
    let back = broadcaster.consented(BROADCASTER, "?as=broadcaster").await;
    assert_eq!(broadcaster.get(&back).await.status, StatusCode::SEE_OTHER);
    let role = async |viewer: &mut Browser| {
        viewer.get("/api/v1/session").await.json()["role"].as_str().expect("a role").to_owned()
    };
    until("the list was read", async || role(&mut viewer).await == "moderator").await;
    let seen = viewer.get("/api/v1/accounts/5002").await;
    assert_eq!(seen.status, StatusCode::OK, "moderators see what the dashboard shows");

    twitch.moderate(&["21"]);
    an_hour_passes(&serving).await;
    until("the list was read again", async || role(&mut viewer).await == "viewer").await;
    assert_eq!(viewer.get("/api/v1/accounts/5002").await.status, StatusCode::FORBIDDEN);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_has_ten_sessions_and_one_in_each_browser() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut browsers = Vec::new();
    for _ in 0..10 {
        browsers.push(Browser::logged_in(&serving, "5001").await);
    }
    let goes_on = async |secret: &str| serving.get(secret, "/session").await.0 == StatusCode::OK;
    // The same browser once more: its session before is over, and no other.
    let secrets: Vec<String> = browsers.iter().map(Browser::secret).collect();
    let mut last = browsers.pop().expect("ten");
    let back = last.consented("5001", "").await;
    assert_eq!(last.get(&back).await.status, StatusCode::SEE_OTHER);
    assert!(!goes_on(&secrets[9]).await && goes_on(&last.secret()).await);
    assert!(goes_on(&secrets[0]).await && goes_on(&secrets[8]).await);
    // Another browser: the oldest is over.
    let eleventh = Browser::logged_in(&serving, "5001").await;
    assert!(!goes_on(&secrets[0]).await && goes_on(&eleventh.secret()).await);
    assert!(goes_on(&secrets[1]).await);
    until("the others are revoked at Twitch", async || twitch.granted("5001") == 10).await;
    let replaced = "SELECT count(*) FROM sessions WHERE ended_by = 'replaced'";
    assert_eq!(serving.world.count(replaced).await, 2);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twitchs_list_of_moderators_is_good_for_a_day_once_the_broadcaster_is_gone() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    twitch.moderate(&["5001"]);
    let serving = serving(&twitch, |config| config.login.moderators_from_twitch = true).await;
    let mut broadcaster = Browser::new(&serving);
    let back = broadcaster.consented(BROADCASTER, "?as=broadcaster").await;
    assert_eq!(broadcaster.get(&back).await.status, StatusCode::SEE_OTHER);
    let read = "SELECT count(*) FROM listed_moderators";
    until("the list was read", async || serving.world.count(read).await == 1).await;
    broadcaster.send(Method::DELETE, "/api/v1/session", Value::Null).await;
    let mut viewer = Browser::new(&serving);
    let back = viewer.consented("5001", "").await;
    let as_program = [("accept", "application/json")];
    let seen = viewer.ask(Method::GET, &back, &as_program, Value::Null).await.json();
    assert_eq!(seen["role"], "moderator", "the list is of today, and the login says so");
    let role = async |viewer: &mut Browser| {
        viewer.get("/api/v1/session").await.json()["role"].as_str().expect("a role").to_owned()
    };
    assert_eq!(role(&mut viewer).await, "moderator");

    let pass = "UPDATE moderators SET listed_at = listed_at - interval '25 hours'";
    sqlx::query(pass).execute(&serving.world.pool).await.expect("a day passes");
    until("it makes nobody a moderator", async || role(&mut viewer).await == "viewer").await;
    let kept = Kept::read(&serving.world.pool).await.expect("an answer");
    assert!(kept.is_too_old() && kept.moderators == 1, "`tapedeck login status` says so");
    serving.stop().await;
}
