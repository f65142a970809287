//! Making pictures, on real servers. The provider is a fake of the outside, through the trait that any provider has.

mod erasure;
mod failing;
mod journey;
mod review;
mod stopping;
mod storing;
mod ten_thousand;
mod worked;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::chat_request::Wish;
use domain::entry_id;
use domain::generation::{Command, Generation};
use gateways::generation::lease::{Lease, Limits, Taken};
use gateways::generation::standing::{self, Standing, State};
use gateways::generation::{Made, Options, Order, Provider, ProviderError, Worker};
use gateways::pictures::Pictures;
use journal::positions::Positions;
use journal::replies::Replies;
use journal::{Envelope, Recorded};
use projections::generations::{self, One};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::world::{Asker, PATIENCE, Parts, World, at, broker, origin};

const PIXEL: &[u8] = include_bytes!("../data/pixel.png");

/// What a studio does with an order.
enum Deed {
    Make,
    Say(ProviderError),
    Give(Made),
    /// Makes it once it is let to.
    Wait,
    Panic,
}

/// A provider that does what it is told, and writes down what it is asked. Told nothing, it makes the picture.
struct Studio {
    deeds: Mutex<VecDeque<Deed>>,
    orders: Mutex<Vec<Order>>,
    gate: Semaphore,
    cost: i64,
}

impl Studio {
    fn new(deeds: impl IntoIterator<Item = Deed>) -> Arc<Self> {
        Self::at_a_cost(0, deeds)
    }

    fn at_a_cost(cost: i64, deeds: impl IntoIterator<Item = Deed>) -> Arc<Self> {
        let (deeds, orders) = (Mutex::new(deeds.into_iter().collect()), Mutex::default());
        Arc::new(Studio { deeds, orders, gate: Semaphore::new(0), cost })
    }

    /// The requests that were ordered, in order.
    fn orders(&self) -> Vec<Uuid> {
        self.orders.lock().expect("whole").iter().map(|order| order.request).collect()
    }

    fn keys(&self) -> Vec<Uuid> {
        self.orders.lock().expect("whole").iter().map(|order| order.idempotency_key).collect()
    }
}

fn made(cost_micros: i64) -> Made {
    Made {
        bytes: PIXEL.to_vec(),
        media_type: "image/png".to_owned(),
        background: "#102030".to_owned(),
        name: None,
        cost_micros,
    }
}

#[async_trait]
impl Provider for Studio {
    fn name(&self) -> &'static str {
        "studio"
    }

    fn cost_micros_max(&self) -> i64 {
        self.cost
    }

    async fn make(&self, order: &Order) -> Result<Made, ProviderError> {
        self.orders.lock().expect("whole").push(order.clone());
        let deed = self.deeds.lock().expect("whole").pop_front();
        match deed.unwrap_or(Deed::Make) {
            Deed::Make => Ok(made(self.cost)),
            Deed::Say(error) => Err(error),
            Deed::Give(made) => Ok(made),
            Deed::Wait => {
                self.gate.acquire().await.expect("open").forget();
                Ok(made(self.cost))
            }
            Deed::Panic => panic!("the studio is on fire"),
        }
    }
}

/// A world in which requests are funded, and a clock in the test's hand.
struct Scene {
    world: World,
    asker: Asker,
    now: Arc<Mutex<DateTime<Utc>>>,
}

