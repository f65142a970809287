//! What was shown and said, against what a night must come to.

use std::sync::{Mutex, PoisonError};

use journal::broker::{Broker, Role};
use sqlx::PgPool;

use super::{LOOK_EVERY, PATIENCE};
use crate::chat::lines::{self, CHAT};
use crate::chat::{Frame, Line};
use crate::simulate::{ExpectedAlert, Shown};

/// `None` once every question of the chat was answered, and each is one line of it; otherwise what was wrong.
pub(super) async fn replies_agree(
    pool: &PgPool,
    broker: &Broker,
    expected: usize,
) -> anyhow::Result<Option<String>> {
    let wanted = i64::try_from(expected)?;
    let counts = async || -> sqlx::Result<(i64, i64)> {
        let counts = "SELECT count(*), count(*) FILTER (WHERE stage = 'delivered')
                      FROM projections.replies";
        sqlx::query_as(counts).fetch_one(pool).await
    };
    let answered = async {
        while counts().await?.1 < wanted {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        anyhow::Ok(())
    };
    let in_time = tokio::time::timeout(PATIENCE, answered).await;
    in_time.unwrap_or(Ok(()))?;
    let (asked, delivered) = counts().await?;
    if (asked, delivered) != (wanted, wanted) {
        let words = format!("{asked} questions were asked, {delivered} answered, of {expected}");
        return Ok(Some(words));
    }
    let stream = broker.jetstream(Role::Admin).await?.get_stream(CHAT).await?;
    let state = stream.cached_info().state.clone();
    let mut said = 0;
    for sequence in state.first_sequence..=state.last_sequence {
        let kept = lines::read(&stream, sequence).await?;
        let frame = kept.map(|kept| kept.frame);
        said += usize::from(matches!(frame, Some(Frame::Line(Line { bot: true, .. }))));
    }
    let words = format!("{said} answers are in the chat and must be {expected}");
    Ok((said != expected).then_some(words))
}

/// `None` once the feed has shown exactly what it must; otherwise what was wrong in the end.
pub(super) async fn alerts_agree(
    mut expected: Vec<ExpectedAlert>,
    shown: &Mutex<Vec<Shown>>,
) -> Option<String> {
    expected.sort();
    let agreed = async {
        loop {
            let mut found: Vec<ExpectedAlert> = {
                let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.iter().filter_map(ExpectedAlert::of).collect()
            };
            found.sort();
            if found == expected || found.len() > expected.len() {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, agreed).await;
    match found {
        Ok(found) if found == expected => None,
        Ok(found) => {
            Some(format!("{} alerts were shown and must be {}", found.len(), expected.len()))
        }
        Err(_) => Some(format!("not all of {} alerts were shown in time", expected.len())),
    }
}
