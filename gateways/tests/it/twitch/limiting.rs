//! What Twitch allows in a minute, for two processes together.

use bytes::Bytes;
use gateways::twitch::calls::Calls;
use reqwest::Method;

use super::*;
use crate::fakes::points::Points;
use crate::world::pool;

const MOST: i64 = 800;
const MINUTE_S: i64 = 6;
const CALLERS: usize = 8;

/// A process that calls as often as it may.
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
async fn two_processes_use_what_twitch_allows_and_never_more_and_after_a_refusal_nobody_calls() {
    let world = World::start().await;
    let helix = Points::start(MOST, MINUTE_S).await;
    let stop = CancellationToken::new();
    let mut callers = caller(&world, &helix, &stop).await;
    callers.extend(caller(&world, &helix, &stop).await);

    // The first minute had begun before. In which of those that follow so many calls can be made depends on what else the
    // machine does; that all are made then, and none more in any of them, on us.
    let first = helix.minute() + 1;
    let is_used = |minute: &i64| helix.spent(*minute) >= MOST * 9 / 10;
    until("all is used in two minutes", async || {
        (first..helix.minute()).filter(is_used).count() >= 2
    })
    .await;
    assert_eq!(helix.refused(), 0, "somebody asked for more than there is");
    let counted = "SELECT count(*) FROM helix_points WHERE free < most AND most = 800";
    assert_eq!(world.count(counted).await, 1, "they are not counted together");

    until("another is under way", async || helix.spent(helix.minute()) > MOST / 10).await;
    let stopped = helix.minute();
    helix.inject();
    until("it is over, and they call again", async || {
        let minute = helix.minute();
        minute > stopped && helix.spent(minute) > 0
    })
    .await;
    assert_eq!(helix.calls_while_stopped(), 0, "somebody did not wait for the reset");
    assert_eq!(helix.refused(), 0);
    stop.cancel();
    for caller in callers {
        caller.await.expect("no panic");
    }
}
