//! A text as a line of IRC can carry it. Pure.

use super::super::TEXT_CHARS_MAX;

/// What Twitch may take for the beginning of a command of its own.
const COMMANDS_BEGIN: [char; 3] = ['/', '.', '\\'];
/// What comes after this is said as it is, and this is not: the way of the crate `twitch-irc`.
const ESCAPE: &str = ". ";

/// One line, which is no command; nothing where there is nothing to say.
pub fn spoken(text: &str) -> Option<String> {
    // A line ends where its end is, so there must be none within.
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line: String = clean.trim().chars().take(TEXT_CHARS_MAX).collect();
    match line.chars().next()? {
        first if COMMANDS_BEGIN.contains(&first) => {
            Some(format!("{ESCAPE}{line}").chars().take(TEXT_CHARS_MAX).collect())
        }
        _ => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_more_than_one_line_or_a_command() {
        let said = |text: &str| spoken(text).expect("something");
        assert_eq!(said("@Ann you have 7 points."), "@Ann you have 7 points.");
        assert_eq!(said("hi\r\nQUIT\n\0\u{1}ACTION x\u{1}"), "hi  QUIT   ACTION x");
        for command in ["/ban ann", ".timeout ann", "\\me", "  /disconnect", "\r\n/ban ann", "/"] {
            let line = said(command);
            assert!(line.starts_with(". ") && !line.contains(['\r', '\n']), "{line:?}");
        }
        for nothing in ["", "   ", "\r\n", "\u{0}\t"] {
            assert_eq!(spoken(nothing), None, "{nothing:?}");
        }
        let long = "é".repeat(TEXT_CHARS_MAX + 1);
        assert_eq!(said(&long).chars().count(), TEXT_CHARS_MAX);
    }
}
