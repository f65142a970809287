//! What is shown of a chat.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_sees_the_last_lines_and_then_what_is_said_deleted_and_cleared() {
    let serving = Serving::start().await;
    let mut first = watching(&serving).await;
    for n in 1..=3 {
        says(&serving, &format!("m-{n}"), VIEWER, &format!("line {n}")).await;
        // Twitch may tell of it again.
        says(&serving, &format!("m-{n}"), VIEWER, &format!("line {n}")).await;
        assert_eq!(frame(&mut first).await["id"], format!("m-{n}"));
    }
    let here = |key: &str, value: &str| json!({"broadcaster_user_id": BROADCASTER, key: value});
    let deleted = here("message_id", "m-2");
    post(&serving, "channel.chat.message_delete", "n-1", &deleted).await;
    assert_eq!(frame(&mut first).await, json!({"type": "deleted", "id": "m-2"}));
    // A line that comes after its deletion is not shown to anybody.
    post(&serving, "channel.chat.message_delete", "n-2", &here("message_id", "m-9")).await;
    assert_eq!(frame(&mut first).await["id"], "m-9");
    says(&serving, "m-9", VIEWER, "gone before it came").await;
    says(&serving, "m-4", "5002", "<img src=x onerror=alert(1)> \u{202e}").await;
    let shown = frame(&mut first).await;
    assert_eq!(shown["id"], "m-4");
    assert_eq!(shown["viewer"], json!({"id": "5002", "name": "Viewer-5002"}));
    assert_eq!((&shown["bot"], &shown["request"]), (&json!(false), &json!(false)));

    let mut second = watching(&serving).await;
    for id in ["m-1", "m-3", "m-4"] {
        assert_eq!(frame(&mut second).await["id"], id);
    }
    let banned = here("target_user_id", VIEWER);
    post(&serving, "channel.chat.clear_user_messages", "n-3", &banned).await;
    for socket in [&mut first, &mut second] {
        let cleared = frame(socket).await;
        assert_eq!(
            (&cleared["type"], &cleared["viewer"]),
            (&json!("cleared_viewer"), &json!(VIEWER))
        );
    }
    let mut third = watching(&serving).await;
    assert_eq!(frame(&mut third).await["id"], "m-4");
    post(&serving, "channel.chat.clear", "n-4", &here("x", "y")).await;
    assert_eq!(frame(&mut third).await["type"], "cleared");
    // Lines are no history.
    let of_chat = "SELECT count(*) FROM events WHERE aggregate_type <> 'stage'";
    assert_eq!(serving.world.count(of_chat).await, 0);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_line_asks_for_is_asked_though_the_line_cannot_be_kept() {
    use journal::broker::Role;
    let serving = Serving::start().await;
    let admin = serving.world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    admin.delete_stream(gateways::chat::lines::CHAT).await.expect("nothing is kept any more");
    says(&serving, "m-1", VIEWER, "!balance").await;
    says(&serving, "m-2", VIEWER, "nothing in particular").await;
    let asked = "SELECT count(*) FROM events WHERE event_type = 'asked'";
    until("it is asked", async || serving.world.count(asked).await == 1).await;
    let deleted = json!({"broadcaster_user_id": BROADCASTER, "message_id": "m-2"});
    let status = post_once(&serving, "channel.chat.message_delete", "n-1", &deleted).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "Twitch is to tell of it again");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_are_there_again_after_a_restart_and_in_another_process() {
    let serving = Serving::start().await;
    for n in 0..60 {
        says(&serving, &format!("m-{n}"), VIEWER, "hi").await;
    }
    let lines = gateways::chat::Lines::start(&serving.world.broker).await.expect("it gets in");
    let hub = std::sync::Arc::new(gateways::chat::Hub::default());
    let stop = tokio_util::sync::CancellationToken::new();
    let following = tokio::spawn(gateways::chat::hub::run(hub.clone(), lines, stop.clone()));
    until("the other process has read them", async || {
        let (shown, _) = hub.join();
        shown.len() == 50 && shown[49].as_str().contains("m-59")
    })
    .await;
    assert!(hub.join().0[0].as_str().contains("m-10"));
    stop.cancel();
    following.await.expect("no panic").expect("a good end");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_the_lines_of_chat_can_do_nothing_else() {
    use journal::broker::Role;
    let world = crate::world::World::start().await;
    let theirs = world.broker.jetstream(Role::Chat).await.expect("it gets in");
    for subject in ["cmd.1.account.5001.credit", "evt.account.5001.credited"] {
        let sent = theirs.publish(subject, "x".into()).await.expect("on its way").await;
        assert!(sent.is_err(), "{subject}");
    }
    assert!(theirs.get_stream("COMMANDS").await.is_err());
    assert!(theirs.delete_stream("CHAT").await.is_err());
    let chat = theirs.get_stream("CHAT").await.expect("allowed");
    let config = &chat.cached_info().config;
    assert_eq!((config.max_age.as_secs(), config.max_bytes), (3_600, 67_108_864));
    let kept = theirs.publish("chat.1000.line", "x".into()).await.expect("on its way").await;
    assert!(kept.is_ok(), "{kept:?}");
}
