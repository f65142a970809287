//! The accounts that Twitch is asked with: connected, kept, replaced once, and taken back, at a fake Twitch.

mod connecting;
mod secrecy;

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use gateways::config::Config;
use gateways::outgoing::Secret;
use gateways::twitch::accounts::{
    Account, Accounts, ConnectError, Forgotten, NoGrant, Role, State, scopes, store,
};
use gateways::twitch::oauth::Polled;
use gateways::twitch::saying::{Mouth, Said};
use gateways::twitch::{Grant, Settings};
use reqwest::StatusCode;
use sqlx::PgPool;

use crate::http::{BROADCASTER, Serving};
use crate::world::{World, pool, until};
use gateways::sandbox::twitch::{CLIENT_ID, CLIENT_SECRET, Twitch};

const BOT: &str = "9000";

/// An application that asks the fake.
pub fn settings_at(twitch: &Twitch) -> Settings {
    Settings {
        client_id: CLIENT_ID.to_owned(),
        client_secret: Secret::new(CLIENT_SECRET),
        id_url: twitch.id_url().try_into().expect("a base"),
        helix_url: twitch.helix_url().try_into().expect("a base"),
        ..Settings::default()
    }
}

fn config(world: &World, twitch: &Twitch) -> Config {
    Config {
        broadcaster_id: BROADCASTER.to_owned(),
        sealing_key_file: Some(world.servers.data.join("sealing.key")),
        twitch: settings_at(twitch),
        ..Config::default()
    }
}

fn accounts(config: &Config, pool: &PgPool) -> Arc<Accounts> {
    Accounts::new(config, pool.clone()).expect("a key").expect("an application")
}

/// What a person grants with the device flow, at once.
async fn granted(accounts: &Accounts, twitch: &Twitch, asked: &[&str], person: &str) -> Grant {
    twitch.says_yes(person);
    let device = accounts.oauth.begin_device(asked).await.expect("a code");
    match accounts.oauth.poll_device(&device, asked).await.expect("an answer") {
        Polled::Granted(grant) => *grant,
        other => panic!("{other:?}"),
    }
}

/// Connects somebody with all that is needed of them.
pub async fn connected(
    accounts: &Arc<Accounts>,
    twitch: &Twitch,
    config: &Config,
    role: Role,
    person: &str,
) -> Account {
    let needs = scopes::needs(config, role);
    let grant = granted(accounts, twitch, &scopes::asked(&needs), person).await;
    accounts.connect(role, &grant).await.expect("it is connected")
}

async fn state(pool: &PgPool, role: Role) -> State {
    store::find(pool, role).await.expect("a row").state
}

