//! The calls to Helix for what nobody has here. Goes out.
//!
//! Helix answers 400 to all of a call where it cannot read one of its names. Then they are asked for in halves, until that
//! one is alone: it is nobody's, and the others are told.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::LATE;
use super::kept::{Kept, Name};
use crate::outgoing::BaseUrl;
use crate::twitch::calls::Calls;
use crate::twitch::missed::ask::NotTold;

/// How long Twitch may take altogether. One call alone may take ten seconds: whoever counts its failures sees it end.
const LIMIT: Duration = Duration::from_secs(12);
/// How often it is asked at most. A hundred names with one that it cannot read are 15 calls.
const CALLS_MAX: u32 = 32;
const MANY: &str = "it cannot read many of the names that it is asked for";
const GARBLED: &str = "its answer cannot be read";

/// What it says of a name; `None` where there is nobody of it.
pub type Heard<T> = Result<Option<T>, NotTold>;

/// What one call came to.
enum Answered<T> {
    Rows {
        rows: Vec<T>,
        /// All of them can be believed: what is not among them is not there.
        is_whole: bool,
    },
    /// It cannot read a name.
    Unread,
}

#[derive(Deserialize)]
struct Page {
    /// An answer without it is none: not an empty list.
    data: Vec<Value>,
}

/// What Twitch says of each, in their order, and in how many calls it did.
pub async fn ask<T: Kept>(
    calls: &Calls,
    base_url: &BaseUrl,
    names: &[Name],
) -> (Vec<Heard<T>>, u32) {
    let until = Instant::now() + LIMIT;
    let mut heard: Vec<Option<Heard<T>>> = names.iter().map(|_| None).collect();
    // What is alone comes first: even where there are too many of them, some are known to be nobody afterwards.
    let all = 0..names.len();
    let mut parts = vec![all];
    let (mut made, mut why) = (0, NotTold::Away(MANY.to_owned()));
    while made < CALLS_MAX
        && let Some(part) = parts.pop()
    {
        made += 1;
        let asked = &names[part.clone()];
        let answered = timeout_at(until, call::<T>(calls, base_url, asked)).await;
        match answered.unwrap_or_else(|_| Err(NotTold::Away(LATE.to_owned()))) {
            Ok(Answered::Rows { rows, is_whole }) => {
                for (name, place) in asked.iter().zip(&mut heard[part]) {
                    *place = Some(of(name, &rows, is_whole));
                }
            }
            Ok(Answered::Unread) if asked.len() > 1 => {
                let middle = part.start + asked.len() / 2;
                parts.extend([middle..part.end, part.start..middle]);
            }
            Ok(Answered::Unread) => heard[part.start] = Some(Ok(None)),
            Err(error) => {
                why = error;
                break;
            }
        }
    }
    let heard = heard.into_iter().map(|heard| heard.unwrap_or_else(|| Err(why.clone())));
    (heard.collect(), made)
}

fn of<T: Kept>(name: &Name, rows: &[T], is_whole: bool) -> Heard<T> {
    match rows.iter().find(|row| row.is_called(name)) {
        Some(row) => Ok(Some(row.clone())),
        None if is_whole => Ok(None),
        None => Err(NotTold::Away(GARBLED.to_owned())),
    }
}

async fn call<T: Kept>(
    calls: &Calls,
    base_url: &BaseUrl,
    names: &[Name],
) -> Result<Answered<T>, NotTold> {
    let mut url = base_url.at(&[T::PATH]);
    url.query_pairs_mut().extend_pairs(names.iter().map(Name::parameter));
    let answer = calls.ask(Method::GET, url, Bytes::new()).await?;
    let status = answer.status;
    if status == StatusCode::BAD_REQUEST {
        return Ok(Answered::Unread);
    }
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(NotTold::Refused(format!("Twitch refuses it: it answered {status}")));
    }
    if !status.is_success() {
        return Err(NotTold::Away(format!("it answered {status}")));
    }
    read(&answer.body, Utc::now())
}

fn read<T: Kept>(body: &[u8], now: DateTime<Utc>) -> Result<Answered<T>, NotTold> {
    let garbled = |_| NotTold::Away(GARBLED.to_owned());
    let page: Page = serde_json::from_slice(body).map_err(garbled)?;
    let many = page.data.len();
    let row = |row: Value| T::of(serde_json::from_value(row).ok()?, now);
    let rows: Vec<T> = page.data.into_iter().filter_map(row).collect();
    let is_whole = rows.len() == many;
    if !is_whole {
        tracing::warn!(of = T::PATH, unread = many - rows.len(), "rows of Helix mean nothing");
    }
    Ok(Answered::Rows { rows, is_whole })
}
