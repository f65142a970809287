//! A browser at Twitch.

use reqwest::header::LOCATION;
use reqwest::redirect::Policy;

/// A person says yes to what their browser was sent to Twitch with; where Twitch sends it back to.
pub async fn consent(location: &str, person: &str) -> String {
    let client = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
    let answer = client.get(location).header("x-person", person).send().await.expect("an answer");
    let back = answer.headers().get(LOCATION).map(|url| url.to_str().expect("text"));
    back.unwrap_or_else(|| panic!("{}", answer.status())).to_owned()
}
