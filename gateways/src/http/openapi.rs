//! The OpenAPI document: what the code says about itself.

use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi as _;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi, SecurityRequirement};

use super::{API, State};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Tapedeck",
        description = "The points, broadcasts and alerts of a Twitch channel, each provable from its history.\n\n\
            Every answer carries its position in history, in the body and in the header `Tapedeck-Position`. Give it \
            to a query as `min_position` to see what a command did. Failures are \
            `{\"error\": {\"code\", \"message\", \"details\"}}`.\n\n\
            Requests are limited per minute; `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` \
            stand on every answer.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "accounts", description = "Viewers' points: balance, statement, manual credit and reversal"),
        (name = "holds", description = "Points set aside, for services that deliver something for them"),
        (name = "broadcasts", description = "What is on, what was on, and what is screened"),
        (name = "tapes", description = "The catalogue of tapes, and when each was on screen"),
        (name = "alerts", description = "What was shown, newest first"),
        (name = "generations", description = "What viewers asked for with points, and the pictures made of it"),
        (name = "feed", description = "Alerts as they happen"),
        (name = "stages", description = "What plays in OBS, what waits, and what to do about it"),
        (name = "chat", description = "What is said in chat, as it is to be shown"),
        (name = "commands", description = "What became of a command"),
        (name = "eventsub", description = "What Twitch is asked to tell us, and whether it does"),
        (name = "twitch", description = "What Twitch says of users and games"),
        (name = "login", description = "Logging in with Twitch, and the session that comes of it"),
        (name = "services", description = "Short-lived credentials for services"),
    ),
)]
struct Document;

/// The document without its paths, which the router adds.
pub(super) fn document() -> OpenApi {
    let mut document = Document::openapi();
    document.servers = Some(vec![utoipa::openapi::Server::new(API)]);
    let mut components = document.components.take().unwrap_or_default();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme("key", bearer);
    document.components = Some(components);
    document.security = Some(vec![SecurityRequirement::new("key", Vec::<String>::new())]);
    document
}

/// Serves the finished document.
pub(super) fn routes(document: OpenApi) -> Router<State> {
    Router::new().route("/openapi.json", get(async move || Json(document)))
}
