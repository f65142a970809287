use domain::chat::Role;
use serde_json::{Value, json};

use super::*;
use crate::chat::{Line, Part};

const AT_MS: i64 = 1_750_000_000_123;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(AT_MS + 40).expect("a time")
}

/// A line of viewer 5001 with these tags beside the usual ones.
fn privmsg(tags: &str, text: &str) -> String {
    format!(
        "@badge-info=subscriber/8;badges=moderator/1,subscriber/6;color=#FF7F50;display-name=ReelDeal;\
         id=cc106a89-1814-919d-454c-f4f2f970aae7;room-id=1000;tmi-sent-ts={AT_MS};user-id=5001;{tags} \
         :reeldeal!reeldeal@reeldeal.tmi.twitch.tv PRIVMSG #goldenreel :{text}"
    )
}

fn heard_of(text: &str) -> Result<Heard, Untranslatable> {
    let listening = Listening { bot: Some("9000".to_owned()), ..Listening::default() };
    read(text, &listening, Some("1000"), now())
}

fn heard(text: &str) -> Heard {
    heard_of(text).expect("a line that can be read")
}

fn line(heard: &Heard) -> &Line {
    let Frame::Line(line) = &heard.frame else { panic!("a line: {:?}", heard.frame) };
    line
}

/// The same through EventSub.
fn over_eventsub(text: &str, more: Value) -> Heard {
    let mut event = json!({
        "broadcaster_user_id": "1000", "broadcaster_user_login": "goldenreel",
        "broadcaster_user_name": "GoldenReel", "chatter_user_id": "5001",
        "chatter_user_login": "reeldeal", "chatter_user_name": "ReelDeal",
        "message_id": "cc106a89-1814-919d-454c-f4f2f970aae7",
        "message": {"text": text, "fragments": [{"type": "text", "text": text}]},
        "color": "#FF7F50", "message_type": "text", "cheer": null,
        "badges": [{"set_id": "moderator", "id": "1"}, {"set_id": "subscriber", "id": "6"}],
    });
    for (key, value) in more.as_object().expect("an object") {
        event[key] = value.clone();
    }
    let kind = json!({"type": "channel.chat.message", "version": "1", "status": "enabled"});
    let raw = json!({"subscription": kind, "event": event}).to_string();
    let sent_at = DateTime::from_timestamp_millis(AT_MS).expect("a time");
    let notification = Notification { message_id: "n-1", sent_at, raw: &raw };
    let listening = Listening { bot: Some("9000".to_owned()), ..Listening::default() };
    let read = crate::twitch::chat::read(&notification, &listening, Some("1000"), now());
    read.expect("readable").expect("about chat")
}

#[test]
fn a_line_means_the_same_over_either_way() {
    let fragments = |all: Value| json!({"message": {"text": "", "fragments": all}});
    let kappa = |text: &str, all: Value| {
        let mut more = fragments(all);
        more["message"]["text"] = json!(text);
        more
    };
    let cases = [
        ("", "hello there", json!({})),
        ("", "!balance", json!({})),
        ("", "!ghost of a toaster", json!({})),
        ("bits=200", "!ghost of a seal Cheer200", json!({"cheer": {"bits": 200}})),
        (
            "source-room-id=2000;source-id=x",
            "!balance",
            json!({"source_broadcaster_user_id": "2000"}),
        ),
        (
            "source-room-id=1000;source-id=x",
            "!balance",
            json!({"source_broadcaster_user_id": "1000"}),
        ),
        (
            "custom-reward-id=92af127c",
            "!balance",
            json!({"channel_points_custom_reward_id": "92af127c"}),
        ),
        ("color=", "no colour", json!({"color": ""})),
        (
            "emotes=25:2-6",
            "🦀 Kappa",
            kappa(
                "🦀 Kappa",
                json!([
                    {"type": "text", "text": "🦀 "}, {"type": "emote", "text": "Kappa", "emote": {"id": "25"}},
                ]),
            ),
        ),
    ];
    for (tags, text, more) in cases {
        let (here, there) = (heard(&privmsg(tags, text)), over_eventsub(text, more));
        assert_eq!((&here.id, &here.broadcaster), (&there.id, &there.broadcaster), "{text}");
        assert_eq!(here.frame, there.frame, "{text}");
        assert_eq!(here.asking.is_some(), there.asking.is_some(), "{tags} {text}");
        assert_eq!(here.asking.is_some(), line(&here).request);
    }
}

