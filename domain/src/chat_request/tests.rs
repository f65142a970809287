use super::*;

/// What is sold anyway, and two static alerts.
fn prices() -> Prices {
    let mut prices = Prices::default();
    let fixed = [("prayer-bear", 200), ("stand-back", 300)];
    prices.fixed.extend(fixed.map(|(id, points)| (id.to_owned(), points)));
    prices
}

fn chat(line: &str) -> Option<Result<Wish, Unclear>> {
    in_chat(line, &prices()).map(|asked| asked.map(|asked| asked.wish))
}

fn cheer(message: &str, bits: i64) -> Option<Result<Wish, Unclear>> {
    in_cheer(message, bits, &prices()).map(|asked| asked.map(|asked| asked.wish))
}

fn ghost(subject: &str) -> Option<Result<Wish, Unclear>> {
    Some(Ok(Wish::Ghost { subject: subject.to_owned() }))
}

fn friend(colour: Option<Colour>, subject: &str) -> Option<Result<Wish, Unclear>> {
    Some(Ok(Wish::Friend { colour, subject: subject.to_owned() }))
}

fn fixed(id: &str, message: &str) -> Option<Result<Wish, Unclear>> {
    Some(Ok(Wish::Static { id: id.to_owned(), message: message.to_owned() }))
}

#[test]
fn a_cheer_asks_for_a_ghost_wherever_its_cheermotes_are() {
    for message in [
        "Cheer200 ghost of a toaster",
        "ghost of a toaster Cheer200",
        "Cheer100 Kappa100 ghost of a toaster",
        "!ghost of a toaster Cheer200",
        "  Cheer200\tGHOST  of a\u{7} toaster",
    ] {
        assert_eq!(cheer(message, 200), ghost("a toaster"), "{message}");
    }
}

#[test]
fn words_that_only_look_like_cheermotes_stay() {
    assert_eq!(cheer("Cheer200 ghost of R2D2", 200), ghost("R2D2"));
    assert_eq!(cheer("Cheer200 ghost of area51", 200), ghost("area51"));
    assert_eq!(cheer("Cheer100 ghost of area51 Cheer100", 200), ghost("area51"));
}

#[test]
fn ordinary_talk_asks_for_nothing() {
    for message in [
        "hello friends how are you",
        "my girlfriend is here Cheer100",
        "ghosts are cool",
        "ghost hunting tonight",
        "friendly reminder",
        "friend is here",
        "say a prayer bear with me",
        "stand back everyone",
        "",
        "!",
        "Cheer200",
    ] {
        assert_eq!(cheer(message, 300), None, "{message}");
        assert_eq!(chat(message), None, "{message}");
    }
    assert_eq!(chat("ghost of a toaster"), None);
    assert_eq!(chat("!uptime"), None);
}

#[test]
fn chat_asks_with_an_exclamation_mark() {
    assert_eq!(chat("!ghost of a seal"), ghost("a seal"));
    assert_eq!(chat("!ghost a seal"), ghost("a seal"));
    assert_eq!(chat("!friend blue heron"), friend(Some(Colour::Blue), "a heron"));
    assert_eq!(chat("!prayerbear"), fixed("prayer-bear", "prayerbear"));
    assert_eq!(chat("!StandBack now"), fixed("stand-back", "StandBack now"));
    assert_eq!(chat("!stand back"), fixed("stand-back", "stand back"));
}

#[test]
fn a_request_without_a_subject_is_told_what_is_missing() {
    let missing = |style: &str| Some(Err(Unclear::NoSubject { style: style.to_owned() }));
    assert_eq!(chat("!ghost"), missing("ghost"));
    assert_eq!(chat("!ghost of"), missing("ghost"));
    assert_eq!(chat("!friend"), missing("friend"));
    assert_eq!(chat("!friend who is a red"), missing("friend"));
}

