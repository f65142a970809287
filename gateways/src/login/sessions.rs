//! Sessions: who is logged in, under a secret of ours that is kept as a hash.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::http::keys::{hash_of, parts_of, random_secret};
use crate::http::lookup::Lookup;

/// What the text of a session begins with.
pub const PREFIX: &str = "tds_";
/// How long a session lasts without being refreshed.
pub const LASTS: TimeDelta = TimeDelta::days(7);
/// How long it can be refreshed after the login: then the person logs in again.
pub const LASTS_AT_MOST: TimeDelta = TimeDelta::days(30);
/// How long a login counts as fresh, for what cannot be undone.
pub const FRESH: TimeDelta = TimeDelta::minutes(15);
/// How many sessions a viewer has at one time. One more, and the oldest ends.
const EACH_MAX: i64 = 10;
/// How long the old secret is good after a refresh: its answer may have been lost, or another tab was late.
const OLD_SECRET_LASTS: TimeDelta = TimeDelta::seconds(60);

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Session {
    pub id: Uuid,
    /// The Twitch user id.
    pub viewer: String,
    pub logged_in_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// Whether Twitch has listed them as a moderator of the channel within a day.
    pub is_listed: bool,
}

impl Session {
    /// Whether the login was a moment ago.
    pub fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        now - self.logged_in_at < FRESH
    }
}

/// Somebody who has just logged in.
pub struct NewSession<'a> {
    pub id: Uuid,
    pub viewer: &'a str,
    /// Twitch's grant, sealed.
    pub granted: &'a [u8],
    pub grant_scopes: &'a [String],
    /// When Twitch is to be asked about the grant.
    pub check_at: DateTime<Utc>,
    /// The session that the same browser had, which ends.
    pub replaces: Option<Uuid>,
}

/// Looks sessions up, and remembers for a few seconds what it found.
#[derive(Clone)]
pub struct Sessions {
    pool: PgPool,
    found: Arc<Lookup<Stored>>,
}

#[derive(sqlx::FromRow)]
struct Stored {
    #[sqlx(flatten)]
    session: Session,
    hash: Vec<u8>,
    old_hash: Option<Vec<u8>>,
    old_until: Option<DateTime<Utc>>,
}

impl Sessions {
    pub fn new(pool: PgPool) -> Self {
        Sessions { pool, found: Arc::default() }
    }

    /// The session of this text, if it is one and has not ended.
    pub async fn verify(
        &self,
        text: &str,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Option<Arc<Session>>> {
        let Some((id, secret)) = parts_of(PREFIX, text) else { return Ok(None) };
        let opens = |stored: &Arc<Stored>| stored.opens_with(secret, now);
        let stored = match self.find(id).await? {
            // Another process may have refreshed it a moment ago.
            Some(stored) if !opens(&stored) => {
                self.found.find_again(id, &stored, self.fetch(id)).await?.filter(opens)
            }
            stored => stored,
        };
        Ok(stored.map(|stored| Arc::new(stored.session.clone())))
    }

    /// Whether this text names a session that was found before, though perhaps not lately.
    pub fn knows(&self, text: &str) -> bool {
        parts_of(PREFIX, text).is_some_and(|(id, _)| self.found.knows(id))
    }

    /// A session that was verified before as it is now, if it goes on.
    pub async fn current(&self, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<Option<Session>> {
        let stored = self.find(id).await?.filter(|stored| stored.session.expires_at > now);
        Ok(stored.map(|stored| stored.session.clone()))
    }

    /// Begins a session, and returns the text that is its secret. Of those the viewer has had, only the newest go on.
    pub async fn begin(&self, new: NewSession<'_>, now: DateTime<Utc>) -> sqlx::Result<String> {
        let secret = random_secret();
        let mut tx = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO sessions (id, hash, viewer, logged_in_at, expires_at, granted, grant_scopes,
                                   check_at, checked_at, salt)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $4, $9)",
        )
        .bind(new.id)
        .bind(hash_of(&secret).as_slice())
        .bind(new.viewer)
        .bind(now)
        .bind(now + LASTS)
        .bind(new.granted)
        .bind(new.grant_scopes)
        .bind(new.check_at)
        .bind(random_secret())
        .execute(&mut *tx)
        .await?;
        let replaced: Vec<Uuid> = sqlx::query_scalar(
            "UPDATE sessions SET ended_at = $3, ended_by = 'replaced', check_at = $3
             WHERE id = $5 AND ended_at IS NULL
                OR id IN (SELECT id FROM sessions
                          WHERE viewer = $1 AND id <> $2 AND id IS DISTINCT FROM $5
                            AND ended_at IS NULL AND expires_at > $3
                          ORDER BY logged_in_at DESC, id OFFSET $4)
             RETURNING id",
        )
        .bind(new.viewer)
        .bind(new.id)
        .bind(now)
        .bind(EACH_MAX - 1)
        .bind(new.replaces)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        for id in replaced {
            self.found.forget(id);
        }
        Ok(text_of(new.id, &secret))
    }

