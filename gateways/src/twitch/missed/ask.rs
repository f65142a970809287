//! Lists of Helix, page by page. Goes out.

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::outgoing::{Answer, BaseUrl};
use crate::twitch::accounts::NoGrant;
use crate::twitch::calls::{Calls, NoAnswer};

const WORDS_MAX: usize = 200;

/// Why Twitch does not say it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotTold {
    /// It may in a moment.
    #[error("Twitch cannot be asked now: {0}")]
    Away(String),
    /// Somebody has to grant something first.
    #[error("{0}")]
    Refused(String),
    /// It is ours that does not answer.
    #[error("{0}")]
    Here(String),
}

/// What became of it when something was asked for, as it is written down and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Answered,
    Unanswered,
    Refused,
}

/// A list that is asked for.
pub struct List<'a> {
    pub calls: &'a Calls,
    pub base_url: &'a BaseUrl,
    pub path: &'a [&'a str],
    pub query: &'a [(&'a str, &'a str)],
    pub pages_max: usize,
}

/// What of it was read.
#[derive(Debug)]
pub struct Read<T> {
    pub rows: Vec<T>,
    /// The list is longer than what is read of it at once.
    pub is_cut: bool,
    /// There were rows that mean nothing.
    pub is_garbled: bool,
    /// How many rows there are altogether, where Twitch says so.
    pub total: i64,
}

#[derive(Deserialize)]
struct Page {
    /// An answer without it is none: not an empty list.
    data: Vec<Value>,
    #[serde(default)]
    total: Option<i64>,
    /// May be empty, and may not be there.
    #[serde(default)]
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    #[serde(default)]
    cursor: Option<String>,
}

impl<T> Read<T> {
    /// Every row up to where nobody wanted to read on.
    pub fn is_whole(&self) -> bool {
        !self.is_cut && !self.is_garbled
    }
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Answered => "answered",
            State::Unanswered => "unanswered",
            State::Refused => "refused",
        }
    }

    pub fn of(name: &str) -> Self {
        let named = [State::Unanswered, State::Refused].into_iter().find(|one| one.name() == name);
        named.unwrap_or(State::Answered)
    }
}

impl NotTold {
    pub fn state(&self) -> State {
        match self {
            NotTold::Refused(_) => State::Refused,
            NotTold::Away(_) | NotTold::Here(_) => State::Unanswered,
        }
    }
}

impl List<'_> {
    /// Reads until `is_enough` says of the last row of a page that no other is wanted, or to the end.
    pub async fn read<T: DeserializeOwned>(
        &self,
        is_enough: impl Fn(&T) -> bool,
    ) -> Result<Read<T>, NotTold> {
        let mut read = Read { rows: Vec::new(), is_cut: false, is_garbled: false, total: 0 };
        let mut after = None::<String>;
        for _ in 0..self.pages_max {
            let page = self.page(after.as_deref()).await?;
            read.total = read.total.max(page.total.unwrap_or_default());
            for row in page.data {
                match serde_json::from_value(row) {
                    Ok(row) => read.rows.push(row),
                    Err(error) => {
                        tracing::warn!(%error, path = self.path.join("/"), "a row of Helix");
                        read.is_garbled = true;
                    }
                }
            }
            if read.rows.last().is_some_and(&is_enough) {
                return Ok(read);
            }
            let next = page.pagination.and_then(|pagination| pagination.cursor);
            match next.filter(|cursor| !cursor.is_empty()) {
                None => return Ok(read),
                next if next == after => break,
                next => after = next,
            }
        }
        read.is_cut = true;
        Ok(read)
    }

    async fn page(&self, after: Option<&str>) -> Result<Page, NotTold> {
        let mut url = self.base_url.at(self.path);
        url.query_pairs_mut().extend_pairs(self.query);
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let answer = self.calls.ask(Method::GET, url, Bytes::new()).await?;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        read_page(&answer.body)
    }
}

fn read_page(body: &[u8]) -> Result<Page, NotTold> {
    let garbled = |_| NotTold::Away("its answer cannot be read".to_owned());
    serde_json::from_slice(body).map_err(garbled)
}

impl From<NoAnswer> for NotTold {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::NotGranted(NoGrant::Unreachable(_) | NoGrant::Unread)
            | NoAnswer::Unanswered(_)
            | NoAnswer::Limited { .. } => NotTold::Away(error.to_string()),
            NoAnswer::NotGranted(_) | NoAnswer::Unsendable => NotTold::Refused(error.to_string()),
        }
    }
}

/// What a status means that is none of success, in Twitch's words where it has any.
fn refused(answer: &Answer) -> NotTold {
    #[derive(Default, Deserialize)]
    struct Said {
        #[serde(default)]
        message: String,
    }
    let status = answer.status.as_u16();
    let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
    let words: String = said.message.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    let words = if words.is_empty() { format!("it answered {status}") } else { words };
    match status {
        400..=407 | 409..=428 => NotTold::Refused(format!("Twitch refuses it: {words}")),
        _ => NotTold::Away(words),
    }
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_somebody_has_to_grant() {
        let of = |status, body: &'static str| {
            let status = StatusCode::from_u16(status).expect("a status");
            refused(&Answer { status, headers: HeaderMap::new(), body: Bytes::from(body) })
        };
        let says = r#"{"message":"Missing scope: channel:read:subscriptions\n"}"#;
        let words = "Twitch refuses it: Missing scope: channel:read:subscriptions";
        assert_eq!(of(401, says), NotTold::Refused(words.to_owned()));
        assert!(matches!(of(403, ""), NotTold::Refused(_)));
        for passing in [429, 500, 503] {
            assert_eq!(of(passing, "<html>"), NotTold::Away(format!("it answered {passing}")));
        }
        let not_connected = NoGrant::NotConnected(crate::twitch::accounts::Role::Broadcaster);
        let NotTold::Refused(words) = NotTold::from(NoAnswer::from(not_connected)) else {
            panic!()
        };
        assert!(words.contains("tapedeck connect broadcaster"), "{words}");
    }

    #[test]
    fn pages_are_read_whatever_is_written_after_them() {
        for end in ["", ",\"pagination\":{}", ",\"pagination\":null"] {
            let page = read_page(format!("{{\"data\":[]{end}}}").as_bytes()).expect("a page");
            assert!(page.pagination.and_then(|pagination| pagination.cursor).is_none(), "{end}");
        }
    }

    #[test]
    fn an_answer_without_a_list_is_no_empty_list() {
        for body in ["{}", "{\"pagination\":{}}", "{\"data\":null}", "[]", "", "<html>"] {
            assert!(matches!(read_page(body.as_bytes()), Err(NotTold::Away(_))), "{body}");
        }
    }
}
