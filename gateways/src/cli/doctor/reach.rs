//! Whether Twitch would reach us with webhooks: our own callback is asked what Twitch asks it, and its certificate is
//! looked at.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::Url;
use tokio::time::timeout;

use super::{CHECK_LIMIT, Finding, note, unreachable, well, wrong};
use crate::config::{Config, open_database};
use crate::outgoing::{BaseUrl, Outgoing, Unanswered};
use crate::sealing::Sealer;
use crate::twitch::{Secret, Versions, challenge, webhook};

const CALLBACK: &str = "callback";
const CERTIFICATE: &str = "certificate";
/// Whoever renews certificates by itself does so a month before they end.
const DAYS_FEW: i64 = 21;
const DAYS_TOO_FEW: i64 = 7;
const SERVE: &str = "have public_url lead to `listen` of a running `tapedeck serve`, with body and headers as they are";

/// Looks only where webhooks are to come, whoever subscribed to them.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let is_subscribed_by_others = !config.eventsub_secret.is_empty();
    let Some(public) = &config.public_url else { return Vec::new() };
    if !config.keeps_webhooks() && !is_subscribed_by_others {
        return Vec::new();
    }
    let callback = webhook::callback(public);
    // Our own secret signs what is sent there.
    if let Err(words) = BaseUrl::try_from(callback.clone()) {
        let mend = "correct public_url: https://<host>, without a user or a query";
        return vec![wrong(CALLBACK, format!("public_url: {words}"), mend)];
    }
    let Some((url, secret)) = signing(config, &callback).await else {
        let mend = "start `tapedeck serve`, which makes one, or set eventsub_secret";
        return vec![wrong(CALLBACK, "there is no secret to sign with".to_owned(), mend)];
    };
    let outgoing = Outgoing::default();
    let (asked, forged, certificate) = tokio::join!(
        challenge::ask(&outgoing, &url, &secret, Utc::now()),
        challenge::forge(&outgoing, &url, Utc::now()),
        certificate(&outgoing, &url),
    );
    let mut findings = vec![called(&url, asked, forged)];
    findings.extend(certificate);
    findings
}

/// The secret of the moment, and where Twitch posts what it signs with it.
async fn signing(config: &Config, callback: &str) -> Option<(Url, Secret)> {
    let sealer = config.sealing_key_path().map(|path| Sealer::load(&path));
    if let Some(Ok(Some(sealer))) = sealer
        && let Ok(pool) = open_database(&config.database_url, 1, "doctor").await
    {
        let grace = Duration::from_secs(config.twitch.eventsub.secret_grace_s);
        let versions = Versions::new(pool, sealer, grace);
        let looked = timeout(CHECK_LIMIT, versions.look(Instant::now()));
        if let (Ok(Ok(())), Some(version)) = (looked.await, versions.current()) {
            let url = Url::parse(&version.callback(callback)).ok()?;
            return Some((url, version.secret));
        }
    }
    let secret = Secret::new(config.eventsub_secret.as_str()).ok()?;
    Some((Url::parse(callback).ok()?, secret))
}

type Verdict = Result<Result<(), String>, Unanswered>;

fn called(url: &Url, asked: Verdict, forged: Verdict) -> Finding {
    let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
    match (asked, forged) {
        (Err(error), _) | (_, Err(error)) => {
            let words = format!("{place}: {error}");
            let mend = format!(
                "{SERVE}. A router may keep its own address from those inside: \
                 `curl -i {place}` from elsewhere answers 405 where all is well"
            );
            wrong(CALLBACK, words, &mend)
        }
        (Ok(Err(words)), _) => wrong(CALLBACK, format!("{place}: challenged, {words}"), SERVE),
        (_, Ok(Err(words))) => {
            wrong(CALLBACK, format!("{place}: to a forged signature, {words}"), SERVE)
        }
        (Ok(Ok(())), Ok(Ok(()))) if url.scheme() != "https" => {
            let words = format!("{place} answers, and Twitch posts to https:// only");
            note(CALLBACK, words, "set public_url to an address of https:// that leads here")
        }
        (Ok(Ok(())), Ok(Ok(()))) if url.port_or_known_default() != Some(443) => {
            let words = format!("{place} answers, and Twitch posts to port 443 only");
            wrong(CALLBACK, words, "set public_url to an address without a port")
        }
        (Ok(Ok(())), Ok(Ok(()))) => {
            well(CALLBACK, format!("{place} answers a challenge, and refuses a forged one"))
        }
    }
}

async fn certificate(outgoing: &Outgoing, url: &Url) -> Option<Finding> {
    if url.scheme() != "https" {
        return None;
    }
    let host = url.host_str().unwrap_or_default();
    let mend = "renew it, and have whoever answers TLS for public_url read it anew";
    Some(match timeout(CHECK_LIMIT, outgoing.certificate_until(url)).await {
        Ok(Ok(until)) => lasts(host, until, Utc::now()),
        Ok(Err(error)) => wrong(CERTIFICATE, format!("of {host}: {error}"), mend),
        Err(_) => unreachable(CERTIFICATE, format!("{host}: no answer in {CHECK_LIMIT:?}"), SERVE),
    })
}

fn lasts(host: &str, until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Finding {
    let Some(until) = until else {
        return well(CERTIFICATE, format!("of {host} is trusted"));
    };
    let days = (until - now).num_days();
    let words = format!("of {host} is good for {days} days, until {}", until.format("%Y-%m-%d"));
    let mend =
        "renew it (`certbot renew`, or what your proxy does for that): Twitch posts to no other";
    match days {
        ..DAYS_TOO_FEW => wrong(CERTIFICATE, words, mend),
        DAYS_TOO_FEW..DAYS_FEW => note(CERTIFICATE, words, mend),
        _ => well(CERTIFICATE, words),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::State;
    use super::*;

    #[test]
    fn a_callback_is_well_where_it_answers_twitch_alone_at_an_address_that_twitch_takes() {
        let of = |url: &str, asked: Verdict, forged: Verdict| {
            called(&url.parse().expect("a URL"), asked, forged)
        };
        let good = "https://tapes.example/webhooks/twitch?v=0a";
        let all_well = of(good, Ok(Ok(())), Ok(Ok(())));
        assert_eq!(all_well.state, State::Well);
        assert!(!all_well.words.contains("v=0a"), "{}", all_well.words);
        assert_eq!(of("http://127.0.0.1:1/x", Ok(Ok(())), Ok(Ok(()))).state, State::Note);
        assert_eq!(of("https://a.example:8443/x", Ok(Ok(())), Ok(Ok(()))).state, State::Wrong);
        let no = || Ok(Err("it answered 200".to_owned()));
        for (asked, forged) in [(no(), Ok(Ok(()))), (Ok(Ok(())), no())] {
            let wrong = of(good, asked, forged);
            assert!(wrong.state == State::Wrong && wrong.mend.is_some(), "{wrong:?}");
        }
        let late = || Err(Unanswered::Late { limit: CHECK_LIMIT });
        assert_eq!(of(good, late(), Ok(Ok(()))).state, State::Wrong);
    }

    #[test]
    fn a_certificate_is_to_be_renewed_before_it_ends() {
        let now = Utc::now();
        let of = |days| lasts("a.example", Some(now + TimeDelta::days(days)), now).state;
        let found = [90, 21, 20, 7, 6, -1].map(of);
        let (well, note, wrong) = (State::Well, State::Note, State::Wrong);
        assert_eq!(found, [well, well, note, note, wrong, wrong]);
        assert_eq!(lasts("a.example", None, now).state, State::Well);
    }
}
