//! A stage as tables for people.

use chrono::{DateTime, Utc};
use projections::stages::{COUNTED_MAX, List, Showing, View};
use serde_json::Value;

use crate::cli::print;
use crate::stage::presence::Present;

/// The longest text of an alert in a table.
const WORDS_MAX: usize = 60;

/// Whether it is on the stage at `now`, or starts in a moment.
pub(super) fn is_on(playing: &Showing, now: DateTime<Utc>) -> bool {
    playing.state == "playing" || playing.ends_at.is_some_and(|ends_at| now < ends_at)
}

pub(super) fn show(view: &View, overlays: &[Present], now: DateTime<Utc>) -> anyhow::Result<()> {
    let muted: Vec<&str> = [(view.sound_muted, "sound"), (view.speech_muted, "speech")]
        .into_iter()
        .filter_map(|(muted, name)| muted.then_some(name))
        .collect();
    let waiting = match view.waiting {
        COUNTED_MAX => format!("{} or more", print::points(COUNTED_MAX)),
        waiting => print::points(waiting),
    };
    let playing = view.playing.as_ref().filter(|playing| is_on(playing, now));
    let plays = playing.map_or_else(
        || "nothing".to_owned(),
        |playing| {
            let left = playing.ends_at.map_or(0, |ends_at| (ends_at - now).num_seconds().max(0));
            let unseen = if playing.state == "playing" { ", on no screen yet" } else { "" };
            format!("{} ({left} s left{unseen})", words(playing))
        },
    );
    let mut table = print::table(&["stage", view.stage.as_str()], &[]);
    for (name, value) in [
        ("plays", plays),
        ("waiting", waiting),
        ("paused", if view.paused { "yes: tapedeck stage resume" } else { "no" }.to_owned()),
        ("muted", if muted.is_empty() { "nothing".to_owned() } else { muted.join(", ") }),
        ("as of", format!("position {}", print::points(view.position))),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    print::rows(table)?;
    if !view.next.is_empty() {
        print::text("")?;
        let mut table = print::table(&["next", "since (UTC)", "alert"], &[]);
        for showing in &view.next {
            let id = showing.alert.id.to_string();
            table.add_row([words(showing), print::time(showing.queued_at), id]);
        }
        print::rows(table)?;
    }
    print::text("")?;
    if overlays.is_empty() {
        return print::text("No overlay is there: nothing starts until OBS shows one.");
    }
    let mut table =
        print::table(&["overlay", "layer", "types", "since (UTC)", "last painted (UTC)"], &[]);
    for overlay in overlays {
        table.add_row([
            overlay.overlay.to_string(),
            overlay.layer.clone(),
            if overlay.kinds.is_empty() { "all".to_owned() } else { overlay.kinds.join(" ") },
            print::time(overlay.since),
            overlay.painted_at.map(print::time).unwrap_or_default(),
        ]);
    }
    print::rows(table)
}

pub(super) fn list(list: &List) -> anyhow::Result<()> {
    if list.showings.is_empty() {
        return print::text("No alerts.");
    }
    let head = ["at (UTC)", "alert", "what", "state", "started", "why, or who"];
    let mut table = print::table(&head, &[4]);
    for showing in &list.showings {
        table.add_row([
            print::time(showing.alert.at),
            showing.alert.id.to_string(),
            words(showing),
            showing.state.clone(),
            print::points(showing.attempts),
            print::harmless(
                showing.reason.as_deref().or(showing.actor.as_deref()).unwrap_or_default(),
            ),
        ]);
    }
    print::rows(table)?;
    match list.before {
        Some(before) => print::text(&format!("\nOlder: tapedeck stage alerts --before {before}")),
        None => Ok(()),
    }
}

/// An alert in a few words: `cheer of ReelDeal: 100 bits`.
fn words(showing: &Showing) -> String {
    let data = showing.alert.feed_data();
    let number = |field: &str| data[field].as_i64().map(print::points).unwrap_or_default();
    let more = match showing.alert.kind.as_str() {
        "cheer" => format!("{} bits", number("bits")),
        "gift" => format!("{} subs", number("count")),
        "raid" => format!("{} viewers", number("viewers")),
        "resub" => format!("{} months", number("months")),
        "hype_train" => format!("level {}", number("level")),
        "ghost" | "friend" => data["subject"].as_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let viewer = &data["viewer"];
    let who = viewer["name"].as_str().or(viewer["id"].as_str());
    let who = match (who, viewer) {
        (Some(who), _) => format!(" of {who}"),
        (None, Value::Null) if showing.alert.kind != "hype_train" => " of nobody named".to_owned(),
        (None, _) => String::new(),
    };
    let test = if data["test"] == true { " (a test)" } else { "" };
    let colon = if more.is_empty() { "" } else { ": " };
    let words = format!("{}{who}{colon}{more}{test}", showing.alert.kind.replace('_', " "));
    print::harmless(&words.chars().take(WORDS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use projections::Viewer;
    use projections::alerts::Alert;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn showing(kind: &str, viewer: Option<Viewer>, data: Value) -> Showing {
        let (at, id) = (DateTime::UNIX_EPOCH, Uuid::nil());
        Showing {
            alert: Alert { position: 1, id, kind: kind.to_owned(), viewer, data, at },
            state: "waiting".to_owned(),
            attempts: 0,
            queued_at: at,
            starts_at: None,
            ends_at: None,
            shown_at: None,
            reason: None,
            actor: None,
            priority: 0,
        }
    }

    #[test]
    fn an_alert_is_told_in_a_few_harmless_words() {
        let viewer = Viewer { id: "5001".to_owned(), name: Some("Reel\u{1b}Deal".to_owned()) };
        let cheer = showing("cheer", Some(viewer), json!({"bits": 1_200, "message": "x"}));
        assert_eq!(words(&cheer), "cheer of Reel\u{fffd}Deal: 1,200 bits");
        let train = showing("hype_train", None, json!({"level": 3}));
        assert_eq!(words(&train), "hype train: level 3");
        assert_eq!(words(&showing("follow", None, json!({}))), "follow of nobody named");
        let test = json!({"test": true, "viewer": {"id": "0", "name": "A Test"}, "subject": "x"});
        assert_eq!(words(&showing("ghost", None, test)), "ghost of A Test: x (a test)");
    }
}
