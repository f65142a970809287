//! What OpenAI's answers mean. Pure: an answer in, a picture, a verdict or a reason out.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Settings, waits};
use crate::generation::ProviderError;
use crate::outgoing::{Answer, Unanswered};
use crate::pictures;

/// Codes that mean: not this prompt, however often it is asked for.
const REFUSALS: [&str; 3] =
    ["moderation_blocked", "content_policy_violation", "image_generation_user_error"];
/// Codes that mean: somebody has to pay first.
const UNPAID: [&str; 3] =
    ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"];
/// The longest name of an error or a category that is passed on.
const NAME_CHARS_MAX: usize = 64;
const CATEGORIES_MAX: usize = 5;

/// A call that was not answered. Where it may have been heard, it may have been worked on all the same.
pub(super) fn unanswered(error: Unanswered) -> ProviderError {
    let reason = format!("OpenAI: {error}");
    match error {
        Unanswered::NotConnected { .. } => {
            ProviderError::Retry { after: None, cost_micros: Some(0), reason }
        }
        Unanswered::Late { .. } | Unanswered::Cut { .. } => {
            ProviderError::Retry { after: None, cost_micros: None, reason }
        }
        Unanswered::TooLarge { .. } => ProviderError::Broken { cost_micros: None, reason },
    }
}

/// An error of a call that costs nothing, whatever comes of it.
pub(super) fn unspent(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::Retry { after, reason, .. } => {
            ProviderError::Retry { after, cost_micros: Some(0), reason }
        }
        ProviderError::Broken { reason, .. } => {
            ProviderError::Broken { cost_micros: Some(0), reason }
        }
        refused @ ProviderError::Refused { .. } => refused,
    }
}

/// The answer, if it is a success.
pub(super) fn success(answer: Answer, now: DateTime<Utc>) -> Result<Answer, ProviderError> {
    match answer.status {
        StatusCode::OK => Ok(answer),
        _ => Err(failure(&answer, now)),
    }
}

/// Whether moderation lets words pass. Anything but a clear word is none.
pub(super) fn moderation(answer: &Answer) -> Result<(), ProviderError> {
    let unclear = || ProviderError::Broken {
        cost_micros: Some(0),
        reason: "OpenAI's moderation gave no clear answer".to_owned(),
    };
    let judged: Moderation = serde_json::from_slice(&answer.body).map_err(|_| unclear())?;
    if judged.results.is_empty() {
        return Err(unclear());
    }
    let flagged: Vec<&Judgement> = judged.results.iter().filter(|result| result.flagged).collect();
    if flagged.is_empty() {
        return Ok(());
    }
    let categories = flagged.iter().flat_map(|result| &result.categories);
    let categories = categories.filter(|(_, is)| **is == Value::Bool(true));
    let named: Vec<&str> = categories.filter_map(|(name, _)| a_name(name)).collect();
    let named = &named[..named.len().min(CATEGORIES_MAX)];
    let about = if named.is_empty() { "something".to_owned() } else { named.join(", ") };
    let reason = format!("moderation does not let these words pass: {about}");
    Err(ProviderError::Refused { code: "moderation_flagged".to_owned(), reason })
}

/// The picture in an answer, and what it cost.
pub(super) fn picture(
    answer: &Answer,
    settings: &Settings,
) -> Result<(Vec<u8>, i64), ProviderError> {
    let mut cost_micros = None;
    let broken = |cost_micros, reason: &str| ProviderError::Broken {
        cost_micros,
        reason: format!("OpenAI's answer {reason}"),
    };
    let drawn: Drawn<'_> = serde_json::from_slice(&answer.body)
        .map_err(|_| broken(cost_micros, "is not what its API promises"))?;
    let counted =
        drawn.usage.and_then(|usage| settings.cost_micros(usage.input_tokens, usage.output_tokens));
    let cost = counted.unwrap_or_else(|| settings.picture_micros_max());
    cost_micros = Some(cost);
    let [image] = &drawn.data[..] else {
        return Err(broken(cost_micros, "has not one picture in it"));
    };
    let Some(text) = &image.b64_json else {
        return Err(broken(cost_micros, "has no picture in it"));
    };
    let bytes = STANDARD.decode(text.as_bytes());
    let bytes =
        bytes.map_err(|_| broken(cost_micros, "has something else in a picture's place"))?;
    match pictures::media_type_of(&bytes) {
        Ok(_) => Ok((bytes, cost)),
        Err(error) => Err(broken(cost_micros, &format!("cannot be shown: {error}"))),
    }
}

