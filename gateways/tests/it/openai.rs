//! OpenAI as provider: what becomes of a viewer's points and words, whatever the other side does.
//!
//! The other side is a fake on loopback (`src/sandbox/openai.rs`), which OpenAI's own client takes for the real one (`vendor.rs`).

mod ending;
mod secrecy;
mod spending;
mod vendor;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use gateways::generation::standing::{self, State};
use gateways::generation::{Made, Options, Order, Provider, ProviderError, Worker};
use gateways::openai::{OpenAi, Settings};
use gateways::outgoing::Secret;
use gateways::pictures::Pictures;
use journal::positions::Positions;
use journal::replies::Replies;
use projections::generations::{self, One};
use std::sync::Mutex;
use uuid::Uuid;

use crate::generation::{is_idle, options, turn, waits};
use crate::redemption::{self, comes_to, points, redemption};
use crate::world::{Asker, Parts, World, broker};
use gateways::sandbox::openai::{self as fake, Deed};

/// What one picture of the fake costs by the default price list.
const COST: i64 = fake::INPUT_TOKENS * 10 + fake::OUTPUT_TOKENS * 40;

fn settings(fake: &fake::OpenAi, key: &str) -> Settings {
    Settings {
        api_key: Secret::new(key),
        base_url: fake.base_url().try_into().expect("a base"),
        ..Settings::default()
    }
}

/// A whole Tapedeck whose pictures come from the fake, and its clock.
struct Studio {
    world: World,
    fake: fake::OpenAi,
    asker: Asker,
    worker: Worker,
    now: Arc<Mutex<DateTime<Utc>>>,
}

impl Studio {
    async fn start() -> (Self, Parts) {
        Self::with(options(), |_| {}).await
    }

    async fn with(options: Options, change: impl FnOnce(&mut Settings)) -> (Self, Parts) {
        let (world, fake) = (World::start().await, fake::OpenAi::start().await.expect("a fake"));
        let mut parts = world.run();
        parts.processes(redemption()).await;
        let mut settings = settings(&fake, fake::KEY);
        change(&mut settings);
        let broker = broker(&world.servers);
        let now = Arc::new(Mutex::new(Utc::now()));
        let clock = Arc::clone(&now);
        let worker = Worker {
            pool: world.pool.clone(),
            publisher: world.publisher().await,
            replies: Replies::start(&broker).await.expect("the gateway gets in"),
            positions: Positions::start(world.pool.clone(), &broker).await.expect("positions"),
            pictures: Pictures::in_folder(world.servers.data.join("pictures")),
            provider: Arc::new(OpenAi::new(settings, options.time_limit)),
            options,
            clock: Arc::new(move || *clock.lock().expect("whole")),
            id: Uuid::new_v4(),
        };
        let asker = world.asker().await;
        (Studio { world, fake, asker, worker, now }, parts)
    }

    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().expect("whole")
    }

    fn pass(&self, seconds: i64) {
        *self.now.lock().expect("whole") += TimeDelta::seconds(seconds);
    }

    /// A ghost that this viewer has paid for with all of 200 points.
    async fn funded(&self, viewer: &str) -> Uuid {
        let request = redemption::funded(&self.world, &self.asker, viewer, viewer).await;
        self.world.caught_up().await;
        request
    }

    /// Works one request off, and gives what is known of it then.
    async fn turn(&self) -> One {
        let request = turn(&self.worker).await;
        self.one(request).await
    }

    async fn one(&self, request: Uuid) -> One {
        self.world.caught_up().await;
        let (_, one) = generations::one(&self.world.pool, request).await.expect("an answer");
        one.expect("the request is there")
    }

    async fn state(&self) -> State {
        let (limits, cost) = (&self.worker.options.limits, self.worker.provider.cost_micros_max());
        standing::state(&self.world.pool, self.now(), limits, cost).await.expect("an answer")
    }

    async fn spent(&self) -> i64 {
        self.state().await.spent_micros
    }
}

/// The provider alone, patient for so long.
fn provider(fake: &fake::OpenAi, patience: Duration) -> OpenAi {
    OpenAi::new(settings(fake, fake::KEY), patience)
}

fn order(wish: domain::chat_request::Wish) -> Order {
    let (request, idempotency_key) = (Uuid::from_u128(7), Uuid::from_u128(8));
    Order { wish, viewer: "5001".to_owned(), request, idempotency_key }
}

fn friend() -> Order {
    let colour = Some(domain::chat_request::Colour::Blue);
    order(domain::chat_request::Wish::Friend { colour, subject: "a heron".to_owned() })
}

async fn made(provider: &OpenAi, order: &Order) -> Result<Made, ProviderError> {
    provider.make(order).await.and_then(gateways::generation::answer::checked)
}