#[test]
fn a_colour_is_a_whole_word() {
    assert_eq!(chat("!friend who is a redwood"), friend(None, "a redwood"));
    assert_eq!(chat("!friend who is a red wood"), friend(Some(Colour::Red), "a wood"));
    assert_eq!(chat("!friend sky blue owl"), friend(Some(Colour::SkyBlue), "an owl"));
    assert_eq!(chat("!friend orange/yellow owl"), friend(Some(Colour::YellowOrange), "an owl"));
    assert_eq!(chat("!friend orange yellow owl"), friend(Some(Colour::YellowOrange), "an owl"));
    assert_eq!(chat("!friend green-orange seal"), friend(None, "a green-orange seal"));
    assert_eq!(chat("!friend sky captain"), friend(None, "a sky captain"));
    assert_eq!(chat("!friend the moon"), friend(None, "the moon"));
    assert_eq!(cheer("Cheer200 friend an owl", 200), friend(None, "an owl"));
}

#[test]
fn the_amount_that_is_named_is_the_price_or_refused() {
    let wrong = |style: &str, price, amount| {
        Some(Err(Unclear::WrongAmount { style: style.to_owned(), price, amount }))
    };
    assert_eq!(chat("!200 ghost of a seal"), ghost("a seal"));
    assert_eq!(chat("!1 ghost of a seal"), wrong("ghost", 200, 1));
    assert_eq!(chat("!9999 ghost of a seal"), wrong("ghost", 200, 9_999));
    assert_eq!(chat("!-200 ghost of a seal"), wrong("ghost", 200, -200));
    assert_eq!(chat("!300 stand back"), fixed("stand-back", "stand back"));
    assert_eq!(cheer("Cheer1 ghost of a seal", 1), wrong("ghost", 200, 1));
    assert_eq!(cheer("Cheer500 ghost of a seal", 500), ghost("a seal"));
    assert_eq!(chat("!200 is a number"), None);
}

#[test]
fn what_has_no_price_is_not_offered() {
    let none = Prices { version: 2, points: BTreeMap::new(), fixed: BTreeMap::new() };
    let refused = Some(Err(Unclear::NotOffered { style: "ghost".to_owned() }));
    assert_eq!(in_chat("!ghost of a seal", &none), refused);
    assert_eq!(in_chat("!prayerbear", &none), None);
}

#[test]
fn no_static_alert_is_sold_that_was_not_priced() {
    let sold = Prices::default();
    assert_eq!(Vec::from_iter(sold.points.keys()), ["friend", "ghost"], "what can be made");
    assert_eq!(Vec::from_iter(sold.fixed.keys()), ["test-card", "tracking-error"]);
    for line in ["!prayerbear", "!prayer bear", "!stand-back", "!300 stand back"] {
        assert_eq!(in_chat(line, &sold), None, "{line}");
        assert_eq!(in_cheer(&format!("Cheer300 {line}"), 300, &sold), None, "{line}");
    }
    assert_eq!(in_cheer("Cheer300 stand back", 300, &sold), None);
}

#[test]
fn a_subject_is_counted_in_characters() {
    let long = "ü".repeat(SUBJECT_CHARS_MAX);
    assert_eq!(chat(&format!("!ghost of {long}")), ghost(&long));
    let chars = SUBJECT_CHARS_MAX + 1;
    assert_eq!(chat(&format!("!ghost of {long}ü")), Some(Err(Unclear::TooLong { chars })));
}

#[test]
fn every_colour_has_a_complement_and_a_name_of_its_own() {
    for colour in Colour::ALL {
        assert_ne!(colour, colour.complement());
        let json = serde_json::to_value(colour).expect("JSON");
        assert_eq!(json, colour.name());
        assert_eq!(Colour::at_start(colour.name(), "").map(|(found, _)| found), Some(colour));
    }
}

#[test]
fn no_text_breaks_the_grammar() {
    let pieces = ["!", "ghost", "of", "friend", "Cheer9", "red", "-", "/", "\u{0}", "é", "9", " "];
    for a in pieces {
        for b in pieces {
            for c in pieces {
                for text in [format!("{a}{b}{c}"), format!("{a} {b} {c}")] {
                    chat(&text);
                    cheer(&text, 9);
                }
            }
        }
    }
}
