//! Twitch's list of EventSub subscriptions: reading it, adding to it, taking from it (Helix `/eventsub/subscriptions`).
//! Goes out.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;
use utoipa::ToSchema;

use super::plan::{Existing, Place};
use super::wanted::Wanted;
use crate::outgoing::{Answer, BaseUrl};
use crate::twitch::calls::{Calls, NoAnswer};

/// The most pages that are read. Twitch allows 10,000 that cost something, and says nothing of the size of a page.
const PAGES_MAX: usize = 500;
const WORDS_MAX: usize = 200;

/// The list of one application, or of one account of it.
pub struct Subscriptions {
    calls: Calls,
    base_url: BaseUrl,
    /// With which Twitch is to sign what it posts, where the place names no version of it.
    secret: String,
    made: Counters,
}

#[derive(Default)]
struct Counters {
    pages: AtomicU32,
    created: AtomicU32,
    deleted: AtomicU32,
}

/// How many calls were made, those among them that were made again included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, Deserialize, ToSchema)]
#[schema(as = EventsubCalls)]
pub struct Made {
    pub pages: u32,
    pub creations: u32,
    pub deletions: u32,
    /// Of these, how many were a call again that had failed.
    pub again: u32,
}

impl Made {
    pub fn all(&self) -> u32 {
        self.pages + self.creations + self.deletions + self.again
    }
}

/// All that Twitch has.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    pub existing: Vec<Existing>,
    pub cost: Cost,
}

/// What all of them cost together, and may at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, Deserialize, ToSchema)]
#[schema(as = EventsubCost)]
pub struct Cost {
    pub total: i64,
    pub max: i64,
}

/// Why Twitch did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failed {
    #[error("Twitch cannot be asked now: {0}")]
    Unreachable(String),
    #[error("Twitch does not take the token: {0}")]
    Token(String),
    #[error("the account has not granted what this needs: {0}")]
    Forbidden(String),
    #[error("Twitch has it already")]
    Exists,
    #[error("Twitch takes no more of these: {0}")]
    Full(String),
    #[error("Twitch refused it: {0}")]
    Refused(String),
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    data: Vec<Value>,
    #[serde(default)]
    total_cost: i64,
    #[serde(default)]
    max_total_cost: i64,
    #[serde(default)]
    pagination: Pagination,
}

#[derive(Default, Deserialize)]
pub(super) struct Pagination {
    #[serde(default)]
    cursor: Option<String>,
}

impl Pagination {
    /// Where the next page begins, if there is one.
    pub fn next(self) -> Option<String> {
        self.cursor.filter(|cursor| !cursor.is_empty())
    }
}

impl Subscriptions {
    pub fn new(calls: Calls, base_url: BaseUrl, secret: String) -> Self {
        Subscriptions { calls, base_url, secret, made: Counters::default() }
    }

    /// How many calls were made since this was last asked.
    pub fn made(&self) -> Made {
        let take = |counter: &AtomicU32| counter.swap(0, Ordering::Relaxed);
        Made {
            pages: take(&self.made.pages),
            creations: take(&self.made.created),
            deletions: take(&self.made.deleted),
            again: self.calls.made_again(),
        }
    }

    /// All of them, page by page. A part of the list is no list.
    pub async fn list(&self) -> Result<Listed, Failed> {
        let (mut listed, mut after) = (Listed::default(), None::<String>);
        for _ in 0..PAGES_MAX {
            let mut url = self.base_url.at(&["eventsub", "subscriptions"]);
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            self.made.pages.fetch_add(1, Ordering::Relaxed);
            let answer = self.calls.ask(Method::GET, url, Bytes::new()).await?;
            let page: Page = read(&answer)?;
            listed.cost = Cost { total: page.total_cost, max: page.max_total_cost };
            // One that cannot be read is none that we know to be ours.
            let known = |one| serde_json::from_value::<Existing>(one).ok();
            listed.existing.extend(page.data.into_iter().filter_map(known));
            match page.pagination.next() {
                None => return Ok(listed),
                next if next == after => {
                    return Err(Failed::Unreachable("its pages go round in a circle".to_owned()));
                }
                next => after = next,
            }
        }
        Err(Failed::Unreachable(format!("its list has more than {PAGES_MAX} pages")))
    }