/// Time passes: grants were given a while ago, and are to be looked at.
pub async fn time_passes(pool: &PgPool) {
    // What is to be looked at already stays as it is: whoever is about to look would find it changed.
    let pass = "UPDATE twitch_accounts SET granted_at = granted_at - interval '1 minute',
                check_at = least(check_at, clock_timestamp()) WHERE granted IS NOT NULL";
    sqlx::query(pass).execute(pool).await.expect("time passes");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_that_replace_a_grant_at_once_one_asks_twitch_and_both_secrets_are_kept() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake Twitch"));
    let config = config(&world, &twitch);
    let one = accounts(&config, &world.pool);
    let other = accounts(&config, &pool(&world.servers.database_url).await);
    connected(&one, &twitch, &config, Role::Broadcaster, BROADCASTER).await;
    // Twice: the second time needs the secret that the first one gave.
    for round in 1..=2 {
        twitch.hours_pass();
        time_passes(&world.pool).await;
        let gate = twitch.holds_back("token");
        let edition = one.current(Role::Broadcaster).await.expect("held").edition;
        let asking: Vec<_> = [&one, &other, &one, &other]
            .into_iter()
            .map(|accounts| {
                let accounts = Arc::clone(accounts);
                tokio::spawn(async move { accounts.renewed(Role::Broadcaster, edition).await })
            })
            .collect();
        until("Twitch was asked", async || twitch.refreshed() == round).await;
        // Whoever asked first has gone: what Twitch replaced is stored all the same.
        asking[0].abort();
        gate.add_permits(100);
        for renewed in asking.into_iter().skip(1) {
            let held = renewed.await.expect("no panic").expect("a grant");
            assert_eq!(held.edition, edition + 1);
            assert!(one.oauth.validate(&held.grant).await.is_ok(), "it is good");
        }
        assert_eq!(twitch.refreshed(), round);
    }
    let account = store::find(&world.pool, Role::Broadcaster).await.expect("a row");
    assert!(account.state == State::Good && account.scopes.len() == 6 && account.edition == 3);
    assert!(account.expires_at.expect("an end") > Utc::now() + TimeDelta::hours(3));

    // One that was only just given, and is not taken, is not followed by another and another.
    twitch.hours_pass();
    let just_now = "UPDATE twitch_accounts SET granted_at = clock_timestamp()
                    WHERE granted IS NOT NULL";
    sqlx::query(just_now).execute(&world.pool).await.expect("no time passes");
    let edition = account.edition;
    assert_eq!(one.renewed(Role::Broadcaster, edition).await.expect("held").edition, edition);
    assert_eq!(twitch.refreshed(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_comes_when_its_account_was_forgotten_is_revoked() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake Twitch"));
    let config = config(&world, &twitch);
    let accounts = accounts(&config, &world.pool);
    assert_eq!(accounts.forget(Role::Bot).await.expect("an answer"), Forgotten::None);
    let before = connected(&accounts, &twitch, &config, Role::Bot, BOT).await;
    twitch.hours_pass();
    time_passes(&world.pool).await;
    let gate = twitch.holds_back("token");
    let renewing = {
        let accounts = Arc::clone(&accounts);
        tokio::spawn(async move { accounts.renewed(Role::Bot, before.edition).await })
    };
    until("a new grant is on its way", async || twitch.granted(BOT) == 1).await;
    let forgetting = {
        let accounts = Arc::clone(&accounts);
        tokio::spawn(async move { accounts.forget(Role::Bot).await })
    };
    gate.add_permits(100);
    let _ = renewing.await.expect("no panic");
    assert_eq!(forgetting.await.expect("no panic").expect("stored"), Forgotten::Revoked);
    assert_eq!((state(&world.pool, Role::Bot).await, twitch.granted(BOT)), (State::None, 0));
    assert_eq!(accounts.current(Role::Bot).await.err(), Some(NoGrant::NotConnected(Role::Bot)));

    // Forgotten while Twitch is away: it is gone here, and that is said.
    connected(&accounts, &twitch, &config, Role::Bot, BOT).await;
    twitch.is_down(true);
    let forgotten = accounts.forget(Role::Bot).await.expect("stored");
    assert!(matches!(forgotten, Forgotten::HereOnly(_)), "{forgotten:?}");
    assert_eq!(state(&world.pool, Role::Bot).await, State::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_connected_as_somebody_else_and_what_was_granted_for_it_is_revoked() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake Twitch"));
    let config = config(&world, &twitch);
    let accounts = accounts(&config, &world.pool);
    for (role, person, wrong) in [
        (Role::Broadcaster, "5001", "the broadcaster of this channel is 1000"),
        (Role::Bot, BROADCASTER, "a bot is an account of its own"),
    ] {
        let grant = granted(&accounts, &twitch, &["user:write:chat"], person).await;
        let error = accounts.connect(role, &grant).await.err().expect("refused");
        assert!(error.to_string().contains(wrong), "{error}");
        assert_eq!((state(&world.pool, role).await, twitch.granted(person)), (State::None, 0));
    }
    let mut named = config;
    named.twitch.chat.sender_id = "5002".to_owned();
    let accounts = self::accounts(&named, &world.pool);
    let grant = granted(&accounts, &twitch, &["user:write:chat"], BOT).await;
    let error = accounts.connect(Role::Bot, &grant).await.err().expect("refused");
    assert!(matches!(error, ConnectError::NotAsConfigured { .. }), "{error}");

    // Each refusal of a device code, as Twitch words it.
    let asked = ["bits:read"];
    twitch.tells_devices([
        "authorization_pending",
        "slow_down",
        "access_denied",
        "invalid device code",
    ]);
    let device = accounts.oauth.begin_device(&asked).await.expect("a code");
    for wanted in ["Pending", "TooOften", "Denied", "Over"] {
        let polled = accounts.oauth.poll_device(&device, &asked).await.expect("an answer");
        assert_eq!(format!("{polled:?}"), wanted);
    }
    twitch.is_down(true);
    assert!(accounts.oauth.poll_device(&device, &asked).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_granted_its_own_once_and_the_same_for_all_processes() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake Twitch"));
    let config = config(&world, &twitch);
    let one = accounts(&config, &world.pool);
    let other = accounts(&config, &pool(&world.servers.database_url).await);
    let (first, second) = tokio::join!(one.current(Role::App), other.current(Role::App));
    let (first, second) = (first.expect("granted"), second.expect("granted"));
    assert_eq!((first.edition, second.edition, twitch.calls("token")), (1, 1, 1));
    time_passes(&world.pool).await;
    twitch.hours_pass();
    let another = one.renewed(Role::App, 1).await.expect("another");
    assert_eq!((another.edition, twitch.refreshed(), twitch.calls("token")), (2, 0, 2));
    assert_eq!(other.current(Role::App).await.expect("read").edition, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_twitch_is_no_revocation_and_a_revocation_ends_nothing_else() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    twitch.moderate(&["21", "22", "23"]);
    let serving = Serving::undirected(|config| {
        config.twitch = settings_at(&twitch);
        config.login.moderators_from_twitch = true;
        // That nobody listens at Twitch is not what this is about.
        config.twitch.eventsub.websocket_url =
            "ws://127.0.0.1:9/".to_owned().try_into().expect("an address");
    })
    .await;
    let mut config = config(&serving.world, &twitch);
    config.login.moderators_from_twitch = true;
    let pool = &serving.world.pool;
    let accounts = accounts(&config, pool);
    connected(&accounts, &twitch, &config, Role::Broadcaster, BROADCASTER).await;
    connected(&accounts, &twitch, &config, Role::Bot, BOT).await;
    // Time passes all the while: a look that is still under way says when the next one is, over whatever was said here.
    let is = async |role, wanted| {
        until(&format!("{role} is {wanted:?}"), async || {
            time_passes(pool).await;
            state(pool, role).await == wanted
        })
        .await;
    };

    twitch.is_down(true);
    time_passes(pool).await;
    is(Role::Broadcaster, State::Unreachable).await;
    is(Role::Bot, State::Unreachable).await;
    assert!(accounts.current(Role::Bot).await.is_ok(), "it is used on");
    is_ready_and_notes(&serving, "Twitch cannot be asked about it").await;
    // In this order: whoever reaches Twitch again reaches it with what has ended.
    twitch.hours_pass();
    twitch.is_down(false);
    time_passes(pool).await;
    is(Role::Broadcaster, State::Good).await;
    is(Role::Bot, State::Good).await;
    assert_eq!(twitch.refreshed(), 2);
    let listed = "SELECT count(*) FROM listed_moderators";
    until("the moderators are listed", async || serving.world.count(listed).await == 3).await;

    // What ends soon is replaced before it does.
    let edition = "SELECT max(edition) FROM twitch_accounts WHERE granted IS NOT NULL";
    let edition = serving.world.count(edition).await;
    let soon = "UPDATE twitch_accounts SET expires_at = clock_timestamp() + interval '5 minutes'
                WHERE granted IS NOT NULL AND edition <= $1";
    until("both are replaced", async || {
        sqlx::query(soon).bind(edition).execute(pool).await.expect("hours pass");
        time_passes(pool).await;
        twitch.refreshed() == 4
    })
    .await;
    is(Role::Bot, State::Good).await;

    twitch.disconnect(BOT);
    time_passes(pool).await;
    is(Role::Bot, State::TakenBack).await;
    is(Role::Broadcaster, State::Good).await;
    assert_eq!(accounts.current(Role::Bot).await.err(), Some(NoGrant::TakenBack(Role::Bot)));
    assert!(accounts.current(Role::Broadcaster).await.is_ok());
    // It ends nothing else.
    is_ready_and_notes(&serving, "tapedeck connect bot").await;
    let kept = "SELECT count(*) FROM twitch_accounts WHERE granted IS NOT NULL";
    assert_eq!(serving.world.count(kept).await, 1, "nothing is kept of what is of no use");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_said_by_the_connected_bot_also_when_its_grant_is_over() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake Twitch"));
    let config = config(&world, &twitch);
    let accounts = accounts(&config, &world.pool);
    let mouth = Mouth::new(config.twitch.clone(), Some(Arc::clone(&accounts)), world.pool.clone());
    assert_eq!(mouth.say(BROADCASTER, "nobody hears it").await, Said::Nobody);
    let mut bot = accounts.bot();
    connected(&accounts, &twitch, &config, Role::Bot, BOT).await;
    assert!(bot.has_changed().expect("open"), "lines of the bot are known to be ours");
    assert_eq!(bot.borrow_and_update().as_deref(), Some(BOT));
    assert!(matches!(mouth.say(BROADCASTER, "hello").await, Said::Sent { .. }));
    twitch.hours_pass();
    time_passes(&world.pool).await;
    assert!(matches!(mouth.say(BROADCASTER, "again").await, Said::Sent { .. }));
    let said = ["hello", "again"].map(|words| (BOT.to_owned(), words.to_owned()));
    assert_eq!((twitch.said(), twitch.refreshed()), (said.to_vec(), 1));
    // Who can mend it has time to: it is tried again.
    twitch.disconnect(BOT);
    time_passes(&world.pool).await;
    let later = mouth.say(BROADCASTER, "taken back").await;
    let Said::Later { reason, .. } = mouth.say(BROADCASTER, "taken back").await else {
        panic!("{later:?}");
    };
    assert!(reason.contains("tapedeck connect bot"), "{reason}");
}

/// Whether it is ready, once it notes this.
async fn is_ready_and_notes(serving: &Serving, words: &str) {
    let url = format!("http://{}/readyz", serving.listen);
    until(&format!("it is ready and notes {words}"), async || {
        let Ok(answer) = serving.client.get(&url).send().await else { return false };
        let is_ready = answer.status() == StatusCode::OK;
        let body: serde_json::Value = answer.json().await.expect("JSON");
        is_ready && body["notes"].to_string().contains(words)
    })
    .await;
}
