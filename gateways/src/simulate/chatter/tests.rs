use chrono::{DateTime, Utc};

use super::*;
use crate::twitch::Notification;
use crate::twitch::chat::{Heard, Listening, read};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_881_200, 0).expect("a time")
}

/// What the webhook hears of every line that is said in `night`.
fn heard(night: &Night) -> Vec<Heard> {
    let said = night.scenes.iter().filter(|scene| matches!(scene.deed, Deed::Chat { .. }));
    said.map(|scene| {
        let raw = night.body(scene);
        let message_id = scene.message_id.as_str();
        let notification = Notification { message_id, sent_at: now(), raw: &raw };
        let ours = Some(&*night.broadcaster.id);
        let heard = read(&notification, &Listening::default(), ours, now());
        heard.expect("readable").expect("about chat")
    })
    .collect()
}

#[test]
fn what_is_said_after_a_night_asks_as_often_as_it_says() {
    for seed in [7, 8, 9] {
        let night = Night::script(seed, 300).with_requests().with_chat();
        let heard = heard(&night);
        let asked = heard.iter().filter(|heard| heard.asking.is_some()).count();
        assert_eq!(asked, night.expected_replies());
        assert_eq!(heard.len(), asked + UNANSWERED.len());
        let ids: std::collections::BTreeSet<&str> = heard.iter().map(|one| &*one.id).collect();
        assert_eq!(ids.len(), heard.len(), "each line is another");
        assert!(night.expected_points().values().all(|points| *points >= 0));
    }
}

#[test]
fn a_short_night_has_nobody_who_could_pay() {
    let night = Night::script(3, 2).with_chat();
    let paid = night.scenes.iter().filter(|scene| scene.deed.expected_gift().is_some()).count();
    assert_eq!((paid, night.requests()), (0, 0));
    assert!(night.expected_replies() > 0);
}
