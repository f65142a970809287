//! The layers of a configuration beneath and above the file.

use super::ConfigError;

/// Variables with our prefix that are no keys: flags of the command line, and where programs and
/// rehearsals are.
const NOT_KEYS: [&str; 8] = [
    "TAPEDECK_API_KEY",
    "TAPEDECK_CONFIG",
    "TAPEDECK_CRASH_AT",
    "TAPEDECK_DATA",
    "TAPEDECK_NATS_SERVER",
    "TAPEDECK_NATS_STORE",
    "TAPEDECK_POSTGRES_BIN",
    "TAPEDECK_ROLES",
];

/// JSON is not among the formats that we compile in, so what is in `connect.json` is set key by
/// key.
pub(super) fn of_json(layer: serde_json::Value) -> Result<config::Config, ConfigError> {
    let refused = |error: config::ConfigError| ConfigError::Refused(error.to_string());
    let mut builder = config::Config::builder();
    let serde_json::Value::Object(keys) = layer else { return builder.build().map_err(refused) };
    for (key, value) in keys {
        builder = match value {
            serde_json::Value::Object(fields) => {
                let text = |value: serde_json::Value| value.as_str().map(str::to_owned);
                let fields: config::Map<String, String> = fields
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, text(value)?)))
                    .collect();
                builder.set_override(key, fields).map_err(refused)?
            }
            value => builder.set_override(key, value.as_str()).map_err(refused)?,
        };
    }
    builder.build().map_err(refused)
}

/// Whether a variable of this name sets a key.
pub fn is_setting(name: &str) -> bool {
    let is_plain = ["DATABASE_URL", "NATS_URL"].contains(&name);
    is_plain || (name.starts_with("TAPEDECK_") && !NOT_KEYS.contains(&name))
}

/// The variables that set keys: ours, and the two that every hosting service sets.
pub(super) fn keys_of_environment(
    environment: impl IntoIterator<Item = (String, String)>,
) -> config::Map<String, String> {
    let mut plain = Vec::new();
    let mut keys = config::Map::new();
    for (name, value) in environment {
        match name.as_str() {
            "DATABASE_URL" | "NATS_URL" => plain.push((format!("TAPEDECK_{name}"), value)),
            name if NOT_KEYS.contains(&name) => {}
            name if name.starts_with("TAPEDECK_") => {
                keys.insert(name.to_owned(), value);
            }
            _ => {}
        }
    }
    for (name, value) in plain {
        keys.entry(name).or_insert(value);
    }
    keys
}
