//! The templates of what we say. `{…}` stands for what is known when it is said.

use serde::{Deserialize, Serialize};

use crate::twitch::saying::TEXT_CHARS_MAX;

/// The longest template, in characters: with what is put into it, it still fits into a line.
const TEMPLATE_CHARS_MAX: usize = 300;

/// One for each answer there is. The name of whoever asked stands before each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Texts {
    pub balance: String,
    pub balance_with_held: String,
    pub live: String,
    pub not_live: String,
    pub tape: String,
    pub no_tape: String,
    pub top: String,
    pub top_of_nobody: String,
    pub unclear: String,
    pub give_unclear: String,
    pub give_to_nobody_known: String,
    pub give_to_oneself: String,
    pub shown: String,
    pub too_few_points: String,
    pub rejected: String,
    pub refused: String,
    pub failed: String,
    pub cancelled: String,
    pub expired: String,
    pub given: String,
    pub no_room: String,
}

impl Default for Texts {
    fn default() -> Self {
        let text = str::to_owned;
        Texts {
            balance: text("you have {available} points."),
            balance_with_held: text("you have {available} points, and {held} are set aside."),
            live: text("we have been live for {hours} h {minutes} min."),
            not_live: text("we are not live just now."),
            tape: text("on the screen is {tape}, for {minutes} minutes so far."),
            no_tape: text("there is no tape in the machine just now."),
            top: text("the most points: {places}."),
            top_of_nobody: text("nobody has points yet. The first place is free!"),
            unclear: text("not quite: {why}."),
            give_unclear: text("say to whom and how many, such as !give @somebody 50."),
            give_to_nobody_known: text("nobody of that name was ever seen here."),
            give_to_oneself: text("you have those already."),
            shown: text("your {style} is on its way to the screen!"),
            too_few_points: text("that takes {price} points, and you have {available}."),
            rejected: text("that {style} cannot be shown here. Your {price} points are back."),
            refused: text("that {style} cannot be made here. Your {price} points are back."),
            failed: text("the {style} did not work out, sorry! Your {price} points are back."),
            cancelled: text("the {style} was called off. No points are taken."),
            expired: text("the {style} took too long, sorry! Your {price} points are back."),
            given: text("{receiver} has {points} points of yours now. How kind!"),
            no_room: text("{receiver} has no room for that. You have your {points} points back."),
        }
    }
}

impl Texts {
    /// Every template with its name and what may be put into it.
    fn all(&self) -> [(&'static str, &str, &'static [&'static str]); 21] {
        [
            ("balance", &self.balance, &["available"]),
            ("balance_with_held", &self.balance_with_held, &["available", "held"]),
            ("live", &self.live, &["hours", "minutes"]),
            ("not_live", &self.not_live, &[]),
            ("tape", &self.tape, &["tape", "minutes"]),
            ("no_tape", &self.no_tape, &[]),
            ("top", &self.top, &["places"]),
            ("top_of_nobody", &self.top_of_nobody, &[]),
            ("unclear", &self.unclear, &["why"]),
            ("give_unclear", &self.give_unclear, &[]),
            ("give_to_nobody_known", &self.give_to_nobody_known, &[]),
            ("give_to_oneself", &self.give_to_oneself, &[]),
            ("shown", &self.shown, &["style", "price"]),
            ("too_few_points", &self.too_few_points, &["price", "available"]),
            ("rejected", &self.rejected, &["style", "price"]),
            ("refused", &self.refused, &["style", "price"]),
            ("failed", &self.failed, &["style", "price"]),
            ("cancelled", &self.cancelled, &["style", "price"]),
            ("expired", &self.expired, &["style", "price"]),
            ("given", &self.given, &["receiver", "points"]),
            ("no_room", &self.no_room, &["receiver", "points"]),
        ]
    }

    /// Why these templates cannot be worked with.
    pub fn refusal(&self) -> Option<String> {
        for (name, text, known) in self.all() {
            if !(1..=TEMPLATE_CHARS_MAX).contains(&text.chars().count()) {
                return Some(format!(
                    "replies.texts.{name} is 1 to {TEMPLATE_CHARS_MAX} characters"
                ));
            }
            // Twitch takes such lines for commands, and other bots do.
            if text.starts_with(['/', '.', '!']) || text.chars().any(char::is_control) {
                return Some(format!(
                    "replies.texts.{name} begins like a command, or is two lines"
                ));
            }
            if let Some(unknown) = placeholders(text).find(|word| !known.contains(word)) {
                let known = known.join(", ");
                return Some(format!(
                    "replies.texts.{name}: there is no {{{unknown}}} in it; there is: {known}"
                ));
            }
        }
        None
    }
}

/// What stands in braces.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).map(|after| after.split_once('}').map_or(after, |(word, _)| word))
}

/// The template with these words put into it. What is put in is not looked into again.
pub fn filled(template: &str, with: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        // What is not closed is left out.
        let Some((word, after)) = after.split_once('}') else { return text };
        let value = with.iter().find(|(name, _)| *name == word);
        text.push_str(value.map_or("", |(_, value)| value));
        rest = after;
    }
    text.push_str(rest);
    text
}

/// A line for `name` that can be said: in one piece, and not longer than Twitch takes.
pub fn addressed(name: Option<&str>, text: &str) -> String {
    let line = match name {
        Some(name) => format!("@{name} {text}"),
        None => text.to_owned(),
    };
    let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() <= TEXT_CHARS_MAX {
        return clean;
    }
    let cut: String = clean.chars().take(TEXT_CHARS_MAX - 1).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_once() {
        let with = [("available", "{held}".to_owned()), ("held", "7".to_owned())];
        assert_eq!(filled("{available} and {held}!", &with), "{held} and 7!");
        assert_eq!(filled("nothing", &with), "nothing");
        assert_eq!(filled("{gone} {available", &with), " ");
    }

    #[test]
    fn no_line_is_longer_than_twitch_takes_or_cut_within_a_character() {
        let line = addressed(Some("トラッキングさん"), &"🦀é".repeat(600));
        assert_eq!(line.chars().count(), 500);
        assert!(line.starts_with("@トラッキングさん 🦀é") && line.ends_with('…'));
        assert_eq!(addressed(None, "a\nb\u{0}c"), "a b c");
    }

    #[test]
    fn every_default_text_can_be_said() {
        assert_eq!(Texts::default().refusal(), None);
        for (name, text, known) in Texts::default().all() {
            let with: Vec<_> = known.iter().map(|word| (*word, "x".repeat(100))).collect();
            let line = filled(text, &with);
            assert!(!line.contains('{') && line.chars().count() < 460, "{name}");
        }
    }

    #[test]
    fn a_text_that_cannot_be_said_is_refused() {
        let with = |text: &str| Texts { balance: text.to_owned(), ..Texts::default() }.refusal();
        assert_eq!(with("{available} are yours"), None);
        for wrong in ["", "/ban {available}", "!balance", "{points}", "{", "a\nb", &"x".repeat(301)]
        {
            assert!(with(wrong).is_some_and(|words| words.contains("balance")), "{wrong}");
        }
    }
}
