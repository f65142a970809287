//! No secret of anybody is to be found in clear where it does not belong: not in the database, EVENTS, COMMANDS, a log of
//! ours or of a server, any answer, or what a command prints.

mod asking;

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use domain::account;
use gateways::cli::serve::Role as Part;
use gateways::config::CONNECT_FILE;
use gateways::simulate::{Deed, Night, Scene, Viewer};
use gateways::twitch::eventsub::wanted::CATALOGUE;
use journal::broker::Role as User;
use reqwest::Url;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

use super::connecting::{at_the_fake, said, tapedeck};
use super::*;
use crate::fakes::browser::consent;
use crate::processes::Site;
use crate::world::{PATIENCE, to_account};
use gateways::sandbox::eventsub::{EventSub, Options, Sub};

/// Everything that others than the owner of a secret may come to see, by name.
type Places = Vec<(&'static str, String)>;

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_clear_in_the_database_a_stream_a_log_an_answer_or_on_a_terminal() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake Twitch"));
    let fake = EventSub::start_beside(Options::default(), &twitch).await.expect("a fake Twitch");
    let site = Site::new(&world.servers, &world.pool).await;
    let mut served = serve("all", &site, &world, &twitch, &fake).spawn().expect("it starts");
    site.answers().await;
    let mut terminal = String::new();
    for (role, person) in [("broadcaster", BROADCASTER), ("bot", BOT)] {
        twitch.says_yes(person);
        let mut command = tapedeck(&site, &world, &twitch, &["connect", role]);
        command.env("RUST_LOG", "trace");
        let (code, text) = said(command).await;
        assert_eq!(code, Some(0), "{text}");
        terminal += &text;
    }
    until("all is told", async || fake.enabled() == CATALOGUE.len()).await;
    assert_eq!(fake.tell("m-1", "channel.chat.message", &asks_for_points()), 1);
    until("the bot answers", async || !twitch.said().is_empty()).await;
    assert_eq!(twitch.said()[0].0, BOT);

    let (mut answers, mut secrets, session) = visit(&site).await;
    renew_everything(&world, &twitch).await;
    let config = config(&world, &twitch);
    accounts(&config, &world.pool).current(Role::App).await.expect("granted");
    answers += &asking::everything(&world, &site, "all", &session).await;
    for arguments in [
        ["connect", "--list"].as_slice(),
        &["connect", "--list", "--json"],
        &["doctor"],
        &["eventsub", "list"],
        &["login", "status"],
    ] {
        terminal += &said(tapedeck(&site, &world, &twitch, arguments)).await.1;
    }
    served.kill().await.expect("it ends");

    // From now on Twitch posts, and signs with what we make up.
    choose_no_secret(&world);
    let mut serve = serve("posted", &site, &world, &twitch, &fake);
    let mut served = by_webhooks(&mut serve, &fake).spawn().expect("it starts");
    fake.is_found_at(vec![([127, 0, 0, 1], site.port).into()]);
    site.answers().await;
    until("all is told by webhooks", async || {
        let subs = fake.subs();
        let is_posted =
            |sub: &&Sub| sub.status == "enabled" && sub.transport["method"] == "webhook";
        subs.iter().filter(is_posted).count() == CATALOGUE.len()
    })
    .await;
    for arguments in [["eventsub", "rotate"].as_slice(), &["eventsub", "list"], &["doctor"]] {
        let mut command = tapedeck(&site, &world, &twitch, arguments);
        by_webhooks(&mut command, &fake);
        terminal += &said(command).await.1;
    }
    let of_webhooks = || fake.secrets().into_iter().map(|(_, secret)| secret);
    until("another secret is used", async || of_webhooks().collect::<BTreeSet<_>>().len() == 2)
        .await;
    answers += &asking::everything(&world, &site, "posted", &session).await;
    strangers_knock(&world).await;

    let sealing = std::fs::read_to_string(world.servers.data.join("sealing.key")).expect("a key");
    secrets.push(sealing.trim().rsplit(':').next().expect("the key").to_owned());
    secrets.push(crate::processes::SECRET.to_owned());
    secrets.push(site.key.splitn(3, '_').nth(2).expect("its secret").to_owned());
    secrets.extend(twitch.secrets());
    secrets.extend(of_webhooks().collect::<BTreeSet<_>>());
    secrets.extend(passwords(&world));
    assert!(secrets.len() > 35 && secrets.iter().all(|secret| secret.len() >= 15), "{secrets:?}");
    let places = places(&world, &terminal, &answers).await;
    for (place, text) in &places {
        assert!(text.len() > 500, "{place} has nothing in it: {text}");
    }
    let found: Vec<_> = secrets.iter().flat_map(|secret| found(&places, secret)).collect();
    assert!(found.is_empty(), "{found:?}");

    planted_ones_are_found(&world, &site, &session, &secrets[0]).await;
    served.kill().await.expect("it ends");
}

