//! What is posted to a webhook: JSON, or a form with files beside it, and what of it Discord does not take.

use axum::http::{HeaderMap, header};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

const CONTENT_MAX: usize = 2_000;
const NAME_MAX: usize = 80;
const EMBEDS_MAX: usize = 10;
const EMBEDDED_MAX: usize = 6_000;
const FILES_MAX: usize = 10;
/// The texts of an embed, by where they stand, and how long each may be.
const EMBEDDED: [(&str, usize); 4] =
    [("/title", 256), ("/description", 4_096), ("/footer/text", 2_048), ("/author/name", 256)];

/// Why something is not taken.
pub struct Refused {
    pub status: u16,
    pub code: u32,
    pub message: &'static str,
    /// Which field, and what is wrong with it.
    pub field: Option<(&'static str, String)>,
}

impl Refused {
    pub fn of(status: u16, code: u32, message: &'static str) -> Self {
        Refused { status, code, message, field: None }
    }

    fn field(name: &'static str, what: impl Into<String>) -> Self {
        Refused { field: Some((name, what.into())), ..Self::of(400, 50_035, "Invalid Form Body") }
    }
}

/// What somebody says, and the files that they say it with.
pub struct Form {
    said: Value,
    /// By name and size.
    files: Vec<(String, usize)>,
}

impl Form {
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refused> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default();
        let boundary = kind.strip_prefix("multipart/form-data").and_then(|rest| {
            let (_, boundary) = rest.split_once("boundary=")?;
            Some(boundary.split(';').next()?.trim_matches('"').to_owned())
        });
        let bad = |_| Refused::of(400, 50_109, "The request body contains invalid JSON.");
        let Some(boundary) = boundary else {
            let said = serde_json::from_slice(body).map_err(bad)?;
            return Ok(Form { said, files: Vec::new() });
        };
        let mut form = Form { said: json!({}), files: Vec::new() };
        for part in parts(body, &boundary) {
            match (part.name.as_str(), part.file) {
                ("payload_json", _) => {
                    form.said = serde_json::from_slice(part.content).map_err(bad)?;
                }
                (_, Some(file)) => form.files.push((file, part.content.len())),
                (name, None) if form.said.is_object() => {
                    form.said[name] = String::from_utf8_lossy(part.content).into_owned().into();
                }
                _ => {}
            }
        }
        Ok(form)
    }

    /// Whether Discord takes it; what is new says something.
    pub fn check(&self, is_new: bool) -> Result<(), Refused> {
        let said = &self.said;
        if !said.is_object() {
            return Err(Refused::of(400, 50_109, "The request body contains invalid JSON."));
        }
        let length = |value: &Value| value.as_str().map_or(0, |text| text.trim().chars().count());
        let embeds = said["embeds"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_there = |key: &str| !said[key].is_null();
        let says = length(&said["content"]) > 0
            || !embeds.is_empty()
            || !self.files.is_empty()
            || is_there("components")
            || is_there("poll");
        if is_new && !says {
            return Err(Refused::of(400, 50_006, "Cannot send an empty message"));
        }
        if length(&said["content"]) > CONTENT_MAX {
            return Err(Refused::field("content", "Must be 2000 or fewer in length."));
        }
        let name = said["username"].as_str().unwrap_or_default().to_lowercase();
        let is_taken = ["clyde", "discord"].iter().any(|taken| name.contains(taken));
        if name.chars().count() > NAME_MAX || is_taken {
            return Err(Refused::field("username", "This name cannot be used."));
        }
        if embeds.len() > EMBEDS_MAX || self.files.len() > FILES_MAX {
            return Err(Refused::field("embeds", "Must be 10 or fewer in length."));
        }
        let text = |embed: &Value, at: &str| embed.pointer(at).map_or(0, length);
        let is_long = |embed: &Value| EMBEDDED.iter().any(|(at, max)| text(embed, at) > *max);
        let sum: usize = embeds
            .iter()
            .map(|one| EMBEDDED.iter().map(|(at, _)| text(one, at)).sum::<usize>())
            .sum();
        if embeds.iter().any(is_long) || sum > EMBEDDED_MAX {
            return Err(Refused::field("embeds", "Embed size exceeds maximum size of 6000."));
        }
        let mentions = &said["allowed_mentions"];
        let parsed = mentions["parse"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = |kind: &&Value| {
            kind.as_str()
                .is_some_and(|kind| mentions[kind].as_array().is_some_and(|ids| !ids.is_empty()))
        };
        match parsed.iter().find(named) {
            Some(kind) => Err(Refused::field(
                "allowed_mentions",
                format!("parse:[{kind}] and {kind} are mutually exclusive."),
            )),
            None => Ok(()),
        }
    }

    /// What then stands in the channel.
    pub fn message(&self, id: &str, (webhook, channel): (&str, &str), at: DateTime<Utc>) -> Value {
        let name = self.said["username"].as_str().unwrap_or("Tapedeck");
        let files = self.files.iter().enumerate().map(|(n, (name, bytes))| {
            json!({"id": n.to_string(), "filename": name, "size": bytes, "url": "", "proxy_url": ""})
        });
        let embeds = self.said["embeds"].as_array().cloned().unwrap_or_default();
        json!({
            "id": id, "type": 0, "channel_id": channel, "webhook_id": webhook,
            "content": self.said["content"].as_str().unwrap_or_default(), "embeds": embeds,
            "attachments": files.collect::<Vec<_>>(), "components": [], "mentions": [],
            "mention_roles": [], "mention_everyone": false, "pinned": false, "tts": false,
            "flags": self.said["flags"].as_u64().unwrap_or(0), "edited_timestamp": null,
            "timestamp": at.to_rfc3339_opts(SecondsFormat::Micros, false),
            "author": {"id": webhook, "username": name, "avatar": null, "bot": true,
                       "discriminator": "0000"},
        })
    }

    /// Changes what stands there; what is not named stays.
    pub fn change(&self, message: &mut Value, at: DateTime<Utc>) {
        for key in ["content", "embeds", "flags"] {
            if !self.said[key].is_null() {
                message[key] = self.said[key].clone();
            }
        }
        message["edited_timestamp"] = json!(at.to_rfc3339_opts(SecondsFormat::Micros, false));
    }
}

/// One field of a form.
struct Part<'a> {
    name: String,
    file: Option<String>,
    content: &'a [u8],
}

/// The fields of a form with files; what is no field is left out.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<Part<'a>> {
    let mark = format!("--{boundary}");
    let mut rest = body;
    let mut parts = Vec::new();
    while let Some(at) = find(rest, mark.as_bytes()) {
        rest = &rest[at + mark.len()..];
        let end = find(rest, mark.as_bytes()).unwrap_or(rest.len());
        parts.extend(part(&rest[..end]));
    }
    parts
}

fn part(text: &[u8]) -> Option<Part<'_>> {
    let head_end = find(text, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&text[..head_end]).ok()?;
    let content = text[head_end + 4..].strip_suffix(b"\r\n")?;
    let disposition = head.lines().find(|line| {
        line.get(..20).is_some_and(|name| name.eq_ignore_ascii_case("content-disposition:"))
    })?;
    let value = |key: &str| {
        let (_, rest) = disposition.split_once(&format!(" {key}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    Some(Part { name: value("name")?, file: value("filename"), content })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len().max(1)).position(|window| window == wanted)
}
