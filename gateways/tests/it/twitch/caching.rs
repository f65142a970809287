//! What Twitch says of users and games is asked for once, kept for all processes, and gone when a viewer is erased.

use chrono::TimeDelta;
use gateways::cli::serve::Role as Part;
use gateways::http::keys::Scope;
use gateways::sandbox::twitch::{CLIENT_ID, CLIENT_SECRET, Twitch};
use gateways::simulate::Viewer;
use gateways::twitch::cache::asking::Told;
use gateways::twitch::cache::bucket::{Bucket, HELIX};
use gateways::twitch::cache::kept::{NAME_GOOD_FOR, Name, User};
use gateways::twitch::cache::{Cache, Terms, sweeping};
use gateways::twitch::calls::Calls;
use journal::broker::{Broker, BrokerConfig, Role};
use journal::streams::{self, Step, StreamsFile};
use reqwest::{Method, StatusCode};

use super::*;
use crate::http::Serving;
use crate::ledger::erasure::kept;
use crate::world::{PATIENCE, REFUSED_AFTER, broker};

const TERMS: Terms = Terms { good_for: NAME_GOOD_FOR, limit: PATIENCE };

async fn token(twitch: &Twitch) -> Secret {
    let form = [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("grant_type", "client_credentials"),
    ];
    let mut url = reqwest::Url::parse(&format!("{}/token", twitch.id_url())).expect("a URL");
    url.query_pairs_mut().extend_pairs(form);
    let asked = reqwest::Client::new().post(url).send().await.expect("an answer");
    let granted: Value = asked.json().await.expect("JSON");
    Secret::new(granted["access_token"].as_str().expect("a token"))
}

/// What a process has that asks this Twitch.
fn cache(world: &World, broker: Broker, twitch: &Twitch, token: &Secret) -> Cache {
    let calls = Calls::new(Credentials::fixed(CLIENT_ID, token.clone()));
    let helix = (calls, twitch.helix_url().try_into().expect("a base"));
    Cache::new(broker, world.pool.clone(), Some(helix))
}

fn ids(range: std::ops::Range<usize>) -> Vec<Name> {
    range.map(|n| Name::Id(n.to_string())).collect()
}

fn login(login: &str) -> Name {
    Name::Login(login.to_owned())
}

