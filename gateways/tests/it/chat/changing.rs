//! A configuration that is written over and over, wrongly, by halves and by two at once, while everything is asked: what is
//! handled is handled with one configuration and not with parts of two.

use std::path::Path;
use std::sync::Arc;

use gateways::cli::serve::Role;
use gateways::config::{Config, Source};
use reqwest::Method;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::world::TAPEDECK;

const BURSTS: u32 = 8;
const WRITES: u32 = 20;
/// More than so many of each kind are recorded.
const ENOUGH: u32 = 50;
const HIDDEN: &str = "a-secret-in-the-wrong-place";

/// A configuration in which everything says which one it is.
fn text(n: u32) -> String {
    let ghost = 100 + n;
    format!(
        "[rules]\nversion = {n}\npoints_per_bit = {n}\n\
         [prices]\nversion = {n}\n[prices.points]\nghost = {ghost}\nfriend = {ghost}\n"
    )
}

/// Writes as nobody should: in place, by halves, nonsense between, and whole ones by renaming.
fn scribble(file: &Path, writer: u32, first: u32) {
    let beside = file.with_extension(format!("new-{writer}"));
    for n in first..first + WRITES {
        let text = text(1_000 * (writer + 1) + n);
        let (half, _) = text.split_at(text.len() * (n as usize % 7 + 1) / 8);
        let words = match n % 5 {
            0 => half.to_owned(),
            1 => format!("{text}\nnobody_knows_this = 1\n"),
            2 => text.replacen('=', "= = \"", 1),
            3 => String::new(),
            _ => text,
        };
        match n % 2 {
            0 => std::fs::write(file, words).expect("written"),
            _ => {
                std::fs::write(&beside, words).expect("written");
                std::fs::rename(&beside, file).expect("put into place");
            }
        }
    }
}

/// Everything is asked until told to stop; whoever is answered with parts of two says so.
async fn ask(serving: &Serving, key: &str, asker: u32, stop: &CancellationToken) {
    let mut n = 0;
    while !stop.is_cancelled() {
        n += 1;
        let (viewer, id) = (format!("{}", 7_000 + asker), format!("asker-{asker}-{n}"));
        match asker % 3 {
            0 => {
                let cheer = json!({
                    "is_anonymous": false, "user_id": viewer, "user_login": "reeldeal",
                    "user_name": "ReelDeal", "broadcaster_user_id": BROADCASTER,
                    "broadcaster_user_login": "goldenreel", "broadcaster_user_name": "GoldenReel",
                    "message": format!("Cheer{n} hello"), "bits": n,
                });
                let status = post(serving, "channel.cheer", &id, &cheer).await;
                assert_eq!(status, StatusCode::NO_CONTENT);
            }
            1 => {
                says(serving, &id, &format!("{}", 10_000 * asker + n), "!ghost of a toaster").await
            }
            _ => {
                let (status, now) = serving.get(key, "/configuration").await;
                assert_eq!(status, StatusCode::OK);
                assert_eq!(now["rules"], now["prices"], "{now}");
                let body = json!({"viewer": viewer, "request": "ghost of a toaster"});
                let (status, answer) = serving.post_once(key, "/generations", &id, body).await;
                assert!(matches!(status.as_u16(), 201 | 202), "{answer}");
            }
        }
    }
}