#[test]
fn w20_a_line_with_bits_asks_for_nothing_however_many_it_says_to_have() {
    for bits in ["1", "200", "0", "-5", "many", "99999999999999999999"] {
        let heard = heard(&privmsg(&format!("bits={bits}"), "!balance"));
        assert!(heard.asking.is_none() && !line(&heard).request, "{bits}");
    }
    assert!(heard(&privmsg("bits=", "!balance")).asking.is_some(), "an empty tag says nothing");
}

#[test]
fn what_we_say_ourselves_asks_for_nothing() {
    let own = privmsg("user-id=9000", "!balance");
    let heard = heard(&own);
    assert!(line(&heard).bot && heard.asking.is_none());
}

#[test]
fn emotes_are_where_they_are_said_to_be_and_nowhere_else() {
    let parts = |emotes: &str, text: &str| {
        let heard = heard(&privmsg(&format!("emotes={emotes}"), text));
        serde_json::to_value(&line(&heard).parts).expect("JSON")
    };
    let text = "😀Kappa Kappa PogChamp";
    assert_eq!(
        parts("25:1-5,7-11/305954156:13-20", text),
        json!([{"text": "😀"}, {"emote": "25", "name": "Kappa"}, {"text": " "},
               {"emote": "25", "name": "Kappa"}, {"text": " "},
               {"emote": "305954156", "name": "PogChamp"}])
    );
    let plain = json!([{"text": text}]);
    for wrong in [
        "",
        "25",
        "25:",
        "25:-",
        "25:5-1",
        "25:1-21",
        "25:1-65535",
        "25:1-99999999999999999999",
        ":",
        "25:a-b",
        "25:1",
        "//",
        "25:0-5-6",
        "25:-1-3",
    ] {
        assert_eq!(parts(wrong, text), plain, "{wrong}");
    }
    // What lies in another one is none, and an id that is no name is text.
    assert_eq!(parts("25:1-5,3-8", text).as_array().map(Vec::len), Some(3));
    let hostile = parts("a.b.>:1-5", text);
    assert_eq!(hostile[1], json!({"text": "Kappa"}));
    let many = (0..5_000).map(|_| "25:0-0").collect::<Vec<_>>().join("/");
    assert_eq!(parts(&many, text).as_array().map(Vec::len), Some(2));
}

#[test]
fn an_action_is_shown_without_its_marks_and_its_emotes_are_counted_from_its_words() {
    let said = heard(&privmsg("emotes=25:6-10", "\u{1}ACTION waves Kappa\u{1}"));
    let parts = serde_json::to_value(&line(&said).parts).expect("JSON");
    assert_eq!(parts, json!([{"text": "waves "}, {"emote": "25", "name": "Kappa"}]));
    assert!(heard(&privmsg("", "\u{1}ACTION !balance\u{1}")).asking.is_some());
}

#[test]
fn whoever_is_named_is_shown_and_known_where_the_line_answers_them() {
    let parent = "reply-parent-msg-id=m-0;reply-parent-user-id=5002;\
                  reply-parent-user-login=betamaxine;reply-parent-display-name=BetaMaxine";
    let said = privmsg(parent, "@BetaMaxine hi @others me@home @ @@x");
    let heard = heard(&said);
    let names: Vec<&str> = line(&heard)
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Mention { mention } => Some(mention.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["BetaMaxine", "others"]);
    let said = Said::read(&said).expect("a line");
    let ids: Vec<String> =
        chat_line(&said, "1000").mentions().into_iter().map(|named| named.id).collect();
    assert_eq!(ids, ["5002"]);
}

#[test]
fn the_one_who_asks_is_who_twitch_says_with_the_role_of_their_badges() {
    let escaped = heard(&privmsg(r"display-name=Reel\sDeal", "hi"));
    assert_eq!(line(&escaped).viewer.name.as_deref(), Some("Reel Deal"));
    let unnamed = heard(&privmsg("display-name=", "hi"));
    assert_eq!(line(&unnamed).viewer.name.as_deref(), Some("reeldeal"));
    assert_eq!(line(&unnamed).badges, ["moderator", "subscriber"]);
    assert_eq!(Role::of_badges(line(&unnamed).badges.iter().map(String::as_str)), Role::Moderator);
    let none = heard(&privmsg("badges=", "hi"));
    assert!(line(&none).badges.is_empty());
}