impl Scene {
    /// With all parts running.
    async fn start() -> (Self, Parts) {
        let world = World::start().await;
        let parts = world.run();
        let asker = world.asker().await;
        (Scene { world, asker, now: Arc::new(Mutex::new(at())) }, parts)
    }

    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().expect("whole")
    }

    fn pass(&self, seconds: i64) {
        *self.now.lock().expect("whole") += TimeDelta::seconds(seconds);
    }

    /// A request of this name, paid for, and visible in the to-do list.
    async fn funded(&self, name: &str) -> Uuid {
        let request = entry_id("request", name);
        let wish = Wish::Ghost { subject: name.to_owned() };
        let (viewer, entry) = ("5001".to_owned(), entry_id("submit", name));
        let (price, prices) = (200, 1);
        let submit = Command::Submit {
            entry,
            viewer,
            wish,
            price,
            prices,
            at: at(),
            retry_of: None,
            state: None,
        };
        self.tell(request, &submit).await;
        self.tell(request, &Command::Fund { entry: entry_id("fund", name) }).await;
        self.world.caught_up().await;
        request
    }

    async fn tell(&self, request: Uuid, command: &Command) {
        let envelope = Envelope::new::<Generation>(&request.to_string(), command, origin("scene"));
        self.asker.ask(envelope.expect("a good address")).await;
    }

    /// A worker as another process would have it.
    async fn worker(&self, provider: Arc<dyn Provider>, options: Options) -> Worker {
        worker(&self.world, &self.now, provider, options).await
    }

    async fn state(&self, limits: &Limits, cost: i64) -> State {
        standing::state(&self.world.pool, self.now(), limits, cost).await.expect("an answer")
    }

    async fn one(&self, request: Uuid) -> One {
        self.world.caught_up().await;
        let (_, one) = generations::one(&self.world.pool, request).await.expect("an answer");
        one.expect("the request is there")
    }

    async fn stage(&self, request: Uuid) -> String {
        self.one(request).await.generation.stage
    }

    /// How often something happened to a request.
    async fn count(&self, request: Uuid, event_type: &str) -> usize {
        let events = self.world.recorded().await;
        let of_it = |event: &&Recorded| {
            event.aggregate_id == request.to_string() && event.event_type == event_type
        };
        events.iter().filter(of_it).count()
    }
}

/// A worker of `world`, by the clock `now`.
async fn worker(
    world: &World,
    now: &Arc<Mutex<DateTime<Utc>>>,
    provider: Arc<dyn Provider>,
    options: Options,
) -> Worker {
    let (broker, now) = (broker(&world.servers), Arc::clone(now));
    Worker {
        pool: world.pool.clone(),
        publisher: world.publisher().await,
        replies: Replies::start(&broker).await.expect("the gateway gets in"),
        positions: Positions::start(world.pool.clone(), &broker).await.expect("positions"),
        pictures: Pictures::in_folder(world.servers.data.join("pictures")),
        provider,
        options,
        clock: Arc::new(move || *now.lock().expect("whole")),
        id: Uuid::new_v4(),
    }
}

/// Limits that a test comes to only when it wants to.
pub fn options() -> Options {
    let limits = Limits {
        concurrency: 64,
        per_minute: 10_000,
        daily_budget_micros: 1_000_000,
        lease: Duration::from_secs(60),
        breaker_failures: 3,
        breaker_rest: Duration::from_secs(30),
    };
    let (time_limit, stop_limit) = (Duration::from_secs(30), Duration::from_millis(50));
    let give_back_limit = PATIENCE;
    Options { limits, attempts_max: 3, time_limit, stop_limit, give_back_limit, review: false }
}

pub async fn lease(worker: &Worker) -> Lease {
    match worker.take(1).await.expect("an answer") {
        Taken::Leases(mut leases) => leases.pop().expect("a lease"),
        other => panic!("nothing to take: {other:?}"),
    }
}

/// Takes one request and works it off.
pub async fn turn(worker: &Worker) -> Uuid {
    let lease = lease(worker).await;
    worker.work(&lease).await.expect("worked off");
    lease.request
}

pub async fn waits(worker: &Worker) -> Standing {
    match worker.take(1).await.expect("an answer") {
        Taken::Waits(standing) => standing,
        other => panic!("nothing waits: {other:?}"),
    }
}

pub async fn is_idle(worker: &Worker) -> bool {
    worker.take(1).await.expect("an answer") == Taken::Idle
}

fn retry(after: Option<u64>) -> Deed {
    let (after, cost_micros) = (after.map(Duration::from_secs), after.map(|_| 0));
    Deed::Say(ProviderError::Retry { after, cost_micros, reason: "429".to_owned() })
}
