//! Pictures in a bucket of S3, or of anything that speaks like it.
//!
//! Requests are signed as S3 wants it (Signature Version 4, in the query) and sent as everything else that leaves. A store
//! in trouble is asked again for a while, and for no longer than [`PATIENCE`]: whoever has a picture kept has a lease.

use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use reqwest::Url;
use rusty_s3::{Credentials, S3Action, UrlStyle};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{BYTES_MAX, PictureError};
use crate::outgoing::{Answer, Ask, BaseUrl, Outgoing, Secret, Unanswered};

/// For one request, with its picture.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// How long a signature is good. Clocks may differ by less.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// For all tries with one picture together.
pub const PATIENCE: Duration = Duration::from_secs(25);
/// How often one picture is asked for or sent, and the first wait between, which doubles.
const TRIES_MAX: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The most of a store's own words that is passed on.
const CODE_CHARS_MAX: usize = 64;

/// What `[pictures_bucket]` of the configuration says. Without a name, pictures are kept in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub name: String,
    /// Where the store is, such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: BaseUrl,
    pub region: String,
    /// What stands before the name of every picture, such as `tapedeck/`.
    pub prefix: String,
    /// Whether the bucket is part of the path. AWS has it in the host, most others in the path.
    pub path_style: bool,
    pub access_key: String,
    pub secret_key: Secret,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            name: String::new(),
            endpoint: BaseUrl::of("https://s3.amazonaws.com"),
            region: "us-east-1".to_owned(),
            prefix: String::new(),
            path_style: true,
            access_key: String::new(),
            secret_key: Secret::default(),
        }
    }
}

impl Settings {
    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        if self.name.is_empty() {
            return None;
        }
        let plain = |text: &str, also: &[u8]| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
        };
        if !(3..=63).contains(&self.name.len()) || !plain(&self.name, b"-.") {
            return Some("pictures_bucket.name: letters, digits, points and hyphens, 3 to 63");
        }
        if self.prefix.len() > 200 || !plain(&self.prefix, b"-_/") {
            return Some("pictures_bucket.prefix: letters, digits, and any of -_/");
        }
        if self.region.is_empty() || !plain(&self.region, b"-") {
            return Some("pictures_bucket.region: letters, digits and hyphens");
        }
        if self.access_key.is_empty() || self.secret_key.is_empty() {
            return Some(
                "pictures_bucket: set access_key and secret_key, in the environment \
                 TAPEDECK_PICTURES_BUCKET__ACCESS_KEY and TAPEDECK_PICTURES_BUCKET__SECRET_KEY",
            );
        }
        self.bucket().is_err().then_some("pictures_bucket: this name and endpoint make no address")
    }

    fn bucket(&self) -> Result<rusty_s3::Bucket, rusty_s3::BucketError> {
        let style = if self.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let endpoint: Url = self.endpoint.as_ref().clone();
        rusty_s3::Bucket::new(endpoint, style, self.name.clone(), self.region.clone())
    }
}

/// A bucket, and what opens it.
pub struct Bucket {
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
    prefix: String,
    outgoing: Outgoing,
    /// Whether it was said that missing pictures cannot be told from forbidden ones.
    warned: Once,
}

impl Bucket {
    /// `None` for settings that are refused.
    pub fn new(settings: &Settings) -> Option<Self> {
        let bucket = settings.bucket().ok()?;
        let (key, secret) = (settings.access_key.clone(), settings.secret_key.reveal());
        let credentials = Credentials::new(key, secret);
        let (prefix, outgoing) = (settings.prefix.clone(), Outgoing::default());
        Some(Bucket { bucket, credentials, prefix, outgoing, warned: Once::new() })
    }

    pub(super) fn place(&self) -> String {
        format!("{}{}", self.bucket.base_url(), self.prefix)
    }

