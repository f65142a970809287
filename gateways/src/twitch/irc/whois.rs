//! Who is called a name: EventSub names whoever a line mentions by id, IRC does not, so Helix is asked. Goes out.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use journal::ViewerName;
use serde::Deserialize;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::outgoing::BaseUrl;
use crate::twitch::calls::{Calls, Credentials};
use crate::twitch::chat::Asking;

/// Longer than this no line waits for an answer. Whom Twitch does not name in time is nobody whom we know.
const LIMIT: Duration = Duration::from_secs(2);
/// How many are asked for at once: a flood of names must not use up what Helix allows for everything.
const AT_ONCE: usize = 2;
const LOGIN_CHARS_MAX: usize = 25;

/// Knows people by their login, where Helix may be asked.
pub struct Whois {
    helix: Option<(Calls, BaseUrl)>,
    places: Semaphore,
}

#[derive(Deserialize)]
struct Users {
    data: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    login: String,
    display_name: String,
}

impl Whois {
    pub fn new(helix: Option<(Credentials, BaseUrl)>) -> Self {
        let helix = helix.map(|(credentials, base_url)| (Calls::new(credentials), base_url));
        Whois { helix, places: Semaphore::new(AT_ONCE) }
    }

    /// Finds out whom a line names, if what it asks for depends on that and nobody here knows them.
    pub async fn introduce(&self, asking: &mut Asking, pool: &PgPool) {
        let Some((calls, base_url)) = &self.helix else { return };
        let name = match asking.stranger(pool).await {
            Ok(Some(name)) if is_login(name) => name.to_lowercase(),
            Ok(_) => return,
            // Whoever makes a command of it asks again, and waits.
            Err(_) => return,
        };
        let found = timeout(LIMIT, async {
            let _place = self.places.acquire().await.ok()?;
            find(calls, base_url, &name).await
        });
        match found.await {
            Ok(Some(viewer)) => asking.introduce(viewer),
            Ok(None) => {}
            Err(_) => tracing::warn!("Helix did not say in time who is named in a line of chat"),
        }
    }
}

async fn find(calls: &Calls, base_url: &BaseUrl, login: &str) -> Option<ViewerName> {
    let mut url = base_url.at(&["users"]);
    url.query_pairs_mut().append_pair("login", login);
    let answer = match calls.ask(Method::GET, url, Bytes::new()).await {
        Ok(answer) if answer.status.is_success() => answer,
        Ok(answer) => {
            let status = answer.status.as_u16();
            tracing::warn!(status, "Helix does not say who is named in a line of chat");
            return None;
        }
        Err(error) => {
            tracing::warn!(%error, "Helix cannot be asked who is named in a line of chat");
            return None;
        }
    };
    let users: Users = serde_json::from_slice(&answer.body).ok()?;
    let user = users.data.into_iter().find(|user| user.login.eq_ignore_ascii_case(login))?;
    Some(ViewerName { id: user.id, login: Some(user.login), name: Some(user.display_name) })
}

fn is_login(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=LOGIN_CHARS_MAX).contains(&name.len()) && name.bytes().all(plain)
}
