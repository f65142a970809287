//! Replies over IRC, at a fake of it: what is taken, what is not and why, and what nobody knows because the connection was
//! lost meanwhile.

use domain::chat::NoGift;
use domain::chat_reply::Way;
use gateways::config::Config;
use gateways::sandbox::irc::{Answer, CHANNEL, Irc};
use gateways::sandbox::twitch::{BOT, Twitch};
use gateways::twitch::accounts::{Accounts, Role as As};
use gateways::twitch::saying::{Over, Said};
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines as TextLines};
use tokio::net::TcpStream;

use super::*;
use crate::accounts::{connected, settings_at, time_passes};
use crate::world::PATIENCE;

/// Twitch, its chat, and a bot that is connected to speak there.
struct There {
    twitch: Twitch,
    irc: Irc,
    config: Config,
    accounts: Arc<Accounts>,
}

impl There {
    async fn start(world: &World) -> Self {
        let twitch = Twitch::start().await.expect("a fake Twitch");
        let irc = Irc::start_beside(&twitch).await.expect("a fake of its chat");
        let mut settings = settings_at(&twitch);
        settings.chat.over = Over::Irc;
        settings.irc.address = irc.address().try_into().expect("an address");
        settings.irc.channel = CHANNEL.to_owned();
        let config = Config {
            broadcaster_id: BROADCASTER.to_owned(),
            sealing_key_file: Some(world.servers.data.join("sealing.key")),
            twitch: settings,
            ..Config::default()
        };
        let accounts = Accounts::new(&config, world.pool.clone());
        let accounts = accounts.expect("a key").expect("an application");
        There { twitch, irc, config, accounts }
    }

    fn mouth(&self, pool: &PgPool) -> Arc<Mouth> {
        let accounts = Some(Arc::clone(&self.accounts));
        Arc::new(Mouth::new(self.config.twitch.clone(), accounts, pool.clone()))
    }

    /// What was said, in order.
    fn said(&self) -> Vec<String> {
        self.twitch.said().into_iter().map(|(_, text)| text).collect()
    }
}

/// Somebody who reads the chat, and has joined.
async fn reader(irc: &Irc) -> TextLines<BufReader<TcpStream>> {
    let mut reader = TcpStream::connect(irc.address()).await.expect("it is there");
    let greeting = format!(
        "CAP REQ :twitch.tv/tags twitch.tv/commands\r\nPASS x\r\nNICK justinfan12345\r\nJOIN #{CHANNEL}\r\n"
    );
    reader.write_all(greeting.as_bytes()).await.expect("it listens");
    until("the reader has joined", async || irc.joined() == 1).await;
    BufReader::new(reader).lines()
}

async fn next_said(reader: &mut TextLines<BufReader<TcpStream>>) -> String {
    loop {
        let line = tokio::time::timeout(PATIENCE, reader.next_line()).await.expect("in time");
        let line = line.expect("text").expect("it goes on");
        if line.contains(" PRIVMSG ") {
            return line;
        }
    }
}

/// What becomes of a question once somebody has worked on it.
async fn asked(desk: &Desk, worker: &Worker, line: &str, request: Request) -> Reply {
    desk.asks_for(line, request).await;
    again(desk, worker).await
}

/// What becomes of the last question after another turn, which is taken when it is due.
async fn again(desk: &Desk, worker: &Worker) -> Reply {
    let last = async || desk.replies().await.pop().expect("the last");
    last().await.retry_at.into_iter().for_each(|at| desk.until(at));
    turn(worker).await;
    last().await
}

fn way(reply: &Reply) -> Way {
    reply.receipt.as_ref().unwrap_or_else(|| panic!("a receipt: {reply:?}")).way
}

