//! How an event is compared with the file that it was stored in.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;

use cqrs_es::DomainEvent;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The names of all variants of `E`, as serde knows them: whatever is added to the type is added here by itself.
pub fn variants<E: DeserializeOwned + Debug>() -> BTreeSet<String> {
    let refused = serde_json::from_str::<E>(r#"{"?": {}}"#).expect_err("there is no such variant");
    let names = refused.to_string();
    let names = names.split("expected ").nth(1).expect("a list of variants");
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The key under which a variant is stored.
pub fn key_of(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).expect("json");
    let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
    assert_eq!(keys.len(), 1, "a variant is stored under its one name");
    keys[0].clone()
}

/// The stored file reads as the event, and the event is written as the stored file, byte for byte: stored bytes are
/// hashed bytes. The key that names the variant is the event's type. There is no file without an event.
#[allow(
    clippy::disallowed_methods,
    reason = "the golden files are read by the test, not by the domain"
)]
pub fn check<E>(aggregate: &str, events: &[(&str, E)])
where
    E: DomainEvent + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let covered: BTreeSet<String> = events.iter().map(|(_, event)| key_of(event)).collect();
    assert_eq!(covered, variants::<E>(), "a variant has no golden file");
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden", aggregate].iter().collect();
    for (name, event) in events {
        let path = folder.join(format!("{name}.json"));
        let written = serde_json::to_string(event).expect("json");
        let stored = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}. If this event is new, its file is: {written}", path.display())
        });
        assert_eq!(stored.trim_end(), written, "{name} would be stored differently");
        assert_eq!(&serde_json::from_str::<E>(&stored).expect("readable"), event, "{name}");
        assert_eq!(key_of(event), event.event_type(), "{name}");
        assert_eq!(event.event_version(), "1.0", "{name}");
    }
    let files: BTreeSet<String> = std::fs::read_dir(&folder)
        .expect("the folder of golden files")
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    let expected: BTreeSet<String> =
        events.iter().map(|(name, _)| format!("{name}.json")).collect();
    assert_eq!(files, expected, "a file without an event, or the other way round");
}
