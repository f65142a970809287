//! Helix: who somebody is, who moderates the channel, and saying something in chat. Goes out.

mod saying;

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Settings;
use super::accounts::Accounts;
use super::oauth::{Grant, TwitchError, answered};
use crate::outgoing::Outgoing;

pub use self::saying::{Said, TEXT_CHARS_MAX};

/// The scope that lets us list the moderators, which the broadcaster grants.
pub const MODERATION_READ: &str = "moderation:read";

/// Moderators of a page, and the most pages that are read: no channel has more.
const PAGE: &str = "100";
const PAGES_MAX: usize = 50;

/// Asks Helix in the name of our application.
pub struct Helix {
    settings: Settings,
    outgoing: Outgoing,
    /// Whose right is used where the configuration brings none.
    accounts: Option<Arc<Accounts>>,
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
    pub fn new(settings: Settings) -> Self {
        Helix::with_accounts(settings, None)
    }

    /// One that also says something under the account that is connected for it.
    pub fn with_accounts(settings: Settings, accounts: Option<Arc<Accounts>>) -> Self {
        Helix { settings, outgoing: Outgoing::default(), accounts }
    }

    /// Who granted this.
    pub async fn user(&self, grant: &Grant) -> Result<User, TwitchError> {
        let users: Page<User> = self.get(self.settings.helix_url.at(&["users"]), grant).await?;
        users.data.into_iter().next().ok_or(TwitchError::Garbled)
    }

    /// The user ids of those who moderate the channel of `broadcaster`, who granted [`MODERATION_READ`].
    pub async fn moderators(
        &self,
        grant: &Grant,
        broadcaster: &str,
    ) -> Result<Vec<String>, TwitchError> {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let mut url = self.settings.helix_url.at(&["moderation", "moderators"]);
            url.query_pairs_mut()
                .append_pair("broadcaster_id", broadcaster)
                .append_pair("first", PAGE)
                .extend_pairs(after.iter().map(|cursor| ("after", cursor)));
            let page: Page<Moderator> = self.get(url, grant).await?;
            found.extend(page.data.into_iter().map(|moderator| moderator.user_id));
            match page.pagination.cursor.filter(|cursor| !cursor.is_empty()) {
                None => return Ok(found),
                next => after = next,
            }
        }
        Ok(found)
    }

    async fn get<T: DeserializeOwned>(&self, url: Url, grant: &Grant) -> Result<T, TwitchError> {
        let headers = self.headers(grant.bearer()?)?;
        let answer = answered(&self.outgoing, Method::GET, url, headers, Bytes::new()).await?;
        serde_json::from_slice(&answer.body).map_err(|_| TwitchError::Garbled)
    }

    /// Helix wants the application named beside whoever asks.
    fn headers(&self, bearer: HeaderValue) -> Result<HeaderMap, TwitchError> {
        let client_id = HeaderValue::from_str(&self.settings.client_id);
        let client_id = client_id.map_err(|_| TwitchError::Garbled)?;
        let named = (HeaderName::from_static("client-id"), client_id);
        Ok(HeaderMap::from_iter([(AUTHORIZATION, bearer), named]))
    }
}
