//! Twitch's conduits of our application, and their shards (Helix `/eventsub/conduits`). Goes out.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::outgoing::{Answer, BaseUrl};
use crate::twitch::calls::Calls;
use crate::twitch::eventsub::subscriptions::{Failed, Pagination, garbled, read};

/// The most pages of shards that are read. Twitch says nothing of the size of one.
const PAGES_MAX: usize = 100;
const ENABLED: &str = "enabled";
/// How much of what Twitch says of a shard is passed on.
const WORDS_MAX: usize = 200;

pub struct Conduits {
    calls: Calls,
    base_url: BaseUrl,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Conduit {
    pub id: String,
    #[serde(default)]
    pub shard_count: i32,
}

/// A shard as Twitch lists it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Shard {
    pub id: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub transport: Transport,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Transport {
    #[serde(default)]
    pub session_id: Option<String>,
}

/// Why Twitch did not give a session a shard.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct NotGiven {
    pub id: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default = "Vec::new")]
    data: Vec<T>,
    #[serde(default)]
    errors: Vec<NotGiven>,
    #[serde(default)]
    pagination: Pagination,
}

impl Shard {
    /// Whether Twitch tells this session what is told over it.
    pub fn tells(&self, session: &str) -> bool {
        self.status == ENABLED && self.transport.session_id.as_deref() == Some(session)
    }
}

impl Conduits {
    pub fn new(calls: Calls, base_url: BaseUrl) -> Self {
        Conduits { calls, base_url }
    }

    /// All of the application: five at most.
    pub async fn list(&self) -> Result<Vec<Conduit>, Failed> {
        Ok(self.ask::<Conduit>(Method::GET, &["conduits"], &[], Value::Null).await?.data)
    }

    /// Asks once: Twitch may have made one though it answers that it failed, and an application may have five.
    pub async fn create(&self, shards: i32) -> Result<Conduit, Failed> {
        let (url, body) = (self.url(&["conduits"], &[]), json!({ "shard_count": shards }));
        let body = Bytes::from(body.to_string());
        first(read(&self.calls.ask_once(Method::POST, url, body).await?)?)
    }

    /// Has it have so many shards; where there were more, the last are gone.
    pub async fn resize(&self, conduit: &str, shards: i32) -> Result<Conduit, Failed> {
        let body = json!({ "id": conduit, "shard_count": shards });
        first(self.ask(Method::PATCH, &["conduits"], &[], body).await?)
    }

    /// All shards that were ever given to anybody; nothing where there is no such conduit.
    pub async fn shards(&self, conduit: &str) -> Result<Option<Vec<Shard>>, Failed> {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let mut query = vec![("conduit_id", conduit)];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let answer =
                self.call(Method::GET, &["conduits", "shards"], &query, Value::Null).await?;
            if answer.status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let page: Page<Shard> = read(&answer)?;
            all.extend(page.data);
            match page.pagination.next() {
                next if next.is_none() || next == after => return Ok(Some(all)),
                next => after = next,
            }
        }
        Err(Failed::Unreachable(format!("its list has more than {PAGES_MAX} pages")))
    }

    /// Gives each shard to a session. Some may be given and others not: what is not given, and why.
    pub async fn give(
        &self,
        conduit: &str,
        shards: &[(i32, String)],
    ) -> Result<Vec<NotGiven>, Failed> {
        let shards = shards.iter().map(|(number, session)| {
            let transport = json!({"method": "websocket", "session_id": session});
            json!({"id": number.to_string(), "transport": transport})
        });
        let body = json!({"conduit_id": conduit, "shards": shards.collect::<Vec<_>>()});
        let page = self.ask::<Value>(Method::PATCH, &["conduits", "shards"], &[], body).await?;
        let plain = |NotGiven { id, message }| {
            let message = message.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
            NotGiven { id, message }
        };
        Ok(page.errors.into_iter().map(plain).collect())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Value,
    ) -> Result<Page<T>, Failed> {
        read(&self.call(method, path, query, body).await?)
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Value,
    ) -> Result<Answer, Failed> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        Ok(self.calls.ask(method, self.url(path, query), body).await?)
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base_url.at(&["eventsub"]);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

fn first(page: Page<Conduit>) -> Result<Conduit, Failed> {
    page.data.into_iter().next().ok_or_else(garbled)
}
