//! Who is called a name: EventSub names whoever a line mentions by id, IRC does not, so the cache is asked, and behind it
//! Helix.

use std::sync::Arc;
use std::time::Duration;

use journal::ViewerName;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::twitch::cache::asking::Told;
use crate::twitch::cache::kept::{NAME_GOOD_FOR, Name};
use crate::twitch::cache::{Cache, Terms};
use crate::twitch::chat::Asking;

/// Longer than this no line waits for an answer. Whom Twitch does not name in time is nobody whom we know.
const LIMIT: Duration = Duration::from_secs(2);
/// After this, what Twitch said before is good enough.
const TWITCH_LIMIT: Duration = Duration::from_millis(1_500);
/// How many are asked for at once. What is asked for together is one call, and calls keep their distance.
const AT_ONCE: usize = 64;

/// Knows people by their login.
pub struct Whois {
    cache: Arc<Cache>,
    places: Semaphore,
}

impl Whois {
    pub fn new(cache: Arc<Cache>) -> Self {
        Whois { cache, places: Semaphore::new(AT_ONCE) }
    }

    /// Finds out whom a line names, if what it asks for depends on that and nobody here knows them.
    pub async fn introduce(&self, asking: &mut Asking, pool: &PgPool) {
        let name = match asking.stranger(pool).await {
            Ok(Some(name)) => Name::login(name),
            // Whoever makes a command of it asks again, and waits.
            Ok(None) | Err(_) => return,
        };
        let Some(name) = name else { return };
        let found = timeout(LIMIT, async {
            let _place = self.places.acquire().await.ok()?;
            let terms = Terms { good_for: NAME_GOOD_FOR, limit: TWITCH_LIMIT };
            self.cache.users(std::slice::from_ref(&name), terms).await.pop()
        });
        let login = Some(name.text().to_owned());
        match found.await {
            Ok(Some(Told::Known(user))) => {
                let name = Some(user.display_name);
                asking.introduce(ViewerName { id: user.id, login, name });
            }
            // Whoever was erased is nobody: that they are known to be meant keeps the line from being for whoever had
            // this login before.
            Ok(Some(Told::Erased(id))) => asking.introduce(ViewerName { id, login, name: None }),
            Ok(Some(Told::Untold(error))) => {
                tracing::warn!(%error, "Helix does not say who is named in a line of chat");
            }
            Ok(Some(Told::Absent) | None) => {}
            Err(_) => tracing::warn!("Helix did not say in time who is named in a line of chat"),
        }
    }
}
