//! The ledger as people use it: statements that are proved, points given to many and taken back, balances brought from
//! another bot, names erased. Where points moved, `tapedeck audit` has the last word.

pub mod erasure;
mod gifts;
mod grants;
mod imports;
mod proof;

use std::process::{Output, Stdio};

use gateways::config::{CONNECT_FILE, Connect};
use serde_json::Value;
use tokio::process::Command;

use crate::world::{PATIENCE, TAPEDECK, World};

/// Leaves what `tapedeck up` leaves in its data folder, so that commands find the servers of `world`.
fn connect(world: &World) {
    let connect = Connect {
        nats_url: world.servers.nats_url.clone(),
        nats_passwords: world.servers.nats_passwords.clone(),
        database_url: world.servers.database_url.clone(),
        owner_database_url: Some(world.servers.owner_database_url.clone()),
        broadcaster_id: Some("1000".to_owned()),
        eventsub_secret: Some("a secret for tests".to_owned()),
        ..Connect::default()
    };
    let json = serde_json::to_vec(&connect).expect("JSON");
    std::fs::write(world.servers.data.join(CONNECT_FILE), json).expect("written");
}

/// Runs the binary in the data folder of `world`.
async fn tapedeck(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(TAPEDECK);
    command.env("TAPEDECK_DATA", &world.servers.data).args(arguments).kill_on_drop(true);
    command.current_dir(&world.servers.data).env_remove("DATABASE_URL").env_remove("NATS_URL");
    command.stdin(Stdio::null());
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time");
    output.expect("it runs")
}

/// The one line of JSON that a successful command prints.
async fn json_of(world: &World, arguments: &[&str]) -> Value {
    let output = tapedeck(world, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The end of every story here: all that is known follows from what is recorded.
async fn audit_agrees(world: &World) {
    world.caught_up().await;
    world.relayed().await;
    let output = tapedeck(world, &["audit", "--everything"]).await;
    assert!(output.status.success(), "{}", text(&output));
}
