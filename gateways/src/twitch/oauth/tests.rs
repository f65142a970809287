use super::*;
use crate::outgoing::Secret;

fn oauth() -> OAuth {
    let client_secret = Secret::new("hush");
    let client_id = "client1".to_owned();
    OAuth::new(Settings { client_id, client_secret, ..Settings::default() })
}

#[test]
fn a_person_is_sent_to_twitch_with_what_is_asked_and_no_secret() {
    let back = Url::parse("https://td.example/api/v1/login/callback").expect("a URL");
    let url = oauth().authorize_url(&back, "s t&ate", &["moderation:read"], true);
    assert!(url.as_str().starts_with("https://id.twitch.tv/oauth2/authorize?"), "{url}");
    let said: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "client1"),
        ("redirect_uri", "https://td.example/api/v1/login/callback"),
        ("state", "s t&ate"),
        ("scope", "moderation:read"),
        ("force_verify", "true"),
    ] {
        assert!(said.contains(&(name.to_owned(), value.to_owned())), "{name} of {url}");
    }
    assert!(!url.as_str().contains("hush"));
}

#[test]
fn a_grant_is_read_as_twitch_writes_it_and_shows_no_secret() {
    let text = r#"{"access_token":"hush1","refresh_token":"hush2","expires_in":14400,
                   "scope":["moderation:read"],"token_type":"bearer"}"#;
    let grant: Grant = serde_json::from_str(text).expect("a grant");
    assert_eq!(grant.scopes(), ["moderation:read"]);
    assert!(!format!("{grant:?}").contains("hush"));
    let kept = serde_json::to_string(&grant).expect("JSON");
    let again: Grant = serde_json::from_str(&kept).expect("a grant");
    assert_eq!(again.access_token.secret(), "hush1");
}

#[test]
fn only_what_twitch_says_of_a_grant_is_about_the_person() {
    use Question::{Exchange, Revoke, Validate};
    for (question, status, words, is_refused) in [
        (Exchange, 400, "Invalid refresh token", true),
        (Exchange, 401, "Invalid refresh token", true),
        (Exchange, 400, "Invalid authorization code", true),
        (Exchange, 403, "invalid client secret", false),
        (Exchange, 400, "invalid client", false),
        (Exchange, 404, "", false),
        (Validate, 401, "invalid access token", true),
        (Validate, 403, "", false),
        (Validate, 404, "Not Found", false),
        (Revoke, 400, "Invalid token", true),
        (Revoke, 400, "missing client id", false),
        (Revoke, 404, "client does not exist", false),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let found = question.is_refused_by(status, words);
        assert_eq!(found, is_refused, "{question:?} {status} {words}");
    }
}

#[test]
fn what_is_sent_in_a_form_is_encoded() {
    assert_eq!(url_encoded(&[("a", "b c&d"), ("e", "ä")]), "a=b+c%26d&e=%C3%A4");
}
