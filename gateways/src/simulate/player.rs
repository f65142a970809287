//! Posting a night: at its own pace, faster, or as fast as it is taken, with repetitions as Twitch makes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::delivery::Delivery;
use super::night::{Night, Scene};
use crate::twitch::Secret;

/// How often one delivery is tried before it is given up, as Twitch gives up.
const ATTEMPTS_MAX: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How fast a night passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many times as fast as it was.
    Times(f64),
    Max,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub to: Url,
    pub secret: Secret,
    pub pace: Pace,
    /// How many deliveries may be under way at once.
    pub senders: u32,
    /// The most further deliveries of each notification, at the same time as the first. With any, those that Twitch
    /// tells of under a second message id are sent under that as well.
    pub duplicates: u32,
}

/// What became of a night.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Notifications, each of which may have been delivered more than once.
    pub notifications: usize,
    pub requests: usize,
    /// Deliveries that were answered with 2xx.
    pub accepted: usize,
    /// Deliveries that were answered with something that is not worth another try.
    pub refused: usize,
    /// Deliveries that were tried again and again and never taken.
    pub given_up: usize,
    /// What was answered to the first that was refused or given up.
    pub first_failure: Option<String>,
    /// How long each accepted request took, in order of time taken.
    pub latencies: Vec<Duration>,
    pub took: Duration,
}

impl Report {
    pub fn all_accepted(&self) -> bool {
        self.refused == 0 && self.given_up == 0
    }

    /// The time within which `share` (0 to 1) of the accepted requests were answered.
    pub fn latency(&self, share: f64) -> Option<Duration> {
        let last = self.latencies.len().checked_sub(1)?;
        Some(self.latencies[(last as f64 * share).round() as usize])
    }

    fn add(&mut self, posted: Posted) {
        self.requests += posted.requests;
        match posted.result {
            Ok(latency) => {
                self.accepted += 1;
                self.latencies.push(latency);
            }
            Err(failure) => {
                let count =
                    if failure.worth_retrying { &mut self.given_up } else { &mut self.refused };
                *count += 1;
                self.first_failure.get_or_insert(failure.what);
            }
        }
    }
}

struct Posted {
    requests: usize,
    result: Result<Duration, Failure>,
}

struct Failure {
    what: String,
    worth_retrying: bool,
}

/// Plays `night` and says after every notification how many are done.
pub async fn play(
    night: Arc<Night>,
    options: &Options,
    progress: impl Fn(usize),
) -> reqwest::Result<Report> {
    let client = Client::builder()
        .timeout(REQUEST_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()?;
    let options = Arc::new(options.clone());
    let senders = options.senders.max(1);
    let free = Arc::new(Semaphore::new(senders as usize));
    let mut random = StdRng::seed_from_u64(night.seed.wrapping_add(1));
    let mut report = Report { notifications: night.scenes.len(), ..Report::default() };
    let mut under_way = JoinSet::new();
    let mut done = 0;
    let started = Instant::now();
    for n in 0..night.scenes.len() {
        if let Pace::Times(speed) = options.pace {
            let due = started + night.scenes[n].after.div_f64(speed);
            tokio::time::sleep_until(due.into()).await;
        }
        // What turns the night waits for all that came before, and all that comes after waits for it.
        let needed = if night.scenes[n].deed.is_turning_point() { senders } else { 1 };
        let Ok(place) = free.clone().acquire_many_owned(needed).await else { break };
        let copies = 1 + random.random_range(0..=options.duplicates);
        let (night, client, options) = (night.clone(), client.clone(), options.clone());
        under_way.spawn(async move {
            let posted = deliver(&night, &night.scenes[n], copies, &client, &options).await;
            drop(place);
            posted
        });
        while let Some(finished) = under_way.try_join_next() {
            finished.into_iter().flatten().for_each(|posted| report.add(posted));
            done += 1;
            progress(done);
        }
    }
    while let Some(finished) = under_way.join_next().await {
        finished.into_iter().flatten().for_each(|posted| report.add(posted));
        done += 1;
        progress(done);
    }
    report.took = started.elapsed();
    report.latencies.sort_unstable();
    Ok(report)
}

/// Posts a scene `copies` times at once, and under its second id if there are copies at all. Every other copy has a
/// timestamp of its own, as twitch-cli's retrigger has.
async fn deliver(
    night: &Night,
    scene: &Scene,
    copies: u32,
    client: &Client,
    options: &Options,
) -> Vec<Posted> {
    let sent_at = Utc::now();
    let poster = Poster { night, scene, client, options };
    let ids = (0..copies).map(|_| &scene.message_id);
    let second = scene.second_message_id.iter().filter(|_| copies > 1);
    let posts = ids.chain(second).enumerate().map(|(n, message_id)| {
        poster.post(message_id, if n % 2 == 1 { Utc::now() } else { sent_at })
    });
    join_all(posts).await
}

struct Poster<'a> {
    night: &'a Night,
    scene: &'a Scene,
    client: &'a Client,
    options: &'a Options,
}

impl Poster<'_> {
    /// Tries until it is taken or refused, as Twitch does, with growing pauses.
    async fn post(&self, message_id: &str, mut sent_at: DateTime<Utc>) -> Posted {
        let mut pause = FIRST_PAUSE;
        let mut requests = 0;
        loop {
            requests += 1;
            let (night, secret) = (self.night, &self.options.secret);
            let delivery = night.delivery_as(self.scene, message_id, secret, sent_at);
            match self.once(delivery).await {
                Err(failure) if failure.worth_retrying && requests < ATTEMPTS_MAX => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    sent_at = Utc::now();
                }
                result => return Posted { requests: requests as usize, result },
            }
        }
    }

    async fn once(&self, delivery: Delivery) -> Result<Duration, Failure> {
        let started = Instant::now();
        let request = self.client.post(self.options.to.clone()).body(delivery.body);
        let headers = delivery.headers.into_iter();
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(started.elapsed()),
            Ok(answer) => Err(Failure {
                what: format!("{} was answered", answer.status()),
                worth_retrying: answer.status().is_server_error()
                    || answer.status() == StatusCode::TOO_MANY_REQUESTS,
            }),
            Err(error) => Err(Failure { what: error.to_string(), worth_retrying: true }),
        }
    }
}

#[cfg(test)]
mod tests;