/// All of `tapedeck serve`, which logs all that it can.
fn serve(name: &str, site: &Site, world: &World, twitch: &Twitch, fake: &EventSub) -> Command {
    let roles: Vec<String> = Part::ALL.iter().map(ToString::to_string).collect();
    let mut serve = site.serve(name, &roles.join(","));
    at_the_fake(&mut serve, world, twitch);
    serve
        .env("TAPEDECK_LOG", "trace")
        .env("TAPEDECK_TWITCH__HELIX_URL", fake.base_url())
        .env("TAPEDECK_TWITCH__EVENTSUB__WEBSOCKET_URL", fake.websocket_url())
        .env("TAPEDECK_LOGIN__REDIRECT_URL", gateways::sandbox::twitch::REDIRECT);
    serve
}

/// Has Twitch tell us by webhooks.
fn by_webhooks<'a>(command: &'a mut Command, fake: &EventSub) -> &'a mut Command {
    command
        .env("TAPEDECK_TWITCH__HELIX_URL", fake.base_url())
        .env("TAPEDECK_TWITCH__EVENTSUB__TRANSPORT", "webhook")
        .env("TAPEDECK_PUBLIC_URL", "https://tapes.example")
}

/// Nobody chooses the secret of webhooks any more.
fn choose_no_secret(world: &World) {
    let connect = world.servers.data.join(CONNECT_FILE);
    let text = std::fs::read(&connect).expect("it was written");
    let mut json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    json.as_object_mut().expect("keys").remove("eventsub_secret").expect("there was one");
    std::fs::write(&connect, json.to_string()).expect("written");
}

/// The passwords of the users of nats-server and of the roles of PostgreSQL.
fn passwords(world: &World) -> Vec<String> {
    let servers = &world.servers;
    let of_nats = servers.nats_passwords.values().cloned();
    let urls = [&servers.database_url, &servers.owner_database_url, &servers.admin_database_url];
    let of_postgres = urls.map(|url| {
        let url: Url = url.parse().expect("a URL");
        url.password().expect("a password").to_owned()
    });
    of_nats.chain(of_postgres).collect()
}

/// Somebody comes to both servers with the password of somebody else, and is refused, which both log.
async fn strangers_knock(world: &World) {
    let password = &world.servers.nats_passwords["gateway"];
    assert!(!nats_lets_in(world, "admin", password).await);
    let mut url: Url = world.servers.database_url.parse().expect("a URL");
    url.set_password(Some(password)).expect("a password");
    assert!(PgConnection::connect(url.as_str()).await.is_err());
}

async fn nats_lets_in(world: &World, user: &str, password: &str) -> bool {
    let (user, password) = (user.to_owned(), password.to_owned());
    let options = async_nats::ConnectOptions::with_user_and_password(user, password);
    options.connect(world.servers.nats_url.as_str()).await.is_ok()
}

