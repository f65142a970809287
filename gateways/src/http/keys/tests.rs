use super::*;
use crate::http::actor::Actor;

fn key(scopes: &[Scope]) -> Key {
    Key {
        id: Uuid::nil(),
        name: "overlay".to_owned(),
        scopes: scopes.iter().map(|scope| scope.name().to_owned()).collect(),
        created_at: DateTime::UNIX_EPOCH,
        revoked_at: None,
    }
}

#[test]
fn a_key_allows_its_scopes_and_admin_allows_all() {
    assert!(key(&[Scope::FeedRead]).allows(Scope::FeedRead));
    assert!(!key(&[Scope::FeedRead]).allows(Scope::AccountsRead));
    assert!(Scope::ALL.into_iter().all(|scope| key(&[Scope::Admin]).allows(scope)));
    let writes = |scopes: &[Scope]| Actor::of_key(key(scopes), String::new()).writes();
    assert!(!writes(&[Scope::FeedRead, Scope::AccountsRead]));
    assert!(writes(&[Scope::Admin]) && writes(&[Scope::HoldsWrite]));
}

#[test]
fn a_scope_reads_as_it_is_written() {
    assert!(Scope::ALL.into_iter().all(|scope| scope.name().parse() == Ok(scope)));
    let refusal = "feed".parse::<Scope>().expect_err("no scope");
    assert!(refusal.contains("feed:read"), "{refusal}");
}

#[test]
fn a_mark_is_of_one_secret_and_not_what_is_kept_of_it() {
    let (one, other) = (hash_of("one"), hash_of("other"));
    assert_eq!(mark_of(&one), mark_of(&hash_of("one")));
    assert_ne!(mark_of(&one), mark_of(&other));
    assert!(!URL_SAFE_NO_PAD.encode(one).starts_with(&mark_of(&one)));
}

#[test]
fn a_secret_may_hold_underscores() {
    let secret = "_".repeat(43);
    let text = format!("tdk_{}_{secret}", Uuid::nil().simple());
    assert_eq!(parts_of(PREFIX, &text), Some((Uuid::nil(), secret.as_str())));
    for wrong in ["", "tdk_", "tdk_x_y", &text[1..], &text[..text.len() - 1]] {
        assert_eq!(parts_of(PREFIX, wrong), None, "{wrong}");
    }
}
