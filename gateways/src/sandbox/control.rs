//! How a running sandbox is played with: a small API on loopback, for whoever can read the sandbox's folder.

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Json, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::Server;
use super::act::Act;
use super::locked;
use super::outside::Outside;
use crate::embedded::random_secret;

/// What a running sandbox leaves in its folder, readable by its owner only.
pub const FILE: &str = "sandbox.json";

/// Where a running sandbox is played with, and by whom.
#[derive(Clone, Serialize, Deserialize)]
pub struct Control {
    pub url: String,
    pub token: String,
}

/// How the outside is, and what it was told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    pub live: Option<String>,
    /// How many connections of EventSub there are, and ever were.
    pub sessions: usize,
    pub connections: u64,
    pub subscriptions_enabled: usize,
    pub irc_joined: usize,
    /// How often something that was granted was refreshed.
    pub refreshed: usize,
    /// What Tapedeck said in chat: by whom, and what.
    pub said: Vec<(String, String)>,
    pub pictures_asked: usize,
    /// What stands in the channel of Discord.
    pub posted: Vec<String>,
}

type Shared = Arc<(Arc<Outside>, String)>;

impl Control {
    /// Serves it until the server is dropped.
    pub async fn start(outside: &Arc<Outside>) -> io::Result<(Server, Self)> {
        let token = random_secret();
        let shared: Shared = Arc::new((Arc::clone(outside), token.clone()));
        let checked = axum::middleware::from_fn_with_state(Arc::clone(&shared), check);
        let router = Router::new()
            .route("/play", post(play))
            .route("/standing", get(standing))
            .layer(checked)
            .with_state(shared);
        let server = Server::start(0, router).await?;
        let url = format!("http://{}", server.address());
        Ok((server, Control { url, token }))
    }

    /// That of the sandbox whose folder this is, if one runs there.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(folder.join(FILE)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

async fn check(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let said = request.headers().get(header::AUTHORIZATION).and_then(|said| said.to_str().ok());
    let said = said.and_then(|said| said.strip_prefix("Bearer ")).unwrap_or_default();
    match bool::from(said.as_bytes().ct_eq(shared.1.as_bytes())) {
        true => next.run(request).await,
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn play(State(shared): State<Shared>, Json(act): Json<Act>) -> Response {
    match shared.0.plays(act).await {
        Ok(played) => Json(played).into_response(),
        Err(words) => (StatusCode::UNPROCESSABLE_ENTITY, words).into_response(),
    }
}

async fn standing(State(shared): State<Shared>) -> Json<Standing> {
    let outside = &shared.0;
    Json(Standing {
        live: locked(&outside.stage).live.clone(),
        sessions: outside.eventsub.sessions(),
        connections: outside.eventsub.connections(),
        subscriptions_enabled: outside.eventsub.enabled(),
        irc_joined: outside.irc.joined(),
        refreshed: outside.twitch.refreshed(),
        said: outside.twitch.said(),
        pictures_asked: outside.openai.drawn(),
        posted: outside.discord.said().iter().map(content).collect(),
    })
}

fn content(said: &serde_json::Value) -> String {
    said["content"].as_str().unwrap_or_default().to_owned()
}
