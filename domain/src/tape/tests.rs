//! The catalogue, told as given, when, then.

use cqrs_es::test::TestFramework;

use super::*;
use crate::entry_id;

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

fn from(line: i64) -> Provenance {
    let (source, file) = ("tapes.csv".to_owned(), "ab".repeat(32));
    Provenance { source, file, line, actor: "cli".to_owned() }
}

fn card(title: &str) -> Card {
    Card { title: title.to_owned(), year: Some(1987), ..Card::default() }
}

fn catalogue(name: &str, card: Card) -> Command {
    Command::Catalogue { entry: entry_id("test", name), card, from: from(2), at: at() }
}

fn catalogued(name: &str, card: Card) -> Event {
    Event::Catalogued { entry: entry_id("test", name), card, from: from(2), at: at() }
}

fn withdraw(name: &str) -> Command {
    Command::Withdraw { entry: entry_id("test", name), actor: "cli".to_owned(), at: at() }
}

fn withdrawn(name: &str) -> Event {
    Event::Withdrawn { entry: entry_id("test", name), actor: "cli".to_owned(), at: at() }
}

#[test]
fn the_same_card_again_changes_nothing_and_another_one_changes_it() {
    let known = || vec![catalogued("first", card("Aerobics"))];
    let tape = || TestFramework::<Tape>::with(()).given(known());
    tape().when(catalogue("again", card("Aerobics"))).then_expect_events(vec![]);
    let (entry, card) = (entry_id("test", "new"), card("Aerobics II"));
    let changed = Event::Changed { entry, card: card.clone(), from: from(2), at: at() };
    tape().when(catalogue("new", card)).then_expect_events(vec![changed]);
}

#[test]
fn a_tape_that_was_withdrawn_can_come_back() {
    let history = vec![catalogued("first", card("Aerobics")), withdrawn("gone")];
    let tape = || TestFramework::<Tape>::with(()).given(history.clone());
    tape()
        .when(catalogue("back", card("Aerobics")))
        .then_expect_events(vec![catalogued("back", card("Aerobics"))]);
    tape().when(withdraw("again")).then_expect_error(Rejection::Unknown);
    // Late and twice.
    tape().when(withdraw("gone")).then_expect_events(vec![]);
}

#[test]
fn what_is_not_there_cannot_be_withdrawn() {
    TestFramework::<Tape>::with(())
        .given_no_previous_events()
        .when(withdraw("never"))
        .then_expect_error(Rejection::Unknown);
}

#[test]
fn a_card_that_could_not_be_shown_is_refused() {
    let good = card("Aerobics");
    let bad = [
        Card { title: String::new(), ..good.clone() },
        Card { title: " ".to_owned(), ..good.clone() },
        Card { title: "x".repeat(WORDS_CHARS_MAX + 1), ..good.clone() },
        Card { title: "a\0b".to_owned(), ..good.clone() },
        Card { series: Some(String::new()), ..good.clone() },
        Card { contributor: Some("a\nb".to_owned()), ..good.clone() },
        Card { year: Some(87), ..good.clone() },
        Card { runtime_s: Some(-1), ..good.clone() },
        Card { runtime_s: Some(RUNTIME_S_MAX + 1), ..good.clone() },
        Card { tags: vec![String::new()], ..good.clone() },
        Card { tags: vec!["x".repeat(TAG_CHARS_MAX + 1)], ..good.clone() },
        Card { tags: vec!["x".to_owned(); TAGS_MAX + 1], ..good.clone() },
        Card { colour: Some("red".to_owned()), ..good.clone() },
        Card { colour: Some("#F0A51C".to_owned()), ..good.clone() },
        Card { thumbnail: Some("../secret".to_owned()), ..good.clone() },
    ];
    for card in bad {
        let reason = card.refusal().unwrap_or_else(|| panic!("{card:?} is kept"));
        TestFramework::<Tape>::with(())
            .given_no_previous_events()
            .when(catalogue("bad", card))
            .then_expect_error(Rejection::BadCard { reason });
    }
    assert_eq!(good.refusal(), None);
}