/// Waits until the file's version is the one, and gives how the configuration is.
async fn reads(serving: &Serving, key: &str, n: u32) -> Value {
    let mut now = Value::Null;
    until(&format!("version {n} counts"), async || {
        now = serving.get(key, "/configuration").await.1;
        now["rules"] == n && now["refused"].is_null()
    })
    .await;
    now
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_into_the_file_nothing_is_handled_with_parts_of_two_configurations() {
    let data = gateways::embedded::temporary_folder().expect("a folder");
    let file = data.join("tapedeck.toml");
    std::fs::write(&file, text(1)).expect("written");
    let first = Config::layered(None, Some(("first".to_owned(), text(1))), []).expect("good");
    let source = Source { file: file.clone(), data: data.clone() };
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Making).collect::<Vec<_>>();
    let serving = Serving::with(&roles, |config| {
        (config.rules, config.prices, config.source) = (first.rules, first.prices, Some(source));
    })
    .await;
    let serving = Arc::new(serving);
    let key = serving.key(&[Scope::Admin]).await;
    let stop = CancellationToken::new();
    let askers: Vec<_> = (0..3)
        .map(|asker| {
            let (serving, key, stop) = (Arc::clone(&serving), key.clone(), stop.clone());
            tokio::spawn(async move { ask(&serving, &key, asker, &stop).await })
        })
        .collect();

    for burst in 1..=BURSTS {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let file = file.clone();
                tokio::task::spawn_blocking(move || scribble(&file, writer, burst * WRITES))
            })
            .collect();
        for writer in writers {
            writer.await.expect("no panic");
        }
        std::fs::write(&file, text(burst + 1)).expect("written");
        reads(&serving, &key, burst + 1).await;
        let version = burst + 1;
        let credited = format!(
            "SELECT count(*) FROM events WHERE event_type = 'credited'
             AND payload->'credited'->>'rules' = '{version}'"
        );
        let [submitted, asked] = ["submitted", "asked"]
            .map(|what| format!("SELECT count(*) FROM events WHERE event_type = '{what}'"));
        let enough = i64::from(burst * ENOUGH / BURSTS);
        until("enough was asked under it", async || {
            let world = &serving.world;
            world.count(&credited).await > i64::from(ENOUGH / BURSTS)
                && world.count(&submitted).await > enough
                && world.count(&asked).await > enough
        })
        .await;
    }
    stop.cancel();
    for asker in askers {
        asker.await.expect("an answer that mixes nothing");
    }

    until("all that was asked is recorded", async || {
        let query = "SELECT count(DISTINCT payload->'credited'->>'rules') FROM events
                     WHERE event_type = 'credited'";
        serving.world.count(query).await >= i64::from(BURSTS)
    })
    .await;
    serving.world.caught_up().await;
    for (what, mixed) in [
        ("credited", "(p->>'points')::int <> (p#>>'{facts,cheer,bits}')::int * (p->>'rules')::int"),
        ("submitted", "(p->>'price')::int <> 100 + (p->>'prices')::int"),
        ("asked", "(p#>>'{request,wish,price}')::int <> 100 + (p#>>'{request,wish,prices}')::int"),
    ] {
        let from = format!(
            "SELECT count(*) FROM (SELECT payload->'{what}' AS p FROM events WHERE event_type = '{what}') e"
        );
        assert!(
            serving.world.count(&from).await > i64::from(ENOUGH),
            "too few are {what} to prove anything"
        );
        let mixed = format!("{from} WHERE ({mixed}) IS NOT false");
        assert_eq!(serving.world.count(&mixed).await, 0, "{what} with parts of two");
    }
    refused(&serving, &key, &file).await;
    Arc::into_inner(serving).expect("nobody asks any more").stop().await;
    std::fs::remove_dir_all(data).expect("removed");
}

/// A file that is refused keeps what was there, and it is said why, without what stands in it.
async fn refused(serving: &Serving, key: &str, file: &Path) {
    let before = serving.get(key, "/configuration").await.1;
    let wrong = format!("{}database_connections = \"{HIDDEN}\"\n", text(99));
    std::fs::write(file, format!("eventsub_secret = \"{HIDDEN}\n{wrong}")).expect("written");
    let mut now = Value::Null;
    until("it is refused", async || {
        now = serving.get(key, "/configuration").await.1;
        !now["refused"].is_null()
    })
    .await;
    assert_eq!((&now["rules"], &now["since"]), (&before["rules"], &before["since"]));
    let error = now["refused"]["error"].as_str().expect("words");
    assert!(error.contains("line 1") && !error.contains(HIDDEN), "{error}");
    let mut doctor = Command::new(TAPEDECK);
    doctor.arg("--config").arg(file).args(["doctor"]).kill_on_drop(true);
    let output = doctor.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("WRONG  configuration") && said.contains("line 1"), "{said}");
    assert!(!said.contains(HIDDEN), "{said}");
    // Viewers must ask for it with a key.
    let nobody = serving.client.request(Method::GET, serving.url("/configuration"));
    assert_eq!(nobody.send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    std::fs::write(file, text(100)).expect("written");
    let now = reads(serving, key, 100).await;
    assert!(now["since"].as_str() > before["since"].as_str(), "{now}");
}
