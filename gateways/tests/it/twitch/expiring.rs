//! A grant that is over in the middle of everything.

use gateways::twitch::accounts::{Role, State, store};
use gateways::twitch::eventsub::record;

use super::*;
use crate::accounts::connected;
use gateways::sandbox::twitch::Twitch;

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_over_in_the_middle_is_replaced_once_and_nothing_is_lost_but_the_gap() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let fake =
        fake::EventSub::start_beside(Options::default(), &twitch).await.expect("a fake Twitch");
    let (mut desk, parts) = Desk::at(fake, |settings| settings.token = Secret::default()).await;
    let (config, accounts) = desk.asks_for_an_account(&twitch);
    let listener = desk.listen();
    connected(&accounts, &twitch, &config, Role::Broadcaster, BROADCASTER).await;
    desk.subscribed().await;
    assert!(desk.cheers("before"));
    desk.credited(1).await;

    // What was subscribed to is told on; what is asked for from now on is asked for with another.
    twitch.hours_pass();
    store_time_passes(&desk.world).await;
    assert!(desk.cheers("with a grant that is over"));
    desk.credited(2).await;
    desk.fake.close(4000);
    until("all is told again", async || {
        desk.fake.connections() == 2 && desk.fake.enabled() == KINDS
    })
    .await;
    let gap = desk.gaps(1).await.remove(0);
    assert_eq!((gap.kinds.len(), twitch.refreshed()), (KINDS, 1), "{gap:?}");
    assert!(desk.cheers("after"));
    desk.credited(3).await;

    // Taken back for good: it is known, and what is told goes on until Twitch ends it.
    twitch.disconnect(BROADCASTER);
    store_time_passes(&desk.world).await;
    desk.fake.close(4000);
    until("it is known to be taken back", async || {
        let found = store::find(&desk.world.pool, Role::Broadcaster).await;
        found.is_ok_and(|account| account.state == State::TakenBack)
    })
    .await;
    connected(&accounts, &twitch, &config, Role::Broadcaster, BROADCASTER).await;
    // As `tapedeck connect` does, so that nobody waits for the next look.
    record::ask(&desk.world.pool, BROADCASTER).await.expect("asked");
    until("all is told again", async || desk.fake.enabled() == KINDS).await;
    assert!(desk.cheers("connected anew"));
    desk.credited(4).await;
    listener.stop().await;
    parts.stop().await;
}

/// A grant was given long enough ago to be replaced.
async fn store_time_passes(world: &World) {
    let query = "UPDATE twitch_accounts SET granted_at = granted_at - interval '1 minute'";
    sqlx::query(query).execute(&world.pool).await.expect("time passes");
}
