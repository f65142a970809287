//! OpenAI: moderation, pictures and models, as `api.openai.com` answers them. What goes wrong is told beforehand, for
//! each call; told nothing, it does its work.

mod deed;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::watch;

pub use deed::Deed;

use super::{Server, locked, status};

pub const KEY: &str = "sk-proj-A-key-that-must-be-seen-nowhere-0123456789";
pub const MODEL: &str = "gpt-image-2";
/// What a picture is said to have taken.
pub const INPUT_TOKENS: i64 = 50;
pub const OUTPUT_TOKENS: i64 = 1_056;

/// A call is kept with all that was said in it, so only so many are.
const CALLS_MAX: usize = 2_048;

pub struct OpenAi {
    state: Arc<Shared>,
    server: Option<Server>,
}

struct Shared {
    pictures: Mutex<VecDeque<Deed>>,
    moderations: Mutex<VecDeque<Deed>>,
    calls: watch::Sender<Vec<Call>>,
    /// How many bytes of endless answers were taken.
    taken: Arc<AtomicUsize>,
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: &'static str,
    pub headers: HeaderMap,
    pub body: Value,
}

impl OpenAi {
    /// At an address of its own.
    pub async fn start() -> io::Result<Self> {
        let unserved = Self::unserved();
        let server = Server::start(0, unserved.routes()).await?;
        Ok(OpenAi { server: Some(server), ..unserved })
    }

    /// For somebody else to answer at their address.
    pub fn unserved() -> Self {
        let state = Arc::new(Shared {
            pictures: Mutex::default(),
            moderations: Mutex::default(),
            calls: watch::Sender::default(),
            taken: Arc::default(),
        });
        OpenAi { state, server: None }
    }

    /// What it answers.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/v1/moderations", post(moderate))
            .route("/v1/images/generations", post(draw))
            .route("/v1/models/{model}", get(model))
            .with_state(Arc::clone(&self.state))
    }

    pub fn base_url(&self) -> String {
        let address = self.server.as_ref().map(|server| server.address().to_string());
        format!("http://{}/v1", address.unwrap_or_default())
    }

    /// What it does with the next pictures that are asked for.
    pub fn draws(&self, deeds: impl IntoIterator<Item = Deed>) {
        locked(&self.state.pictures).extend(deeds);
    }

    /// What it does with the next words that it is to judge.
    pub fn judges(&self, deeds: impl IntoIterator<Item = Deed>) {
        locked(&self.state.moderations).extend(deeds);
    }

    pub fn calls(&self, path: &str) -> Vec<Call> {
        self.state.calls.borrow().iter().filter(|call| call.path == path).cloned().collect()
    }

    /// How many pictures were asked for.
    pub fn drawn(&self) -> usize {
        self.calls("images").len()
    }

    pub fn bytes_taken(&self) -> usize {
        self.state.taken.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn note(&self, path: &'static str, headers: HeaderMap, body: Value) {
        self.calls.send_modify(|calls| {
            if calls.len() >= CALLS_MAX {
                calls.drain(..CALLS_MAX / 2);
            }
            calls.push(Call { path, headers, body });
        });
    }
}

async fn model(
    State(state): State<Arc<Shared>>,
    Path(model): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refusal(&headers) {
        state.note("models", HeaderMap::new(), Value::Null);
        return refusal;
    }
    state.note("models", headers, Value::Null);
    match model == MODEL {
        true => json_answer(
            200,
            &json!({"id": model, "object": "model", "created": 1, "owned_by": "system"}),
        ),
        false => no_model(&model),
    }
}

