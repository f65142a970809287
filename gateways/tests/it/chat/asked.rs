//! What is asked in chat is done once, and answered once.

use gateways::cli::serve::Role;

use super::*;

/// How many events of this type there are.
async fn events(serving: &Serving, aggregate: &str, kind: &str) -> i64 {
    let query = "SELECT count(*) FROM events WHERE aggregate_type =";
    serving.world.count(&format!("{query} '{aggregate}' AND event_type = '{kind}'")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_is_answered_once_and_in_kind_words() {
    let serving = Serving::start().await;
    has_points(&serving, VIEWER, 500).await;
    let mut chat = watching(&serving).await;
    let mut asked = 0;
    for (text, answered) in [
        ("!balance", "you have 500 points."),
        ("!uptime", "we are not live just now."),
        ("!tape", "there is no tape in the machine just now."),
        ("!gifts", "Say !give @somebody 50, and they have 50 of your points."),
        ("!ghost", "not quite: say what: !ghost of a lighthouse."),
        ("!1 ghost of a seal", "not quite: ghost costs 200 points, and 1 were named."),
        ("!give somebody-else 5", "nobody of that name was ever seen here."),
    ] {
        asked += 1;
        // Another viewer each time has no cooldown of their own; one has points.
        let viewer = if asked == 1 { VIEWER.to_owned() } else { format!("60{asked:02}") };
        says(&serving, &format!("m-{asked}"), &viewer, text).await;
        assert_eq!(answer(&mut chat).await, format!("@Viewer-{viewer} {answered}"));
    }
    says(&serving, "m-top", "6100", "!top").await;
    assert_eq!(answer(&mut chat).await, "@Viewer-6100 the most points: 1. Viewer-5001 500.");
    let ended = replies(&serving, 8).await;
    assert_eq!(ended.len(), 8);
    assert!(ended.iter().all(|reply| reply["receipt"]["way"] == "overlay"), "{ended:?}");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_line_ten_times_asks_pays_and_is_answered_once() {
    let serving = Serving::start().await;
    has_points(&serving, VIEWER, 1_000).await;
    let mut chat = watching(&serving).await;
    let text = "!200 test card please \u{1f39e}";
    let posts = (0..10).map(|n| {
        let (serving, line) = (&serving, line("m-1", VIEWER, text));
        async move {
            // Under many message ids, too.
            post(serving, "channel.chat.message", &format!("n-{}", n % 4), &line).await
        }
    });
    let statuses = futures::future::join_all(posts).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::NO_CONTENT), "{statuses:?}");
    let shown = frame(&mut chat).await;
    assert_eq!((&shown["id"], &shown["request"]), (&json!("m-1"), &json!(true)));
    let answered = answer(&mut chat).await;
    assert_eq!(answered, "@Viewer-5001 your test card is on its way to the screen!");
    assert_eq!(replies(&serving, 1).await.len(), 1);
    assert_eq!(balance(&serving, VIEWER).await, (800, 200));
    assert_eq!(events(&serving, "generation", "submitted").await, 1);
    let alerts = serving.key(&[Scope::AlertsRead]).await;
    let (_, alerts) = serving.get(&alerts, "/alerts?types=static").await;
    assert_eq!(alerts["alerts"].as_array().expect("a list").len(), 1);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w20_a_cheer_that_begins_like_a_request_is_granted_once() {
    let serving = Serving::start().await;
    let mut chat = watching(&serving).await;
    let text = "!ghost of a seal Cheer200";
    let cheer = json!({
        "broadcaster_user_id": BROADCASTER, "is_anonymous": false, "user_id": VIEWER,
        "user_login": "viewer-5001", "user_name": "Viewer-5001", "bits": 200, "message": text,
    });
    let said = with(line("m-1", VIEWER, text), "cheer", json!({"bits": 200}));
    post(&serving, "channel.chat.message", "n-1", &said).await;
    post(&serving, "channel.cheer", "n-2", &cheer).await;
    // Copied from another channel: shown, and never a request.
    let copied = with(line("m-2", VIEWER, "!balance"), "source_broadcaster_user_id", json!("77"));
    post(&serving, "channel.chat.message", "n-3", &copied).await;
    for id in ["m-1", "m-2"] {
        let shown = frame(&mut chat).await;
        assert_eq!((&shown["id"], &shown["request"]), (&json!(id), &json!(false)));
    }
    until("the picture is paid for", async || events(&serving, "generation", "settled").await == 1)
        .await;
    assert_eq!(balance(&serving, VIEWER).await, (0, 200));
    assert_eq!(events(&serving, "generation", "submitted").await, 1);
    assert_eq!(events(&serving, "chat", "asked").await, 0);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w24_whoever_asks_in_chat_and_gets_nothing_is_told_why_there() {
    let serving = Serving::start().await;
    let mut chat = watching(&serving).await;
    has_points(&serving, VIEWER, 150).await;
    says(&serving, "m-1", VIEWER, "!ghost of a toaster").await;
    let answered = answer(&mut chat).await;
    assert_eq!(answered, "@Viewer-5001 that takes 200 points, and you have 150.");
    says(&serving, "m-2", "5002", "!give @Viewer-5001 10").await;
    let answered = answer(&mut chat).await;
    assert_eq!(answered, "@Viewer-5002 that takes 10 points, and you have 0.");
    let told = replies(&serving, 2).await;
    assert_eq!(told[0]["ending"], json!({"too_few_points": {"available": 150}}));
    assert_eq!(told.len(), 2);
    assert_eq!(balance(&serving, VIEWER).await, (150, 0));
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_the_amount_that_is_named_is_the_price_or_nothing_is_taken() {
    let serving = Serving::start().await;
    has_points(&serving, VIEWER, 1_000).await;
    let mut chat = watching(&serving).await;
    for (n, text) in
        ["my girlfriend is here", "ghosts are cool", "hello friends"].iter().enumerate()
    {
        says(&serving, &format!("talk-{n}"), VIEWER, text).await;
    }
    says(&serving, "m-1", VIEWER, "!9999 tracking error").await;
    let answered = answer(&mut chat).await;
    assert!(answered.contains("tracking-error costs 300 points, and 9999 were named"));
    assert_eq!(balance(&serving, VIEWER).await, (1_000, 0));
    says(&serving, "m-2", "5002", "hi").await;
    assert_eq!(replies(&serving, 1).await.len(), 1);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w32_a_flood_is_answered_once_and_unknown_words_never() {
    let serving = Serving::with(&Role::ALL, |config| config.chat.answers.cooldown_s = 600).await;
    let mut chat = watching(&serving).await;
    let huge = format!("!balance {}", "🦀".repeat(100_000));
    for (n, text) in
        ["!unknown", "!so @x", "!!", "! top", "!\u{0}", huge.as_str()].into_iter().enumerate()
    {
        says(&serving, &format!("u-{n}"), &format!("70{n:02}"), text).await;
    }
    let posts = (0..40).map(|n| {
        let serving = &serving;
        async move { says(serving, &format!("m-{n}"), &format!("80{n:02}"), "!uptime").await }
    });
    futures::future::join_all(posts).await;
    // A moderator need not wait, and comes after all of them.
    let badges = json!([{"set_id": "moderator", "id": "1", "info": ""}]);
    let moderator = with(line("m-mod", "9001", "!uptime"), "badges", badges);
    post(&serving, "channel.chat.message", "m-mod", &moderator).await;
    let mut said = Vec::new();
    while !said.iter().any(|words: &String| words.starts_with("@Viewer-9001")) {
        said.push(answer(&mut chat).await);
    }
    // The long balance is a question like any other; of forty others one is answered.
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|words| words.chars().count() <= 500 && !words.contains("http")));
    assert_eq!(replies(&serving, 3).await.len(), 3);
    let refused = "SELECT count(*) FROM command_outcomes
                   WHERE aggregate_type = 'chat' AND outcome = 'rejected'";
    assert_eq!(serving.world.count(refused).await, 39);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_given_to_whoever_is_named_and_both_ends_agree() {
    let serving = Serving::start().await;
    has_points(&serving, VIEWER, 100).await;
    let mut chat = watching(&serving).await;
    // Seen before: by asking.
    says(&serving, "m-1", "5002", "!balance").await;
    answer(&mut chat).await;
    says(&serving, "m-2", VIEWER, "!give @vIEWER-5002 40").await;
    let answered = answer(&mut chat).await;
    assert_eq!(answered, "@Viewer-5001 Viewer-5002 has 40 points of yours now. How kind!");
    says(&serving, "m-3", "5002", "!give Viewer-5002 5").await;
    assert_eq!(answer(&mut chat).await, "@Viewer-5002 you have those already.");
    // Whom Twitch names is known by that.
    let fragments = json!([
        {"type": "text", "text": "!give "},
        {"type": "mention", "text": "@Newcomer",
         "mention": {"user_id": "5003", "user_login": "newcomer", "user_name": "Newcomer"}},
        {"type": "text", "text": " 7"},
    ]);
    let message = json!({"text": "!give @Newcomer 7", "fragments": fragments});
    let named = with(line("m-4", "5002", "x"), "message", message);
    // Later than the cooldown of gifts, for the same viewer: by Twitch's clock in the test's hand.
    let badges = json!([{"set_id": "vip", "id": "1"}, {"set_id": "moderator", "id": "1"}]);
    post(&serving, "channel.chat.message", "m-4", &with(named, "badges", badges)).await;
    let answered = answer(&mut chat).await;
    assert_eq!(answered, "@Viewer-5002 Newcomer has 7 points of yours now. How kind!");
    until("both gifts are spent", async || events(&serving, "account", "captured").await == 2)
        .await;
    assert_eq!(balance(&serving, VIEWER).await, (60, 40));
    assert_eq!(balance(&serving, "5002").await, (33, 7));
    assert_eq!(balance(&serving, "5003").await, (7, 0));
    serving.stop().await;
}
