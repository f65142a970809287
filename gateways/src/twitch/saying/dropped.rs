//! What a reason means for which Twitch has not taken something: a `drop_reason` of Helix or the `msg-id` of a NOTICE, in
//! our words. Twitch's own are not passed on, because they may quote what was said. Pure.

use std::time::Duration;

use super::Said;

const CODE_CHARS_MAX: usize = 60;
/// How long to wait where Twitch does not say.
const TOO_MUCH: Duration = Duration::from_secs(30);
const TIMED_OUT: Duration = Duration::from_secs(60);

/// The reasons that have a name.
const NAMED: [(&str, &str); 27] = [
    ("msg_bad_characters", "it has characters that Twitch does not take"),
    ("msg_banned", "the account that speaks is banned from the channel"),
    ("msg_channel_blocked", "the channel has blocked the account that speaks"),
    ("msg_channel_suspended", "there is no such channel, or it is suspended"),
    ("msg_duplicate", "the same was said less than 30 seconds before"),
    ("msg_emoteonly", "the chat is for emotes only"),
    ("msg_facebook", "the chat wants an account that is connected to another site"),
    ("msg_followersonly", "the chat is for followers only"),
    ("msg_followersonly_followed", "the chat is for those only who have followed for longer"),
    ("msg_followersonly_zero", "the chat is for followers only"),
    ("msg_r9k", "the chat takes nothing that was said before"),
    ("msg_ratelimit", "too much is said under this account"),
    ("msg_rejected", "moderators are to look at it first"),
    ("msg_rejected_mandatory", "the channel's rules do not let it pass"),
    ("msg_requires_verified_phone_number", "the chat wants a verified phone number"),
    ("msg_room_not_found", "there is no such chat"),
    ("msg_slowmode", "the chat is in slow mode"),
    ("msg_subsonly", "the chat is for subscribers only"),
    ("msg_suspended", "the account that speaks is suspended"),
    ("msg_timedout", "the account that speaks is timed out"),
    ("msg_verified_email", "the chat wants a verified address"),
    ("no_permission", "the account that speaks may not do this"),
    ("tos_ban", "the channel is closed"),
    ("unavailable_command", "Twitch takes it for a command"),
    ("unrecognized_cmd", "Twitch takes it for a command"),
    ("user_timed_out", "the account that speaks is timed out"),
    ("whisper_restricted", "the account that speaks may not do this"),
];

/// What follows from `code`; `words` are Twitch's own, in which it says how long something lasts.
pub fn meaning(code: &str, words: &str) -> Said {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let code: String = code.chars().filter(plain).take(CODE_CHARS_MAX).collect();
    let named = NAMED.iter().find(|(name, _)| *name == code);
    let reason = match named {
        Some((_, why)) => format!("Twitch dropped it: {why} ({code})"),
        None => format!("Twitch dropped it: {code}"),
    };
    let after = |unsaid| Some(seconds(words).unwrap_or(unsaid));
    match code.as_str() {
        "msg_duplicate" => Said::Before,
        "msg_ratelimit" | "msg_slowmode" => Said::Later { after: after(TOO_MUCH), reason },
        "msg_timedout" | "user_timed_out" => Said::Later { after: after(TIMED_OUT), reason },
        _ => Said::Refused { reason },
    }
}

/// Whether the `msg-id` of a NOTICE is about something that was said. Others are about how the chat is, and for everybody.
pub fn is_about_what_was_said(code: &str) -> bool {
    code.starts_with("msg_") || NAMED.iter().any(|(name, _)| *name == code)
}

/// How many seconds the words name.
fn seconds(words: &str) -> Option<Duration> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let named = words.windows(2).find(|pair| pair[1] == "more" || pair[1].starts_with("second"))?;
    named[0].parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_in_plain_words_and_what_passes_is_tried_again() {
        assert_eq!(meaning("msg_duplicate", ""), Said::Before);
        for code in ["msg_banned", "msg_subsonly", "msg_rejected", "no_permission", "tos_ban"] {
            let Said::Refused { reason } = meaning(code, "you said <secret words>") else {
                panic!("{code}");
            };
            assert!(reason.ends_with(&format!(" ({code})")) && !reason.contains("secret"));
        }
        let after = |code: &str, words: &str| match meaning(code, words) {
            Said::Later { after, .. } => after.map(|after| after.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(after("msg_ratelimit", "you are sending messages too quickly."), Some(30));
        assert_eq!(after("msg_slowmode", "talk again in 7 seconds."), Some(7));
        let banned = "You are banned from talking in #99bottles for 573 more seconds.";
        assert_eq!(after("msg_timedout", banned), Some(573));
        assert_eq!(after("user_timed_out", "for 99999999999999999999 more seconds"), Some(60));
        let hostile = meaning("new\r\nreason :of theirs", "");
        assert_eq!(
            hostile,
            Said::Refused { reason: "Twitch dropped it: newreasonoftheirs".into() }
        );
    }

    #[test]
    fn a_notice_about_how_the_chat_is_is_about_nothing_that_was_said() {
        for code in ["slow_on", "followers_off", "host_on", "", "cmds_available"] {
            assert!(!is_about_what_was_said(code), "{code}");
        }
        for code in ["msg_banned", "msg_something_new", "no_permission", "unrecognized_cmd"] {
            assert!(is_about_what_was_said(code), "{code}");
        }
        assert!(NAMED.is_sorted_by_key(|(name, _)| *name));
    }
}
