//! What a test of an alert shows: plausible data of its type, with what somebody wants to be different.

use domain::alerting::Kind;
use domain::chat_request::Wish;
use serde_json::{Map, Value, json};
use thiserror::Error;
use uuid::Uuid;

use crate::generation::{Offline, Order, Provider, ProviderError};
use crate::pictures::{PictureError, Pictures};

/// Who does it in a test, unless somebody else is named. No viewer of Twitch has this id.
const VIEWER: &str = "0";
const NAME: &str = "A Test";
const SUBJECT: &str = "a toaster";

/// Why there is nothing to test with.
#[derive(Debug, Error)]
pub enum SampleError {
    #[error("an alert of type {kind} has no {field:?}; it has {known}")]
    NoSuchField { kind: &'static str, field: String, known: String },
    #[error("{field} of a test is {wanted}")]
    WrongType { field: String, wanted: &'static str },
    #[error("the picture of a test cannot be drawn: {0}")]
    NotDrawn(#[from] ProviderError),
    #[error("the picture of a test cannot be kept: {0}")]
    NotKept(#[from] PictureError),
}

/// The data of a test of `kind`, with `wanted` instead of what is ordinary. Where it needs a picture and none is named,
/// one is drawn here; `entry` names it, so that the same test has the same one.
pub async fn data(
    pictures: &Pictures,
    kind: Kind,
    wanted: &Map<String, Value>,
    entry: Uuid,
) -> Result<Map<String, Value>, SampleError> {
    let mut data = ordinary(kind);
    for (field, value) in wanted {
        let Some(usual) = data.get(field) else {
            let known = data.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let (kind, field) = (kind.name(), field.clone());
            return Err(SampleError::NoSuchField { kind, field, known });
        };
        let fits = value.is_null() || usual.is_null() || type_of(usual) == type_of(value);
        if !fits {
            return Err(SampleError::WrongType { field: field.clone(), wanted: type_of(usual) });
        }
        data.insert(field.clone(), value.clone());
    }
    if data.get("picture") == Some(&json!("")) {
        draw(pictures, kind, &mut data, entry).await?;
    }
    Ok(data)
}

fn ordinary(kind: Kind) -> Map<String, Value> {
    let viewer = json!({"id": VIEWER, "name": NAME});
    let data = match kind {
        Kind::Follow => json!({"viewer": viewer}),
        Kind::Cheer => {
            json!({"viewer": viewer, "bits": 100, "message": "Cheer100 this is a test"})
        }
        Kind::Sub => json!({"viewer": viewer, "tier": "1000"}),
        Kind::Resub => json!({
            "viewer": viewer, "tier": "1000", "months": 7, "streak": 3,
            "message": "this is a test",
        }),
        Kind::Gift => json!({"viewer": viewer, "tier": "1000", "count": 5}),
        Kind::Raid => json!({"viewer": viewer, "viewers": 42}),
        Kind::HypeTrain => json!({"level": 2, "total": 700, "goal": 1_800, "kind": "regular"}),
        Kind::Static => json!({"viewer": viewer, "id": "test-card", "message": "this is a test"}),
        Kind::Notice => json!({
            "viewer": viewer, "reason": "failed", "style": "ghost", "price": 200,
            "words": "the ghost did not work out: the 200 points are back",
        }),
        Kind::Tape => json!({
            "id": "88", "title": "A test of a tape", "year": 1987, "runtime_s": 3_540,
            "tags": ["test", "late night"], "colour": "#f0a51c", "thumbnail": null,
        }),
        Kind::Ghost | Kind::Friend => json!({
            "viewer": viewer, "subject": SUBJECT, "picture": "", "media_type": "image/png",
            "background": "#000000", "colour": null, "name": null,
        }),
    };
    match data {
        Value::Object(data) => data,
        _ => Map::new(),
    }
}

async fn draw(
    pictures: &Pictures,
    kind: Kind,
    data: &mut Map<String, Value>,
    entry: Uuid,
) -> Result<(), SampleError> {
    let subject = data.get("subject").and_then(Value::as_str).unwrap_or(SUBJECT).to_owned();
    let colour = data.get("colour").cloned().unwrap_or_default();
    let wish = match kind {
        Kind::Friend => {
            let colour = serde_json::from_value(colour).map_err(|_| SampleError::WrongType {
                field: "colour".to_owned(),
                wanted: "the name of a colour",
            })?;
            Wish::Friend { colour, subject }
        }
        _ => Wish::Ghost { subject },
    };
    let order = Order { wish, viewer: VIEWER.to_owned(), request: entry, idempotency_key: entry };
    let made = Offline.make(&order).await?;
    data.insert("picture".to_owned(), pictures.put(&made.bytes).await?.into());
    data.insert("media_type".to_owned(), made.media_type.into());
    data.insert("background".to_owned(), made.background.into());
    if data.get("name").is_none_or(Value::is_null) {
        data.insert("name".to_owned(), made.name.into());
    }
    Ok(())
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_test_is_changed_where_its_type_has_such_a_field_and_of_that_type() {
        let pictures = Pictures::in_folder("/nowhere");
        let wanted = |wanted: Value| wanted.as_object().expect("an object").clone();
        let sample = async |kind, fields| data(&pictures, kind, &wanted(fields), Uuid::nil()).await;
        let cheer = sample(Kind::Cheer, json!({"bits": 5})).await.expect("a cheer");
        assert_eq!((&cheer["bits"], &cheer["viewer"]["id"]), (&json!(5), &json!("0")));
        let anonymous = sample(Kind::Cheer, json!({"viewer": null})).await.expect("a cheer");
        assert_eq!(anonymous["viewer"], Value::Null);
        let refused = sample(Kind::Cheer, json!({"bit": 5})).await.expect_err("no such field");
        assert!(refused.to_string().contains("bits"), "{refused}");
        let refused = sample(Kind::Raid, json!({"viewers": "many"})).await.expect_err("a text");
        assert!(refused.to_string().contains("a number"), "{refused}");
    }
}
