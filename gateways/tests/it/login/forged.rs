//! Credentials of services: what they may do, and everything that somebody may try with them.

use super::*;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{TimeDelta, Utc};
use ed25519_dalek::{Signer, SigningKey};
use gateways::http::keys::{self, Scope};
use gateways::sealing::Sealer;
use gateways::signing;
use uuid::Uuid;

async fn issue(serving: &Serving, key: &str, wanted: Value) -> (StatusCode, Value) {
    let request = serving.request(Method::POST, key, "/service-token").json(&wanted);
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

fn text_of(issued: &Value) -> String {
    issued["access_token"].as_str().unwrap_or_else(|| panic!("{issued}")).to_owned()
}

async fn published(serving: &Serving) -> Vec<Value> {
    let url = format!("http://{}/.well-known/jwks.json", serving.listen);
    let keys: Value =
        serving.client.get(url).send().await.expect("one").json().await.expect("JSON");
    keys["keys"].as_array().expect("keys").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_exactly_its_scopes_for_a_quarter_of_an_hour() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::AccountsRead, Scope::AccountsWrite]).await;
    let (_, issued) = issue(&serving, &key, json!({"scopes": ["accounts:read"]})).await;
    assert_eq!((&issued["expires_in"], &issued["scope"]), (&json!(900), &json!("accounts:read")));
    let credential = text_of(&issued);
    assert_eq!(serving.get(&credential, "/accounts/5001").await.0, StatusCode::OK);
    let body = json!({"points": 5, "note": "a test"});
    let (status, _) = serving.post(&credential, "/accounts/5001/credits", "k", body.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    for (wanted, status, code) in [
        (json!({"scopes": ["holds:write"]}), 403, "forbidden"),
        (json!({"scopes": ["admin"]}), 403, "forbidden"),
        (json!({"scopes": ["everything"]}), 422, "bad_scope"),
        (json!({"scopes": []}), 422, "bad_scope"),
        (json!({"lasts_s": 901}), 422, "bad_life"),
        (json!({"lasts_s": 0}), 422, "bad_life"),
        (json!({"audience": ""}), 422, "bad_audience"),
        (json!({"viewer": "5001"}), 403, "forbidden"),
        (json!({"viewer": "5001", "as": "x"}), 422, "bad_body"),
    ] {
        let (found, refused) = issue(&serving, &key, wanted.clone()).await;
        assert_eq!((found.as_u16(), &refused["error"]["code"]), (status, &json!(code)), "{wanted}");
    }
    assert_eq!(issue(&serving, "", json!({})).await.0, StatusCode::UNAUTHORIZED);
    let (status, refused) = issue(&serving, &credential, json!({})).await;
    assert_eq!((status.as_u16(), &refused["error"]["code"]), (403, &json!("key_wanted")));

    let refused = async |credential: &str| {
        until("the credential is refused", async || {
            let (status, body) = serving.get(credential, "/accounts/5001").await;
            status == StatusCode::UNAUTHORIZED && body["error"]["code"] == "credential_revoked"
        })
        .await;
    };
    // Its key has a new secret, because the old one leaked: what was issued for the old one is over.
    let (id, _) = keys::parts_of(keys::PREFIX, &key).expect("a key");
    let rotated = keys::rotate(&serving.world.pool, id).await.expect("rotated").expect("a key").1;
    refused(&credential).await;
    let (_, issued) = issue(&serving, &rotated, json!({"scopes": ["accounts:read"]})).await;
    let credential = text_of(&issued);
    assert_eq!(serving.get(&credential, "/accounts/5001").await.0, StatusCode::OK);

    // Its key is taken away: so is the credential.
    keys::revoke(&serving.world.pool, "tester").await.expect("revoked");
    refused(&credential).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_acts_for_one_viewer_when_its_scope_says_so_and_history_names_both() {
    let serving = Serving::start().await;
    serving.world.asker().await.ask(cheer("5001", "c", 70)).await;
    let key = serving.key(&[Scope::ViewersAct, Scope::AccountsRead, Scope::AccountsWrite]).await;
    let (_, issued) = issue(&serving, &key, json!({"viewer": "5001"})).await;
    let credential = text_of(&issued);
    let gift = json!({"to": "5002", "points": 30});
    let (status, given) =
        serving.post(&credential, "/accounts/5001/gifts", "g", gift.clone()).await;
    assert_eq!((status, &given["status"]), (StatusCode::CREATED, &json!("arrived")), "{given}");
    let statement = format!("/accounts/5001/statement?min_position={}", given["position"]);
    let (_, statement) = serving.get(&credential, &statement).await;
    let entries = statement["entries"].as_array().expect("entries");
    let held = entries.iter().find(|entry| entry["kind"] == "held").expect("the gift's hold");
    assert_eq!(held["actor"], "tester for viewer:5001");
    // For everybody else, and for what is no viewer's, it is nothing.
    let credit = json!({"points": 5, "note": "a test"});
    for (path, body) in [
        ("/accounts/5002/gifts", json!({"to": "5001", "points": 5})),
        ("/accounts/5001/credits", credit),
        ("/accounts/5001/holds", json!({"points": 5, "purpose": "a test"})),
        ("/service-token", json!({})),
    ] {
        let (status, _) = serving.post(&credential, path, path, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
    for path in ["/accounts/5002", "/leaderboard", "/grants", "/session"] {
        assert_eq!(serving.get(&credential, path).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    serving.stop().await;
}

/// A token as somebody may write it.
fn write(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = BASE64.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_forged_or_expired_credential_is_believed() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::Admin]).await;
    let (_, issued) = issue(&serving, &key, json!({})).await;
    let good = text_of(&issued);
    assert_eq!(serving.get(&good, "/accounts/5001").await.0, StatusCode::OK);
    let parts: Vec<&str> = good.split('.').collect();
    let read = |part: &str| -> Value {
        serde_json::from_slice(&BASE64.decode(part).expect("base64")).expect("JSON")
    };
    let (header, claims) = (read(parts[0]), read(parts[1]));
    let kid = header["kid"].as_str().expect("a kid").to_owned();
    let theirs = SigningKey::from_bytes(&[9; 32]);
    let by_them = |bytes: &[u8]| theirs.sign(bytes).to_bytes().to_vec();
    let x = published(&serving).await[0]["x"].as_str().expect("a key").to_owned();
    let public = BASE64.decode(&x).expect("base64");
    let with_public = |bytes: &[u8]| {
        use hmac::Mac;
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&public).expect("a key");
        mac.update(bytes);
        mac.finalize().into_bytes().to_vec()
    };
    let head = |alg: &str, kid: &str| json!({"typ": "JWT", "alg": alg, "kid": kid});
    let own_key = json!({"typ": "JWT", "alg": "EdDSA", "kid": kid, "jwk": {"kty": "OKP", "crv": "Ed25519",
        "x": BASE64.encode(theirs.verifying_key().as_bytes())}, "jku": "https://evil.example/jwks"});
    let changed = format!("{}.{}.{}", parts[0], BASE64.encode(claims.to_string() + " "), parts[2]);
    let cut = format!("{}.{}.", parts[0], parts[1]);
    for (forged, code) in [
        (write(&head("none", &kid), &claims, |_| Vec::new()), "malformed_credential"),
        (write(&head("None", &kid), &claims, |_| Vec::new()), "malformed_credential"),
        (write(&head("HS256", &kid), &claims, with_public), "wrong_algorithm"),
        (write(&head("ES256", &kid), &claims, by_them), "wrong_algorithm"),
        (write(&head("EdDSA", &kid), &claims, by_them), "bad_signature"),
        (write(&own_key, &claims, by_them), "bad_signature"),
        (write(&head("EdDSA", "0000"), &claims, by_them), "unknown_signing_key"),
        (write(&head("EdDSA", "' OR 1=1 --"), &claims, by_them), "unknown_signing_key"),
        (write(&json!({"typ": "JWT", "alg": "EdDSA"}), &claims, by_them), "unknown_signing_key"),
        (changed, "bad_signature"),
        (cut, "bad_signature"),
        (format!("{good}.{}", parts[2]), "malformed_credential"),
        ("a.b.c".to_owned(), "malformed_credential"),
        (format!("{}.x", "a".repeat(5_000)), "malformed_credential"),
    ] {
        let (status, body) = serving.get(&forged, "/accounts/5001").await;
        let found = (status, &body["error"]["code"]);
        assert_eq!(found, (StatusCode::UNAUTHORIZED, &json!(code)), "{forged:.120}");
    }
    expired(&serving, &claims).await;
    let (_, elsewhere) = issue(&serving, &key, json!({"audience": "another-service"})).await;
    let (status, body) = serving.get(&text_of(&elsewhere), "/accounts/5001").await;
    let found = (status, &body["error"]["code"]);
    assert_eq!(found, (StatusCode::UNAUTHORIZED, &json!("wrong_audience")));
    serving.stop().await;
}

/// What a key of ours did sign, and is not good all the same.
async fn expired(serving: &Serving, claims: &Value) {
    let ours = SigningKey::from_bytes(&[7; 32]);
    sqlx::query(
        "INSERT INTO service_keys VALUES ('old', $1, '', clock_timestamp(), clock_timestamp(),
                                          clock_timestamp() + interval '1 hour')",
    )
    .bind(ours.verifying_key().as_bytes().as_slice())
    .execute(&serving.world.pool)
    .await
    .expect("a key of ours");
    let with = |change: Value| {
        let mut claims = claims.clone();
        for (name, value) in change.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        let header = json!({"typ": "JWT", "alg": "EdDSA", "kid": "old"});
        write(&header, &claims, |bytes| ours.sign(bytes).to_bytes().to_vec())
    };
    let now = Utc::now().timestamp();
    until("the key is known", async || {
        serving.get(&with(json!({})), "/accounts/5001").await.0 == StatusCode::OK
    })
    .await;
    for (change, code) in [
        (json!({"exp": now - 60, "iat": now - 900}), "credential_expired"),
        (json!({"exp": now + 3_600, "iat": now}), "credential_expired"),
        (json!({"nbf": now + 600}), "credential_expired"),
        (json!({"exp": null}), "malformed_credential"),
        (json!({"aud": "another-service"}), "wrong_audience"),
        (json!({"iss": "https://evil.example"}), "wrong_issuer"),
        (json!({"key": Uuid::nil()}), "credential_revoked"),
        (json!({"scope": 5}), "malformed_credential"),
    ] {
        let (status, body) = serving.get(&with(change.clone()), "/accounts/5001").await;
        let found = (status, &body["error"]["code"]);
        assert_eq!(found, (StatusCode::UNAUTHORIZED, &json!(code)), "{change}");
    }
    let (status, _) = serving.get(&with(json!({"scope": "all of it"})), "/accounts/5001").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "scopes that nobody knows give nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_signs_and_the_old_one_verifies_until_its_grace_is_over() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::AccountsRead]).await;
    let kid = |credential: &str| {
        let header = credential.split('.').next().expect("a header");
        let header = BASE64.decode(header).expect("base64");
        let header: Value = serde_json::from_slice(&header).expect("JSON");
        header["kid"].as_str().expect("a kid").to_owned()
    };
    let both =
        async || tokio::join!(issue(&serving, &key, json!({})), issue(&serving, &key, json!({})));
    let (first, at_once) = both().await;
    let (first, at_once) = (text_of(&first.1), text_of(&at_once.1));
    assert_eq!(kid(&first), kid(&at_once), "two that want the first key get the same one");
    let (pool, data) = (&serving.world.pool, &serving.world.servers.data);
    let sealer = Sealer::load(&data.join("sealing.key")).expect("readable").expect("made");
    let now = Utc::now();
    let rotated = signing::rotate(pool, &sealer, TimeDelta::hours(1), now).await.expect("rotated");
    let (new, from) = rotated;
    assert_eq!(from - now, signing::PUBLISHED_BEFORE);
    until("both are published", async || published(&serving).await.len() == 2).await;
    let meanwhile = text_of(&issue(&serving, &key, json!({})).await.1);
    assert_eq!(kid(&meanwhile), kid(&first), "others have not read the new one yet");
    let pass = "UPDATE service_keys SET signs_from = signs_from - interval '2 minutes',
                       retired_at = retired_at - interval '2 minutes'";
    sqlx::query(pass).execute(pool).await.expect("two minutes pass");
    let second = text_of(&issue(&serving, &key, json!({})).await.1);
    assert_eq!(kid(&second), new);
    for credential in [&first, &second] {
        let (status, body) = serving.get(credential, "/accounts/5001").await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    let keys = published(&serving).await;
    assert_eq!((&keys[0]["kid"], &keys[0]["crv"]), (&json!(new), &json!("Ed25519")));
    assert!(keys.iter().all(|key| key.get("d").is_none()), "only what is public");

    // A leaked key: nothing that it signed is good any more, as soon as the keys are read again.
    signing::rotate(pool, &sealer, TimeDelta::zero(), Utc::now()).await.expect("rotated");
    until("the leaked key is over", async || {
        let (status, body) = serving.get(&second, "/accounts/5001").await;
        status == StatusCode::UNAUTHORIZED && body["error"]["code"] == "unknown_signing_key"
    })
    .await;
    assert_eq!(serving.get(&first, "/accounts/5001").await.0, StatusCode::OK, "its grace goes on");
    serving.stop().await;
}
