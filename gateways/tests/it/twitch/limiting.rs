//! What Twitch allows in a minute, for two processes together.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use gateways::twitch::calls::Calls;
use reqwest::Method;

use super::*;
use crate::fakes::points::Points;
use crate::processes::{Process, Site};
use crate::world::pool;

/// What is allowed, and in how many seconds: minutes are shorter here. The first test calls ten times as often as Twitch allows, the
/// second as often as two processes ask on a busy machine, which is a little more than is allowed.
const OF_CALLERS: (i64, i64) = (800, 6);
const OF_PROCESSES: (i64, i64) = (100, 10);
const CALLERS: usize = 8;
const ROLES: &str = "gateway,processor,relay,projections";

/// What a process calls with, as often as it may.
async fn caller(world: &World, helix: &Points, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
    let credentials = Credentials::fixed(CLIENT, Secret::new(TOKEN));
    let own = pool(&world.servers.database_url).await;
    let calls = Arc::new(Calls::new(credentials).shared(own, "1000"));
    let one = || {
        let (calls, url, stop) = (Arc::clone(&calls), helix.url(), stop.clone());
        tokio::spawn(async move {
            let asking = async {
                loop {
                    let _ = calls.ask(Method::GET, url.clone(), Bytes::new()).await;
                }
            };
            stop.run_until_cancelled(asking).await;
        })
    };
    (0..CALLERS).map(|_| one()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_callers_use_what_twitch_allows_and_never_more_and_after_a_refusal_nobody_calls() {
    let world = World::start().await;
    let helix = Points::start(OF_CALLERS.0, OF_CALLERS.1).await;
    let stop = CancellationToken::new();
    let mut callers = caller(&world, &helix, &stop).await;
    callers.extend(caller(&world, &helix, &stop).await);
    is_kept_to(&world, &helix, OF_CALLERS.0).await;
    stop.cancel();
    for caller in callers {
        caller.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_are_asked_for_more_than_twitch_allows_use_it_all_and_never_more() {
    let world = World::start().await;
    let helix = Points::start(OF_PROCESSES.0, OF_PROCESSES.1).await;
    let first = Site::new(&world.servers, &world.pool).await;
    let sites = [first.beside(), first];
    let processes = sites.clone().map(|site| {
        let base_url = helix.base_url();
        Process::start(move || {
            let mut command = site.serve(&format!("at {}", site.port), ROLES);
            command.env("TAPEDECK_TWITCH__CLIENT_ID", CLIENT);
            command.env("TAPEDECK_TWITCH__HELIX_URL", &base_url);
            command.env("TAPEDECK_TWITCH__EVENTSUB__TOKEN", TOKEN);
            command
        })
    });
    for site in &sites {
        site.answers().await;
    }
    let (stop, next) = (CancellationToken::new(), Arc::new(AtomicU64::new(1)));
    let asked = sites.iter().flat_map(|site| ["users", "games"].map(|of| (site, of)));
    let visitors: Vec<_> = asked.map(|(site, of)| visitor(site, of, &next, &stop)).collect();
    is_kept_to(&world, &helix, OF_PROCESSES.0).await;
    stop.cancel();
    for visitor in visitors {
        visitor.await.expect("no panic");
    }
    drop(processes);
}

/// Asks a process for what nobody asked it for before, one thing after the other.
fn visitor(
    site: &Site,
    of: &str,
    next: &Arc<AtomicU64>,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (url, key) = (site.url(&format!("/api/v1/twitch/{of}")), site.key.clone());
    let (next, stop) = (Arc::clone(next), stop.clone());
    tokio::spawn(async move {
        let client = reqwest::Client::new();
        let asking = async {
            loop {
                let mut url = url.clone();
                let id = next.fetch_add(1, Ordering::Relaxed).to_string();
                url.query_pairs_mut().append_pair("id", &id);
                let asked = client.get(url).bearer_auth(&key);
                let answer = asked.send().await.expect("the process answers");
                assert_eq!(answer.status(), 200);
            }
        };
        stop.run_until_cancelled(asking).await;
    })
}

/// Waits until all is used that Twitch allows in a minute, and then until it has refused a call and calls are made again.
async fn is_kept_to(world: &World, helix: &Points, most: i64) {
    // The first minute had begun before. In which of those that follow so many calls can be made depends on what else the
    // machine does; that all are made then, and none more in any of them, on us.
    let first = helix.minute() + 1;
    let is_used = |minute: &i64| helix.spent(*minute) >= most * 9 / 10;
    until("all is used in two minutes", async || {
        (first..helix.minute()).filter(is_used).count() >= 2
    })
    .await;
    assert_eq!(helix.refused(), 0, "somebody asked for more than there is");
    let counted = format!("SELECT count(*) FROM helix_points WHERE free < most AND most = {most}");
    assert_eq!(world.count(&counted).await, 1, "they are not counted together");

    until("another is under way", async || helix.spent(helix.minute()) > most / 10).await;
    let stopped = helix.minute();
    helix.inject();
    until("it is over, and they call again", async || {
        let minute = helix.minute();
        minute > stopped && helix.spent(minute) > 0
    })
    .await;
    assert_eq!(helix.calls_while_stopped(), 0, "somebody did not wait for the reset");
    assert_eq!(helix.refused(), 0);
}