    pub(super) async fn put(
        &self,
        name: &str,
        bytes: &[u8],
        media_type: &'static str,
    ) -> Result<(), PictureError> {
        let object = self.object(name);
        let body = Bytes::copy_from_slice(bytes);
        let answer = self
            .ask(|| {
                let action = self.bucket.put_object(Some(&self.credentials), &object);
                let mut ask = ask(Method::PUT, action.sign(SIGNED_FOR));
                ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
                Ask { body: body.clone(), ..ask }
            })
            .await?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(self.failed(said(&answer))),
        }
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Bytes>, PictureError> {
        let object = self.object(name);
        let answer = self
            .ask(|| {
                let action = self.bucket.get_object(Some(&self.credentials), &object);
                ask(Method::GET, action.sign(SIGNED_FOR))
            })
            .await?;
        match answer.status {
            status if status.is_success() => Ok(Some(answer.body)),
            // The bucket itself may be what is missing; then it is not said that there is no picture.
            StatusCode::NOT_FOUND if code_of(&answer) != Some("NoSuchBucket") => Ok(None),
            // S3 says so of what is not there to who may not list the bucket.
            StatusCode::FORBIDDEN if code_of(&answer) == Some("AccessDenied") => {
                self.warned.call_once(|| {
                    let bucket = self.bucket.name();
                    tracing::warn!(
                        bucket,
                        "AccessDenied for a picture, which is shown as missing. Give the key s3:ListBucket, so that what is \
                         missing can be told from what it may not read; and s3:GetObject, if no picture is shown"
                    );
                });
                Err(PictureError::Withheld { bucket: self.bucket.name().to_owned() })
            }
            _ => Err(self.failed(said(&answer))),
        }
    }

    /// Asks until there is an answer that asking again would not change, or until the patience is over.
    async fn ask(&self, request: impl Fn() -> Ask) -> Result<Answer, PictureError> {
        let late = || self.failed(format!("no good answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, self.asked(request)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Each time it is signed anew.
    async fn asked(&self, request: impl Fn() -> Ask) -> Result<Answer, PictureError> {
        let mut wait = FIRST_WAIT;
        let mut tries = 1;
        loop {
            let answer = self.outgoing.send(request()).await;
            let passing = match &answer {
                Ok(answer) => is_passing(answer.status),
                Err(unanswered) => !matches!(unanswered, Unanswered::TooLarge { .. }),
            };
            if !passing || tries == TRIES_MAX {
                return answer.map_err(|unanswered| self.failed(unanswered.to_string()));
            }
            tokio::time::sleep(wait).await;
            (wait, tries) = (wait * 2, tries + 1);
        }
    }

    fn object(&self, name: &str) -> String {
        format!("{}{}/{name}", self.prefix, &name[..2])
    }

    fn failed(&self, reason: String) -> PictureError {
        PictureError::Bucket { bucket: self.bucket.name().to_owned(), reason }
    }
}

fn ask(method: Method, url: Url) -> Ask {
    let (headers, body) = (HeaderMap::new(), Bytes::new());
    Ask { method, url, headers, body, time_limit: TIME_LIMIT, body_bytes_max: BYTES_MAX }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// What a store says went wrong: its status, and its own word for it.
fn said(answer: &Answer) -> String {
    match code_of(answer) {
        Some(code) => format!("it answers {}, {code}", answer.status.as_u16()),
        None => format!("it answers {}", answer.status.as_u16()),
    }
}

/// `NoSuchBucket` of `<Error><Code>NoSuchBucket</Code>…`.
fn code_of(answer: &Answer) -> Option<&str> {
    let body = std::str::from_utf8(&answer.body).ok()?;
    let code = body.split_once("<Code>")?.1.split_once("</Code>")?.0;
    let is_word = (1..=CODE_CHARS_MAX).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_word.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_that_hangs_is_left_while_the_lease_of_a_picture_lasts() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let hangs = format!("http://{}", listener.local_addr().expect("an address"));
        let settings = Settings {
            name: "pictures".to_owned(),
            endpoint: hangs.try_into().expect("an address"),
            access_key: "AKID".to_owned(),
            secret_key: Secret::new("hush"),
            ..Settings::default()
        };
        let bucket = Bucket::new(&settings).expect("good settings");
        let begun = tokio::time::Instant::now();
        let error = bucket.put(&"a".repeat(64), b"a picture", "image/png").await;
        let error = error.expect_err("nobody answers").to_string();
        assert!(error.contains("no good answer within 25 s"), "{error}");
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
    }

    #[test]
    fn settings_without_a_name_are_no_bucket_and_with_one_they_are_whole() {
        assert_eq!(Settings::default().refusal(), None);
        let whole = Settings {
            name: "pictures".to_owned(),
            access_key: "AKID".to_owned(),
            secret_key: Secret::new("hush"),
            ..Settings::default()
        };
        assert_eq!(whole.refusal(), None);
        assert!(!format!("{whole:?}").contains("hush"));
        for wrong in [
            Settings { name: "a/../b".to_owned(), ..whole.clone() },
            Settings { prefix: "../".to_owned(), ..whole.clone() },
            Settings { region: String::new(), ..whole.clone() },
            Settings { secret_key: Secret::default(), ..whole.clone() },
        ] {
            assert!(wrong.refusal().is_some(), "{wrong:?}");
        }
    }
}
