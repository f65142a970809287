//! Ten thousand requests in the queue: the order they are worked in, the rate, workers that come and go, and the numbers
//! that people see meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gateways::cli::serve::Role;
use gateways::http::keys::Scope;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::http::Serving;
use crate::redemption::{audited, points, submit};
use crate::world::cheer;

const REQUESTS: usize = 10_000;
/// Of them, so many are of somebody who has no points.
const DECLINED: usize = 50;
const VIEWERS: usize = 100;
/// How many are sent before anybody waits for an acknowledgement.
const AT_ONCE: usize = 500;
const CONCURRENCY: i64 = 64;
const PER_MINUTE: i64 = 2_000;
const COST: i64 = 10;
/// How long any part of it may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(600);
/// Every so many-th order is refused.
const REFUSED_EVERY: usize = 50;

fn limits() -> Options {
    let limits = Limits {
        concurrency: CONCURRENCY,
        per_minute: PER_MINUTE,
        // Longer than a few minutes of the test's clock, which runs as fast as the rate limit is come to.
        lease: Duration::from_secs(300),
        ..options().limits
    };
    Options { limits, ..options() }
}

/// The queue, what makes it smaller, and the API that shows it.
struct Queue {
    serving: Serving,
    key: String,
    now: Arc<Mutex<DateTime<Utc>>>,
    studio: Arc<Studio>,
    /// How often the rate limit was what everybody waited for.
    limited: Arc<Mutex<usize>>,
}

/// A worker that runs.
struct Running {
    id: Uuid,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a good end");
    }

    /// As a power cut would: nothing is finished and nothing given back.
    async fn kill(self) -> Uuid {
        self.task.abort();
        let _ = self.task.await;
        self.id
    }
}

impl Queue {
    async fn start() -> Self {
        let roles: Vec<Role> = Role::ALL.into_iter().filter(|role| *role != Role::Making).collect();
        let serving = Serving::with(&roles, |_| {}).await;
        let key = serving.key(&[Scope::Admin]).await;
        let refuse = |n: usize| match n % REFUSED_EVERY {
            0 => {
                let (code, reason) = ("moderation_blocked".to_owned(), "not here".to_owned());
                Deed::Say(ProviderError::Refused { code, reason })
            }
            _ => Deed::Make,
        };
        let studio = Studio::at_a_cost(COST, (1..=2 * REQUESTS).map(refuse));
        let (now, limited) = (Arc::new(Mutex::new(at())), Arc::default());
        Queue { serving, key, now, studio, limited }
    }

    /// Sends all of the requests, and waits until they are funded or declined.
    async fn fill(&self) {
        let publisher = self.serving.world.publisher().await;
        for viewer in 0..VIEWERS {
            let points = i64::try_from(REQUESTS).expect("fits") * 200;
            let envelope = cheer(&viewer_id(viewer), &format!("points-{viewer}"), points);
            publisher.send(&envelope).await.expect("sent");
        }
        let envelopes: Vec<Envelope> = (0..REQUESTS)
            .map(|n| match n {
                n if n < DECLINED => submit("7001", &format!("request-{n}")).1,
                n => submit(&viewer_id(n % VIEWERS), &format!("request-{n}")).1,
            })
            .collect();
        for some in envelopes.chunks(AT_ONCE) {
            let sent = some.iter().map(|envelope| publisher.send(envelope));
            futures::future::try_join_all(sent).await.expect("sent");
        }
        let waiting = "SELECT count(*) FROM projections.generations
                       WHERE stage IN ('funded', 'declined')";
        until("all are funded or declined", async || {
            self.serving.world.count(waiting).await == REQUESTS as i64
        })
        .await;
    }

    async fn run(&self) -> Running {
        let worker = worker(&self.serving.world, &self.now, self.studio.clone(), limits()).await;
        let (id, stop) = (worker.id, CancellationToken::new());
        let task = tokio::spawn(gateways::generation::run(worker, stop.clone()));
        Running { id, stop, task }
    }

