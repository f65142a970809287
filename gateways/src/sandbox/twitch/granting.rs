//! What people grant to an application: asked in a browser, exchanged, refreshed, validated and revoked.

use axum::response::{Html, Redirect};

use super::*;

/// Who sits before the browser. Without it a page asks.
const PERSON: &str = "x-person";
/// Who is asked for nothing says no.
const NOBODY: &str = "nobody";

impl Twitch {
    /// Where the application has its users sent back to.
    pub fn is_registered_with(&self, redirect: &str) {
        redirect.clone_into(&mut self.world().redirect);
    }
}

pub async fn authorize(
    State(state): State<Shared>,
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let said = |name: &str| asked.get(name).cloned().unwrap_or_default();
    if said("client_id") != CLIENT_ID || said("response_type") != "code" {
        return failure(400, "invalid client");
    }
    if said("scope").len() > SCOPES_BYTES_MAX {
        return failure(400, "invalid scope");
    }
    let mut world = locked(&state);
    let redirect_uri = said("redirect_uri");
    let back = reqwest::Url::parse(&redirect_uri).ok().filter(|_| redirect_uri == world.redirect);
    let Some(mut back) = back else {
        return failure(400, "Parameter redirect_uri does not match registered URI");
    };
    let person = headers.get(PERSON).and_then(|value| value.to_str().ok());
    let Some(person) = person.or(asked.get("person").map(String::as_str)) else {
        return Html(page(&world, &asked)).into_response();
    };
    if person == NOBODY {
        back.query_pairs_mut()
            .append_pair("error", "access_denied")
            .append_pair("error_description", "The user denied you access")
            .append_pair("state", &said("state"));
        return Redirect::to(back.as_str()).into_response();
    }
    let code = world.secret();
    let scopes: Vec<String> = said("scope").split_whitespace().map(str::to_owned).collect();
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("scope", &scopes.join(" "))
        .append_pair("state", &said("state"));
    if world.codes.len() >= KEPT_MAX {
        world.codes.clear();
    }
    world.codes.insert(code, Code { person: person.to_owned(), redirect_uri, scopes });
    Redirect::to(back.as_str()).into_response()
}

/// Asks a person at a browser who they are.
fn page(world: &World, asked: &HashMap<String, String>) -> String {
    let link = |id: &str, name: &str| {
        let mut url = reqwest::Url::parse("http://sandbox/").ok();
        if let Some(url) = &mut url {
            url.query_pairs_mut().extend_pairs(asked).append_pair("person", id);
        }
        let query = url.as_ref().and_then(|url| url.query()).unwrap_or_default();
        let query = query.replace('&', "&amp;");
        format!("<li><a href=\"?{query}\">{name}</a></li>")
    };
    let people = world.people.values();
    let people = people.map(|one| link(&one.id, &format!("{} ({})", one.login, one.id)));
    let people: String = people.collect();
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Twitch, as the sandbox has it</title>\
         <h1>As whom do you log in?</h1><ul>{people}{}</ul>",
        link(NOBODY, "as nobody: say no")
    )
}

pub async fn token(
    State(state): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let form: HashMap<String, String> = form(&body).into_iter().chain(query).collect();
    let said = |name: &str| form.get(name).cloned().unwrap_or_default();
    let mut world = locked(&state);
    if said("grant_type") == device::GRANT_TYPE {
        return device::poll(&mut world, &said);
    }
    let is_ours = said("client_secret") == CLIENT_SECRET && !world.has_another_secret;
    if said("client_id") != CLIENT_ID || !is_ours {
        return failure(403, "invalid client secret");
    }
    match said("grant_type").as_str() {
        "authorization_code" => match world.codes.remove(&said("code")) {
            Some(code) if code.redirect_uri == said("redirect_uri") => {
                axum::Json(world.grant(code.person, code.scopes)).into_response()
            }
            _ => failure(400, "Invalid authorization code"),
        },
        "refresh_token" => {
            let refresh = said("refresh_token");
            let known = world.grants.iter_mut();
            let known = known.rev().find(|grant| grant.refresh == refresh && grant.refresh_is_good);
            let Some(old) = known else { return failure(400, "Invalid refresh token") };
            // The old one is not good any more: who loses the answer has to log in again.
            (old.access_is_good, old.refresh_is_good) = (false, false);
            let (person, scopes) = (old.person.clone(), old.scopes.clone());
            world.refreshed += 1;
            axum::Json(world.grant(person, scopes)).into_response()
        }
        "client_credentials" => {
            let mut answer = world.grant(String::new(), Vec::new());
            if let Some(fields) = answer.as_object_mut() {
                fields.retain(|name, _| name != "refresh_token" && name != "scope");
            }
            answer["expires_in"] = json!(5_011_271);
            axum::Json(answer).into_response()
        }
        _ => failure(400, "invalid grant type"),
    }
}

pub async fn validate(State(state): State<Shared>, headers: HeaderMap) -> Response {
    let world = locked(&state);
    let Some(grant) = world.asker(&headers) else { return failure(401, "invalid access token") };
    if grant.person.is_empty() {
        let body = json!({"client_id": CLIENT_ID, "scopes": null, "expires_in": 5_000_000});
        return axum::Json(body).into_response();
    }
    let login = world.people.get(&grant.person).map(|person| person.login.as_ref());
    axum::Json(json!({"client_id": CLIENT_ID, "login": login, "scopes": grant.scopes,
                      "user_id": grant.person, "expires_in": 5_000}))
    .into_response()
}

pub async fn revoke(
    State(state): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let form: HashMap<String, String> = form(&body).into_iter().chain(query).collect();
    let mut world = locked(&state);
    let token = form.get("token").cloned().unwrap_or_default();
    let known = world.grants.iter_mut().find(|grant| grant.access == token && grant.access_is_good);
    match known {
        Some(grant) if form.get("client_id").is_some_and(|id| id == CLIENT_ID) => {
            (grant.access_is_good, grant.refresh_is_good) = (false, false);
            StatusCode::OK.into_response()
        }
        _ => failure(400, "Invalid token"),
    }
}
