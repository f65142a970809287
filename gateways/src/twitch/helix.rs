//! Helix: who somebody is, and who moderates the channel. Goes out.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::PgPool;

use super::Settings;
use super::calls::{Calls, Credentials, NoAnswer};
use super::oauth::{Grant, TwitchError, is_passing};
use crate::outgoing::Outgoing;

/// The scope that lets us list the moderators, which the broadcaster grants.
pub const MODERATION_READ: &str = "moderation:read";

/// Moderators of a page, and the most pages that are read: no channel has more.
const PAGE: &str = "100";
const PAGES_MAX: usize = 50;

/// Asks Helix in the name of our application.
pub struct Helix {
    settings: Settings,
    outgoing: Arc<Outgoing>,
    pool: PgPool,
}

/// A person on Twitch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct User {
    pub id: String,
    pub login: String,
    pub display_name: String,
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    #[serde(default)]
    pagination: Pagination,
}

#[derive(Default, Deserialize)]
struct Pagination {
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Moderator {
    user_id: String,
}

impl Helix {
    pub fn new(settings: Settings, pool: PgPool) -> Self {
        Helix { settings, outgoing: Arc::default(), pool }
    }

    /// Who granted this. Whoever logs in has points of their own, which nobody else takes, so they are counted nowhere.
    pub async fn user(&self, grant: &Grant) -> Result<User, TwitchError> {
        let url = self.settings.helix_url.at(&["users"]);
        let users: Page<User> = get(&self.calls(grant), url).await?;
        users.data.into_iter().next().ok_or(TwitchError::Garbled)
    }

    /// The user ids of those who moderate the channel of `broadcaster`, who granted [`MODERATION_READ`].
    pub async fn moderators(
        &self,
        grant: &Grant,
        broadcaster: &str,
    ) -> Result<Vec<String>, TwitchError> {
        let calls = self.calls(grant).shared(self.pool.clone(), broadcaster);
        let (mut found, mut after) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let mut url = self.settings.helix_url.at(&["moderation", "moderators"]);
            url.query_pairs_mut()
                .append_pair("broadcaster_id", broadcaster)
                .append_pair("first", PAGE)
                .extend_pairs(after.iter().map(|cursor| ("after", cursor)));
            let page: Page<Moderator> = get(&calls, url).await?;
            found.extend(page.data.into_iter().map(|moderator| moderator.user_id));
            match page.pagination.cursor.filter(|cursor| !cursor.is_empty()) {
                None => return Ok(found),
                next => after = next,
            }
        }
        Ok(found)
    }

    fn calls(&self, grant: &Grant) -> Calls {
        let credentials = Credentials::fixed(&self.settings.client_id, grant.secret());
        Calls::new(credentials).over(Arc::clone(&self.outgoing))
    }
}

/// Asks once: whoever wants to know asks again.
async fn get<T: DeserializeOwned>(calls: &Calls, url: Url) -> Result<T, TwitchError> {
    let answer = calls.ask_once_soon(Method::GET, url, Bytes::new()).await;
    let answer = answer.map_err(|error| match error {
        NoAnswer::Unsendable => TwitchError::Garbled,
        error => TwitchError::Unreachable(error.to_string()),
    })?;
    match answer.status {
        status if status.is_success() => {
            serde_json::from_slice(&answer.body).map_err(|_| TwitchError::Garbled)
        }
        status if is_passing(status) => Err(TwitchError::Unreachable(status.to_string())),
        status => Err(TwitchError::Refused(status)),
    }
}
