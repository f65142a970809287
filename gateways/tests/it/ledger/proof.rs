//! A statement as a signed file: what it proves offline, and every way in which it can be wrong.

use std::path::{Path, PathBuf};

use domain::account::Command;
use domain::entry_id;
use ed25519_dalek::{Signer, SigningKey};
use gateways::audit::proof::{FORMAT, SignerKey, Verification, verify};
use gateways::audit::{Options, Report};
use gateways::config::Source;
use gateways::http::keys::Scope;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{audit_agrees, connect, json_of, tapedeck, text};
use crate::http::Serving;
use crate::world::{World, cheer, hold, to_account};

/// A viewer with an entry of every kind among those of others, in which nothing runs any more.
async fn recorded() -> World {
    let world = World::start().await;
    connect(&world);
    let parts = world.run();
    let asker = world.asker().await;
    let entry = |key| entry_id("test", key);
    for envelope in [
        cheer("5002", "a", 7),
        cheer("5001", "b", 100),
        cheer("5001", "c", 50),
        hold("5001", "d", 30),
        cheer("5002", "e", 9),
        hold("5001", "f", 20),
        to_account("5001", "g", Command::Capture { entry: entry("g"), hold: entry("d") }),
        to_account(
            "5001",
            "h",
            Command::Release { entry: entry("h"), hold: entry("f"), reason: "no image".to_owned() },
        ),
        hold("5001", "i", 9_999),
        to_account(
            "5001",
            "j",
            Command::Reverse {
                entry: entry("j"),
                reverses: entry("c"),
                points: -50,
                note: "a mistake".to_owned(),
                actor: "a moderator".to_owned(),
            },
        ),
        cheer("5003", "k", 1),
    ] {
        asker.ask(envelope).await;
    }
    world.caught_up().await;
    parts.stop().await;
    world
}

/// Verifies in this process, which makes thousands of attempts possible.
fn checked(file: &Path, public_key: Option<&str>, history: Option<&Path>) -> Report {
    let verification = Verification {
        proof: file.to_owned(),
        public_key: public_key.map(|key| key.parse().expect("a key")),
        history: history.map(Path::to_owned),
    };
    verify(&verification, &Options::default()).expect("readable")
}

/// Every sentence of every check that disagrees.
fn sentences(report: &Report) -> String {
    let findings = report.proofs.iter().flat_map(|proof| {
        proof.findings.first.iter().map(move |found| format!("{}: {}", proof.check, found.sentence))
    });
    findings.collect::<Vec<_>>().join("\n")
}

