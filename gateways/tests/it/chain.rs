//! "Cheer200 ghost of a toaster", from the signed notification to the picture on the screen, with a death at each step.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use chrono::Utc;
use gateways::cli::serve::Role;
use gateways::http::keys;
use gateways::simulate::{Deed, Night, Scene, Viewer};
use sqlx::PgPool;
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::processes::{BROADCASTER, Site};
use crate::redemption::{audited, points};
use crate::stage::page::{Memory, alive};
use crate::stage::{OVERLAY, opened};
use crate::world::{PATIENCE, World, until};

/// Where the one process that does everything dies, in the order of the way: on disk and not answered, before and after
/// the cheer is decided, told to the broker, asked for; held; leased, drawn, kept, noted, reported; captured; directed,
/// sent to the overlay, heard from it.
const DEATHS: [&str; 19] = [
    "gateway.appended@1",
    "commit.decided@1",
    "commit.committed@1",
    "relay.published@1",
    "process.published/redemption@1",
    "commit.committed@2",
    "commit.committed@3",
    "process.stored/redemption@3",
    "making.leased@1",
    "making.made@1",
    "making.kept@1",
    "making.noted@1",
    "making.reported@1",
    "commit.committed@6",
    "fold.committed@9",
    "stage.decided@2",
    "stage.sent@2",
    "stage.noted@2",
    "stage.painted@2",
];
#[tokio::test(flavor = "multi_thread")]
async fn a_cheer_that_asks_for_a_picture_survives_a_death_at_each_step() {
    let world = World::start().await;
    let site = Site::new(&world.servers, &world.pool).await;
    let key = keys::issue(&world.pool, "obs", &OVERLAY).await.expect("a key").1;
    let admin = PgPool::connect(&world.servers.admin_database_url).await.expect("connected");
    let memory = Memory::default();
    let listen = SocketAddr::from(([127, 0, 0, 1], site.port));
    let _page = alive(listen, &key, Uuid::new_v4(), &memory);
    // The stage and the processes begin where they are first known.
    let mut first = serve(&site, "").spawn().expect("it starts");
    opened(&world).await;
    first.kill().await.expect("killed");
    for (round, crash_at) in (1..).zip(DEATHS) {
        time_passes(&admin).await;
        let mut doomed =
            serve(&site, crash_at).env("TAPEDECK_CRASH_AT", crash_at).spawn().expect("it starts");
        let viewer = (7_000 + round).to_string();
        let _twitch = delivered_until_taken(&site, &viewer);
        died(&mut doomed, crash_at).await;
        time_passes(&admin).await;
        let mut healthy = serve(&site, crash_at).spawn().expect("it starts again");
        let shown = "SELECT count(*) FROM projections.showings WHERE state = 'shown'";
        // The cheer, and its picture.
        until(&format!("all is shown after {crash_at}"), async || {
            world.count(shown).await >= 2 * round
        })
        .await;
        healthy.kill().await.expect("killed");
    }
    time_passes(&admin).await;
    let mut last = serve(&site, "last").spawn().expect("it starts");
    audited(&world).await;
    let rounds = DEATHS.len() as i64;
    for round in 1..=rounds {
        let viewer = (7_000 + round).to_string();
        assert_eq!(points(&world, &viewer).await, (0, 0, 200), "{viewer}");
    }
    let events = async |kind: &str| {
        world.count(&format!("SELECT count(*) FROM events WHERE event_type = '{kind}'")).await
    };
    for (kind, count) in [
        ("credited", 1),
        ("submitted", 1),
        ("held", 1),
        ("completed", 1),
        ("captured", 1),
        ("settled", 1),
        ("shown", 2),
        ("released", 0),
        ("unknown", 0),
    ] {
        assert_eq!(events(kind).await, count * rounds, "{kind}");
    }
    // One picture each, and where the process died over it at most one more.
    let asked = "SELECT count(*) FROM generation_makings GROUP BY request";
    let asked: Vec<i64> = sqlx::query_scalar(asked).fetch_all(&world.pool).await.expect("counted");
    assert_eq!(asked.len() as i64, rounds);
    assert!(asked.iter().all(|times| *times <= 2), "{asked:?}");
    let paintings = memory.paintings();
    assert_eq!(paintings.len() as i64, 2 * rounds);
    assert!(paintings.values().all(|times| *times == 1), "{paintings:?}");
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);
    last.kill().await.expect("killed");
}

/// The whole of Tapedeck in one process.
fn serve(site: &Site, name: &str) -> Command {
    let roles = Role::ALL.map(|role| role.to_string());
    let mut command = site.serve(&name.replace('/', "-"), &roles.join(","));
    for (key, value) in [
        ("STAGE__LEAD_MS", "50"),
        ("STAGE__GAP_MS", "30"),
        ("STAGE__PAINTED_WITHIN_MS", "10000"),
        ("STAGE__UNKNOWN_AFTER_MS", "60000"),
        ("STAGE__SECONDS__CHEER", "1"),
        ("STAGE__SECONDS__GHOST", "1"),
        ("STAGE__ATTEMPTS_MAX", "20"),
        ("GENERATION__PER_MINUTE", "6000"),
    ] {
        command.env(format!("TAPEDECK_{key}"), value);
    }
    command.stdin(Stdio::null());
    command
}

/// Twitch sends it again and again until it is told that it was taken.
fn delivered_until_taken(site: &Site, viewer: &str) -> AbortOnDropHandle<()> {
    let deed = Deed::Cheer {
        viewer: Some(Viewer::new(viewer, &format!("viewer{viewer}"), &format!("Viewer{viewer}"))),
        bits: 200,
        message: "Cheer200 ghost of a toaster".into(),
    };
    let night = Night::script(0, 1).for_broadcaster(BROADCASTER);
    let scene = Scene { deed, message_id: format!("cheer-{viewer}"), ..night.scenes[0].clone() };
    let (to, secret) = (site.url("/webhooks/twitch"), site.secret());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            again.tick().await;
            let delivery = night.delivery(&scene, &secret, Utc::now());
            let request = client.post(to.clone()).body(delivery.body);
            let headers = delivery.headers.into_iter();
            let request =
                headers.fold(request, |request, (name, value)| request.header(name, value));
            let answer = request.timeout(PATIENCE).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
        }
    }))
}

/// The leases of the dead are over, as they would be some seconds or minutes later.
async fn time_passes(admin: &PgPool) {
    for statement in [
        "UPDATE partitions SET lease_until = clock_timestamp() WHERE lease_until > clock_timestamp()",
        "UPDATE generation_leases SET lease_until = clock_timestamp()",
    ] {
        sqlx::query(statement).execute(admin).await.expect("the statement is right");
    }
}

async fn died(doomed: &mut Child, crash_at: &str) {
    let ended = tokio::time::timeout(PATIENCE, doomed.wait()).await;
    let ended = ended.unwrap_or_else(|_| panic!("it never passed {crash_at}")).expect("a status");
    assert!(!ended.success(), "{crash_at}: {ended}");
}