    /// Lets the time pass whenever the rate limit is all that is waited for.
    fn let_time_pass(&self) -> AbortOnDropHandle<()> {
        let (pool, now) = (self.serving.world.pool.clone(), Arc::clone(&self.now));
        let limited = Arc::clone(&self.limited);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut looks = tokio::time::interval(Duration::from_millis(50));
            loop {
                looks.tick().await;
                let at = *now.lock().expect("whole");
                let state = standing::state(&pool, at, &limits().limits, COST).await;
                if let Standing::RateLimited { until } = state.expect("an answer").standing {
                    let mut now = now.lock().expect("whole");
                    *now = until.max(*now);
                    *limited.lock().expect("whole") += 1;
                }
            }
        }))
    }

    async fn ended(&self) -> i64 {
        let ended = "SELECT count(*) FROM projections.generations
                     WHERE stage NOT IN ('submitted', 'funded')";
        self.serving.world.count(ended).await
    }

    async fn until_ended(&self, count: i64) {
        until(&format!("{count} have ended"), async || self.ended().await >= count).await;
    }

    /// The numbers of the API, which have to be those of the journal at the position that the answer speaks for.
    async fn counts(&self) -> BTreeMap<String, i64> {
        let (status, answer) = self.serving.get(&self.key, "/generations?limit=1").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let position = answer["position"].as_i64().expect("a position");
        let said = answer["counts"].as_object().expect("counts").iter();
        let said = said.map(|(stage, count)| (stage.clone(), count.as_i64().expect("a count")));
        let said: BTreeMap<String, i64> = said.filter(|(_, count)| *count > 0).collect();
        assert_eq!(said, self.counted(position).await, "at {position}");
        said
    }

    /// How many requests are where, counted in the journal itself.
    async fn counted(&self, position: i64) -> BTreeMap<String, i64> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT stage, count(*) FROM (
                 SELECT (array_agg(event_type ORDER BY sequence DESC))[1] AS stage FROM events
                 WHERE aggregate_type = 'generation' AND position <= $1 AND event_type <> 'settled'
                 GROUP BY aggregate_id) AS requests
             GROUP BY stage",
        )
        .bind(position)
        .fetch_all(&self.serving.world.pool)
        .await
        .expect("an answer");
        rows.into_iter().collect()
    }

    /// All requests that were ever paid for, in the order of submission.
    async fn submitted(&self) -> Vec<Uuid> {
        sqlx::query_scalar(
            "SELECT request FROM projections.generations WHERE stage <> 'declined'
             ORDER BY submitted_position",
        )
        .fetch_all(&self.serving.world.pool)
        .await
        .expect("an answer")
    }

    async fn leased_by(&self, worker: Uuid) -> BTreeSet<Uuid> {
        let leased: Vec<Uuid> =
            sqlx::query_scalar("SELECT request FROM generation_leases WHERE owner = $1")
                .bind(worker)
                .fetch_all(&self.serving.world.pool)
                .await
                .expect("an answer");
        leased.into_iter().collect()
    }

    /// Cancels the last of the queue, by hand.
    async fn cancel_last(&self) -> Uuid {
        let last = *self.submitted().await.last().expect("requests");
        let path = format!("/generations/{last}/cancel");
        let body = json!({"reason": "not on this channel"});
        let (status, answer) = self.serving.post(&self.key, &path, "cancel", body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        last
    }

    /// The pages of a list, from the newest to the oldest.
    async fn pages(&self, stage: &str) -> Vec<Value> {
        let (mut all, mut before) = (Vec::new(), String::new());
        loop {
            let path = format!("/generations?stage={stage}&limit=500{before}");
            let (_, answer) = self.serving.get(&self.key, &path).await;
            all.extend(answer["generations"].as_array().expect("a page").iter().cloned());
            match answer["before"].as_i64() {
                Some(older) => before = format!("&before={older}"),
                None => return all,
            }
        }
    }

    /// The most that were begun within a minute.
    async fn most_within_a_minute(&self) -> i64 {
        self.serving
            .world
            .count(
                "SELECT max(count) FROM (
                     SELECT count(*) OVER (ORDER BY started_at
                         RANGE BETWEEN '59.999999 s' PRECEDING AND CURRENT ROW) AS count
                     FROM generation_makings) AS windows",
            )
            .await
    }
}

