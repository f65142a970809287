//! EventSub against a fake of it on loopback: what is told arrives once, and what is not told is known.

mod caching;
mod conduits;
mod dying;
mod expiring;
mod irc;
mod limiting;
mod listening;
mod missed;
mod night;
mod rotating;
mod serving;
mod subscribing;
mod vendor;
mod ways;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::rules::Rules;
use gateways::chat::Lines;
use gateways::config::Config;
use gateways::http::health::projections_behind;
use gateways::outgoing::Secret;
use gateways::twitch::accounts::{Accounts, Bearer, Role};
use gateways::twitch::eventsub::Settings;
use gateways::twitch::eventsub::record::{self, Feed};
use gateways::twitch::eventsub::wanted::CATALOGUE;
use gateways::twitch::{Credentials, EventSub, Inbound, Secrets, Webhook};
use projections::Page;
use projections::gaps::{self, Gap};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::accounts::settings_at;
use crate::world::{Parts, World, until};
use gateways::sandbox::eventsub::{self as fake, CLIENT, Options, TOKEN};
use gateways::sandbox::twitch::{CLIENT_ID, Twitch};

const BROADCASTER: &str = "1000";
const KINDS: usize = CATALOGUE.len();

/// A world in which somebody listens.
struct Desk {
    world: World,
    fake: fake::EventSub,
    webhooks: watch::Sender<Arc<Webhook>>,
    eventsub: EventSub,
}

/// Somebody who listens.
struct Listener {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Desk {
    async fn start(options: Options) -> (Self, Parts) {
        Self::with(options, |_| {}).await
    }

    async fn with(options: Options, change: impl FnOnce(&mut Settings)) -> (Self, Parts) {
        Self::at(fake::EventSub::start(options).await.expect("a fake Twitch"), change).await
    }

    async fn at(fake: fake::EventSub, change: impl FnOnce(&mut Settings)) -> (Self, Parts) {
        let world = World::start().await;
        let parts = world.run();
        until("the projections answer", async || {
            let live = projections_behind(&world.pool).await;
            live.is_ok_and(|live| live.len() == projections::all().len())
        })
        .await;
        let mut settings = settings(&fake);
        change(&mut settings);
        let inbound = Inbound {
            secrets: Secrets::default(),
            rules: Arc::new(Rules::default()),
            broadcaster_id: Some(BROADCASTER.to_owned()),
            listening: Default::default(),
        };
        let lines = Lines::start(&world.broker).await.expect("the chat's user gets in");
        let (publisher, pool) = (world.publisher().await, world.pool.clone());
        let (sender, database, versions) = (publisher.clone(), pool.clone(), None);
        let webhook = Webhook { inbound, publisher: sender, lines, pool: database, versions };
        let (webhooks, webhook) = watch::channel(Arc::new(webhook));
        let eventsub = EventSub {
            pool,
            publisher,
            webhook,
            helix_url: fake.base_url().try_into().expect("a base"),
            settings,
            credentials: Credentials::fixed(CLIENT, Secret::new(TOKEN)),
            application: None,
            broadcaster: BROADCASTER.to_owned(),
            public_url: "https://tapes.example".to_owned(),
            secret: "a secret for tests".to_owned(),
            versions: None,
        };
        (Desk { world, fake, webhooks, eventsub }, parts)
    }

    /// Asks from now on with what the broadcaster has granted at `twitch`, once they have.
    fn asks_for_an_account(&mut self, twitch: &Twitch) -> (Config, Arc<Accounts>) {
        let config = Config {
            broadcaster_id: BROADCASTER.to_owned(),
            sealing_key_file: Some(self.world.servers.data.join("sealing.key")),
            twitch: settings_at(twitch),
            ..Config::default()
        };
        let accounts = Accounts::new(&config, self.world.pool.clone()).expect("a key").expect("on");
        let bearer = Bearer::Account { accounts: accounts.clone(), role: Role::Broadcaster };
        self.eventsub.credentials = Credentials { client_id: CLIENT_ID.to_owned(), bearer };
        (config, accounts)
    }

    fn listen(&self) -> Listener {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.eventsub.clone().run(stop.clone()));
        Listener { stop, task }
    }

    /// Waits until everything that is wanted is told.
    async fn subscribed(&self) {
        until("all is subscribed to", async || self.fake.enabled() == KINDS).await;
    }

    /// A cheer of one bit of viewer 5001, under this message id. Whether it was told to anybody.
    fn cheers(&self, id: &str) -> bool {
        self.fake.tell(id, "channel.cheer", &cheer("5001", 1)) > 0
    }

    /// Waits until so many points were credited.
    async fn credited(&self, points: i64) {
        let mut now = 0;
        let what = format!("{points} points are credited");
        until(&what, async || {
            now = self.world.available("5001").await;
            now >= points
        })
        .await;
        assert_eq!(now, points, "something was credited twice");
    }

    async fn row(&self) -> Feed {
        let row = record::find(&self.world.pool, BROADCASTER).await;
        row.expect("PostgreSQL answers").expect("somebody listened")
    }

    /// Has everything looked at, and waits until it was.
    async fn looked(&self) {
        let asked = record::ask(&self.world.pool, BROADCASTER).await.expect("PostgreSQL answers");
        until("it was looked at", async || Some(self.row().await.answered) >= asked).await;
    }

    /// All gaps once so many are over and none lasts, the oldest first. What was lost together is one, though Twitch may
    /// have made us wait before the last of it was back, this time or the time before.
    async fn gaps(&self, over: usize) -> Vec<Gap> {
        let mut found: Vec<Gap> = Vec::new();
        until(&format!("{over} gaps are over"), async || {
            let list = gaps::list(&self.world.pool, false, Page::of(500)).await;
            let Ok(list) = list else { return false };
            found.clear();
            let mut before = 0;
            for gap in list.gaps.into_iter().rev() {
                let is_next = gap.position - std::mem::replace(&mut before, gap.position) <= 1;
                match found.last_mut().filter(|last| is_next && last.reason == gap.reason) {
                    Some(last) => {
                        last.until = last.until.max(gap.until);
                        last.kinds.extend(gap.kinds);
                    }
                    None => found.push(gap),
                }
            }
            list.open == 0 && found.len() >= over
        })
        .await;
        assert_eq!(found.len(), over, "{found:#?}");
        found
    }
}

impl Listener {
    /// Ends in good order.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a good end");
    }

    /// Ends as a process does that is killed.
    async fn dies(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("it is killed").is_cancelled());
    }
}

fn settings(fake: &fake::EventSub) -> Settings {
    Settings {
        token: Secret::new(TOKEN),
        websocket_url: fake.websocket_url().try_into().expect("an address"),
        ..Settings::default()
    }
}

fn cheer(viewer: &str, bits: i64) -> Value {
    json!({
        "is_anonymous": false, "user_id": viewer, "user_login": "reeldeal",
        "user_name": "ReelDeal", "broadcaster_user_id": BROADCASTER,
        "broadcaster_user_login": "goldenreel", "broadcaster_user_name": "GoldenReel",
        "message": format!("Cheer{bits}"), "bits": bits,
    })
}
