//! How long an answer asks to wait.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::header::HeaderMap;

/// Nobody is asked to wait longer than this.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// What the headers ask for outright: `retry-after-ms`, or `Retry-After` in seconds or as a date. What cannot be read
/// says nothing.
pub(super) fn asked(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let in_ms =
        text(headers, "retry-after-ms").and_then(|ms| seconds(ms.parse::<f64>().ok()? / 1_000.0));
    in_ms.or_else(|| retry_after(text(headers, "retry-after")?, now))
}

/// When the limit is full again that was hit. Every answer says this of its limits, so it means something only where
/// one was hit. Without a word on what remains, and where some is left and too little, the longest time counts.
pub(super) fn until_reset(headers: &HeaderMap) -> Option<Duration> {
    const LIMITS: [&str; 2] = ["requests", "tokens"];
    let remaining = |what: &str| text(headers, &format!("x-ratelimit-remaining-{what}"));
    let hit = LIMITS.into_iter().find(|what| remaining(what) == Some("0"));
    let resets = LIMITS.into_iter().filter(|what| hit.is_none_or(|hit| *what == hit));
    let resets = resets
        .filter_map(|what| text(headers, &format!("x-ratelimit-reset-{what}")).and_then(duration));
    resets.max()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        return seconds(number);
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.to_utc() - now).to_std().unwrap_or_default().min(WAIT_MAX))
}

/// `12s`, `6m0s`, `20ms`, `1h2m3.5s`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        let each = match &unit[..end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * each;
        rest = &unit[end..];
    }
    seconds(sum)
}

fn seconds(seconds: f64) -> Option<Duration> {
    let is_time = seconds.is_finite() && seconds >= 0.0;
    is_time.then(|| Duration::from_secs_f64(seconds.min(WAIT_MAX.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn wait(headers: &[(&str, &str)]) -> Option<f64> {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        });
        // Wed, 21 Oct 2015 07:28:00 GMT
        let now = DateTime::from_timestamp(1_445_412_480, 0).expect("a time");
        let headers = headers.collect();
        let wait = asked(&headers, now).or_else(|| until_reset(&headers));
        wait.map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn every_way_to_say_it_is_understood() {
        assert_eq!(wait(&[("retry-after", "20")]), Some(20.0));
        assert_eq!(wait(&[("retry-after", "1.5")]), Some(1.5));
        assert_eq!(wait(&[("retry-after-ms", "250"), ("retry-after", "1")]), Some(0.25));
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT")]), Some(30.0));
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT")]), Some(0.0));
        for (text, seconds) in
            [("12s", 12.0), ("6m0s", 360.0), ("20ms", 0.02), ("1h2m3.5s", 3_723.5)]
        {
            assert_eq!(wait(&[("x-ratelimit-reset-requests", text)]), Some(seconds));
        }
    }

    #[test]
    fn the_limit_that_is_used_up_says_how_long() {
        let resets = [("x-ratelimit-reset-requests", "12s"), ("x-ratelimit-reset-tokens", "6m0s")];
        let with = |left: &[(&'static str, &'static str)]| wait(&[left, &resets].concat());
        let (requests, tokens) = ("x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens");
        assert_eq!(with(&[]), Some(360.0));
        assert_eq!(with(&[(requests, "0"), (tokens, "9000")]), Some(12.0));
        assert_eq!(with(&[(requests, "4"), (tokens, "0")]), Some(360.0));
        assert_eq!(with(&[(requests, "4"), (tokens, "9")]), Some(360.0), "too few are left");
        let told = [("retry-after", "3"), ("x-ratelimit-reset-tokens", "6m0s")];
        assert_eq!(wait(&told), Some(3.0), "said outright");
    }

    #[test]
    fn nonsense_says_nothing_and_no_wait_is_for_ever() {
        for text in ["", "soon", "-5", "NaN", "inf", "99999999999999999999 s"] {
            assert_eq!(wait(&[("retry-after", text)]), None, "{text}");
        }
        for text in ["", "12", "s", "12x", "-4s", "1m-90s!", "1e400s"] {
            assert_eq!(wait(&[("x-ratelimit-reset-tokens", text)]), None, "{text}");
        }
        assert_eq!(wait(&[("retry-after", "1e300")]), Some(86_400.0));
        assert_eq!(wait(&[("x-ratelimit-reset-tokens", "9999999999h")]), Some(86_400.0));
    }
}
