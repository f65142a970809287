//! `streams.yaml`: which streams there must be. Applying it creates and extends; what would lose data is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::{self, stream};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

/// The file as it was built in; `--file` may name another.
const BUILT_IN: &str = include_str!("../../streams.yaml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamsFile {
    pub streams: BTreeMap<String, Wanted>,
}

/// A stream as the file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub description: String,
    pub subjects: Vec<String>,
    pub discard: Discard,
    /// -1 for no limit.
    pub max_bytes: i64,
    pub max_message_bytes: i32,
    pub replicas: usize,
    /// After so long a message is gone; never, if left out.
    #[serde(default)]
    pub max_age_s: u64,
    #[serde(default)]
    pub atomic_batches: bool,
    /// How long a message of the same id is taken for the same; the server's own, if left out.
    #[serde(default)]
    pub duplicates_s: Option<u64>,
    /// Whether what is acknowledged is on disk.
    #[serde(default = "synced")]
    pub synced: bool,
    /// Whether all of it comes from PostgreSQL again when it is gone: it may be made anew.
    #[serde(default)]
    pub refilled: bool,
    /// How many messages of one subject there are at most; -1 for no limit. A bucket of keys and values has one.
    #[serde(default = "unlimited")]
    pub max_messages_per_subject: i64,
    /// Whether it is read without asking its leader, as buckets are.
    #[serde(default)]
    pub allow_direct: bool,
}

fn unlimited() -> i64 {
    -1
}

fn synced() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    New,
    Old,
}

/// What applying the file would do to one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    Create {
        stream: String,
    },
    Extend {
        stream: String,
        changes: Vec<String>,
    },
    Keep {
        stream: String,
    },
    /// On the server but not in the file: never deleted.
    Leave {
        stream: String,
    },
    /// To be of another kind, which the server does not change: the relay makes it anew, once it has compared it.
    Renew {
        stream: String,
    },
    Refuse {
        stream: String,
        reasons: Vec<String>,
    },
}

impl Step {
    pub fn is_refused(&self) -> bool {
        matches!(self, Step::Refuse { .. })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Create { stream } => write!(f, "create  {stream}"),
            Step::Extend { stream, changes } => {
                write!(f, "extend  {stream}: {}", changes.join("; "))
            }
            Step::Keep { stream } => write!(f, "keep    {stream}: as the file says"),
            Step::Leave { stream } => write!(f, "leave   {stream}: not in the file, left alone"),
            Step::Renew { stream } => {
                write!(f, "renew   {stream}: the relay makes it anew, and fills it from PostgreSQL")
            }
            Step::Refuse { stream, reasons } => {
                write!(f, "REFUSE  {stream}: {}", reasons.join("; "))
            }
        }
    }
}

impl StreamsFile {
    pub fn parse(yaml: &str) -> anyhow::Result<Self> {
        serde_yaml_ng::from_str(yaml).context("streams.yaml is not as it should be")
    }

    /// The project's own `streams.yaml`.
    pub fn built_in() -> anyhow::Result<Self> {
        Self::parse(BUILT_IN)
    }

    pub(crate) fn config(&self, name: &str) -> anyhow::Result<stream::Config> {
        let wanted =
            self.streams.get(name).with_context(|| format!("{name} is not in streams.yaml"))?;
        Ok(wanted.config(name))
    }
}

impl Wanted {
    fn config(&self, name: &str) -> stream::Config {
        stream::Config {
            name: name.to_owned(),
            description: Some(self.description.clone()),
            subjects: self.subjects.clone(),
            retention: stream::RetentionPolicy::Limits,
            storage: stream::StorageType::File,
            discard: match self.discard {
                Discard::New => stream::DiscardPolicy::New,
                Discard::Old => stream::DiscardPolicy::Old,
            },
            max_bytes: self.max_bytes,
            max_messages: -1,
            max_messages_per_subject: self.max_messages_per_subject,
            allow_direct: self.allow_direct,
            max_message_size: self.max_message_bytes,
            num_replicas: self.replicas,
            allow_atomic_publish: self.atomic_batches,
            max_age: Duration::from_secs(self.max_age_s),
            duplicate_window: Duration::from_secs(self.duplicates_s.unwrap_or_default()),
            persist_mode: (!self.synced).then_some(stream::PersistenceMode::Async),
            ..Default::default()
        }
    }
}

