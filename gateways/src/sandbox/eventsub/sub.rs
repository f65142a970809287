//! Its subscriptions, and what is said of them and of sessions.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// A subscription as it is listed.
#[derive(Clone, Debug)]
pub struct Sub {
    pub id: String,
    pub status: String,
    pub kind: String,
    pub version: String,
    pub condition: Value,
    /// As it is listed, without the secret.
    pub transport: Value,
    pub cost: i64,
    pub created_at: DateTime<Utc>,
}

impl Sub {
    pub fn listed(&self) -> Value {
        json!({
            "id": self.id, "status": self.status, "type": self.kind, "version": self.version,
            "condition": self.condition, "transport": self.transport, "cost": self.cost,
            "created_at": self.created_at,
        })
    }

    pub(super) fn frame(
        &self,
        message_id: &str,
        message_type: &str,
        event: Option<&Value>,
    ) -> String {
        let mut payload = json!({ "subscription": self.listed() });
        if let Some(event) = event {
            payload["event"] = event.clone();
        }
        let metadata = json!({
            "message_id": message_id, "message_type": message_type,
            "message_timestamp": Utc::now(), "subscription_type": self.kind,
            "subscription_version": self.version,
        });
        json!({"metadata": metadata, "payload": payload}).to_string()
    }
}

/// A frame about the session.
pub(super) fn frame(message_type: &str, payload: Value) -> String {
    let metadata = json!({
        "message_id": uuid::Uuid::new_v4(), "message_type": message_type,
        "message_timestamp": Utc::now(),
    });
    json!({"metadata": metadata, "payload": payload}).to_string()
}
