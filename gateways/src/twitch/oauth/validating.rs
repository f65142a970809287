//! Whose grant something is, and whether Twitch still takes it.

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, StatusCode};

use super::{Grant, OAuth, Question, TwitchError, Validated, secret_header};
use crate::outgoing::Secret;

impl OAuth {
    /// Whose grant it is, and whether it is still good.
    pub async fn validate(&self, grant: &Grant) -> Result<Validated, TwitchError> {
        self.validated(grant.access_token.secret()).await
    }

    /// The same of one that the configuration brings.
    pub async fn validate_secret(&self, secret: &Secret) -> Result<Validated, TwitchError> {
        self.validated(secret.reveal()).await
    }

    async fn validated(&self, access: &str) -> Result<Validated, TwitchError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, secret_header("OAuth", access)?);
        let url = self.settings.id_url.at(&["validate"]);
        let answer = self.ask(Question::Validate, Method::GET, url, headers, Bytes::new()).await?;
        let validated: Validated =
            serde_json::from_slice(&answer.body).map_err(|_| TwitchError::Garbled)?;
        match validated.client_id == self.settings.client_id {
            true => Ok(validated),
            // A grant for somebody else's application proves nothing to ours.
            false => Err(TwitchError::Refused(StatusCode::FORBIDDEN)),
        }
    }
}
