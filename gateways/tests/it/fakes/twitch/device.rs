//! The device flow of its authorization server, and saying something in chat under whom a token is of.

use super::*;

pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What a person is shown; that is no secret.
pub const USER_CODE: &str = "TAPEDECK";

/// A code that somebody asked for.
pub struct Asked {
    scopes: Vec<String>,
}

impl Twitch {
    /// Who asks for a device code hears these first, one each time.
    pub fn tells_devices(&self, words: impl IntoIterator<Item = &'static str>) {
        self.world().words.extend(words);
    }

    /// This person says yes to every device code.
    pub fn says_yes(&self, person: &str) {
        self.world().yes_of = Some(person.to_owned());
    }

    /// How often a refresh gave something.
    pub fn refreshed(&self) -> usize {
        self.world().refreshed
    }

    /// What was said in chat: by whom, and what.
    pub fn said(&self) -> Vec<(String, String)> {
        self.world().said.clone()
    }
}

pub async fn begin(State(state): State<Shared>, body: Bytes) -> Response {
    let form = form(&body);
    if form.get("client_id").is_none_or(|id| id != CLIENT_ID) {
        return failure(400, "invalid client");
    }
    let Some(scopes) = form.get("scopes") else { return failure(400, "missing scopes") };
    let mut world = state.lock().expect("whole");
    let device_code = world.secret();
    let scopes = scopes.split_whitespace().map(str::to_owned).collect();
    world.devices.insert(device_code.clone(), Asked { scopes });
    let verification_uri = format!("https://www.twitch.tv/activate?device-code={USER_CODE}");
    axum::Json(json!({"device_code": device_code, "expires_in": 1_800, "interval": 1,
                      "user_code": USER_CODE, "verification_uri": verification_uri}))
    .into_response()
}

pub fn poll(world: &mut World, said: &impl Fn(&str) -> String) -> Response {
    if said("client_id") != CLIENT_ID {
        return failure(400, "invalid client");
    }
    let code = said("device_code");
    let Some(asked) = world.devices.get(&code) else {
        return failure(400, "invalid device code");
    };
    if asked.scopes.join(" ") != said("scopes") {
        return failure(400, "the scopes are others than those asked for");
    }
    if let Some(words) = world.words.pop_front() {
        return failure(400, words);
    }
    let Some(person) = world.yes_of.clone() else { return failure(400, "authorization_pending") };
    let scopes = asked.scopes.clone();
    world.devices.remove(&code);
    axum::Json(world.grant(person, scopes)).into_response()
}

pub async fn say(State(state): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut world = state.lock().expect("whole");
    let Some(grant) = helix(&world, &headers) else { return unauthorized() };
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
    let may = grant.scopes.iter().any(|scope| scope == "user:write:chat");
    if !may || grant.person != text("sender_id") {
        return unauthorized();
    }
    world.said.push((text("sender_id"), text("message")));
    let id = format!("twitch-{}", world.said.len());
    let one = json!({"message_id": id, "is_sent": true, "drop_reason": null});
    axum::Json(json!({"data": [one]})).into_response()
}

fn form(body: &Bytes) -> HashMap<String, String> {
    let mut url = reqwest::Url::parse("http://form").expect("a URL");
    url.set_query(std::str::from_utf8(body).ok());
    url.query_pairs().into_owned().collect()
}
