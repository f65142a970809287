use super::*;

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
    assert!(!key(&[Scope::FeedRead, Scope::AccountsRead]).writes());
    assert!(key(&[Scope::Admin]).writes() && key(&[Scope::HoldsWrite]).writes());
}

#[test]
fn ids_that_are_no_keys_push_no_key_out() {
    let (mut memory, now) = (Memory::default(), Instant::now());
    let stored = Arc::new(Stored { key: Arc::new(key(&[Scope::Admin])), hash: Vec::new() });
    memory.learn(Uuid::nil(), Some(stored), now);
    for n in 1..=10_000 {
        memory.learn(Uuid::from_u128(n), None, now);
    }
    assert!(memory.recall(Uuid::nil(), now).is_some_and(|found| found.is_some()));
    assert_eq!(memory.unknown.len(), UNKNOWN_MAX);
    assert!(memory.recall(Uuid::from_u128(1), now).is_some_and(|found| found.is_none()));
    let later = now + BELIEVED_FOR;
    assert!(memory.recall(Uuid::nil(), later).is_none(), "to be looked up again");
    memory.learn(Uuid::nil(), None, later);
    assert!(memory.known.is_empty() && memory.recall(Uuid::nil(), later).is_some());
}

#[test]
fn a_scope_reads_as_it_is_written() {
    assert!(Scope::ALL.into_iter().all(|scope| scope.name().parse() == Ok(scope)));
    let refusal = "feed".parse::<Scope>().expect_err("no scope");
    assert!(refusal.contains("feed:read"), "{refusal}");
}

#[test]
fn a_secret_may_hold_underscores() {
    let secret = "_".repeat(43);
    let text = format!("tdk_{}_{secret}", Uuid::nil().simple());
    assert_eq!(parts_of(&text), Some((Uuid::nil(), secret.as_str())));
    for wrong in ["", "tdk_", "tdk_x_y", &text[1..], &text[..text.len() - 1]] {
        assert_eq!(parts_of(wrong), None, "{wrong}");
    }
}