/// As [`crate::world::until`], with more patience, and looking less often at what takes long to count.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let held = async {
        while !condition().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn viewer_id(n: usize) -> String {
    format!("{}", 5_001 + n)
}

/// Whenever a request was ordered, no more of those before it were still to be than can be in other hands.
fn assert_in_order(orders: &[Uuid], submitted: &[Uuid], of_the_dead: &BTreeSet<Uuid>) {
    let ranks = submitted.iter().filter(|request| !of_the_dead.contains(request));
    let ranks: HashMap<&Uuid, usize> = ranks.enumerate().map(|(rank, id)| (id, rank)).collect();
    let mut waiting: BTreeSet<usize> = (0..ranks.len()).collect();
    for rank in orders.iter().filter_map(|request| ranks.get(request)) {
        let before = waiting.range(..rank).take(CONCURRENCY as usize).count();
        assert!(before < CONCURRENCY as usize, "{rank} was ordered before {before} others");
        waiting.remove(rank);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_are_worked_in_order_within_the_rate_and_counted_right_meanwhile() {
    let queue = Queue::start().await;
    queue.fill().await;
    let (funded, all) = ((REQUESTS - DECLINED) as i64, REQUESTS as i64);
    let wanted =
        BTreeMap::from([("declined".to_owned(), all - funded), ("funded".to_owned(), funded)]);
    assert_eq!(queue.counts().await, wanted);
    let cancelled = queue.cancel_last().await;
    let time = queue.let_time_pass();

    // Two workers, that are stopped; one, that is killed; two, until all is done.
    let two = [queue.run().await, queue.run().await];
    for count in [1_000, 2_000, 3_000] {
        queue.until_ended(count).await;
        queue.counts().await;
    }
    for worker in two {
        worker.stop().await;
    }
    // A refusal that was being reported keeps its lease until that is over; all else is given back.
    let kept = "SELECT count(*) FROM generation_leases l WHERE NOT EXISTS (
                    SELECT FROM generation_makings m
                    WHERE m.request = l.request AND m.result = 'refused')";
    assert_eq!(queue.serving.world.count(kept).await, 0);
    let one = queue.run().await;
    queue.until_ended(5_000).await;
    let of_the_dead = queue.leased_by(one.kill().await).await;
    // What the dead one held is free once its leases are over, and only a clock that goes on ends them.
    *queue.now.lock().expect("whole") += TimeDelta::seconds(301);
    // The minute is over by that as well.
    *queue.limited.lock().expect("whole") += 1;
    queue.counts().await;
    let two = [queue.run().await, queue.run().await];
    for count in [7_000, 9_000, all] {
        queue.until_ended(count).await;
        queue.counts().await;
    }
    drop(time);
    for worker in two {
        worker.stop().await;
    }

    let counts = queue.counts().await;
    let [completed, refused] = ["completed", "refused"].map(|stage| counts[stage]);
    assert_eq!(counts.len(), 4, "{counts:?}");
    assert_eq!((completed + refused, counts["cancelled"]), (funded - 1, 1));
    assert_eq!(queue.pages("completed").await.len() as i64, completed);

    let submitted = queue.submitted().await;
    let orders = queue.studio.orders();
    assert!(!orders.contains(&cancelled), "what was cancelled is not made");
    assert_in_order(&orders, &submitted, &of_the_dead);
    assert_eq!(orders.iter().collect::<BTreeSet<_>>().len() as i64, funded - 1, "all were made");
    let again = orders.len() as i64 - (funded - 1);
    assert!(again <= 2 * CONCURRENCY, "{again} were made again, more than were in hand");

    assert!(queue.most_within_a_minute().await <= PER_MINUTE);
    let limited = *queue.limited.lock().expect("whole");
    assert!(
        limited >= REQUESTS / PER_MINUTE as usize - 1,
        "the rate was waited for {limited} times"
    );

    audited(&queue.serving.world).await;
    let mut captured = 0;
    for viewer in 0..VIEWERS {
        captured += points(&queue.serving.world, &viewer_id(viewer)).await.2;
    }
    assert_eq!(captured, completed * 200, "paid for once");
    queue.serving.stop().await;
}