#[tokio::test(flavor = "multi_thread")]
async fn over_irc_each_reply_is_known_to_be_said_or_why_not_however_the_connection_ends() {
    let (desk, parts) = Desk::start(false).await;
    let there = There::start(&desk.world).await;
    let (irc, pool) = (&there.irc, &desk.world.pool);
    there.twitch.moderate(&[BOT]);
    connected(&there.accounts, &there.twitch, &there.config, As::Bot, BOT).await;
    let mut reader = reader(irc).await;
    let worker = desk.worker_by(Some(there.mouth(pool))).await;

    // Under Twitch's own id, under which others read it and it is on screen.
    let reply = asked(&desk, &worker, "m-1", Request::Balance {}).await;
    let id = reply.receipt.clone().expect("a receipt").id;
    let line = next_said(&mut reader).await;
    assert!(line.contains(&format!(";id={id};")) && line.ends_with(WORDS), "{id}: {line}");
    assert!(desk.on_screen().await.iter().any(|shown| shown.contains(&id)));
    assert_eq!((way(&reply), there.said()), (Way::Twitch, vec![WORDS.to_owned()]));
    let heard = irc.heard();
    let sent = heard.iter().find(|line| line.contains("PRIVMSG")).expect("it was sent");
    assert!(sent.starts_with("@client-nonce="), "{sent}");

    // The same words again are there already.
    let reply = asked(&desk, &worker, "m-2", Request::Balance {}).await;
    assert_eq!((way(&reply), there.said().len()), (Way::TwitchBefore, 1));

    // Too much: nothing is sent until Twitch may take it again, by nobody.
    irc.answers([Answer::Drop("msg_ratelimit", "You are sending messages too quickly.")]);
    irc.heard();
    let other = desk.worker_by(Some(there.mouth(pool))).await;
    let reply = asked(&desk, &worker, "m-3", Request::Uptime {}).await;
    assert_eq!((reply.stage.as_str(), reply.attempts), ("due", 1));
    let reply = again(&desk, &other).await;
    assert_eq!((reply.stage.as_str(), reply.attempts), ("due", 1), "nothing was tried");
    let sent = irc.heard().iter().filter(|line| line.contains("PRIVMSG")).count();
    assert_eq!(sent, 1, "{:?}", reply.reason);
    let rested = "UPDATE chat_paces SET rest_until = clock_timestamp()";
    sqlx::query(rested).execute(pool).await.expect("time passes");
    desk.later(TimeDelta::seconds(31));
    assert_eq!(way(&again(&desk, &other).await), Way::Twitch);
    let counted = "SELECT cardinality(sent)::bigint FROM chat_paces";
    assert_eq!(desk.world.count(counted).await, 4, "what either said is counted for both");

    // What is never taken is given up, for a reason that a person can read.
    irc.answers([Answer::Drop(
        "msg_banned",
        "You are banned from talking in goldenreel, ReelDeal",
    )]);
    let reply = asked(&desk, &worker, "m-4", Request::Tape {}).await;
    let reason = reply.reason.clone().expect("a reason");
    assert_eq!(reply.stage, "gave_up");
    assert!(reason.contains("banned from the channel (msg_banned)"), "{reason}");
    assert!(!reason.contains("ReelDeal"), "{reason}");

    // Cut between the line and the word that it is there: nobody knows, and it is asked again.
    irc.answers([Answer::TakeAndCut]);
    let (connections, said) = (irc.connections(), there.said().len());
    let reply = asked(&desk, &worker, "m-5", Request::Top {}).await;
    assert!(reply.reason.expect("a reason").contains("with a line on its way"));
    let reply = again(&desk, &worker).await;
    assert_eq!((way(&reply), there.said().len()), (Way::TwitchBefore, said + 1), "said once");
    assert_eq!(irc.connections(), connections + 1);

    // Told to leave, the worker hears what became of the line, and says the next over another connection.
    irc.answers([Answer::ReconnectAndTake]);
    let to_nobody = Request::NoGift { why: NoGift::NobodyKnown };
    assert_eq!(way(&asked(&desk, &worker, "m-6", to_nobody).await), Way::Twitch);
    let unclear = Request::NoGift { why: NoGift::Unclear };
    assert_eq!(way(&asked(&desk, &worker, "m-7", unclear).await), Way::Twitch);
    assert_eq!(irc.connections(), connections + 2);

    // The hours of the grant are over: whoever has to log in again does so with a new one.
    irc.reconnect();
    until("only the reader stays", async || irc.joined() == 1).await;
    there.twitch.hours_pass();
    time_passes(pool).await;
    let own = Request::NoGift { why: NoGift::ToThemselves };
    assert_eq!(way(&asked(&desk, &worker, "m-8", own).await), Way::Twitch);
    assert_eq!(there.twitch.refreshed(), 1);
    let all = format!("{:?}", desk.replies().await);
    assert!(there.twitch.secrets().iter().all(|secret| !all.contains(secret)), "{all}");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_speak_over_irc_is_told_why_and_a_command_is_said_as_words() {
    let world = World::start().await;
    let mut there = There::start(&world).await;
    let why = async |there: &There, text: &str| match there
        .mouth(&world.pool)
        .say(BROADCASTER, text)
        .await
    {
        Said::Later { reason, .. } => reason,
        other => panic!("later: {other:?}"),
    };
    assert_eq!(there.mouth(&world.pool).say(BROADCASTER, "hi").await, Said::Nobody);
    // Connected for Helix, and what IRC takes is not granted.
    let mut for_helix = there.config.clone();
    for_helix.twitch.chat.over = Over::Helix;
    connected(&there.accounts, &there.twitch, &for_helix, As::Bot, BOT).await;
    let reason = why(&there, "hi").await;
    assert!(reason.contains("chat:edit") && reason.contains("tapedeck connect bot"), "{reason}");
    connected(&there.accounts, &there.twitch, &there.config, As::Bot, BOT).await;
    let mouth = there.mouth(&world.pool);
    assert!(matches!(mouth.say(BROADCASTER, "/ban reeldeal").await, Said::Sent { .. }));
    // Whoever does not moderate waits for a second.
    assert!(matches!(mouth.say(BROADCASTER, "hi\r\nQUIT").await, Said::Sent { .. }));
    assert_eq!(there.said(), ["/ban reeldeal", "hi  QUIT"]);
    let connections = there.irc.connections();
    assert_eq!(mouth.say(BROADCASTER, "\r\n").await, Said::Refused { reason: EMPTY.to_owned() });
    // The channel is another's now.
    let reason = match mouth.say("2000", "hi").await {
        Said::Later { reason, .. } => reason,
        other => panic!("later: {other:?}"),
    };
    assert_eq!(reason, "refused: #goldenreel is not the channel of 2000");
    assert_eq!(there.irc.connections(), connections + 1);
    // It is not tried again soon.
    assert!(matches!(mouth.say("2000", "hi").await, Said::NotYet { .. }));
    assert_eq!(there.irc.connections(), connections + 1);

    // With a right that the configuration brings.
    let secrets = there.twitch.secrets();
    let access = &secrets[secrets.len() - 3];
    there.config.twitch.chat.sender_id = BOT.to_owned();
    for (sender, token, reason) in [
        (BOT, "wrong", "twitch.chat.token is not good: Twitch answered 401 Unauthorized"),
        ("5001", access.as_str(), "twitch.chat.token is not twitch.chat.sender_id's"),
    ] {
        there.config.twitch.chat.sender_id = sender.to_owned();
        there.config.twitch.chat.token = Secret::new(token);
        assert_eq!(why(&there, "hi").await, reason);
    }
    there.config.twitch.chat.sender_id = BOT.to_owned();
    there.config.twitch.chat.token = Secret::new(format!("oauth:{access}"));
    let said = there.mouth(&world.pool).say(BROADCASTER, "with a right of its own").await;
    assert!(matches!(said, Said::Sent { .. }), "{said:?}");
}

const EMPTY: &str = "there is nothing in it to be said";
