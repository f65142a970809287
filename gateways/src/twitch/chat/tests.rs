use domain::chat_request::Wish;
use serde_json::{Value, json};

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

/// A line as Twitch tells of it, with `more` in place of what it has.
fn said(text: &str, more: Value) -> Value {
    let mut event = json!({
        "broadcaster_user_id": "1000", "broadcaster_user_login": "goldenreel",
        "broadcaster_user_name": "GoldenReel",
        "chatter_user_id": "5001", "chatter_user_login": "reeldeal",
        "chatter_user_name": "ReelDeal",
        "message_id": "cc106a89-1814-919d-454c-f4f2f970aae7",
        "message": {"text": text, "fragments": [{"type": "text", "text": text}]},
        "color": "#FF7F50",
        "badges": [{"set_id": "moderator", "id": "1", "info": ""}],
        "message_type": "text", "cheer": null, "reply": null,
        "channel_points_custom_reward_id": null, "source_broadcaster_user_id": null,
    });
    for (key, value) in more.as_object().expect("an object") {
        event[key] = value.clone();
    }
    event
}

fn heard_of(kind: &str, event: &Value) -> Result<Option<Heard>, Untranslatable> {
    let raw = json!({
        "subscription": {"type": kind, "version": "1", "status": "enabled"}, "event": event,
    })
    .to_string();
    let notification = Notification { message_id: "n-1", sent_at: now(), raw: &raw };
    let listening = Listening { bot: Some("9000".to_owned()), ..Listening::default() };
    read(&notification, &listening, Some("1000"), now())
}

fn heard(event: &Value) -> Heard {
    heard_of("channel.chat.message", event).expect("readable").expect("about chat")
}

fn line(heard: &Heard) -> &Line {
    let Frame::Line(line) = &heard.frame else { panic!("a line: {:?}", heard.frame) };
    line
}

#[test]
fn a_line_is_shown_with_what_twitch_says_of_it() {
    let fragments = json!([
        {"type": "text", "text": "hi ", "cheermote": null, "emote": null, "mention": null},
        {"type": "emote", "text": "Kappa", "emote": {"id": "25", "emote_set_id": "0"}},
        {"type": "mention", "text": "@BetaMaxine",
         "mention": {"user_id": "5002", "user_login": "betamaxine", "user_name": "BetaMaxine"}},
        {"type": "emote", "text": "<b>", "emote": {"id": "../../etc"}},
    ]);
    let text = "hi Kappa@BetaMaxine<b>";
    let heard = heard(&said(text, json!({"message": {"text": text, "fragments": fragments}})));
    let line = line(&heard);
    assert_eq!((heard.id.as_str(), heard.broadcaster.as_str()), (line.id.as_str(), "1000"));
    assert_eq!(line.colour.as_deref(), Some("#ff7f50"));
    assert_eq!((line.bot, line.request, heard.asking.is_some()), (false, false, false));
    assert_eq!(
        serde_json::to_value(&line.parts).expect("JSON"),
        json!([{"text": "hi "}, {"emote": "25", "name": "Kappa"}, {"mention": "BetaMaxine"},
               {"text": "<b>"}])
    );
    assert_eq!(line.viewer.name.as_deref(), Some("ReelDeal"));
    assert_eq!(line.badges, ["moderator"]);
}

#[test]
fn a_line_that_asks_is_asked_under_its_own_id_by_whoever_said_it() {
    let heard = heard(&said("!ghost of a toaster", json!({})));
    assert!(line(&heard).request);
    let asking = heard.asking.expect("it asks");
    assert_eq!((asking.line.as_str(), asking.role), (heard.id.as_str(), Role::Moderator));
    let Wanted::Request(Request::Wish { wish, .. }) = &asking.wanted else { panic!("a wish") };
    assert_eq!(*wish, Wish::Ghost { subject: "a toaster".to_owned() });
}

#[test]
fn w20_what_is_asked_elsewhere_too_is_not_asked_here() {
    for more in [
        // The cheer comes by itself.
        json!({"cheer": {"bits": 200}}),
        json!({"cheer": {}}),
        // Said in another channel, and copied here.
        json!({"source_broadcaster_user_id": "2000", "source_message_id": "m-0"}),
        // Taken by a reward.
        json!({"channel_points_custom_reward_id": "92af127c-7326-4483-a52b-b0da0be61c01"}),
        // Said by us.
        json!({"chatter_user_id": "9000"}),
    ] {
        let heard = heard(&said("!ghost of a seal", more.clone()));
        assert!(heard.asking.is_none() && !line(&heard).request, "{more}");
    }
    let own = heard(&said("!balance", json!({"source_broadcaster_user_id": "1000"})));
    assert!(own.asking.is_some(), "said here, and shared with others");
}

#[test]
fn deletions_and_clearings_are_heard() {
    let here =
        json!({"broadcaster_user_id": "1000", "message_id": "m-1", "target_user_id": "5001"});
    let of = |kind| heard_of(kind, &here).expect("readable").expect("about chat");
    let (id, viewer, at) = ("m-1".to_owned(), "5001".to_owned(), Some(now()));
    let deleted = of("channel.chat.message_delete");
    assert_eq!((deleted.frame, deleted.id.as_str()), (Frame::Deleted { id }, "deleted:m-1"));
    let banned = of("channel.chat.clear_user_messages");
    let named = "cleared:5001:1750000000";
    assert_eq!((banned.frame, banned.id.as_str()), (Frame::ClearedViewer { viewer, at }, named));
    let cleared = of("channel.chat.clear");
    assert_eq!(
        (cleared.frame, cleared.id.as_str()),
        (Frame::Cleared { at }, "cleared:*:1750000000")
    );
    assert!(heard_of("channel.cheer", &here).expect("readable").is_none());
}

#[test]
fn hostile_and_huge_lines_are_shown_clean_and_bounded() {
    let hostile = "\u{0}<script>alert(1)</script>\u{1b}[31m\u{202e}\n!balance";
    let shown = heard(&said(hostile, json!({"color": "red; background: url(x)"})));
    let json = serde_json::to_string(&shown.frame).expect("JSON");
    assert!(!json.contains("\\u0000") && !json.contains("\\u001b"), "{json}");
    assert_eq!(line(&shown).colour, None);
    assert!(shown.asking.is_none());

    let text = "🦀".repeat(200_000);
    let fragment = json!({"type": "text", "text": "x".repeat(5_000)});
    let fragments = Value::from(vec![fragment; 5_000]);
    let badge = json!({"set_id": "a b", "id": "1"});
    let badges = Value::from(vec![badge; 1_000]);
    let huge = heard(&said(
        &text,
        json!({"message": {"text": text, "fragments": fragments}, "badges": badges}),
    ));
    assert!(line(&huge).parts.len() <= PARTS_MAX && line(&huge).badges.is_empty());
    let json = serde_json::to_string(&huge.frame).expect("JSON");
    assert!(json.len() < 32 * 1024, "CHAT takes it: {}", json.len());
}

#[test]
fn what_is_no_line_is_refused() {
    for event in [
        json!({}),
        json!({"broadcaster_user_id": "1000"}),
        said("hi", json!({"broadcaster_user_id": "2000"})),
        said("hi", json!({"message_id": "a.b.>"})),
        said("hi", json!({"message_id": ""})),
        said("hi", json!({"chatter_user_id": "a b"})),
        said("hi", json!({"message": 7})),
    ] {
        assert!(heard_of("channel.chat.message", &event).is_err(), "{event}");
    }
}
