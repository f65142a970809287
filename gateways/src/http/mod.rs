//! The HTTP side: the API under `/api/v1`, the feed, health, the overlay page, and webhooks. Comes
//! in and goes out.
//!
//! An endpoint is a handler in one of these files and a line in [`api`]; its OpenAPI description is
//! made from it.

pub mod accounts;
pub mod actor;
pub mod address;
pub mod alerts;
pub mod auth;
pub mod broadcasts;
pub mod browser;
pub mod commands;
mod configuration;
pub mod error;
mod eventsub;
pub mod extract;
pub mod generations;
pub mod gifts;
pub mod grants;
pub mod health;
pub mod holds;
pub mod keys;
pub mod leaderboard;
pub mod limits;
pub mod listener;
pub mod login;
pub mod lookup;
mod openapi;
pub mod pictures;
pub mod proofs;
pub mod query;
pub mod replies;
mod requests;
pub mod services;
pub mod stages;
pub mod tapes;
pub mod twitch;
pub mod viewers;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::replies::Replies;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::ApiError;
use self::keys::Keys;
use self::limits::Limits;
use self::lookup::Line;
use crate::chat;
use crate::config::{Config, Reading};
use crate::feed::own::{self, OwnFeed};
use crate::feed::{self, Hub};
use crate::login::{Login, Sessions};
use crate::overlay;
use crate::pictures::Pictures;
use crate::signing::Signing;
use crate::stage;
use crate::twitch::cache::Cache;

/// Where the API begins.
pub const API: &str = "/api/v1";

/// The largest body of an API request.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a request may take to be answered; a feed's answer begins well within it.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// What every handler works with.
#[derive(Clone)]
pub struct Api {
    pub config: Arc<Config>,
    /// The configuration of the moment, for answers that go on while it changes.
    pub now: watch::Receiver<Arc<Config>>,
    /// How the configuration is.
    pub reading: watch::Receiver<Reading>,
    pub pool: PgPool,
    pub publisher: Publisher,
    pub replies: Replies,
    pub positions: Positions,
    pub broker: journal::broker::Broker,
    pub hub: Arc<Hub>,
    pub own_feed: Arc<OwnFeed>,
    /// What is to be seen of the chat.
    pub chat: Arc<chat::Hub>,
    /// Keeps lines of chat.
    pub lines: chat::Lines,
    pub keys: Keys,
    pub sessions: Sessions,
    pub signing: Signing,
    /// `None` where the configuration lets nobody log in.
    pub login: Option<Arc<Login>>,
    /// Where those wait who are held up for guessing.
    pub line: Arc<Line>,
    pub limits: Arc<Limits>,
    pub readied: Arc<health::Readied>,
    pub pictures: Pictures,
    pub stage: Arc<stage::Hub>,
    /// What Twitch said of users and games.
    pub cache: Arc<Cache>,
    /// Cancelled when the process is asked to stop.
    pub stop: CancellationToken,
}

pub type State = Arc<Api>;

/// Everything that is answered on `listen`. `webhooks` are the routes of the gateways that the
/// world calls.
pub fn router(app: State, webhooks: Router) -> Router {
    let (api, document) = api().split_for_parts();
    let api = api
        .merge(openapi::routes(document))
        .fallback(async || {
            ApiError::not_found("there is no such endpoint; see /api/v1/openapi.json")
        })
        .method_not_allowed_fallback(requests::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&app), auth::authenticate))
        .layer(from_fn(requests::limit_time));
    Router::new()
        .nest(API, api)
        .merge(health::routes())
        .merge(services::routes())
        .with_state(app)
        .merge(overlay::routes())
        .merge(webhooks)
        .layer(from_fn(requests::answer_safely))
        .layer(from_fn(requests::identify))
}

/// The endpoints of the API.
fn api() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(accounts::account))
        .routes(routes!(accounts::statement))
        .routes(routes!(accounts::statement_parts))
        .routes(routes!(proofs::statement_proof))
        .routes(routes!(accounts::credit))
        .routes(routes!(accounts::reverse))
        .routes(routes!(leaderboard::leaders))
        .routes(routes!(grants::give, grants::list))
        .routes(routes!(grants::undo))
        .routes(routes!(gifts::give))
        .routes(routes!(viewers::erase_names))
        .routes(routes!(holds::list, holds::hold))
        .routes(routes!(holds::capture))
        .routes(routes!(holds::release))
        .routes(routes!(broadcasts::history))
        .routes(routes!(broadcasts::current))
        .routes(routes!(broadcasts::one))
        .routes(routes!(broadcasts::start_screening, broadcasts::end_screening))
        .routes(routes!(tapes::list))
        .routes(routes!(tapes::one))
        .routes(routes!(tapes::screenings))
        .routes(routes!(alerts::list))
        .routes(routes!(generations::list, generations::submit))
        .routes(routes!(generations::one))
        .routes(routes!(generations::cancel))
        .routes(routes!(generations::retry))
        .routes(routes!(generations::approve))
        .routes(routes!(generations::reject))
        .routes(routes!(pictures::one))
        .routes(routes!(commands::one))
        .routes(routes!(feed::feed))
        .routes(routes!(feed::feed_ws))
        .routes(routes!(own::own_feed))
        .routes(routes!(own::own_feed_ws))
        .routes(routes!(login::begin))
        .routes(routes!(login::finish))
        .routes(routes!(login::who, login::end))
        .routes(routes!(login::refresh))
        .routes(routes!(services::issue))
        .routes(routes!(stages::one))
        .routes(routes!(stages::alerts))
        .routes(routes!(stages::overlay))
        .routes(routes!(stages::controls::pause))
        .routes(routes!(stages::controls::resume))
        .routes(routes!(stages::controls::skip))
        .routes(routes!(stages::controls::clear))
        .routes(routes!(stages::controls::replay))
        .routes(routes!(stages::controls::prioritise))
        .routes(routes!(stages::controls::mute))
        .routes(routes!(stages::controls::unmute))
        .routes(routes!(stages::controls::test))
        .routes(routes!(chat::websocket::chat_ws))
        .routes(routes!(replies::list))
        .routes(routes!(configuration::now))
        .routes(routes!(eventsub::now))
        .routes(routes!(eventsub::sync))
        .routes(routes!(twitch::users))
        .routes(routes!(twitch::games))
}
