//! Chat over IRC against a fake of it on loopback: the second way in, with the meaning of the first.

mod both;
mod reading;
mod vendor;

use chrono::Utc;
use futures::StreamExt;
use gateways::chat::Frame;
use gateways::chat::lines::{self, Lines};
use gateways::twitch::Irc;
use gateways::twitch::cache::Cache;
use gateways::twitch::calls::Calls;
use gateways::twitch::irc::Settings;
use gateways::twitch::irc::record;

use super::*;
use crate::fakes::lines::privmsg;
use gateways::sandbox::irc::{self as fake, CHANNEL, ROOM};

/// Somebody who reads chat over IRC.
fn read(desk: &Desk, fake: &fake::Irc) -> Listener {
    read_with(desk, fake, |_| {})
}

fn read_with(desk: &Desk, fake: &fake::Irc, change: impl FnOnce(&mut Irc)) -> Listener {
    let stop = CancellationToken::new();
    let EventSub { pool, publisher, webhook, credentials, helix_url, .. } = desk.eventsub.clone();
    let helix = Some((Calls::new(credentials), helix_url));
    let cache = Arc::new(Cache::new(desk.world.broker.clone(), pool.clone(), helix));
    let broadcaster = BROADCASTER.to_owned();
    let settings = irc_settings(fake);
    let mut irc = Irc { pool, publisher, webhook, settings, broadcaster, cache };
    change(&mut irc);
    Listener { task: tokio::spawn(irc.run(stop.clone())), stop }
}

pub fn irc_settings(fake: &fake::Irc) -> Settings {
    Settings {
        enabled: true,
        address: fake.address().try_into().expect("an address"),
        channel: CHANNEL.to_owned(),
        login: fake::LOGIN.to_owned(),
        token: Secret::new(fake::TOKEN),
        keepalive_s: 1,
    }
}

async fn joined(fake: &fake::Irc) {
    until("somebody has joined", async || fake.joined() == 1).await;
}

/// A timeout of a viewer, or the end of all lines.
fn cleared(viewer: Option<&str>) -> String {
    let now = Utc::now().timestamp_millis();
    match viewer {
        Some(viewer) => format!(
            "@ban-duration=600;room-id={ROOM};target-user-id={viewer};tmi-sent-ts={now} \
             :tmi.twitch.tv CLEARCHAT #{CHANNEL} :viewer_{viewer}"
        ),
        None => format!("@room-id={ROOM};tmi-sent-ts={now} :tmi.twitch.tv CLEARCHAT #{CHANNEL}"),
    }
}

fn deleted(line: &str) -> String {
    format!(
        "@login=viewer_5001;room-id=;target-msg-id={line};tmi-sent-ts=1 :tmi.twitch.tv CLEARMSG #{CHANNEL} :it"
    )
}

/// All that is kept in CHAT, oldest first.
async fn kept(world: &World) -> Vec<Frame> {
    let lines = Lines::start(&world.broker).await.expect("the chat's user gets in");
    let (stream, first, last) = lines.stream().await.expect("CHAT is there");
    let reads = (first.max(1)..=last).map(|number| lines::read(&stream, number));
    let read = futures::stream::iter(reads).buffered(64).collect::<Vec<_>>().await;
    read.into_iter().filter_map(|kept| Some(kept.expect("CHAT answers")?.frame)).collect()
}

/// The ids of the lines in CHAT, oldest first.
async fn shown(world: &World) -> Vec<String> {
    let frames = kept(world).await.into_iter();
    frames
        .filter_map(|frame| match frame {
            Frame::Line(line) => Some(line.id),
            _ => None,
        })
        .collect()
}

async fn asked(world: &World) -> i64 {
    world.count("SELECT count(*) FROM events WHERE event_type = 'asked'").await
}