    /// Gives the session of this text, which was verified, a new secret and more time; `None` where it has ended meanwhile.
    /// Two who come with the same text get the same new one: neither locks the other out, and an answer may be lost.
    pub async fn refresh(
        &self,
        text: &str,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Option<(String, DateTime<Utc>)>> {
        let Some((id, present)) = parts_of(PREFIX, text) else { return Ok(None) };
        let salt: Option<String> = sqlx::query_scalar("SELECT salt FROM sessions WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        let Some(salt) = salt else { return Ok(None) };
        let secret = next_secret(&salt, present);
        let expires_at: Option<DateTime<Utc>> = sqlx::query_scalar(
            "UPDATE sessions SET hash = $2,
                    old_hash = CASE hash WHEN $2 THEN old_hash ELSE hash END,
                    old_until = CASE hash WHEN $2 THEN old_until ELSE $3 END,
                    expires_at = greatest(expires_at, least($4, logged_in_at + make_interval(days => $5)))
             WHERE id = $1 AND ended_at IS NULL AND expires_at > $6 AND hash IN ($2, $7)
             RETURNING expires_at",
        )
        .bind(id)
        .bind(hash_of(&secret).as_slice())
        .bind(now + OLD_SECRET_LASTS)
        .bind(now + LASTS)
        .bind(i32::try_from(LASTS_AT_MOST.num_days()).unwrap_or(i32::MAX))
        .bind(now)
        .bind(hash_of(present).as_slice())
        .fetch_optional(&self.pool)
        .await?;
        self.found.forget(id);
        Ok(expires_at.map(|expires_at| (text_of(id, &secret), expires_at)))
    }

    /// Ends the session. The grant is kept until it is revoked at Twitch, which is due now.
    pub async fn end(&self, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
        let ended = sqlx::query(
            "UPDATE sessions SET ended_at = $2, ended_by = 'logout', check_at = $2
             WHERE id = $1 AND ended_at IS NULL",
        )
        .bind(id)
        .bind(now)
        .execute(&self.pool)
        .await;
        self.found.forget(id);
        ended.map(drop)
    }

    /// Looks it up anew the next time.
    pub(super) fn forget(&self, id: Uuid) {
        self.found.forget(id);
    }

    async fn find(&self, id: Uuid) -> sqlx::Result<Option<Arc<Stored>>> {
        self.found.find(id, self.fetch(id)).await
    }

    async fn fetch(&self, id: Uuid) -> sqlx::Result<Option<Stored>> {
        let query = sqlx::query_as(
            "SELECT id, viewer, logged_in_at, expires_at, hash, old_hash, old_until,
                    EXISTS (SELECT FROM listed_moderators m WHERE m.viewer = s.viewer) AS is_listed
             FROM sessions s WHERE id = $1 AND ended_at IS NULL AND expires_at > clock_timestamp()",
        );
        query.bind(id).fetch_optional(&self.pool).await
    }
}

impl Stored {
    fn opens_with(&self, secret: &str, now: DateTime<Utc>) -> bool {
        let hash = hash_of(secret);
        let is_old = match (&self.old_hash, self.old_until) {
            (Some(old), Some(until)) => until > now && bool::from(old.ct_eq(&hash)),
            _ => false,
        };
        self.session.expires_at > now && (bool::from(self.hash.ct_eq(&hash)) || is_old)
    }
}

/// Random as the two it is made of: neither who has the one nor who reads the other knows it.
fn next_secret(salt: &str, present: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash_of(&format!("{salt}{present}")))
}

fn text_of(id: Uuid, secret: &str) -> String {
    format!("{PREFIX}{}_{secret}", id.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_secret_is_good_for_a_minute_and_none_after_the_end() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        let session = Session {
            id: Uuid::nil(),
            viewer: "5001".to_owned(),
            logged_in_at: now,
            expires_at: now + LASTS,
            is_listed: false,
        };
        let stored = Stored {
            hash: hash_of("new").to_vec(),
            old_hash: Some(hash_of("old").to_vec()),
            old_until: Some(now + OLD_SECRET_LASTS),
            session,
        };
        assert!(stored.opens_with("new", now) && stored.opens_with("old", now));
        assert!(!stored.opens_with("other", now) && !stored.opens_with("", now));
        assert!(!stored.opens_with("old", now + OLD_SECRET_LASTS));
        assert!(!stored.opens_with("new", now + LASTS));
        assert!(stored.session.is_fresh(now) && !stored.session.is_fresh(now + FRESH));
    }
}
