use projections::alerts::Alert;

use super::*;

fn alert(kind: &str, n: u128) -> Alert {
    Alert {
        position: n as i64,
        id: Uuid::from_u128(n),
        kind: kind.to_owned(),
        viewer: None,
        data: json!({}),
        at: DateTime::UNIX_EPOCH,
    }
}

fn showing(kind: &str, n: u128, state: &str) -> Showing {
    let at = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
    Showing {
        alert: alert(kind, n),
        state: state.to_owned(),
        attempts: 1,
        queued_at: at,
        starts_at: Some(at),
        ends_at: Some(at),
        shown_at: None,
        reason: None,
        actor: None,
        priority: 0,
    }
}

fn view(position: i64) -> View {
    View {
        position,
        epoch: Uuid::nil(),
        stage: "main".to_owned(),
        paused: false,
        sound_muted: true,
        speech_muted: false,
        playing: Some(showing("cheer", 1, "playing")),
        next: vec![showing("raid", 2, "waiting")],
        waiting: 1,
    }
}

fn state(view: &View) -> State {
    State::new(view.epoch, view.position, Some(view))
}

#[test]
fn an_overlay_is_told_of_the_types_it_shows_and_of_no_others() {
    let state = state(&view(7));
    let said = |kinds: &[&str]| -> Value {
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        serde_json::from_str(&state.text(&kinds)).expect("JSON")
    };
    let all = said(&[]);
    assert_eq!(
        (&all["type"], &all["revision"], &all["waiting"]),
        (&json!("state"), &json!(7), &json!(1))
    );
    assert_eq!(all["muted"], json!({"sound": true, "speech": false}));
    assert_eq!(all["playing"]["alert"]["type"], "cheer");
    assert_eq!((&all["playing"]["attempt"], &all["playing"]["shown"]), (&json!(1), &json!(false)));
    assert_eq!(all["playing"]["starts_ms"], 1_750_000_000_000_i64);
    assert_eq!(all["next"]["type"], "raid");
    let raids = said(&["raid"]);
    assert_eq!((&raids["playing"], &raids["next"]["type"]), (&Value::Null, &json!("raid")));
    let cheers = said(&["cheer", "follow"]);
    assert_eq!((&cheers["playing"]["attempt"], &cheers["next"]), (&json!(1), &Value::Null));
}

#[test]
fn what_says_nothing_new_is_not_said_and_who_joins_later_hears_nothing_old() {
    let hub = Hub::new();
    let mut told = hub.join("main");
    hub.tell("main", state(&view(7)));
    assert!(told.has_changed().expect("open"));
    assert_eq!(told.borrow_and_update().as_ref().expect("told").revision, 7);
    hub.tell("main", state(&view(8)));
    assert!(!told.has_changed().expect("open"), "only the position has moved");
    hub.tell("main", state(&View { paused: true, ..view(9) }));
    assert_eq!(told.borrow_and_update().as_ref().expect("told").revision, 9);
    drop(told);
    assert!(hub.watched().is_empty());
    assert!(hub.join("main").borrow().is_none());
}

#[test]
fn who_joins_others_hears_at_once_what_they_have_heard() {
    let hub = Hub::new();
    let _first = hub.join("main");
    hub.tell("main", state(&view(7)));
    let mut second = hub.join("main");
    assert!(second.has_changed().expect("open"));
    assert_eq!(second.borrow_and_update().as_ref().expect("told").revision, 7);
}

#[test]
fn what_was_shown_and_waits_again_is_not_to_be_shown_by_its_old_start() {
    let replayed = View { playing: Some(showing("cheer", 1, "waiting")), ..view(7) };
    assert!(state(&replayed).playing.is_some_and(|playing| playing.shown));
}