#[test]
fn deletions_and_clearings_have_the_names_that_eventsub_gives_them() {
    let at = DateTime::from_timestamp_millis(AT_MS);
    let deleted = heard(
        "@login=reeldeal;room-id=;target-msg-id=m-1 :tmi.twitch.tv CLEARMSG #goldenreel :bad",
    );
    assert_eq!(
        (deleted.frame, deleted.id.as_str()),
        (Frame::Deleted { id: "m-1".to_owned() }, "deleted:m-1")
    );
    for timeout in ["ban-duration=600;", ""] {
        let cleared = heard(&format!(
            "@{timeout}room-id=1000;target-user-id=5001;tmi-sent-ts={AT_MS} :tmi.twitch.tv CLEARCHAT #goldenreel :reeldeal"
        ));
        let frame = Frame::ClearedViewer { viewer: "5001".to_owned(), at };
        assert_eq!((cleared.frame, cleared.id.as_str()), (frame, "cleared:5001:1750000000"));
    }
    let all =
        heard(&format!("@room-id=1000;tmi-sent-ts={AT_MS} :tmi.twitch.tv CLEARCHAT #goldenreel"));
    assert_eq!((all.frame, all.id.as_str()), (Frame::Cleared { at }, "cleared:*:1750000000"));
    // Somebody's lines whom it does not name by id are not everybody's.
    let nobody = "@room-id=1000 :tmi.twitch.tv CLEARCHAT #goldenreel :reeldeal";
    assert!(heard_of(nobody).is_err());
}

#[test]
fn a_line_is_as_old_as_twitch_says_where_that_can_be_believed() {
    for wrong in ["", "x", "0", "-1", "9999999999999", "9223372036854775807", "1e3"] {
        let heard = heard(&privmsg(&format!("tmi-sent-ts={wrong}"), "hi"));
        assert_eq!(line(&heard).at, now(), "{wrong}");
    }
}

#[test]
fn hostile_and_huge_lines_are_shown_clean_and_bounded() {
    let hostile = "<script>alert(1)</script>\u{1b}[31m\u{202e}\u{0}!balance";
    let shown = heard(&privmsg("color=red;badges=a\\sb/1,<x>/2,//,,", hostile));
    let json = serde_json::to_string(&shown.frame).expect("JSON");
    assert!(!json.contains("\\u0000") && !json.contains("\\u001b"), "{json}");
    assert_eq!((line(&shown).colour.as_deref(), shown.asking.is_some()), (None, false));
    for text in
        ["🦀".repeat(4_000), "@a ".repeat(5_000), "@".repeat(16_000), "\u{1}ACTION ".to_owned()]
    {
        let badges = "x/1,".repeat(1_000);
        let huge = heard(&privmsg(&format!("badges={badges}"), &text));
        let json = serde_json::to_string(&huge.frame).expect("JSON");
        assert!(json.len() < 32 * 1024, "CHAT takes it: {}", json.len());
    }
}

#[test]
fn what_is_no_line_of_this_channel_is_refused() {
    for text in [
        privmsg("room-id=2000", "hi"),
        privmsg("room-id=", "hi"),
        privmsg("id=", "hi"),
        privmsg("id=a.b.>", "hi"),
        privmsg("user-id=", "hi"),
        privmsg(r"user-id=a\sb", "hi"),
        "PRIVMSG #goldenreel :hi".to_owned(),
        "@room-id=1000 CLEARMSG #goldenreel :x".to_owned(),
        "@room-id=2000;target-msg-id=m-1 CLEARMSG #goldenreel :x".to_owned(),
        "@room-id=1000 USERNOTICE #goldenreel".to_owned(),
        "".to_owned(),
    ] {
        assert!(heard_of(&text).is_err(), "{text}");
    }
}

#[test]
fn what_is_kept_of_a_line_names_whoever_it_speaks_of() {
    let asking = heard(&privmsg("", "!balance")).asking.expect("it asks");
    let raw: Value = serde_json::from_str(asking.raw().expect("kept")).expect("JSON");
    assert_eq!(raw["users"], json!(["5001"]));
    assert!(raw["irc"].as_str().is_some_and(|line| line.ends_with(":!balance")));
}
