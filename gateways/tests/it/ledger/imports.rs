//! Balances from another bot: once for each viewer, with where they came from.

use domain::account::{Event, Facts};
use sha2::{Digest, Sha256};

use super::{audit_agrees, connect, tapedeck, text};
use crate::world::{World, cheer};

async fn import(world: &World, text_of_file: &str, more: &[&str]) -> (Option<i32>, String) {
    std::fs::write(world.servers.data.join("points.csv"), text_of_file).expect("written");
    let arguments = [&["import", "points.csv", "--from", "StreamElements"], more].concat();
    let output = tapedeck(world, &arguments).await;
    (output.status.code(), text(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_imported_from_a_bot_once_whatever_file_it_is_in() {
    let world = World::start().await;
    connect(&world);
    let parts = world.run();
    let file = "Username,Points\nReelDeal,4210\nbetamaxine,30\nrewinder,5\nlurker,0\n";
    let (code, words) = import(&world, file, &[]).await;
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("line 2: reeldeal has no user id"), "{words}");
    assert!(words.contains("line 4: rewinder has no user id"), "{words}");
    assert_eq!(world.head().await, 0, "nothing was given");

    let mut seen = cheer("5003", "a", 1);
    seen.names.push(journal::ViewerName {
        id: "5003".to_owned(),
        login: Some("rewinder".to_owned()),
        name: Some("Rewinder".to_owned()),
    });
    world.asker().await.ask(seen).await;
    std::fs::write(
        world.servers.data.join("ids.csv"),
        "name,id\nreeldeal,5001\n@BetaMaxine,5002\n",
    )
    .expect("written");
    let ids = ["--ids", "ids.csv", "--known-names"];
    let (code, words) = import(&world, file, &[&ids[..], &["--preview"]].concat()).await;
    assert!(code == Some(0) && words.contains("3 viewers would be given 4,245 points"), "{words}");
    assert_eq!(world.head().await, 1);
    let (code, words) = import(&world, file, &ids).await;
    assert!(code == Some(0) && words.contains("3 viewers given 4,245 points"), "{words}");
    let (code, words) = import(&world, file, &ids).await;
    assert!(code == Some(0) && words.contains("3 were before"), "{words}");
    assert_eq!(world.head().await, 4);

    let newer = "Username,Points\nReelDeal,5000\nbetamaxine,30\n";
    let (code, words) = import(&world, newer, &ids).await;
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("line 2, viewer 5001: 4210 points were imported"), "{words}");
    assert!(words.contains("1 were before") && world.head().await == 4, "{words}");
    let (code, words) = import(&world, newer, &[&ids[..], &["--again"]].concat()).await;
    assert!(code == Some(0) && words.contains("1 viewers given 5,000 points"), "{words}");
    assert_eq!(world.available("5001").await, 9_210);
    let (code, words) = import(&world, newer, &[&ids[..], &["--again"]].concat()).await;
    assert!(code == Some(0) && words.contains("2 were before"), "{words}");

    let recorded = world.recorded().await;
    let event: Event = recorded[1..4]
        .iter()
        .find(|event| event.aggregate_id == "5002")
        .expect("imported")
        .event()
        .expect("an event");
    let Event::Credited {
        points: 30,
        facts: Facts::Import { source, file: hash, line, grant },
        ..
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!((source.as_str(), line), ("streamelements", 3));
    assert_eq!(hash, hex::encode(Sha256::digest(file.as_bytes())));
    let statement = text(&tapedeck(&world, &["statement", "5002"]).await);
    assert!(statement.contains("brought from streamelements, line 3"), "{statement}");

    let undo = ["grant", "undo", &grant.to_string(), "--note", "the wrong file"];
    let output = tapedeck(&world, &undo).await;
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!((world.available("5001").await, world.available("5002").await), (5_000, 0));
    let (code, words) = import(&world, "id;points\n5002;33.0\n", &[]).await;
    assert!(code == Some(0) && words.contains("1 viewers given 33 points"), "{words}");
    audit_agrees(&world).await;
    parts.stop().await;
}
