//! From points to a picture that can be seen, through a whole `tapedeck serve`.

use gateways::cli::serve::Role;
use gateways::config::RequestsPerMinute;
use gateways::http::keys::Scope;
use gateways::pictures::name_of;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::http::Serving;
use crate::world::until;

/// The answer to a request of the API.
async fn ask(
    serving: &Serving,
    key: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (StatusCode, Value) {
    let once = format!("{method} {path} {body}");
    let mut told = (StatusCode::ACCEPTED, Value::Null);
    // Where it took too long to be decided, the same again tells what became of it.
    until(&format!("{once} is answered"), async || {
        let request = serving.request(method.clone(), key, path).header("Idempotency-Key", &once);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("an answer");
        told = (answer.status(), answer.json().await.expect("JSON"));
        told.0 != StatusCode::ACCEPTED
    })
    .await;
    told
}

/// The first request of the list, once it is in `stage` and, where it had points, they are settled.
async fn listed(serving: &Serving, key: &str, filter: &str, stage: &str) -> Value {
    let mut found = Value::Null;
    until(&format!("a request is {stage}"), async || {
        let path = format!("/generations?{filter}");
        let (_, list) = ask(serving, key, Method::GET, &path, Value::Null).await;
        found = list["generations"][0].clone();
        let settled = stage == "declined" || !found["settlement"].is_null();
        found["stage"] == stage && settled
    })
    .await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn points_become_a_picture_that_the_overlay_can_load() {
    let serving = Serving::start().await;
    let key = &serving.key(&[Scope::Admin]).await;
    let credit = json!({"points": 500, "note": "a test"});
    ask(&serving, key, Method::POST, "/accounts/5001/credits", credit).await;
    let body = json!({"viewer": "5001", "request": "friend of a blue heron"});
    let (status, answer) = ask(&serving, key, Method::POST, "/generations", body.clone()).await;
    assert_eq!((status, &answer["events"]), (StatusCode::CREATED, &json!(["submitted"])));
    let (again, same) = ask(&serving, key, Method::POST, "/generations", body).await;
    assert_eq!((again, &same["position"]), (StatusCode::CREATED, &answer["position"]));

    let made = listed(&serving, key, "viewer=5001", "completed").await;
    assert_eq!((&made["settlement"], &made["price"]), (&json!("captured"), &json!(200)));
    serving.world.caught_up().await;
    let (_, account) = ask(&serving, key, Method::GET, "/accounts/5001", Value::Null).await;
    assert_eq!(account["available"], 300, "{account}");

    let mut alerts = Value::Null;
    until("the alert is there", async || {
        (_, alerts) = ask(&serving, key, Method::GET, "/alerts?types=friend", Value::Null).await;
        !alerts["alerts"][0].is_null()
    })
    .await;
    let shown = &alerts["alerts"][0]["data"];
    assert_eq!((&shown["subject"], &shown["colour"]), (&json!("a heron"), &json!("blue")));
    assert_eq!(shown["viewer"]["id"], "5001");
    assert_eq!(shown["picture"], made["picture"]["content"]);
    assert_eq!(shown["name"], made["picture"]["name"]);

    // No key is wanted for it.
    let content = shown["picture"].as_str().expect("a name");
    let url = serving.url(&format!("/pictures/{content}"));
    let picture = serving.client.get(&url).send().await.expect("an answer");
    assert_eq!(picture.status(), StatusCode::OK);
    let headers = picture.headers().clone();
    assert_eq!(headers[header::CONTENT_TYPE], "image/png");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert!(headers[header::CACHE_CONTROL].to_str().expect("text").contains("immutable"));
    assert_eq!(name_of(&picture.bytes().await.expect("bytes")), content);
    let known = serving.client.get(&url).header(header::IF_NONE_MATCH, &headers[header::ETAG]);
    assert_eq!(known.send().await.expect("an answer").status(), StatusCode::NOT_MODIFIED);

    // Damaged on disk it is not shown.
    let path = serving.world.servers.data.join("pictures").join(&content[..2]).join(content);
    let mut bytes = std::fs::read(&path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("damaged");
    let damaged = serving.client.get(&url).send().await.expect("an answer");
    assert_eq!(damaged.status(), StatusCode::INTERNAL_SERVER_ERROR);
    for wrong in ["0".repeat(64), "..%2f..%2fconnect.json".to_owned(), "x".to_owned()] {
        let url = serving.url(&format!("/pictures/{wrong}"));
        let answer = serving.client.get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{wrong}");
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_declined_tried_again_once_and_counted() {
    let serving = Serving::start().await;
    let key = &serving.key(&[Scope::Admin]).await;
    let body = json!({"viewer": "5002", "request": "ghost of a toaster"});
    ask(&serving, key, Method::POST, "/generations", body).await;
    let declined = listed(&serving, key, "viewer=5002", "declined").await;
    let id = declined["id"].as_str().expect("an id");

    let credit = json!({"points": 200, "note": "a test"});
    ask(&serving, key, Method::POST, "/accounts/5002/credits", credit).await;
    let path = format!("/generations/{id}/retry");
    let (status, _) = ask(&serving, key, Method::POST, &path, Value::Null).await;
    assert_eq!(status, StatusCode::CREATED);
    let again = listed(&serving, key, "viewer=5002", "completed").await;
    assert_eq!(again["retry_of"], declined["id"]);
    let (_, old) =
        ask(&serving, key, Method::GET, &format!("/generations/{id}"), Value::Null).await;
    assert_eq!(
        (&old["retried_as"], &old["generation"]["stage"]),
        (&again["id"], &json!("declined"))
    );
    // Another press of the button, under another key: the retry is there already.
    let request = serving.request(Method::POST, key, &path).header("Idempotency-Key", "other");
    let second = request.send().await.expect("an answer");
    assert_eq!(second.status(), StatusCode::CONFLICT);

    let new = again["id"].as_str().expect("an id");
    for (action, body) in [("retry", Value::Null), ("cancel", json!({"reason": "late"}))] {
        let path = format!("/generations/{new}/{action}");
        let (status, _) = ask(&serving, key, Method::POST, &path, body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{action} of what is completed");
    }
    let (_, list) = ask(&serving, key, Method::GET, "/generations?limit=1", Value::Null).await;
    assert_eq!(list["counts"]["declined"], 1);
    assert_eq!(list["counts"]["completed"], 1);
    assert_eq!(
        (&list["making"]["state"], &list["making"]["provider"]),
        (&json!("open"), &json!("offline"))
    );
    let before = list["before"].as_i64().expect("another page");
    let older = format!("/generations?limit=1&before={before}");
    let (_, older) = ask(&serving, key, Method::GET, &older, Value::Null).await;
    assert_eq!((&older["generations"][0]["id"], &older["before"]), (&declined["id"], &Value::Null));
    let wrong = json!({"viewer": "5002", "request": "hello friends"});
    let (status, refused) = ask(&serving, key, Method::POST, "/generations", wrong).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("no_request"))
    );
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_ask_too_often_keep_nobody_from_seeing_pictures() {
    let limits = RequestsPerMinute { anonymous: 1, user: 0, service: 0 };
    let serving = Serving::with(&Role::ALL, |config| config.requests_per_minute = limits).await;
    let world = &serving.world;
    let pictures = gateways::pictures::Pictures::in_folder(world.servers.data.join("pictures"));
    let content = pictures.put(super::PIXEL).await.expect("kept");
    let get = async |path: &str| {
        let answer = serving.client.get(serving.url(path)).send().await.expect("an answer");
        (answer.status(), answer.headers()["x-ratelimit-limit"].clone())
    };
    assert_eq!(get("/accounts/5001").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(get("/accounts/5001").await.0, StatusCode::TOO_MANY_REQUESTS);
    for _ in 0..100 {
        let (status, limit) = get(&format!("/pictures/{content}")).await;
        assert_eq!((status, limit.to_str().expect("text")), (StatusCode::OK, "6000"));
    }
    assert_eq!(get("/accounts/5001").await.0, StatusCode::TOO_MANY_REQUESTS, "nor the other way");
    serving.stop().await;
}