/// A secret that is put there on purpose is found in the database, as text and as bytes, in both streams, in our log and those
/// of the servers, and in an answer.
async fn planted_ones_are_found(world: &World, site: &Site, session: &str, secret: &str) {
    let owner = PgPool::connect(&world.servers.owner_database_url).await.expect("let in");
    for kind in ["text", "bytea"] {
        // Each has its own name: a connection remembers of a statement what its table was.
        let made = format!("CREATE TABLE planted_{kind} (secret {kind})");
        sqlx::query(&made).execute(&owner).await.expect("a table");
        let insert = format!("INSERT INTO planted_{kind} VALUES ($1)");
        let planted = sqlx::query(&insert);
        let planted = match kind {
            "text" => planted.bind(secret).execute(&owner).await,
            _ => planted.bind(secret.as_bytes()).execute(&owner).await,
        };
        planted.expect("it is planted");
        let places = places(world, "", "").await;
        assert_eq!(found(&places, secret), [("the database", secret.to_owned())], "{kind}");
        let dropped = format!("DROP TABLE planted_{kind}");
        sqlx::query(&dropped).execute(&owner).await.expect("it is gone");
    }
    let facts = account::Facts::Cheer { bits: 1, message: secret.to_owned() };
    let entry = domain::entry_id("test", "planted");
    let command = account::Command::Credit { entry, points: 1, rules: 1, facts };
    let envelope = to_account("5001", "planted", command);
    world.asker().await.ask(envelope).await;
    world.relayed().await;
    let planted = found(&places(world, "", "").await, secret);
    let planted: Vec<&str> = planted.into_iter().map(|(place, _)| place).collect();
    for place in ["the database", "EVENTS", "COMMANDS"] {
        assert!(planted.contains(&place), "{planted:?}");
    }

    // Both servers log what they refuse, in the words in which it was asked; and we log the name of a request.
    assert!(!nats_lets_in(world, secret, "a password").await);
    let wrong = format!("SELECT '{secret}'::integer");
    sqlx::query(&wrong).execute(&owner).await.expect_err("it is no number");
    let credit = reqwest::Client::new().post(site.url("/api/v1/accounts/5001/credits"));
    let credit = credit.bearer_auth(&site.key).header("Idempotency-Key", "planted");
    let credit = credit.header("x-request-id", secret).timeout(PATIENCE);
    let credit = credit.json(&json!({"points": 1, "note": secret})).send().await;
    assert!(credit.expect("an answer").status().is_success());
    world.caught_up().await;
    let wanted = ["a log", "the log of nats-server", "the log of PostgreSQL", "an answer"];
    until("it is found in the logs and an answer", async || {
        let answers = asking::everything(world, site, "posted", session).await;
        let planted = found(&places(world, "", &answers).await, secret);
        let planted: BTreeSet<&str> = planted.into_iter().map(|(place, _)| place).collect();
        BTreeSet::from(wanted).is_subset(&planted)
    })
    .await;
}