async fn proof_of(world: &World, name: &str, more: &[&str]) -> (PathBuf, Value) {
    let mut arguments = vec!["statement", "5001", "--json", "--proof", name];
    arguments.extend(more);
    let summary = json_of(world, &arguments).await;
    (world.servers.data.join(name), summary)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_proved_without_any_server() {
    let world = recorded().await;
    let (file, summary) = proof_of(&world, "5001.proof", &[]).await;
    assert_eq!((&summary["entries"], &summary["position"]), (&json!(8), &json!(11)));
    assert_eq!(summary["closing"]["available"], 70, "{summary}");
    let shown = text(&tapedeck(&world, &["key", "signing"]).await);
    let key = summary["public_key"].as_str().expect("a key");
    assert_eq!(shown.trim(), key, "the key that signed is the one that is shown");
    let doctor = text(&tapedeck(&world, &["doctor"]).await);
    assert!(doctor.contains(key), "{doctor}");

    let file_name = file.to_str().expect("a name");
    let verify = ["--data", "nowhere", "audit", "--verify-proof", file_name];
    let output = tapedeck(&world, &verify).await;
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let unknown = format!("SIGNED BY AN UNKNOWN KEY, {key}");
    assert!(text(&output).contains(&unknown), "{}", text(&output));
    assert!(!text(&output).contains("Proved in"), "{}", text(&output));
    let pinned = [&verify[..], &["--public-key", key, "--json"]].concat();
    let report = json_of(&world, &pinned).await;
    assert_eq!((&report["agrees"], &report["events"]), (&json!(true), &json!(8)));
    assert_eq!(report["totals"]["available"], 70, "{report}");
    assert_eq!(report["unknown_signer"], Value::Null, "{report}");

    let other = SignerKey::load_or_make(&world.servers.data.join("other.key")).expect("a key");
    let other = other.public().to_string();
    let output = tapedeck(&world, &[&verify[..], &["--public-key", &other]].concat()).await;
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains(&format!("{other} was asked for")), "{}", text(&output));

    let (early, summary) = proof_of(&world, "early", &["--as-of", "7", "--since", "2"]).await;
    assert_eq!(summary["opening"]["available"], 100, "{summary}");
    assert_eq!((&summary["entries"], &summary["closing"]["captured"]), (&json!(5), &json!(30)));
    assert!(checked(&early, Some(key), None).agrees);
    let missing = tapedeck(&world, &["statement", "5001", "--proof", "x", "--as-of", "99"]).await;
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
    assert!(!world.servers.data.join("x").exists() && text(&missing).contains("position 99"));
    let summary = json_of(&world, &["statement", "404", "--json", "--proof", "nobody"]).await;
    assert_eq!(summary["entries"], 0);
    let nobody = world.servers.data.join("nobody");
    assert!(checked(&nobody, Some(key), None).agrees, "nothing can be proved as well");
    let _parts = world.run();
    audit_agrees(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_proof_can_be_changed_and_no_line_be_missing_or_moved() {
    let world = recorded().await;
    let (file, summary) = proof_of(&world, "5001.proof", &[]).await;
    let key = summary["public_key"].as_str().expect("a key");
    let whole = std::fs::read(&file).expect("readable");
    let changed = world.servers.data.join("changed.proof");
    let try_it = |bytes: &[u8], what: &str| {
        std::fs::write(&changed, bytes).expect("written");
        let report = checked(&changed, Some(key), None);
        assert!(!report.agrees, "{what} was not noticed");
        assert!(!sentences(&report).is_empty(), "{what} was not named");
        sentences(&report)
    };
    for n in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[n] ^= 1 << (n % 7);
        try_it(&bytes, &format!("byte {n}"));
    }
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for n in 0..lines.len() {
        let without = [&lines[..n], &lines[n + 1..]].concat().concat();
        try_it(&without, &format!("the lack of line {}", n + 1));
        let twice = [&lines[..=n], &lines[n..]].concat().concat();
        try_it(&twice, &format!("line {} twice", n + 1));
        if n > 0 {
            let mut moved = lines.clone();
            moved.swap(n - 1, n);
            try_it(&moved.concat(), &format!("lines {n} and {} changed places", n + 1));
        }
        let cut = try_it(&lines[..n].concat(), &format!("an end before line {}", n + 1));
        assert!(cut.contains("it was cut"), "{cut}");
    }
    try_it(&whole[..whole.len() - 1], "the lack of the last line break");
    try_it(&[&whole[..], b"\n"].concat(), "one more line");

    let text = String::from_utf8(whole).expect("text");
    let richer = try_it(text.replace("\"points\":100", "\"points\":900").as_bytes(), "more points");
    for part in ["event 2 (account 5001 #1 credited): content", "signature: ", "available is 70"] {
        assert!(richer.contains(part), "{part} is not in\n{richer}");
    }
    let output = tapedeck(&world, &["audit", "--verify-proof", "changed.proof"]).await;
    assert_eq!(output.status.code(), Some(3), "{}", super::text(&output));
}

/// What a channel that lies can sign: a proof without the viewer's last entries.
fn signed_anew(lines: &[&str], key: &SigningKey) -> String {
    use base64::Engine;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let digest = Sha256::digest(body.as_bytes());
    let signature = key.sign(&[FORMAT.as_bytes(), b"\0", &digest].concat());
    let public_key = format!("ed25519:{}", encode(key.verifying_key().as_bytes()));
    let ed25519 = hex::encode(signature.to_bytes());
    format!(
        "{body}{{\"signature\":{{\"public_key\":\"{public_key}\",\"ed25519\":\"{ed25519}\"}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_who_leaves_the_end_out_is_found_by_whoever_has_the_history() {
    let world = recorded().await;
    let (file, _) = proof_of(&world, "5001.proof", &[]).await;
    let history = world.servers.data.join("history.jsonl");
    let output = {
        let parts = world.run();
        world.relayed().await;
        let output = tapedeck(&world, &["audit", "--export", "history.jsonl"]).await;
        parts.stop().await;
        output
    };
    assert!(output.status.success(), "{}", text(&output));
    let both = ["audit", "--verify-proof", "5001.proof", "--import-check", "history.jsonl"];
    let output = tapedeck(&world, &both).await;
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("in history"), "{}", text(&output));

    let whole = std::fs::read_to_string(&file).expect("readable");
    let lines: Vec<&str> = whole.lines().collect();
    // Without the reversal the viewer seems to have 50 points more.
    let line = lines[9]
        .replace("\"entries\":8", "\"entries\":7")
        .replace("\"available\":70", "\"available\":120")
        .replace("\"reversed\":-50", "\"reversed\":0");
    let mut shorter: Vec<&str> = lines[..8].to_vec();
    shorter.push(&line);
    let liar = SigningKey::from_bytes(&[9; 32]);
    let lie = world.servers.data.join("lie.proof");
    std::fs::write(&lie, signed_anew(&shorter, &liar)).expect("written");
    let believed = checked(&lie, None, None);
    assert!(believed.agrees, "this rests on the signature, as is said");
    assert!(believed.unknown_signer.is_some(), "and nothing says whose it is");
    let found = sentences(&checked(&lie, None, Some(&history)));
    assert!(found.contains("event 10 (account 5001 #8 reversed)"), "{found}");
    assert!(found.contains("it is an event of the account and not in the proof"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_comes_over_the_api_and_a_damaged_history_is_not_signed() {
    let folder = gateways::embedded::temporary_folder().expect("a folder");
    let data = folder.clone();
    let serving = Serving::undirected(move |config| {
        config.source = Some(Source { file: data.join("tapedeck.toml"), data });
    })
    .await;
    let key = serving.key(&[Scope::AccountsRead]).await;
    let asker = serving.world.asker().await;
    asker.ask(cheer("5001", "a", 100)).await;
    let last = asker.ask(cheer("5001", "b", 20)).await.last_position().expect("recorded");
    let path = format!("/accounts/5001/statement/proof?min_position={last}");
    let response = serving.request(Method::GET, &key, &path).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    let (signer, position) = (header("tapedeck-public-key"), header("tapedeck-position"));
    assert_eq!(position, last.to_string());
    let file = folder.join("5001.proof");
    std::fs::write(&file, response.bytes().await.expect("a body")).expect("written");
    let report = checked(&file, Some(&signer), None);
    assert!(report.agrees && report.totals.available == 120, "{}", sentences(&report));

    let path = "/accounts/5001/statement/proof?as_of=1&since=2";
    let refused = serving.request(Method::GET, &key, path).send().await.expect("an answer");
    assert_eq!(refused.status(), 400);
    let owner = sqlx::PgPool::connect(&serving.world.servers.owner_database_url).await.expect("in");
    for statement in [
        "ALTER TABLE events DISABLE TRIGGER events_are_final",
        "UPDATE events SET payload = replace(payload::text, '\"points\":20', '\"points\":90')::json
         WHERE position = 2",
        "ALTER TABLE events ENABLE TRIGGER events_are_final",
    ] {
        sqlx::query(statement).execute(&owner).await.expect("changed");
    }
    let path = "/accounts/5001/statement/proof";
    let refused = serving.request(Method::GET, &key, path).send().await.expect("an answer");
    assert_eq!(refused.status(), 500);
    let body: Value = refused.json().await.expect("JSON");
    let words = body["error"]["message"].as_str().expect("words");
    assert!(words.contains("event 2 (account 5001 #2 credited)"), "{words}");
    serving.stop().await;
    std::fs::remove_dir_all(folder).expect("removed");
}