/// What has to be done so that the server's streams are as the file says, in the order of their names.
pub async fn plan(jetstream: &jetstream::Context, file: &StreamsFile) -> anyhow::Result<Vec<Step>> {
    let mut existing: BTreeMap<String, stream::Config> = BTreeMap::new();
    let mut infos = jetstream.streams();
    while let Some(info) = infos.try_next().await.context("listing the streams")? {
        existing.insert(info.config.name.clone(), info.config);
    }
    let mut steps = Vec::new();
    for (name, wanted) in &file.streams {
        steps.push(match existing.remove(name) {
            None => Step::Create { stream: name.clone() },
            Some(current) if wanted.refilled => refilled(name, &current, &wanted.config(name)),
            Some(current) => step(name, &current, &wanted.config(name)),
        });
    }
    steps.extend(existing.into_keys().map(|stream| Step::Leave { stream }));
    Ok(steps)
}

/// Carries out a plan, all or nothing: with a refusal in it, no stream is touched.
pub async fn apply(
    jetstream: &jetstream::Context,
    file: &StreamsFile,
) -> anyhow::Result<Vec<Step>> {
    let steps = plan(jetstream, file).await?;
    if steps.iter().any(Step::is_refused) {
        return Ok(steps);
    }
    for step in &steps {
        match step {
            Step::Create { stream } => {
                jetstream.create_stream(file.config(stream)?).await?;
            }
            Step::Extend { stream, .. } => {
                jetstream.update_stream(file.config(stream)?).await?;
            }
            Step::Keep { .. } | Step::Leave { .. } | Step::Renew { .. } | Step::Refuse { .. } => {}
        }
    }
    Ok(steps)
}

/// Whether a stream takes messages in another way than is wanted, which the server does not change.
pub(crate) fn is_another_kind(current: &stream::Config, wanted: &stream::Config) -> bool {
    let is_synced = |config: &stream::Config| {
        !matches!(config.persist_mode, Some(stream::PersistenceMode::Async))
    };
    current.allow_atomic_publish != wanted.allow_atomic_publish
        || is_synced(current) != is_synced(wanted)
}

/// Compares a stream that may be made anew with what is wanted of it.
fn refilled(name: &str, current: &stream::Config, wanted: &stream::Config) -> Step {
    let of_its_kind = stream::Config {
        persist_mode: wanted.persist_mode,
        allow_atomic_publish: wanted.allow_atomic_publish,
        ..current.clone()
    };
    match step(name, &of_its_kind, wanted) {
        refused @ Step::Refuse { .. } => refused,
        _ if is_another_kind(current, wanted) => Step::Renew { stream: name.to_owned() },
        other => other,
    }
}

