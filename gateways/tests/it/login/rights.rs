//! What each role may do, on every endpoint that the document names.

use super::*;

use gateways::http::keys::Scope;
use uuid::Uuid;

/// What a viewer's session may ask for, with their own id in the path.
const OWN: [(&str, &str); 6] = [
    ("get", "/accounts/{viewer}"),
    ("get", "/accounts/{viewer}/statement"),
    ("get", "/accounts/{viewer}/statement/broadcasts"),
    ("get", "/accounts/{viewer}/statement/proof"),
    ("get", "/accounts/{viewer}/holds"),
    ("post", "/accounts/{viewer}/gifts"),
];

/// What is for everybody, or for whoever is logged in.
const OPEN: [(&str, &str); 9] = [
    ("get", "/login"),
    ("get", "/login/callback"),
    ("get", "/pictures/{content}"),
    ("get", "/session"),
    ("post", "/session/refresh"),
    ("delete", "/session"),
    ("get", "/me/feed"),
    ("get", "/me/feed/ws"),
    // Of others' commands it says that they are not known.
    ("get", "/commands/{id}"),
];

/// Each endpoint of the document, as method and path.
async fn endpoints(serving: &Serving) -> Vec<(String, String)> {
    let document = serving.get("", "/openapi.json").await.1;
    let paths = document["paths"].as_object().expect("paths").clone();
    let methods = |(path, methods): (String, Value)| {
        let names = methods.as_object().expect("methods").keys().cloned().collect::<Vec<_>>();
        names.into_iter().map(move |method| (method, path.clone()))
    };
    let all: Vec<_> = paths.into_iter().flat_map(methods).collect();
    assert!(all.len() > 30, "{all:?}");
    all
}