    /// Has Twitch tell of `wanted` at `place`, and says what it made of it.
    pub async fn create(&self, wanted: &Wanted, place: &Place) -> Result<(Existing, Cost), Failed> {
        let transport = match place {
            Place::Webhook { version, .. } => {
                let secret = version.as_ref().map_or(self.secret.as_str(), |v| v.secret.reveal());
                json!({"method": "webhook", "callback": place.address(), "secret": secret})
            }
            Place::Session { id, .. } => json!({"method": "websocket", "session_id": id}),
            Place::Conduit { id, .. } => json!({"method": "conduit", "conduit_id": id}),
        };
        let body = json!({
            "type": wanted.kind,
            "version": wanted.version,
            "condition": wanted.condition,
            "transport": transport,
        });
        let url = self.base_url.at(&["eventsub", "subscriptions"]);
        self.made.created.fetch_add(1, Ordering::Relaxed);
        let answer = self.calls.ask(Method::POST, url, Bytes::from(body.to_string())).await?;
        let page: Page = read(&answer)?;
        let cost = Cost { total: page.total_cost, max: page.max_total_cost };
        let one = page.data.into_iter().next();
        let made = one.and_then(|one| serde_json::from_value(one).ok());
        made.map(|made| (made, cost)).ok_or_else(garbled)
    }

    /// Takes one away. One that was not there any more is away as well.
    pub async fn delete(&self, id: &str) -> Result<(), Failed> {
        let mut url = self.base_url.at(&["eventsub", "subscriptions"]);
        url.query_pairs_mut().append_pair("id", id);
        self.made.deleted.fetch_add(1, Ordering::Relaxed);
        let answer = self.calls.ask(Method::DELETE, url, Bytes::new()).await?;
        match answer.status {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refused(&answer)),
        }
    }
}

impl From<NoAnswer> for Failed {
    fn from(error: NoAnswer) -> Self {
        Failed::Unreachable(error.to_string())
    }
}

/// What it says where it does not refuse.
pub(super) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failed> {
    if !answer.status.is_success() {
        return Err(refused(answer));
    }
    serde_json::from_slice(&answer.body).map_err(|_| garbled())
}

pub(super) fn garbled() -> Failed {
    Failed::Unreachable("its answer cannot be read".to_owned())
}

/// What a status means that is none of success. Twitch's words are passed on where they say what is wrong with the
/// request; it was not told any secret but the one of webhooks, which it does not repeat.
fn refused(answer: &Answer) -> Failed {
    #[derive(Default, Deserialize)]
    struct Said {
        #[serde(default)]
        message: String,
    }
    let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
    let words: String = said.message.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    let words = match words.is_empty() {
        true => format!("it answered {}", answer.status.as_u16()),
        false => words,
    };
    match answer.status.as_u16() {
        401 => Failed::Token(words),
        403 => Failed::Forbidden(words),
        409 => Failed::Exists,
        429 => Failed::Full(words),
        408 | 500..=599 => Failed::Unreachable(words),
        _ => Failed::Refused(words),
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    #[test]
    fn each_refusal_means_one_thing_and_says_why() {
        let of = |status, body: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            let body = Bytes::from(body.to_owned());
            refused(&Answer { status, headers: HeaderMap::new(), body })
        };
        let says = |words: &str| json!({"error": "x", "message": words}).to_string();
        assert_eq!(of(401, &says("a\nb")), Failed::Token("ab".to_owned()));
        assert_eq!(of(403, &says("scope")), Failed::Forbidden("scope".to_owned()));
        assert_eq!(of(409, ""), Failed::Exists);
        let full = "maximum subscriptions with type and condition exceeded";
        assert_eq!(of(429, &says(full)), Failed::Full(full.to_owned()));
        assert_eq!(of(503, "<html>"), Failed::Unreachable("it answered 503".to_owned()));
        assert_eq!(of(400, &says("bad")), Failed::Refused("bad".to_owned()));
        let Failed::Refused(words) = of(400, &says(&"x".repeat(5_000))) else { panic!() };
        assert_eq!(words.len(), WORDS_MAX);
    }
}
