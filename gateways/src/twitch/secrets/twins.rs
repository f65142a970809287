//! The same deed, told twice: while a subscription of the old secret and one of the new are both there, Twitch tells of
//! everything under two message ids. A cheer has no other name than its message id, so it is found out here which two
//! name the same one, and both are taken under the id of the first.
//!
//! Two of different subscriptions that say the same are twins, if Twitch sent them at about the same time; of several, those
//! that were sent closest together. Two of one subscription that say the same are two deeds. What this can take for one
//! is a viewer's third deed in the same words within seconds of the moment at which a subscription begins or ends.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::twitch::chat;
use crate::twitch::notification::Body;
use crate::twitch::signature::Authentic;

/// How far apart Twitch sends two of the same.
const APART_MAX: TimeDelta = TimeDelta::seconds(10);
/// How long it is remembered what was told. Twitch gives up on what it cannot deliver long before.
const REMEMBERED: TimeDelta = TimeDelta::hours(24);

/// What may have a twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    content: [u8; 32],
    subscription: String,
}

/// What `body` tells, if its message id is all that names it.
pub fn told(authentic: &Authentic<'_>, body: &[u8]) -> Option<Told> {
    if authentic.message_type != "notification" {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let Body { subscription, event } = serde_json::from_str(text).ok()?;
    // A line of chat has an id of its own, and there are many.
    if subscription.id.is_empty() || chat::KINDS.contains(&subscription.kind.as_str()) {
        return None;
    }
    // Read and written again, so that the order of keys says nothing.
    let event: Value = serde_json::from_str(event?.get()).ok()?;
    let mut hash = Sha256::new();
    for part in [&subscription.kind, &subscription.version, &event.to_string()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    Some(Told { content: hash.finalize().into(), subscription: subscription.id })
}

/// The message id under which `told` counts: its own, or that of the twin that was there first.
pub async fn taken_as(
    pool: &PgPool,
    told: &Told,
    message_id: &str,
    sent_at: DateTime<Utc>,
) -> sqlx::Result<String> {
    let mut tx = pool.begin().await?;
    // Two processes may hear of two twins at the same moment.
    let key = told.content.iter().take(8).fold(0_i64, |key, byte| (key << 8) | i64::from(*byte));
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(key).execute(&mut *tx).await?;
    let known = "SELECT taken_as FROM eventsub_twins WHERE message_id = $1";
    let known = sqlx::query_scalar(known).bind(message_id).fetch_optional(&mut *tx).await?;
    if let Some(known) = known {
        return Ok(known);
    }
    let twin: Option<String> = sqlx::query_scalar(
        "SELECT taken_as FROM eventsub_twins t
         WHERE content = $1 AND subscription <> $2 AND sent_at BETWEEN $3 - $4 * interval '1 ms'
               AND $3 + $4 * interval '1 ms'
               AND NOT EXISTS (SELECT FROM eventsub_twins o
                               WHERE o.content = $1 AND o.taken_as = t.taken_as AND o.subscription = $2)
         ORDER BY abs(extract(epoch FROM sent_at - $3)), message_id LIMIT 1",
    )
    .bind(told.content.as_slice())
    .bind(&told.subscription)
    .bind(sent_at)
    .bind(APART_MAX.num_milliseconds())
    .fetch_optional(&mut *tx)
    .await?;
    let taken_as = twin.unwrap_or_else(|| message_id.to_owned());
    sqlx::query(
        "INSERT INTO eventsub_twins (message_id, content, subscription, sent_at, taken_as)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(message_id)
    .bind(told.content.as_slice())
    .bind(&told.subscription)
    .bind(sent_at)
    .bind(&taken_as)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(taken_as)
}

/// Forgets what no twin can come of any more.
pub async fn forget(pool: &PgPool) -> sqlx::Result<()> {
    let query =
        "DELETE FROM eventsub_twins WHERE noted_at < clock_timestamp() - $1 * interval '1 ms'";
    sqlx::query(query).bind(REMEMBERED.num_milliseconds()).execute(pool).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message_type: &'static str, body: &str) -> Option<Told> {
        let authentic = Authentic {
            message_id: "m",
            sent_at: DateTime::UNIX_EPOCH,
            message_type,
            kind: "",
            version: "",
        };
        told(&authentic, body.as_bytes())
    }

    fn cheer(id: &str, event: &str) -> Option<Told> {
        let about =
            format!(r#""subscription":{{"id":"{id}","type":"channel.cheer","version":"1"}}"#);
        of("notification", &format!(r#"{{{about},"event":{event}}}"#))
    }

    #[test]
    fn what_says_the_same_has_the_same_content_whoever_tells_it() {
        let one = cheer("a", r#"{"bits":1,"message":"x"}"#).expect("a cheer");
        let twin = cheer("b", r#"{ "message":"x", "bits":1 }"#).expect("a cheer");
        assert_eq!(one.content, twin.content);
        assert_ne!(one.subscription, twin.subscription);
        let other = cheer("a", r#"{"bits":2,"message":"x"}"#).expect("a cheer");
        assert_ne!(one.content, other.content);
    }

    #[test]
    fn what_has_another_name_or_cannot_be_read_has_no_twin() {
        let line =
            r#"{"subscription":{"id":"a","type":"channel.chat.message","version":"1"},"event":{}}"#;
        assert_eq!(of("notification", line), None);
        assert_eq!(cheer("", "{}"), None, "nobody says who told it");
        let nothing = r#"{"subscription":{"id":"a","type":"channel.cheer","version":"1"}}"#;
        for body in [nothing, "", "{", "\0", "[]"] {
            assert_eq!(of("notification", body), None, "{body}");
        }
        let revoked = r#"{"subscription":{"id":"a","type":"x","version":"1"},"event":{}}"#;
        assert_eq!(of("revocation", revoked), None);
    }
}
