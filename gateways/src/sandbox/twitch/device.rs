//! The device flow of its authorization server.

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

    /// Nobody says yes any more, and whoever asks waits.
    pub fn says_nothing(&self) {
        self.world().yes_of = None;
    }

    /// How often a refresh gave something.
    pub fn refreshed(&self) -> usize {
        self.world().refreshed
    }
}

pub async fn begin(State(state): State<Shared>, body: Bytes) -> Response {
    let form = form(&body);
    if form.get("client_id").is_none_or(|id| id != CLIENT_ID) {
        return failure(400, "invalid client");
    }
    let Some(scopes) = form.get("scopes") else { return failure(400, "missing scopes") };
    if scopes.len() > SCOPES_BYTES_MAX {
        return failure(400, "invalid scopes");
    }
    let mut world = locked(&state);
    let device_code = world.secret();
    let scopes = scopes.split_whitespace().map(str::to_owned).collect();
    if world.devices.len() >= KEPT_MAX {
        world.devices.clear();
    }
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