/// What an answer that is no success means. Codes decide, then the status.
fn failure(answer: &Answer, now: DateTime<Utc>) -> ProviderError {
    let status = answer.status;
    let told = Told::of(&answer.body);
    if let Some(code) = told.any_of(&REFUSALS).filter(|_| status.is_client_error()) {
        let reason = "the provider does not draw this".to_owned();
        return ProviderError::Refused { code: code.to_owned(), reason };
    }
    // OpenAI itself says why in JSON; without it, somebody between us may have given up waiting while it still draws.
    let cost_micros = (status.is_client_error() || told.is_some()).then_some(0);
    let says = format!("{}{}", status.as_u16(), told.words());
    let broken = |reason: String| ProviderError::Broken { cost_micros, reason };
    if told.any_of(&UNPAID).is_some() {
        return broken(format!("the account at OpenAI has no money left ({says})"));
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return broken(format!("OpenAI lets nobody in with this key ({says})"));
    }
    let should_retry = match answer.headers.get("x-should-retry").map(|word| word.as_bytes()) {
        Some(b"true") => true,
        Some(b"false") => false,
        _ => status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 429),
    };
    if !should_retry {
        return broken(format!("OpenAI does not take the request ({says})"));
    }
    let after = waits::asked(&answer.headers, now);
    if status == StatusCode::TOO_MANY_REQUESTS {
        let after = after.or_else(|| waits::until_reset(&answer.headers));
        let reason = format!("OpenAI is asked too often ({says})");
        return ProviderError::Retry { after, cost_micros, reason };
    }
    ProviderError::Retry { after, cost_micros, reason: format!("OpenAI has trouble ({says})") }
}

#[derive(Deserialize)]
struct Moderation {
    results: Vec<Judgement>,
}

#[derive(Deserialize)]
struct Judgement {
    flagged: bool,
    #[serde(default)]
    categories: Map<String, Value>,
}

#[derive(Deserialize)]
struct Drawn<'a> {
    #[serde(borrow)]
    data: Vec<Image<'a>>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(default, borrow)]
    b64_json: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: i64,
    output_tokens: i64,
}

/// The names in the body of a failure. Its `message` is not among them: it quotes prompts and parts of keys.
#[derive(Default)]
struct Told {
    code: Option<String>,
    kind: Option<String>,
    param: Option<String>,
}

impl Told {
    fn of(body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let name = |key: &str| value["error"][key].as_str().and_then(a_name).map(str::to_owned);
        Told { code: name("code"), kind: name("type"), param: name("param") }
    }

    fn is_some(&self) -> bool {
        self.code.is_some() || self.kind.is_some()
    }

    /// Its code or its type, if it is one of these; the code says more.
    fn any_of(&self, names: &[&str]) -> Option<&str> {
        let told = [&self.code, &self.kind].into_iter().flatten();
        told.map(String::as_str).find(|name| names.contains(name))
    }

    fn words(&self) -> String {
        let code = self.code.as_ref().or(self.kind.as_ref());
        let words = [code, self.param.as_ref()].into_iter().flatten();
        words.map(|word| format!(" {word}")).collect()
    }
}

/// Text that is a name, and neither prose nor a key.
fn a_name(text: &str) -> Option<&str> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-./[]".contains(&byte);
    let is_name = (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain);
    Some(text).filter(|text| is_name && !text.starts_with("sk-"))
}

#[cfg(test)]
mod tests;