/// In which places a secret is, as it is or as it may be written.
fn found(places: &Places, secret: &str) -> Vec<(&'static str, String)> {
    let written = [
        secret.to_owned(),
        hex::encode(secret),
        hex::encode(secret).to_uppercase(),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    let is_in = |text: &str| written.iter().any(|written| text.contains(written));
    let places = places.iter().filter(|(_, text)| is_in(text));
    places.map(|(place, _)| (*place, secret.to_owned())).collect()
}

async fn places(world: &World, terminal: &str, answers: &str) -> Places {
    let dump = Command::new(world.servers.postgres_programs.join("pg_dump"))
        .arg(&world.servers.admin_database_url)
        .output();
    let dump = String::from_utf8_lossy(&dump.await.expect("a dump").stdout).into_owned();
    assert!(dump.contains("COPY public.twitch_accounts") && dump.contains("tapehost"));
    let admin = world.broker.jetstream(User::Admin).await.expect("let in");
    let mut streams = Vec::new();
    for name in ["EVENTS", "COMMANDS"] {
        let stream = admin.get_stream(name).await.expect("it is there");
        let state = &stream.cached_info().state;
        let mut text = String::new();
        for sequence in state.first_sequence..=state.last_sequence {
            // COMMANDS is trimmed at its head.
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            text += &format!("{} {:?}\n", message.subject, message.headers);
            text += &String::from_utf8_lossy(&message.payload);
        }
        streams.push((name, text));
    }
    let log = ["all.log", "posted.log"].map(|name| {
        let log = world.servers.data.join(name);
        std::fs::read_to_string(log).expect("a log")
    });
    assert!(log.iter().all(|log| log.contains("tapedeck serves")));
    let log = log.concat();
    assert!(log.contains("somebody logged in") && log.contains("granted was renewed"));
    let mut places = vec![("the database", dump)];
    places.extend(streams);
    places.extend(logs_of_the_servers(world));
    let seen = [("a log", log.as_str()), ("a terminal", terminal), ("an answer", answers)];
    places.extend(seen.map(|(place, text)| (place, text.to_owned())));
    places
}

/// What nats-server and PostgreSQL have logged, in all their files.
fn logs_of_the_servers(world: &World) -> Places {
    let (mut nats, mut postgres) = (String::new(), String::new());
    for file in std::fs::read_dir(world.servers.logs()).expect("the logs") {
        let file = file.expect("a log");
        let is_of_nats = file.file_name().to_string_lossy().starts_with("nats-server");
        let log = if is_of_nats { &mut nats } else { &mut postgres };
        *log += &String::from_utf8_lossy(&std::fs::read(file.path()).expect("a log"));
    }
    assert!(nats.contains("authentication error"), "{nats}");
    assert!(postgres.contains("password authentication failed"), "{postgres}");
    vec![("the log of nats-server", nats), ("the log of PostgreSQL", postgres)]
}

/// Somebody logs in, a webhook comes, and a service gets a credential: all answers, our own secrets, and the session.
async fn visit(site: &Site) -> (String, Vec<String>, String) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.timeout(PATIENCE).build().expect("a client");
    let (mut answers, mut secrets) = (String::new(), Vec::new());
    let begun = client.get(site.url("/api/v1/login")).send().await.expect("an answer");
    let secret_of = |answer: &reqwest::Response, name: &str| {
        let all = answer.headers().get_all("set-cookie").iter();
        let all = all.filter_map(|set| set.to_str().ok()?.split(';').next()?.split_once('='));
        let mut found = all.filter(|(known, value)| *known == name && !value.is_empty());
        found.next().map(|(_, value)| value.to_owned()).unwrap_or_else(|| panic!("no {name}"))
    };
    let attempt = secret_of(&begun, "tapedeck_login");
    let to = begun.headers()["location"].to_str().expect("text").to_owned();
    let back = consent(&to, "5001").await;
    let back = back.strip_prefix("http://localhost").expect("our own").to_owned();
    let asked = client.get(format!("{}{back}", site.url("").as_str().trim_end_matches('/')));
    let seen = asked.header("cookie", format!("tapedeck_login={attempt}")).send().await;
    let seen = seen.expect("an answer");
    let session = secret_of(&seen, "tapedeck_session");
    answers += &seen.text().await.expect("text");
    secrets.extend([attempt, session.splitn(3, '_').nth(2).expect("its secret").to_owned()]);
    for path in ["/api/v1/session", "/api/v1/accounts/5001"] {
        let seen = client.get(site.url(path)).bearer_auth(&session).send().await;
        answers += &seen.expect("an answer").text().await.expect("text");
    }
    let issue = client.post(site.url("/api/v1/service-token")).bearer_auth(&site.key);
    let issued = issue.json(&json!({})).send().await.expect("an answer");
    let issued: serde_json::Value = issued.json().await.expect("JSON");
    let credential = issued["access_token"].as_str().expect("a credential");
    secrets.push(credential.rsplit('.').next().expect("its signature").to_owned());

    let deed = Deed::Cheer {
        viewer: Some(Viewer::new("5001", "reeldeal", "ReelDeal")),
        bits: 5,
        message: "for the toaster".into(),
    };
    let night = Night::script(0, 1).for_broadcaster(BROADCASTER);
    let scene = Scene { deed, message_id: "m-webhook".to_owned(), ..night.scenes[0].clone() };
    let delivery = night.delivery(&scene, &site.secret(), Utc::now());
    let request = client.post(site.url("/webhooks/twitch")).body(delivery.body);
    let headers = delivery.headers.into_iter();
    let request = headers.fold(request, |request, (name, value)| request.header(name, value));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    (answers, secrets, session)
}

/// The hours of all that was granted are over, and all of it is replaced.
async fn renew_everything(world: &World, twitch: &Twitch) {
    let before = twitch.refreshed();
    twitch.hours_pass();
    time_passes(&world.pool).await;
    let pass = "UPDATE sessions SET check_at = clock_timestamp()";
    sqlx::query(pass).execute(&world.pool).await.expect("an hour passes");
    until("all is replaced", async || {
        let good = [BROADCASTER, BOT, "5001"].map(|person| twitch.granted(person));
        good == [1, 1, 1] && twitch.refreshed() >= before + 3
    })
    .await;
}

fn asks_for_points() -> serde_json::Value {
    json!({
        "broadcaster_user_id": BROADCASTER, "broadcaster_user_login": "tapehost",
        "broadcaster_user_name": "TapeHost", "chatter_user_id": "5001",
        "chatter_user_login": "reeldeal", "chatter_user_name": "ReelDeal",
        "message_id": "line-1",
        "message": {"text": "!balance", "fragments": [{"type": "text", "text": "!balance"}]},
        "color": "", "badges": [], "message_type": "text", "cheer": null, "reply": null,
        "channel_points_custom_reward_id": null,
    })
}
