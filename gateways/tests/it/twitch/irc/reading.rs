//! Connections that end in every way there is, logins that are refused, and lines that nobody should say.

use std::time::Duration;

use super::*;

async fn is(desk: &Desk, state: &str) -> record::Feed {
    let mut found = None;
    until(&format!("it is {state}"), async || {
        found = record::find(&desk.world.pool, BROADCASTER).await.unwrap_or_default();
        found.as_ref().is_some_and(|feed| feed.state == state)
    })
    .await;
    found.expect("a row")
}

#[tokio::test(flavor = "multi_thread")]
async fn how_it_is_becomes_known_once_postgresql_is_back() {
    let (mut desk, parts) = Desk::start(Options::default()).await;
    let fake = fake::Irc::start().await.expect("a fake");
    let reader = read(&desk, &fake);
    is(&desk, "joined").await;
    fake.is_away(true);
    is(&desk, "connecting").await;
    desk.world.servers.kill_postgres().await.expect("killed");
    fake.is_away(false);
    joined(&fake).await;
    // It is away for longer than anybody waits for it.
    let known = tokio::time::timeout(Duration::from_secs(4), is(&desk, "joined")).await;
    known.expect_err("PostgreSQL is away");
    desk.world.servers.start_postgres().await.expect("started again");
    // Nothing changes any more: what could not be written then is written now.
    is(&desk, "joined").await;
    reader.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_connection_ends_another_follows_and_what_was_said_is_there_once() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let fake = fake::Irc::start().await.expect("a fake");
    let reader = read(&desk, &fake);
    joined(&fake).await;
    assert_eq!(fake.says(&privmsg("m-1", "5001", "!balance", "")), 1);
    assert_eq!(fake.says(&privmsg("m-1", "5001", "!balance", "")), 1);
    assert_eq!(fake.says(&privmsg("m-2", "5001", "!balance", "bits=100")), 1);
    fake.ping();
    until("it is asked", async || asked(&desk.world).await == 1).await;

    // Told that it ends, it joins anew before it leaves, and somebody hears all that is said meanwhile.
    let mut said = 2;
    let mut said_at = Utc::now();
    fake.reconnect();
    until("the old connection is left", async || {
        said += 1;
        assert!(fake.says(&privmsg(&format!("m-{said}"), "5002", "hi", "")) >= 1);
        fake.connections() == 2 && fake.joined() == 1
    })
    .await;
    until("all of it is there", async || shown(&desk.world).await.len() == said).await;
    desk.gaps(0).await;

    for (connections, reason) in [(3, "closed by Twitch"), (4, "keepalive lost")] {
        match connections {
            3 => fake.cut(),
            _ => fake.hush(),
        }
        until("somebody is there again", async || fake.connections() == connections).await;
        let there_at = Utc::now();
        let gap = desk.gaps(connections as usize - 2).await.pop().expect("a gap");
        assert!(gap.reason.starts_with(reason) && gap.kinds == ["irc"], "{gap:?}");
        // A connection that fell silent may have been dead since its last word.
        assert!(gap.since >= said_at && gap.since <= there_at, "{gap:?} {said_at} {there_at}");
        said_at = Utc::now();
        until("it has joined", async || {
            fake.says(&privmsg(&format!("m-{}", said + 1), "5002", "hi", "")) == 1
        })
        .await;
        said += 1;
        until("it is heard", async || shown(&desk.world).await.len() == said).await;
    }
    let ids = shown(&desk.world).await;
    assert!(ids.contains(&"m-1".to_owned()) && ids.contains(&"m-2".to_owned()));
    let once: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(once.len(), ids.len(), "a line is shown twice");
    let heard = fake.heard();
    assert!(heard.iter().any(|line| line == "PONG :tmi.twitch.tv"), "{heard:?}");
    assert!(heard.iter().any(|line| line == "PING :tapedeck"), "{heard:?}");

    // In good order: what was said before the goodbye is there, and the row says that nobody reads.
    fake.says(&privmsg("m-last", "5001", "!balance", "badges=moderator/1"));
    reader.stop().await;
    until("it is asked", async || asked(&desk.world).await == 2).await;
    assert!(is(&desk, "stopped").await.heard_at.is_some());
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_is_told_and_not_tried_again_soon() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let fake = fake::Irc::start().await.expect("a fake");
    type Change = fn(&mut Irc);
    let wrong: [(Change, &str); 4] = [
        (|irc| irc.settings.token = Secret::new("wrong"), "refused: Login authentication failed"),
        (|irc| irc.settings.login = "somebody".to_owned(), "refused: Login authentication failed"),
        (
            |irc| irc.settings.channel = "nobody".to_owned(),
            "refused: This channel does not exist or has been suspended.",
        ),
        (
            |irc| irc.broadcaster = "2000".to_owned(),
            "refused: #goldenreel is not the channel of 2000",
        ),
    ];
    for (n, (change, reason)) in wrong.into_iter().enumerate() {
        let mut broadcaster = String::new();
        let reader = read_with(&desk, &fake, |irc| {
            change(irc);
            broadcaster.clone_from(&irc.broadcaster);
        });
        until("it is refused", async || {
            let feed = record::find(&desk.world.pool, &broadcaster).await;
            let feed = feed.expect("PostgreSQL answers");
            feed.is_some_and(|feed| feed.state == "refused" && feed.why.as_deref() == Some(reason))
        })
        .await;
        assert_eq!(fake.connections(), n as u64 + 1, "{reason}");
        reader.stop().await;
    }
    // Nobody who reads without an account can be refused for it.
    let reader = read_with(&desk, &fake, |irc| {
        (irc.settings.token, irc.settings.login) = (Secret::default(), String::new());
    });
    is(&desk, "joined").await;
    let login =
        fake.heard().into_iter().rev().find(|line| line.starts_with("NICK ")).expect("a login");
    assert!(login.starts_with("NICK justinfan"), "{login}");
    reader.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_is_hostile_enough_to_end_a_connection() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let fake = fake::Irc::start().await.expect("a fake");
    let reader = read(&desk, &fake);
    joined(&fake).await;
    let huge = "x".repeat(1024 * 1024);
    for line in [
        "",
        "@",
        "@ PRIVMSG",
        ":",
        "\u{0}",
        "PRIVMSG",
        "PRIVMSG #goldenreel",
        "PRIVMSG  #goldenreel  :hi",
        "@room-id=1000;id=m-0 PRIVMSG #goldenreel :!balance",
        "CLEARCHAT #goldenreel",
        "CLEARMSG #goldenreel",
        "CAP",
        "001",
        "ROOMSTATE #goldenreel",
        "NOTICE * :Login authentication failed",
        &huge,
        &format!("@{huge} PRIVMSG #goldenreel :hi"),
        &privmsg("a.b.>", "5001", "hi", ""),
        &privmsg("m-0", "5001", "hi", "room-id=2000"),
        &privmsg("m-0", "5001", "hi", "user-id=;x=\\"),
        &privmsg("m-0", "5001", &huge, ""),
        "@room-id=1000;id=m-0;user-id=1 :a PRIVMSG #another :hi",
    ] {
        assert_eq!(fake.says(line), 1);
    }
    assert_eq!(fake.says(&privmsg("m-1", "5001", "\u{1}\u{7}hi\u{1b}[2J", "emotes=25:0-4000")), 1);
    until("it is there", async || shown(&desk.world).await == ["m-1"]).await;
    assert_eq!(fake.connections(), 1);
    let clean = serde_json::to_string(&kept(&desk.world).await).expect("JSON");
    assert!(clean.contains("hi[2J") && !clean.contains("\\u00"), "{clean}");
    reader.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_on_a_death_reads_on_and_knows_since_when_nobody_did() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let fake = fake::Irc::start().await.expect("a fake");
    let first = read(&desk, &fake);
    joined(&fake).await;
    let joined_at = Utc::now();
    let mut heard_at = None;
    until("it is written down what was heard", async || {
        let feed = record::find(&desk.world.pool, BROADCASTER).await.expect("PostgreSQL answers");
        heard_at = feed.and_then(|feed| feed.heard_at);
        heard_at >= Some(joined_at)
    })
    .await;
    let second = read(&desk, &fake);
    first.dies().await;
    let died_at = Utc::now();
    until("the second one reads", async || fake.connections() == 2 && fake.joined() == 1).await;
    let gap = desk.gaps(1).await.remove(0);
    assert_eq!(
        (gap.reason.as_str(), gap.kinds.as_slice()),
        ("nobody was listening", &["irc".to_owned()][..])
    );
    assert!(Some(gap.since) >= heard_at && gap.since <= died_at, "{gap:?} {heard_at:?}");
    fake.says(&privmsg("m-1", "5001", "hi", ""));
    until("it is there", async || shown(&desk.world).await == ["m-1"]).await;
    second.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_eventsub_would_name_is_known_over_irc_too() {
    let (desk, parts) = Desk::start(Options::default()).await;
    let fake = fake::Irc::start().await.expect("a fake");
    let reader = read(&desk, &fake);
    joined(&fake).await;
    fake.says(&privmsg("m-1", "5001", "!give @NewComer 7", ""));
    fake.says(&privmsg("m-2", "5002", "!give @nobody 7", ""));
    until("both are asked", async || asked(&desk.world).await == 2).await;
    let payload = "SELECT payload::text FROM events WHERE event_type = 'asked' ORDER BY position";
    let payloads: Vec<String> =
        sqlx::query_scalar(payload).fetch_all(&desk.world.pool).await.expect("events");
    let all = payloads.join("\n");
    assert!(all.contains(r#""to":"5003""#) && all.contains("nobody_known"), "{all}");
    reader.stop().await;
    parts.stop().await;
}
