//! No secret of a login is to be found anywhere it does not belong.

use super::*;

use tokio::process::Command;

use crate::processes::Site;
use crate::world::{TAPEDECK, World};

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_login_is_in_the_database_an_event_the_log_or_an_answer() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake Twitch"));
    let site = Site::new(&world.servers, &world.pool).await;
    let mut serve = site.serve("gate", "gateway,processor,relay,projections,processes");
    let sealing = world.servers.data.join("sealing.key");
    let mut served = serve
        .env("TAPEDECK_LOG", "trace")
        .env("TAPEDECK_TWITCH__CLIENT_ID", CLIENT_ID)
        .env("TAPEDECK_TWITCH__CLIENT_SECRET", CLIENT_SECRET)
        .env("TAPEDECK_TWITCH__ID_URL", twitch.id_url())
        .env("TAPEDECK_TWITCH__HELIX_URL", twitch.helix_url())
        .env("TAPEDECK_LOGIN__REDIRECT_URL", REDIRECT)
        .env("TAPEDECK_SEALING_KEY_FILE", &sealing)
        .spawn()
        .expect("it starts");
    site.answers().await;
    let base = site.url("").as_str().trim_end_matches('/').to_owned();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.timeout(PATIENCE).build().expect("a client");
    let mut browser = Browser { client, cookies: BTreeMap::new(), base };
    let (mut answers, mut ours) = (String::new(), Vec::new());
    for _ in 0..2 {
        let back = browser.consented("5001", "").await;
        ours.push(browser.cookies["tapedeck_login"].clone());
        let seen = browser.get(&back).await;
        assert_eq!(seen.status, StatusCode::SEE_OTHER, "{}", seen.text);
        let secret = browser.secret();
        ours.push(secret.splitn(3, '_').nth(2).expect("its secret part").to_owned());
        answers += &seen.text;
    }
    twitch.hours_pass();
    sqlx::query("UPDATE sessions SET check_at = clock_timestamp()")
        .execute(&world.pool)
        .await
        .expect("an hour passes");
    // The first session ended with the second login of the same browser.
    until("the grant was refreshed", async || twitch.granted("5001") == 1).await;
    for path in
        ["/api/v1/session", "/api/v1/accounts/5001", "/api/v1/login/callback?code=a&state=b"]
    {
        answers += &browser.get(path).await.text;
    }
    let gift = json!({"to": "5002", "points": 5});
    answers += &browser.send(Method::POST, "/api/v1/accounts/5001/gifts", gift).await.text;
    let issued = client_credential(&site).await;
    let credential = issued["access_token"].as_str().expect("a credential");
    ours.push(credential.rsplit('.').next().expect("its signature").to_owned());
    served.kill().await.expect("it ends");

    let secrets = [twitch.secrets(), ours].concat();
    assert!(secrets.len() > 12 && secrets.iter().all(|secret| secret.len() >= 30));
    let log = std::fs::read_to_string(world.servers.data.join("gate.log")).expect("a log");
    assert!(log.contains("somebody logged in"), "it was logged");
    let dump = Command::new(world.servers.postgres_programs.join("pg_dump"))
        .arg(&world.servers.admin_database_url)
        .output();
    let dump = String::from_utf8_lossy(&dump.await.expect("a dump").stdout).into_owned();
    assert!(dump.contains("login_attempts") && dump.contains("reeldeal"));
    let sealed = std::fs::read_to_string(&sealing).expect("the sealing key");
    let sealed = sealed.trim().rsplit(':').next().expect("the key").to_owned();
    let mut events = String::new();
    for event in world.events().await {
        events += &serde_json::to_string(&event).expect("JSON");
    }
    for (what, text) in
        [("the API", &answers), ("the log", &log), ("the database", &dump), ("an event", &events)]
    {
        for secret in secrets.iter().chain([&sealed]) {
            let in_hex = hex::encode(secret);
            assert!(!text.contains(secret.as_str()) && !text.contains(&in_hex), "{what}: {secret}");
        }
    }
    let status = status(&world, &twitch).await;
    assert!(status.contains("Logging in is on") && status.contains("5001"), "{status}");
    assert!(!secrets.iter().any(|secret| status.contains(secret)), "{status}");
}

async fn client_credential(site: &Site) -> Value {
    let url = site.url("/api/v1/service-token");
    let request = reqwest::Client::new().post(url).bearer_auth(&site.key).json(&json!({}));
    request.send().await.expect("an answer").json().await.expect("JSON")
}

/// What `tapedeck login status` says.
async fn status(world: &World, twitch: &Twitch) -> String {
    let output = Command::new(TAPEDECK)
        .args(["login", "status"])
        .current_dir(&world.servers.data)
        .env("DATABASE_URL", &world.servers.database_url)
        .env("NATS_URL", &world.servers.nats_url)
        .env("TAPEDECK_BROADCASTER_ID", BROADCASTER)
        .env("TAPEDECK_TWITCH__CLIENT_ID", CLIENT_ID)
        .env("TAPEDECK_TWITCH__CLIENT_SECRET", CLIENT_SECRET)
        .env("TAPEDECK_TWITCH__ID_URL", twitch.id_url())
        .output()
        .await
        .expect("it runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