fn known(told: &Told<User>) -> &User {
    let Told::Known(user) = told else { panic!("{told:?}") };
    user
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twitch_says_is_asked_for_once_for_all_and_kept_while_it_is_away() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake"));
    for n in 6_000..6_100 {
        let login = format!("viewer_{n}");
        twitch.knows(&Viewer::new(&n.to_string(), &login, &login.to_uppercase()));
    }
    let token = token(&twitch).await;
    let ours = cache(&world, world.broker.clone(), &twitch, &token);

    // Five want the same hundred at once.
    let hundred = ids(6_000..6_100);
    let answers = futures::future::join_all((0..5).map(|_| ours.users(&hundred, TERMS))).await;
    assert!(answers.iter().all(|told| told == &answers[0]));
    assert_eq!(twitch.calls("users"), 1, "in one call, once");
    let first = known(&answers[0][7]).clone();
    assert_eq!((first.id.as_str(), first.display_name.as_str()), ("6007", "VIEWER_6007"));
    assert!(first.image.is_some_and(|image| image.contains(".jtvnw.net/")));

    // Another process knows them by now, by either name, and whoever is nobody is asked for once.
    let other = cache(&world, broker(&world.servers), &twitch, &token);
    assert_eq!(other.users(&hundred, TERMS).await, answers[0]);
    assert_eq!(known(&other.users(&[login("viewer_6009")], TERMS).await[0]).id, "6009");
    assert_eq!(twitch.calls("users"), 1);
    for _ in 0..3 {
        let told = other.users(&[login("made_up"), login("reeldeal")], TERMS).await;
        assert_eq!((&told[0], known(&told[1]).id.as_str()), (&Told::Absent, "5001"));
    }
    assert_eq!(twitch.calls("users"), 2);
    let games = [Name::Id("27284".to_owned()), Name::Id("1".to_owned())];
    for _ in 0..2 {
        let told = ours.games(&games, TERMS).await;
        assert!(matches!(&told[0], Told::Known(game) if game.name == "Retro"), "{told:?}");
        assert_eq!(told[1], Told::Absent);
    }
    assert_eq!(twitch.calls("games"), 1);

    // What cannot be read is not there.
    let writer = world.broker.jetstream(Role::Cache).await.expect("it gets in");
    for garbage in ["", "{}", "\u{0}", r#"{"id":"5001","login":"reeldeal"}"#] {
        let calls = twitch.calls("users");
        let put = writer.publish("$KV.HELIX.user.5001", garbage.into()).await.expect("sent");
        put.await.expect("kept");
        known(&ours.users(&[login("reeldeal")], TERMS).await[0]);
        assert_eq!(twitch.calls("users"), calls + 1, "{garbage}");
    }

    // Without NATS it is asked, every time.
    let nowhere = BrokerConfig { url: "nats://127.0.0.1:1".to_owned(), ..Default::default() };
    let alone = cache(&world, Broker::new(nowhere), &twitch, &token);
    let calls = twitch.calls("users");
    for n in 1..=2 {
        assert_eq!(known(&alone.users(&[login("reeldeal")], TERMS).await[0]).id, "5001");
        assert_eq!(twitch.calls("users"), calls + n);
    }

    // Without Twitch, what it said before is answered, with its time, though it is not fresh any more.
    twitch.is_down(true);
    let limit = std::time::Duration::from_millis(200);
    let old = User { as_of: Utc::now() - TimeDelta::days(2), ..known(&answers[0][7]).clone() };
    Bucket::new(world.broker.clone()).keep(std::slice::from_ref(&old)).await;
    let asked = [Name::Id("6007".to_owned()), login("static")];
    let told = other.users(&asked, Terms { limit, ..TERMS }).await;
    assert_eq!(told[0], Told::Known(old));
    assert!(matches!(told[1], Told::Untold(_)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_twitch_cannot_read_is_nobodys_and_takes_no_others_with_it() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake"));
    let token = token(&twitch).await;
    let cache = cache(&world, world.broker.clone(), &twitch, &token);
    let asked = [login("reeldeal"), login("_nobody"), login("static")];
    for _ in 0..2 {
        let told = cache.users(&asked, TERMS).await;
        assert_eq!((known(&told[0]).id.as_str(), &told[1]), ("5001", &Told::Absent));
        assert_eq!(known(&told[2]).id, "5002");
        // All three; the first alone, and the others; each of those. What is known by then is not asked again.
        assert_eq!(twitch.calls("users"), 5);
    }
    // As many as it takes, and not without end: another time some more of them are known.
    let odd: Vec<Name> = (0..100).map(|n| login(&format!("_{n}"))).collect();
    let told = cache.users(&odd, TERMS).await;
    let absent = told.iter().filter(|told| **told == Told::Absent).count();
    assert!((10..100).contains(&absent), "{told:?}");
    assert!(told.iter().all(|told| matches!(told, Told::Absent | Told::Untold(_))), "{told:?}");
    assert_eq!(twitch.calls("users"), 5 + 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_erased_lately_is_swept_out_whatever_put_them_back() {
    let world = World::start().await;
    let bucket = Bucket::new(world.broker.clone());
    let user = |id: &str| {
        let (id, login, display_name) = (id.to_owned(), format!("viewer_{id}"), "V".to_owned());
        User { id, login, display_name, image: None, as_of: Utc::now() }
    };
    for id in ["5001", "5002", "5003"] {
        journal::names::mark(&world.pool, id).await.expect("marked");
    }
    let long_ago = "UPDATE viewer_names SET erased_at = now() - interval '9 days'
                    WHERE viewer_id = '5003'";
    sqlx::query(long_ago).execute(&world.pool).await.expect("written");
    bucket.keep(&["5001", "5002", "5003", "5004"].map(user)).await;
    sweeping::round(&world.pool, &bucket).await.expect("swept");
    let mut left = Vec::new();
    for id in ["5001", "5002", "5003", "5004"] {
        left.push(kept(&world, id).await);
    }
    assert_eq!(left, [0, 0, 2, 2], "nothing is kept of those before, so nobody looks for them");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_the_cache_can_do_nothing_else_and_nobody_else_can_write_it() {
    let world = World::start().await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let file = StreamsFile::built_in().expect("streams.yaml is right");
    let steps = streams::plan(&admin, &file).await.expect("a plan");
    assert!(steps.iter().all(|step| matches!(step, Step::Keep { .. })), "{steps:?}");
    let as_role = async |role| {
        let mut context = world.broker.jetstream(role).await.expect("it gets in");
        context.set_timeout(REFUSED_AFTER);
        context
    };
    let cache = as_role(Role::Cache).await;
    let writes = async |role, subject: &'static str| {
        let sent = as_role(role).await.publish(subject, "{}".into()).await.expect("buffered");
        sent.await.is_ok()
    };
    let (written, commands, lines, events, chat, gateway, info, made, gone) = tokio::join!(
        writes(Role::Cache, "$KV.HELIX.user.1"),
        writes(Role::Cache, "cmd.0.account.5001.credit"),
        writes(Role::Cache, "chat.1000.line"),
        writes(Role::Cache, "evt.1"),
        writes(Role::Chat, "$KV.HELIX.user.1"),
        writes(Role::Gateway, "$KV.HELIX.user.1"),
        cache.get_stream("EVENTS"),
        cache.get_stream(HELIX),
        cache.delete_stream(HELIX),
    );
    assert!(written);
    assert_eq!([commands, lines, events, chat, gateway], [false; 5]);
    assert!(info.is_err() && made.is_err() && gone.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_ask_over_the_api_and_whoever_is_erased_is_gone_and_stays_away() {
    let twitch = Twitch::start().await.expect("a fake");
    let token = token(&twitch).await;
    let parts = [Part::Gateway, Part::Processor, Part::Relay, Part::Projections];
    let serving = Serving::with(&parts, |config| {
        config.twitch.client_id = CLIENT_ID.to_owned();
        config.twitch.helix_url = twitch.helix_url().try_into().expect("a base");
        config.twitch.eventsub.token = token.clone();
    })
    .await;
    let key = serving.key(&[Scope::Admin]).await;
    let asked = "/twitch/users?id=5001&login=Static&login=nobody_here&id=5001";
    for _ in 0..2 {
        let (status, told) = serving.get(&key, asked).await;
        assert_eq!((status, twitch.calls("users")), (StatusCode::OK, 1), "{told}");
        let users = told["users"].as_array().expect("users");
        let names: Vec<&Value> = users.iter().map(|user| &user["display_name"]).collect();
        assert_eq!(names, ["ReelDeal", "Static"]);
        assert!(users.iter().all(|user| user["as_of"].is_string() && user["image"].is_string()));
        assert_eq!((&told["absent"], &told["untold"]), (&json!(["nobody_here"]), &json!([])));
    }
    let (_, told) = serving.get(&key, "/twitch/games?id=509660").await;
    assert_eq!(told["games"][0]["name"], "Art", "{told}");
    assert_eq!(kept(&serving.world, "5001").await, 2);

    let erase = serving.request(Method::DELETE, &key, "/viewers/5001/names");
    let erased: Value = erase.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(erased["cache_cleared"], true, "{erased}");
    assert_eq!(kept(&serving.world, "5001").await, 0);
    // Asked by id Twitch is not asked at all; by login it is, and what it says of them is neither kept nor handed on.
    for (asked, calls) in [("id=5001", 1), ("login=reeldeal", 2), ("id=5001&login=static", 2)] {
        let (_, told) = serving.get(&key, &format!("/twitch/users?{asked}")).await;
        assert_eq!(told["erased"].as_array().map(Vec::len), Some(1), "{asked}: {told}");
        assert!(!told.to_string().contains("ReelDeal"), "{told}");
        assert_eq!(twitch.calls("users"), calls, "{asked}");
        assert_eq!(kept(&serving.world, "5001").await, 0);
    }
    // Whatever was left behind while the bucket was away is taken out when it is found.
    let user = |id: &str, login: &str| {
        let (id, login, display_name) = (id.to_owned(), login.to_owned(), "ReelDeal".to_owned());
        User { id, login, display_name, image: None, as_of: Utc::now() }
    };
    Bucket::new(serving.world.broker.clone()).keep(&[user("5001", "reeldeal")]).await;
    assert_eq!(kept(&serving.world, "5001").await, 2);
    let (_, told) = serving.get(&key, "/twitch/users?login=reeldeal").await;
    assert_eq!(told["erased"], json!(["reeldeal"]), "{told}");
    assert_eq!(kept(&serving.world, "5001").await, 0);
    serving.stop().await;
}
