//! What a person does with requests: submit one, cancel one, try one again.

use chrono::{DateTime, Utc};
use domain::broadcast::OnAir;
use domain::chat_request::{ChatRequest, Prices, Unclear, Wish, in_chat};
use domain::generation::{Command, retry_id};
use projections::generations::Generation;
use projections::{QueryError, broadcasts};
use sqlx::PgPool;
use thiserror::Error;
use uuid::Uuid;

/// Why a person's wish cannot become a command.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("this asks for nothing: say it as in chat, such as `ghost of a lighthouse`")]
    NoRequest,
    #[error(transparent)]
    Unclear(#[from] Unclear),
    #[error("a request that is {stage} is not tried again")]
    NotTriedAgain { stage: String },
    #[error("the stored wish of this request cannot be read")]
    Unreadable,
    #[error("{style} is not offered any more")]
    NotOffered { style: String },
}

impl Refusal {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NoRequest => "no_request",
            Refusal::Unclear(_) => "unclear",
            Refusal::NotTriedAgain { .. } => "not_tried_again",
            Refusal::Unreadable => "unreadable",
            Refusal::NotOffered { .. } => "not_offered",
        }
    }
}

/// The request that `words` ask for, by the grammar of chat, with or without its exclamation mark.
pub fn submission(
    entry: Uuid,
    viewer: &str,
    words: &str,
    prices: &Prices,
    at: DateTime<Utc>,
) -> Result<Command, Refusal> {
    let words = words.trim();
    let line = format!("!{}", words.strip_prefix('!').unwrap_or(words));
    let ChatRequest { wish, price } = in_chat(&line, prices).ok_or(Refusal::NoRequest)??;
    let (viewer, prices) = (viewer.to_owned(), prices.version);
    Ok(Command::Submit { entry, viewer, wish, price, prices, at, retry_of: None, state: None })
}

/// The request that tries `old` again, and its id: for today's price. What was completed needs no retry, what still goes
/// on neither, and what a provider has refused it would refuse again.
pub fn retry(
    entry: Uuid,
    old: &Generation,
    prices: &Prices,
    at: DateTime<Utc>,
) -> Result<(Uuid, Command), Refusal> {
    if !matches!(old.stage.as_str(), "failed" | "cancelled" | "declined" | "expired") {
        return Err(Refusal::NotTriedAgain { stage: old.stage.clone() });
    }
    let wish: Wish = serde_json::from_value(old.wish.clone()).map_err(|_| Refusal::Unreadable)?;
    let price = prices.price(&wish);
    let price = price.ok_or_else(|| Refusal::NotOffered { style: wish.style().to_owned() })?;
    let viewer = old.viewer.id.clone();
    let (prices, retry_of) = (prices.version, Some(old.id));
    let command = Command::Submit { entry, viewer, wish, price, prices, at, retry_of, state: None };
    Ok((retry_id(old.id), command))
}

/// What is on at `broadcaster`, as far as the projection has come: a request by hand has no event of its own that history
/// could be asked at.
pub async fn on_air(pool: &PgPool, broadcaster: &str) -> Result<Option<OnAir>, QueryError> {
    let current = match broadcasts::current(pool, broadcaster).await {
        // Just started: a request does not wait for what is only noted on it.
        Err(QueryError::NotBuilt(_)) => return Ok(None),
        current => current?,
    };
    let Some(broadcast) = current.broadcast.filter(|broadcast| broadcast.live) else {
        return Ok(None);
    };
    let (screening, tape) =
        current.screening.map(|screening| (screening.id, screening.tape)).unzip();
    let (broadcaster, broadcast) = (current.broadcaster, broadcast.number);
    Ok(Some(OnAir { broadcaster, broadcast, screening, tape }))
}

/// A request that is submitted, with what is on.
pub fn stamped(mut command: Command, on_air: Option<OnAir>) -> Command {
    if let Command::Submit { state, .. } = &mut command {
        *state = on_air;
    }
    command
}

#[cfg(test)]
mod tests {
    use projections::Viewer;
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
    }

    fn submitted(words: &str) -> Result<Command, Refusal> {
        submission(Uuid::nil(), "5001", words, &Prices::default(), now())
    }

    fn old(stage: &str) -> Generation {
        Generation {
            id: Uuid::from_u128(7),
            viewer: Viewer { id: "5001".to_owned(), name: None },
            style: "ghost".to_owned(),
            wish: json!({"ghost": {"subject": "a toaster"}}),
            price: 100,
            prices_version: 1,
            stage: stage.to_owned(),
            settlement: Some("released".to_owned()),
            attempts: 4,
            retry_at: None,
            picture: None,
            cost_micros: 0,
            code: None,
            reason: None,
            retry_of: None,
            submitted_position: 1,
            submitted_at: now(),
            ended_at: Some(now()),
            position: 9,
        }
    }

    #[test]
    fn a_request_by_hand_follows_the_grammar_and_the_prices_of_chat() {
        for words in ["ghost of a toaster", "!ghost a toaster", " !200 ghost of a toaster "] {
            let Ok(Command::Submit { wish, price: 200, .. }) = submitted(words) else {
                panic!("{words}");
            };
            assert_eq!(wish, Wish::Ghost { subject: "a toaster".to_owned() });
        }
        assert_eq!(submitted("hello friends"), Err(Refusal::NoRequest));
        assert!(matches!(submitted("ghost"), Err(Refusal::Unclear(Unclear::NoSubject { .. }))));
        let wrong = submitted("1 ghost of a toaster");
        assert!(matches!(wrong, Err(Refusal::Unclear(Unclear::WrongAmount { .. }))));
    }

    #[test]
    fn only_what_ended_without_a_picture_and_was_not_refused_is_tried_again() {
        let again = |stage| retry(Uuid::nil(), &old(stage), &Prices::default(), now());
        for stage in ["failed", "cancelled", "declined", "expired"] {
            let Ok((id, Command::Submit { price, retry_of, .. })) = again(stage) else {
                panic!("{stage}");
            };
            assert_eq!((id, price, retry_of), (retry_id(old(stage).id), 200, Some(old(stage).id)));
        }
        for stage in ["submitted", "funded", "presented", "completed", "rejected", "refused"] {
            let refused = again(stage).expect_err(stage);
            assert_eq!(refused, Refusal::NotTriedAgain { stage: stage.to_owned() });
        }
    }
}