async fn moderate(State(state): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = refusal(&headers) {
        return refusal;
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    state.note("moderations", headers, asked.clone());
    if !asked["input"].is_string() {
        return failure(400, "invalid_request_error", &Value::Null, &json!("input"));
    }
    let deed = locked(&state.moderations).pop_front();
    match deed {
        None | Some(Deed::Unflagged) => json_answer(200, &judgement(false)),
        Some(Deed::Flagged) => json_answer(200, &judgement(true)),
        Some(deed) => deed.answer(&state.taken).await,
    }
}

async fn draw(State(state): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = refusal(&headers) {
        return refusal;
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    state.note("images", headers, asked.clone());
    if let Some(objection) = objection(&asked) {
        return objection;
    }
    let deed = locked(&state.pictures).pop_front();
    match deed {
        None | Some(Deed::Draw) => json_answer(200, &picture(&asked, &deed::drawing(&asked), true)),
        Some(Deed::WithoutUsage) => {
            json_answer(200, &picture(&asked, &deed::drawing(&asked), false))
        }
        Some(Deed::Give(bytes)) => json_answer(200, &picture(&asked, &bytes, true)),
        Some(deed) => deed.answer(&state.taken).await,
    }
}

/// The answer to another key than the one. It quotes the key's ends, as the real one does.
fn refusal(headers: &HeaderMap) -> Option<Response> {
    let said = headers.get("authorization").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let key = said.strip_prefix("Bearer ").unwrap_or_default();
    if key == KEY {
        return None;
    }
    let ends = (key.get(..8).unwrap_or_default(), key.get(key.len().saturating_sub(4)..));
    let message =
        format!("Incorrect API key provided: {}***{}.", ends.0, ends.1.unwrap_or_default());
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": "invalid_api_key"});
    Some(json_answer(401, &json!({"error": error})))
}

/// The answer to what the GPT image models do not take.
fn objection(asked: &Value) -> Option<Response> {
    let known = [
        "model",
        "prompt",
        "n",
        "size",
        "quality",
        "background",
        "output_format",
        "output_compression",
        "moderation",
        "safety_identifier",
        "user",
        "stream",
    ];
    let invalid = |code: &str, param: &str| {
        Some(failure(400, "invalid_request_error", &json!(code), &json!(param)))
    };
    for key in asked.as_object().into_iter().flatten().map(|(key, _)| key) {
        if !known.contains(&key.as_str()) {
            return invalid("unknown_parameter", key);
        }
    }
    let model = asked["model"].as_str().unwrap_or_default();
    if model != MODEL {
        return Some(no_model(model));
    }
    let prompt = asked["prompt"].as_str().unwrap_or_default();
    if prompt.is_empty() || prompt.chars().count() > 32_000 {
        return invalid("invalid_value", "prompt");
    }
    let may_be = |param: &str, values: &[&str]| {
        asked[param].is_null() || asked[param].as_str().is_some_and(|value| values.contains(&value))
    };
    for (param, values) in [
        ("size", &["1024x1024", "1536x1024", "1024x1536", "auto"][..]),
        ("quality", &["auto", "low", "medium", "high"]),
        ("background", &["auto", "transparent", "opaque"]),
        ("output_format", &["png", "jpeg", "webp"]),
        ("moderation", &["auto", "low"]),
    ] {
        if !may_be(param, values) {
            return invalid("invalid_value", param);
        }
    }
    None
}

fn picture(asked: &Value, bytes: &[u8], with_usage: bool) -> Value {
    let mut answer = json!({
        "created": 1_713_833_628,
        "data": [{"b64_json": STANDARD.encode(bytes)}],
        "background": "opaque",
        "output_format": "png",
        "size": asked["size"],
        "quality": asked["quality"],
    });
    if with_usage {
        answer["usage"] = json!({
            "input_tokens": INPUT_TOKENS,
            "output_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
            "input_tokens_details": {"text_tokens": INPUT_TOKENS, "image_tokens": 0},
        });
    }
    answer
}

fn judgement(flagged: bool) -> Value {
    const CATEGORIES: [&str; 13] = [
        "hate",
        "hate/threatening",
        "harassment",
        "harassment/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/intent",
        "self-harm/instructions",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    ];
    let each = |value: fn(bool) -> Value| -> Value {
        let of = |name: &&str| ((*name).to_owned(), value(flagged && name.starts_with("violence")));
        Value::Object(CATEGORIES.iter().map(of).collect())
    };
    json!({"id": "modr-1", "model": "omni-moderation-latest", "results": [{
        "flagged": flagged,
        "categories": each(|is| json!(is)),
        "category_scores": each(|is| json!(if is { 0.98 } else { 0.0001 })),
        "category_applied_input_types": each(|_| json!(["text"])),
    }]})
}

fn no_model(model: &str) -> Response {
    let message = format!("The model '{model}' does not exist or you do not have access to it.");
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": "model_not_found"});
    json_answer(404, &json!({"error": error}))
}

fn failure(status: u16, kind: &str, code: &Value, param: &Value) -> Response {
    let message = format!("Something of {KEY} that nobody is to see");
    let error = json!({"message": message, "type": kind, "param": param, "code": code});
    json_answer(status, &json!({"error": error}))
}

fn json_answer(code: u16, body: &Value) -> Response {
    let headers = [("content-type", "application/json"), ("x-request-id", "req_0123456789abcdef")];
    (status(code), headers, body.to_string()).into_response()
}
