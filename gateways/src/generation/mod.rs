//! Pictures that viewers' points have paid for: asking a provider for them, and reporting what came of it. Goes out.
//!
//! The projection `generations` is the to-do list. A [`worker`] leases a request that is due ([`lease`]), asks the
//! [`Provider`], keeps the picture ([`crate::pictures`]) and reports with a command whose id is derived from request and
//! attempt. Wherever a worker dies, another goes on when the lease is over, and an attempt has one result for ever.
//!
//! A picture is on the disk of this host, and noted as drawn, before it goes to its store. Where the store does not take
//! it, the request stays as it is, everybody rests, and the same picture is brought again, by this process or the next on
//! this host; on another host it is drawn once more at most. What is not stored within the hour for which points are held
//! goes the way of every hold that runs out: the points go back.

pub mod answer;
pub mod by_hand;
pub mod cutout;
pub mod lease;
mod makings;
mod offline;
mod options;
mod run;
pub mod standing;
pub mod worker;

use std::time::Duration;

use async_trait::async_trait;
use domain::chat_request::Wish;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::openai::{self, OpenAi};

pub use offline::{Offline, hex_of, invented};
pub use options::Options;
pub use run::run;
pub(crate) use run::until_live;
pub use worker::Worker;

/// What is asked of a provider.
#[derive(Clone, Debug)]
pub struct Order {
    pub wish: Wish,
    /// Who pays for it, by Twitch user id.
    pub viewer: String,
    /// The request. What is drawn by chance is drawn from it, so that the same order gives the same picture.
    pub request: Uuid,
    /// The same for every repetition of one attempt, for providers that know such keys.
    pub idempotency_key: Uuid,
}

/// What a provider made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub bytes: Vec<u8>,
    pub media_type: String,
    /// `#rrggbb`, of what it is to be shown on.
    pub background: String,
    /// The name that was invented for a friend.
    pub name: Option<String>,
    /// What it took, in millionths of a dollar.
    pub cost_micros: i64,
}

/// Why a provider made nothing. `cost_micros` is what it took all the same, and `None` where nobody can say: then what
/// was set aside stays spent.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ProviderError {
    /// It is busy or has a passing trouble. `after` is how long it asks everybody to wait.
    #[error("{reason}")]
    Retry { after: Option<Duration>, cost_micros: Option<i64>, reason: String },
    /// It will not make this one, however often it is asked.
    #[error("{reason} ({code})")]
    Refused { code: String, reason: String },
    /// Its answer cannot be used, or it lets nobody in: asking again will not help this request.
    #[error("{reason}")]
    Broken { cost_micros: Option<i64>, reason: String },
}

/// Whoever makes pictures.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// How it is named in the log and the API.
    fn name(&self) -> &'static str;

    /// The most that one picture may take, in millionths of a dollar: it is set aside in the day's budget before the
    /// provider is asked.
    fn cost_micros_max(&self) -> i64;

    async fn make(&self, order: &Order) -> Result<Made, ProviderError>;

    /// Whether it would make something, found out without spending anything. Its words are for a person.
    async fn check(&self) -> Result<String, ProviderError> {
        Ok("needs no account".to_owned())
    }
}

/// Who makes the pictures, as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Drawn here, without any account.
    #[default]
    Offline,
    /// The OpenAI API, or one that speaks like it.
    #[serde(rename = "openai")]
    OpenAi,
}

/// What `[generation]` of the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub provider: ProviderKind,
    /// How many pictures are made at one time, by all workers together.
    pub concurrency: u32,
    /// How often the provider is asked in a minute, by all workers together.
    pub per_minute: u32,
    /// What may be spent from one midnight (UTC) to the next, in cents of a dollar. Then requests wait.
    pub daily_budget_cents: u32,
    /// How often a request is tried before it has failed.
    pub attempts_max: u32,
    /// How long one attempt may take, in seconds.
    pub time_limit_s: u32,
    /// Whether somebody has to approve a picture before it is shown and paid for.
    pub review: bool,
    pub openai: openai::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            provider: ProviderKind::Offline,
            concurrency: 2,
            per_minute: 30,
            daily_budget_cents: 500,
            attempts_max: 4,
            time_limit_s: 120,
            review: false,
            openai: openai::Settings::default(),
        }
    }
}

impl Settings {
    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        if !(1..=64).contains(&self.concurrency) {
            return Some("generation.concurrency is 1 to 64");
        }
        if !(1..=6_000).contains(&self.per_minute) {
            return Some("generation.per_minute is 1 to 6000");
        }
        if !(1..=20).contains(&self.attempts_max) {
            return Some("generation.attempts_max is 1 to 20");
        }
        if !(1..=600).contains(&self.time_limit_s) {
            return Some("generation.time_limit_s is 1 to 600");
        }
        if self.provider == ProviderKind::OpenAi && self.openai.api_key.is_empty() {
            return Some("generation.openai.api_key is empty, and the provider is openai");
        }
        self.openai.refusal()
    }

    /// What all workers together keep to.
    pub fn limits(&self) -> lease::Limits {
        lease::Limits {
            concurrency: i64::from(self.concurrency),
            per_minute: i64::from(self.per_minute),
            daily_budget_micros: i64::from(self.daily_budget_cents) * MICROS_PER_CENT,
            lease: Duration::from_secs(u64::from(self.time_limit_s)) + lease::BEYOND_TIME_LIMIT,
            ..lease::Limits::default()
        }
    }

    pub fn provider(&self) -> std::sync::Arc<dyn Provider> {
        match self.provider {
            ProviderKind::Offline => std::sync::Arc::new(Offline),
            ProviderKind::OpenAi => {
                let time_limit = Duration::from_secs(u64::from(self.time_limit_s));
                std::sync::Arc::new(OpenAi::new(self.openai.clone(), time_limit))
            }
        }
    }
}

const MICROS_PER_CENT: i64 = 10_000;