async fn ask(
    serving: &Serving,
    secret: &str,
    method: &str,
    path: &str,
    viewer: &str,
) -> StatusCode {
    let path = path
        .replace("{viewer}", viewer)
        .replace("{number}", "1")
        .replace("{name}", "main")
        .replace("{content}", &"0".repeat(64))
        .split('/')
        .map(|part| if part.starts_with('{') { Uuid::nil().to_string() } else { part.to_owned() })
        .collect::<Vec<_>>()
        .join("/");
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    let mut request = serving.request(method.clone(), secret, &path);
    request = request.header("Idempotency-Key", Uuid::new_v4().to_string());
    if method == Method::POST {
        request = request.json(&crate::http::body_for(&path));
    }
    request.send().await.expect("an answer").status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_has_their_own_account_on_every_endpoint_and_nothing_else() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let viewer = Browser::logged_in(&serving, "5001").await.secret();
    for (method, path) in endpoints(&serving).await {
        let named = (method.as_str(), path.as_str());
        if OPEN.contains(&named) {
            continue;
        }
        let own = ask(&serving, &viewer, &method, &path, "5001").await;
        let others = ask(&serving, &viewer, &method, &path, "5002").await;
        let nobodys = ask(&serving, "", &method, &path, "5001").await;
        let made_up = format!("tds_{}_{}", Uuid::new_v4().simple(), "x".repeat(43));
        let foreign = ask(&serving, &made_up, &method, &path, "5001").await;
        assert_eq!(nobodys, StatusCode::UNAUTHORIZED, "{method} {path} without a session");
        assert_eq!(foreign, StatusCode::UNAUTHORIZED, "{method} {path} with a made up one");
        assert_eq!(others, StatusCode::FORBIDDEN, "{method} {path} of another viewer");
        match OWN.contains(&named) {
            true => {
                assert!(!matches!(own.as_u16(), 401 | 403), "{method} {path} of their own: {own}")
            }
            false => assert_eq!(own, StatusCode::FORBIDDEN, "{method} {path} of their own"),
        }
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_it_is_for() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let moderator = Browser::logged_in(&serving, MODERATOR).await.secret();
    let broadcaster = Browser::logged_in(&serving, BROADCASTER).await.secret();
    let key = serving.key(&[Scope::Admin]).await;
    until("the stage is open", async || {
        serving.get(&key, "/stages/main").await.0 == StatusCode::OK
    })
    .await;
    for (method, path, as_moderator) in [
        ("get", "/accounts/{viewer}", 200),
        ("get", "/accounts/{viewer}/holds", 200),
        ("get", "/generations", 200),
        ("get", "/alerts", 200),
        ("get", "/leaderboard", 200),
        ("get", "/tapes", 200),
        ("get", "/stages/{name}", 200),
        ("get", "/stages/{name}/alerts", 200),
        ("get", "/replies", 200),
        ("get", "/eventsub", 200),
        ("post", "/eventsub/sync", 403),
        ("post", "/stages/{name}/clear", 201),
        ("post", "/stages/{name}/pause", 201),
        ("post", "/stages/{name}/replay", 404),
        ("post", "/broadcasts/current/screenings", 403),
        ("post", "/generations/{request}/cancel", 404),
        ("post", "/generations/{request}/retry", 404),
        ("post", "/generations/{request}/approve", 404),
        ("post", "/generations/{request}/reject", 404),
        ("post", "/generations", 403),
        ("post", "/accounts/{viewer}/credits", 403),
        ("post", "/accounts/{viewer}/gifts", 403),
        ("post", "/accounts/{viewer}/holds", 403),
        ("post", "/grants", 403),
        ("delete", "/viewers/{viewer}/names", 403),
        ("post", "/service-token", 403),
    ] {
        let found = ask(&serving, &moderator, method, path, "5001").await;
        assert_eq!(found.as_u16(), as_moderator, "{method} {path} as moderator");
        if path == "/service-token" {
            continue;
        }
        let (with_key, found) = (
            ask(&serving, &key, method, path, "5001").await,
            ask(&serving, &broadcaster, method, path, "5001").await,
        );
        assert_eq!(found, with_key, "{method} {path}: the broadcaster may what an admin key may");
    }
    let asked = json!({"viewer": MODERATOR, "request": "ghost of a test"});
    let (status, _) = serving.post(&moderator, "/generations", "own", asked).await;
    assert_eq!(status, StatusCode::CREATED, "with their own points");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_wants_a_login_of_a_moment_ago() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let mut browser = Browser::logged_in(&serving, BROADCASTER).await;
    let path = "/api/v1/viewers/5001/names";
    let erased = browser.send(Method::DELETE, path, Value::Null).await;
    assert_eq!(erased.status, StatusCode::OK, "{}", erased.text);
    sqlx::query("UPDATE sessions SET logged_in_at = logged_in_at - interval '16 minutes'")
        .execute(&serving.world.pool)
        .await
        .expect("a while passes");
    until("the login is not fresh any more", async || {
        let seen = browser.send(Method::DELETE, path, Value::Null).await;
        seen.status == StatusCode::FORBIDDEN && seen.code().1 == "login_again"
    })
    .await;
    assert_eq!(browser.get("/api/v1/accounts/5001").await.status, StatusCode::OK);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_gives_as_themselves_and_history_names_them() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    serving.world.asker().await.ask(cheer("5001", "c", 70)).await;
    let mut browser = Browser::logged_in(&serving, "5001").await;
    let gift = json!({"to": "5002", "points": 30});
    let given = browser.send(Method::POST, "/api/v1/accounts/5001/gifts", gift.clone()).await;
    assert_eq!(given.json()["status"], "arrived", "{}", given.text);
    let stolen = browser.send(Method::POST, "/api/v1/accounts/5002/gifts", gift).await;
    assert_eq!(stolen.status, StatusCode::FORBIDDEN);
    assert_eq!(serving.world.available("5001").await, 40);
    // Another session of the same viewer, with the same key: the same gift.
    let mut again = Browser::logged_in(&serving, "5001").await;
    let gift = json!({"to": "5002", "points": 30});
    let repeated = again.send(Method::POST, "/api/v1/accounts/5001/gifts", gift).await;
    assert_eq!(repeated.json()["gift"], given.json()["gift"]);
    assert_eq!(serving.world.available("5001").await, 40);
    let statement = browser.get("/api/v1/accounts/5001/statement").await.json();
    let held = statement["entries"].as_array().expect("entries").iter();
    let held = held.clone().find(|entry| entry["kind"] == "held").expect("the gift's hold");
    assert_eq!(held["actor"], "viewer:5001");
    // What became of it can be asked later, as an answer of 202 says; by others it cannot.
    let path = format!("/commands/{}", given.json()["gift"].as_str().expect("an id"));
    let other = Browser::logged_in(&serving, "5002").await.secret();
    let unknown = format!("/commands/{}", Uuid::new_v4());
    for (secret, path, status, decided) in [
        (&browser.secret(), &path, 200, "accepted"),
        (&other, &path, 404, ""),
        (&other, &unknown, 404, ""),
        (&String::new(), &path, 401, ""),
    ] {
        let (found, body) = serving.get(secret, path).await;
        let said = (found.as_u16(), body["status"].as_str().unwrap_or_default());
        assert_eq!(said, (status, decided), "{body}");
    }
    // The hold of a gift is nobody's to end.
    let hold = held["entry"].as_str().expect("an id");
    for verb in ["capture", "release"] {
        let path = format!("/api/v1/accounts/5001/holds/{hold}/{verb}");
        let seen = browser.send(Method::POST, &path, json!({"reason": "mine"})).await;
        assert_eq!(seen.status, StatusCode::FORBIDDEN, "{verb}");
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_spends_nobodys_points_by_trying_a_request_again() {
    let twitch = Twitch::start().await.expect("a fake Twitch");
    let serving = serving(&twitch, |_| {}).await;
    let moderator = Browser::logged_in(&serving, MODERATOR).await.secret();
    let broadcaster = Browser::logged_in(&serving, BROADCASTER).await.secret();
    let key = serving.key(&[Scope::Admin]).await;
    let mut ended = Vec::new();
    for viewer in ["5001", MODERATOR] {
        let asked = json!({"viewer": viewer, "request": "ghost of a test"});
        let (status, _) = serving.post(&key, "/generations", viewer, asked).await;
        assert_eq!(status, StatusCode::CREATED);
        let mut id = Value::Null;
        until("there are too few points for it", async || {
            let path = format!("/generations?viewer={viewer}&stage=declined");
            id = serving.get(&key, &path).await.1["generations"][0]["id"].clone();
            id.is_string()
        })
        .await;
        ended.push(format!("/generations/{}/retry", id.as_str().expect("an id")));
        // Now there are enough.
        let (path, once) = (format!("/accounts/{viewer}/credits"), format!("credit-{viewer}"));
        let credit = json!({"points": 200, "note": "a test"});
        let (status, _) = serving.post(&key, &path, &once, credit).await;
        assert_eq!(status, StatusCode::CREATED);
        assert_eq!(serving.world.available(viewer).await, 200);
    }
    let (theirs, own) = (&ended[0], &ended[1]);
    let (status, body) = serving.post(&moderator, theirs, "1", json!({})).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (403, &json!("not_yours")));
    let (status, _) = serving.post(&moderator, own, "2", json!({})).await;
    assert_eq!(status, StatusCode::CREATED, "with their own points");
    until("it is paid for", async || serving.world.available(MODERATOR).await == 0).await;
    assert_eq!(serving.world.available("5001").await, 200, "nothing of theirs was spent");
    let (status, _) = serving.post(&broadcaster, theirs, "3", json!({})).await;
    assert_eq!(status, StatusCode::CREATED, "the broadcaster may");
    serving.stop().await;
}