/// Compares a stream with what is wanted of it.
fn step(name: &str, current: &stream::Config, wanted: &stream::Config) -> Step {
    let (mut changes, mut reasons) = (Vec::new(), Vec::new());
    for subject in &wanted.subjects {
        if !current.subjects.contains(subject) {
            changes.push(format!("also takes {subject}"));
        }
    }
    for subject in &current.subjects {
        if !wanted.subjects.contains(subject) {
            reasons.push(format!("{subject} would no longer be taken"));
        }
    }
    if current.storage != wanted.storage || current.retention != wanted.retention {
        reasons.push("storage and retention cannot change without losing messages".to_owned());
    }
    let mut limit = |what: &str, current: i64, wanted: i64| {
        let larger = |limit: i64| if limit <= 0 { i64::MAX } else { limit };
        match larger(wanted).cmp(&larger(current)) {
            std::cmp::Ordering::Greater => {
                changes.push(format!("{what} {current} becomes {wanted}"))
            }
            std::cmp::Ordering::Less => {
                reasons.push(format!("{what} {current} would shrink to {wanted}"))
            }
            std::cmp::Ordering::Equal => {}
        }
    };
    limit("max_bytes", current.max_bytes, wanted.max_bytes);
    limit("max_messages", current.max_messages, wanted.max_messages);
    let per_subject = |config: &stream::Config| config.max_messages_per_subject;
    limit("max_messages_per_subject", per_subject(current), per_subject(wanted));
    limit("max_message_bytes", current.max_message_size.into(), wanted.max_message_size.into());
    limit("replicas", current.num_replicas as i64, wanted.num_replicas as i64);
    let age = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    limit("max_age", age(current.max_age), age(wanted.max_age));
    match (current.discard, wanted.discard) {
        (stream::DiscardPolicy::New, stream::DiscardPolicy::Old) => {
            reasons.push("a full stream would drop its oldest messages".to_owned());
        }
        (stream::DiscardPolicy::Old, stream::DiscardPolicy::New) => {
            changes.push("a full stream refuses new messages".to_owned());
        }
        _ => {}
    }
    match (current.allow_atomic_publish, wanted.allow_atomic_publish) {
        (false, true) => changes.push("takes atomic batches".to_owned()),
        (true, false) => reasons.push("atomic batches would be refused".to_owned()),
        _ => {}
    }
    match (current.allow_direct, wanted.allow_direct) {
        (false, true) => changes.push("can be read directly".to_owned()),
        (true, false) => reasons.push("it could no longer be read directly".to_owned()),
        _ => {}
    }
    if current.description != wanted.description {
        changes.push("another description".to_owned());
    }
    let stream = name.to_owned();
    if !reasons.is_empty() {
        return Step::Refuse { stream, reasons };
    }
    if changes.is_empty() { Step::Keep { stream } } else { Step::Extend { stream, changes } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> stream::Config {
        StreamsFile::built_in()
            .and_then(|file| file.config("COMMANDS"))
            .expect("the built-in file is right")
    }

    #[test]
    fn a_stream_as_wanted_is_kept() {
        assert_eq!(step("S", &commands(), &commands()), Step::Keep { stream: "S".into() });
    }

    #[test]
    fn a_larger_stream_is_an_extension() {
        let larger = stream::Config { max_bytes: -1, ..commands() };
        assert!(matches!(step("S", &commands(), &larger), Step::Extend { .. }));
    }

    #[test]
    fn whatever_would_lose_data_is_refused() {
        let refused = [
            stream::Config { max_bytes: 1, ..commands() },
            stream::Config { subjects: vec!["other.>".into()], ..commands() },
            stream::Config { storage: stream::StorageType::Memory, ..commands() },
            stream::Config { discard: stream::DiscardPolicy::Old, ..commands() },
            stream::Config { max_age: Duration::from_secs(60), ..commands() },
            stream::Config { allow_atomic_publish: false, ..commands() },
        ];
        for wanted in refused {
            assert!(step("S", &commands(), &wanted).is_refused(), "{wanted:?}");
        }
    }

    #[test]
    fn what_a_bucket_has_is_extended_and_never_taken_away() {
        let bucket =
            StreamsFile::built_in().and_then(|file| file.config("KV_HELIX")).expect("it is there");
        assert_eq!((bucket.max_messages_per_subject, bucket.allow_direct), (1, true));
        assert_eq!(commands().max_messages_per_subject, -1);
        for (current, wanted) in [
            (stream::Config { allow_direct: false, ..bucket.clone() }, &bucket),
            (bucket.clone(), &stream::Config { max_messages_per_subject: 2, ..bucket.clone() }),
            (bucket.clone(), &stream::Config { max_messages_per_subject: -1, ..bucket.clone() }),
        ] {
            assert!(matches!(step("S", &current, wanted), Step::Extend { .. }), "{wanted:?}");
            assert!(step("S", wanted, &current).is_refused(), "{current:?}");
        }
        // A server may write no limit in another way than the file.
        let unlimited = stream::Config { max_messages_per_subject: 0, ..commands() };
        assert_eq!(step("S", &unlimited, &commands()), Step::Keep { stream: "S".into() });
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error() {
        assert!(StreamsFile::parse("streams: {}\nstraems: {}").is_err());
    }

    #[test]
    fn only_a_stream_that_is_refilled_is_made_anew() {
        let file = StreamsFile::built_in().expect("the built-in file is right");
        let made_anew: Vec<&str> = file
            .streams
            .iter()
            .filter(|(_, wanted)| wanted.refilled)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(made_anew, ["EVENTS"]);
        let events = file.config("EVENTS").expect("it is there");
        assert!(!is_another_kind(&events, &events));
        let synced = stream::Config { persist_mode: None, ..events.clone() };
        assert!(is_another_kind(&synced, &events) && is_another_kind(&events, &synced));
        let default = Some(stream::PersistenceMode::Default);
        assert!(!is_another_kind(
            &stream::Config { persist_mode: default, ..synced.clone() },
            &synced
        ));
        let atomic = stream::Config { allow_atomic_publish: true, ..synced };
        assert!(is_another_kind(&atomic, &events));
        assert_eq!(refilled("S", &atomic, &events), Step::Renew { stream: "S".into() });
        let narrower = stream::Config { subjects: vec!["evt.a".into()], ..events.clone() };
        assert!(refilled("S", &stream::Config { max_bytes: 1, ..atomic }, &narrower).is_refused());
    }
}
