use super::*;
use crate::chat_request::{Unclear, Wish};

fn asked(line: &str) -> Option<Wanted> {
    wanted(line, 0, &Prices::default(), &Settings::default())
}

fn is(request: Request) -> Option<Wanted> {
    Some(Wanted::Request(request))
}

fn ghost(subject: &str) -> Option<Wanted> {
    is(Request::Wish { wish: Wish::Ghost { subject: subject.to_owned() }, price: 200, prices: 1 })
}

fn give(name: &str, points: i64) -> Option<Wanted> {
    Some(Wanted::Give { name: name.to_owned(), points })
}

#[test]
fn the_words_of_chat_mean_what_they_say() {
    for (line, request) in [
        ("!balance", Request::Balance {}),
        ("!Points please", Request::Balance {}),
        ("  !uptime", Request::Uptime {}),
        ("!tape what is it", Request::Tape {}),
        ("!TOP", Request::Top {}),
        ("!alerts", Request::Help { topic: "alerts".to_owned() }),
    ] {
        assert_eq!(asked(line), is(request), "{line}");
    }
    assert_eq!(asked("!ghost of a toaster"), ghost("a toaster"));
    assert_eq!(asked("!200 ghost of a toaster"), ghost("a toaster"));
}

#[test]
fn w32_what_is_no_word_of_ours_is_not_answered() {
    for line in [
        "",
        "!",
        "!!",
        "! balance",
        "!unknown",
        "!balances",
        "!so @somebody",
        "hello !balance",
        "balance",
        "!200 is a number",
        "!\u{0}",
        "!\u{202e}ecnalab",
        "!ghosts are cool, aren't they".trim_start_matches('!'),
    ] {
        assert_eq!(asked(line), None, "{line:?}");
    }
    let huge = format!("!{}", "x".repeat(1_000_000));
    assert_eq!(asked(&huge), None);
}

#[test]
fn w20_a_line_with_bits_asks_for_nothing() {
    for line in ["!ghost of a seal Cheer200", "!balance Cheer1", "!give @otter 5 Cheer5"] {
        assert_eq!(wanted(line, 1, &Prices::default(), &Settings::default()), None, "{line}");
    }
}

#[test]
fn w25_ordinary_talk_asks_for_nothing_and_a_named_amount_is_the_price() {
    for line in ["hello friends how are you", "ghosts are cool", "my girlfriend is here"] {
        assert_eq!(asked(line), None, "{line}");
    }
    let wrong = |amount| {
        let unclear = Unclear::WrongAmount { style: "ghost".to_owned(), price: 200, amount };
        is(Request::Unclear { unclear, prices: 1 })
    };
    assert_eq!(asked("!1 ghost of a seal"), wrong(1));
    assert_eq!(asked("!9999 ghost of a seal"), wrong(9_999));
    let nothing = Unclear::NoSubject { style: "ghost".to_owned() };
    assert_eq!(asked("!ghost"), is(Request::Unclear { unclear: nothing, prices: 1 }));
    let long = format!("!ghost of {}", "é".repeat(121));
    let too_long = Unclear::TooLong { chars: 121 };
    assert_eq!(asked(&long), is(Request::Unclear { unclear: too_long, prices: 1 }));
}

#[test]
fn a_gift_names_somebody_and_an_amount() {
    assert_eq!(asked("!give @BetaMaxine 50"), give("BetaMaxine", 50));
    assert_eq!(asked("!give トラッキングさん 1 there you go"), give("トラッキングさん", 1));
    let unclear = is(Request::NoGift { why: NoGift::Unclear });
    let far = format!("!give {} 5", "x".repeat(65));
    for line in [
        "!give",
        "!give @otter",
        "!give 50",
        "!give @ 50",
        "!give @otter 0",
        "!give @otter -5",
        "!give @otter 1.5",
        "!give @otter all",
        "!give @otter 99999999999999999999",
        "!give @otter 1000000000001",
        far.as_str(),
    ] {
        assert_eq!(asked(line), unclear, "{line}");
    }
}

#[test]
fn what_is_switched_off_is_not_there() {
    let mut settings = Settings::default();
    let off = super::super::settings::Different { who: Some(Role::Nobody), ..Default::default() };
    settings.commands = ["balance", "ghost", "give", "alerts"].map(|n| (n.to_owned(), off)).into();
    let asked = |line| wanted(line, 0, &Prices::default(), &settings);
    for line in ["!balance", "!points", "!ghost of a seal", "!give @a 5", "!give", "!alerts"] {
        assert_eq!(asked(line), None, "{line}");
    }
    assert!(asked("!uptime").is_some());
}

#[test]
fn no_words_whatever_they_are_break_it() {
    let pieces = ["!", "give", "@", "ghost", "of", "200", "-", "\u{0}", "é", "🦀", " ", "\u{202e}"];
    for a in pieces {
        for b in pieces {
            for c in pieces {
                for line in [format!("!{a}{b}{c}"), format!("!{a} {b} {c}"), format!("{a}{b}{c}")] {
                    asked(&line);
                }
            }
        }
    }
}
