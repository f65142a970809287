//! The key that pays is seen nowhere, however things end; and whether it works is asked without spending.

use std::process::Output;

use gateways::generation::ProviderKind;
use gateways::http::keys::Scope;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::*;
use crate::http::Serving;
use crate::processes::Site;
use crate::world::{TAPEDECK, until};

/// The key, and what is left of one when its ends are quoted.
fn is_secret(text: &str) -> bool {
    text.contains(fake::KEY) || text.contains("sk-proj") || text.contains("nowhere-0123")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_in_no_event_no_row_no_log_and_no_answer() {
    let (world, fake) = (World::start().await, fake::OpenAi::start().await.expect("a fake"));
    let site = Site::new(&world.servers, &world.pool).await;
    fake.judges([Deed::Fail(401)]);
    fake.draws([Deed::Policy, Deed::Fail(500)]);
    let mut serve = site.serve("maker", "gateway,processor,relay,projections,processes,making");
    let mut served = of_openai(&mut serve, &fake, fake::KEY)
        .env("TAPEDECK_LOG", "trace")
        .spawn()
        .expect("it starts");
    site.answers().await;
    until("requests are followed", async || {
        world.count("SELECT count(*) FROM processes").await > 0
    })
    .await;
    let client = reqwest::Client::new();
    let ask = async |method: Method, path: &str, body: Value| {
        let url = site.url(&format!("/api/v1{path}"));
        let asked = client.request(method, url).bearer_auth(&site.key).json(&body);
        let asked = asked.header("Idempotency-Key", format!("{path}{body}"));
        asked.send().await.expect("an answer").text().await.expect("text")
    };
    let credit = json!({"points": 1_000, "note": "a test"});
    ask(Method::POST, "/accounts/5001/credits", credit).await;
    for subject in ["a fork", "a knife", "a spoon"] {
        let body = json!({"viewer": "5001", "request": format!("ghost of {subject}")});
        ask(Method::POST, "/generations", body).await;
    }
    // One fails, one is refused, one is tried again later.
    let mut answers = String::new();
    until("all were worked on", async || {
        answers = ask(Method::GET, "/generations", Value::Null).await;
        let list: Value = serde_json::from_str(&answers).expect("JSON");
        let Some(stages) = list["generations"].as_array() else { return false };
        let stages = stages.iter();
        let is_done = |one: &Value| one["stage"] != "submitted" && one["stage"] != "funded";
        stages.filter(|one| is_done(one) || one["attempts"] == 1).count() == 3
    })
    .await;
    assert!(answers.contains("content_policy_violation"), "{answers}");
    served.kill().await.expect("it ends");

    assert!(fake.calls("moderations")[0].headers["authorization"].to_str().is_ok_and(is_secret));
    let log = std::fs::read_to_string(world.servers.data.join("maker.log")).expect("a log");
    assert!(log.contains("OpenAI answered"), "it was logged");
    for (what, text) in [("the API", &answers), ("the log", &log)] {
        assert!(!is_secret(text), "{what} shows the key");
    }
    let dump = Command::new(world.servers.postgres_programs.join("pg_dump"))
        .arg(&world.servers.admin_database_url)
        .output();
    let dump = String::from_utf8_lossy(&dump.await.expect("a dump").stdout).into_owned();
    assert!(dump.contains("content_policy_violation") && !is_secret(&dump), "the database");
    for event in world.events().await {
        assert!(!is_secret(&serde_json::to_string(&event).expect("JSON")), "{event:?}");
    }
}

/// The environment of a process that has its pictures made by the fake.
fn of_openai<'a>(command: &'a mut Command, fake: &fake::OpenAi, key: &str) -> &'a mut Command {
    command
        .env("TAPEDECK_GENERATION__PROVIDER", "openai")
        .env("TAPEDECK_GENERATION__OPENAI__API_KEY", key)
        .env("TAPEDECK_GENERATION__OPENAI__BASE_URL", fake.base_url())
}

async fn doctor(fake: &fake::OpenAi, key: &str, model: &str) -> (String, Output) {
    let mut command = Command::new(TAPEDECK);
    command.args(["--data", "no-such-folder", "doctor", "--json"]);
    command.env_remove("DATABASE_URL").env_remove("NATS_URL");
    let command = of_openai(&mut command, fake, key);
    let command = command.env("TAPEDECK_GENERATION__OPENAI__MODEL", model);
    let output = command.output().await.expect("it runs");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = lines.lines().find(|line| line.contains("\"pictures\""));
    (said.unwrap_or_default().to_owned(), output)
}

#[tokio::test]
async fn the_doctor_says_whether_openai_would_draw_and_spends_nothing() {
    let fake = fake::OpenAi::start().await.expect("a fake");
    let wrong = "sk-proj-wrong-nowhere-0123";
    for (key, model, state, words) in [
        (fake::KEY, fake::MODEL, "well", "answers to this key"),
        (fake::KEY, "dall-e-3", "wrong", "404 model_not_found"),
        (wrong, fake::MODEL, "wrong", "401 invalid_api_key"),
    ] {
        let (said, output) = doctor(&fake, key, model).await;
        assert!(said.contains(&format!("\"{state}\"")) && said.contains(words), "{said}");
        let all = [output.stdout, output.stderr].concat();
        assert!(!is_secret(&String::from_utf8_lossy(&all)));
    }
    assert_eq!((fake.drawn(), fake.calls("models").len()), (0, 3));
    let (_, output) = doctor(&fake, "", fake::MODEL).await;
    let all = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(all.contains("api_key is empty"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_says_who_draws() {
    let fake = fake::OpenAi::start().await.expect("a fake");
    let openai = settings(&fake, fake::KEY);
    let serving = Serving::with(&gateways::cli::serve::Role::ALL, |config| {
        config.generation.provider = ProviderKind::OpenAi;
        config.generation.openai = openai;
    })
    .await;
    let key = serving.key(&[Scope::Admin]).await;
    let answer = serving.request(Method::GET, &key, "/generations").send().await.expect("one");
    let answer = answer.text().await.expect("text");
    assert!(answer.contains("\"provider\":\"openai\"") && !is_secret(&answer), "{answer}");
    serving.stop().await;
}
