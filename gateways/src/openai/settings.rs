//! What `[generation.openai]` of the configuration says.

use serde::{Deserialize, Serialize};

use crate::outgoing::BaseUrl;

/// Everything that can be decided about OpenAI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub api_key: ApiKey,
    /// Where the API is, with its version: another company's that speaks like it, or a proxy.
    pub base_url: BaseUrl,
    pub model: String,
    pub moderation_model: String,
    /// `auto`, or width and height such as `1024x1024`.
    pub size: String,
    pub quality: Quality,
    /// The most that one picture costs, in cents of a dollar. So much of the day's budget is set aside before each one,
    /// and it is what a picture is taken to cost whose answer does not say.
    pub picture_cents_max: u32,
    /// The model's price list, in cents of a dollar for a million tokens.
    pub input_cents_per_million: u32,
    pub output_cents_per_million: u32,
}

/// How carefully pictures are drawn, and how dearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    Auto,
    Low,
    Medium,
    High,
    /// Of the newer models only, as the next.
    Xhigh,
    Max,
}

impl Quality {
    pub fn name(self) -> &'static str {
        match self {
            Quality::Auto => "auto",
            Quality::Low => "low",
            Quality::Medium => "medium",
            Quality::High => "high",
            Quality::Xhigh => "xhigh",
            Quality::Max => "max",
        }
    }
}

/// The secret that pays. Printing it with `{:?}` does not show it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(key: impl Into<String>) -> Self {
        ApiKey(key.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.is_empty() { "ApiKey(none)" } else { "ApiKey(secret)" })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            api_key: ApiKey::default(),
            base_url: BaseUrl::known("https://api.openai.com/v1"),
            model: "gpt-image-2".to_owned(),
            moderation_model: "omni-moderation-latest".to_owned(),
            size: "1024x1024".to_owned(),
            quality: Quality::Medium,
            picture_cents_max: 25,
            input_cents_per_million: 1_000,
            output_cents_per_million: 4_000,
        }
    }
}

const MODEL_CHARS_MAX: usize = 100;
const PICTURE_CENTS_MAX: u32 = 10_000;
const MICROS_PER_CENT: i64 = 10_000;
/// A count of tokens beyond this is no count.
const TOKENS_MAX: i64 = 10_000_000;

impl Settings {
    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        if !self.api_key.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some("generation.openai.api_key has characters in it that no key has");
        }
        let is_model = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
            (1..=MODEL_CHARS_MAX).contains(&name.len()) && name.bytes().all(plain)
        };
        if !is_model(&self.model) || !is_model(&self.moderation_model) {
            return Some("generation.openai: a model's name is letters, digits, and any of -._:");
        }
        if self.size != "auto" && !is_size(&self.size) {
            return Some(
                "generation.openai.size is auto, or two sides such as 1024x1024 that 16 divides, 2048 at most",
            );
        }
        if self.picture_cents_max > PICTURE_CENTS_MAX {
            return Some("generation.openai.picture_cents_max is at most 10000");
        }
        None
    }

    pub(super) fn picture_micros_max(&self) -> i64 {
        i64::from(self.picture_cents_max) * MICROS_PER_CENT
    }

    /// What so many tokens cost, rounded up; `None` where these are no counts.
    pub(super) fn cost_micros(&self, input: i64, output: i64) -> Option<i64> {
        let is_count = |tokens: i64| (0..=TOKENS_MAX).contains(&tokens);
        if !is_count(input) || !is_count(output) || input + output == 0 {
            return None;
        }
        let of = |tokens: i64, cents: u32| tokens.checked_mul(i64::from(cents));
        let input = of(input, self.input_cents_per_million)?;
        let cents = input.checked_add(of(output, self.output_cents_per_million)?)?;
        Some(cents.div_euclid(100) + i64::from(cents.rem_euclid(100) != 0))
    }
}

/// What can be drawn here and cut out: not larger than [`crate::generation::cutout`] takes.
fn is_size(text: &str) -> bool {
    let side = |text: &str| text.parse::<u32>().ok().filter(|side| side % 16 == 0);
    let sides = text.split_once('x').and_then(|(a, b)| Some((side(a)?, side(b)?)));
    sides.is_some_and(|(a, b)| (256..=2_048).contains(&a) && (256..=2_048).contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_not_printed() {
        let settings = Settings { api_key: ApiKey::new("sk-hush"), ..Settings::default() };
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert_eq!(Settings::default().refusal(), None);
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.refusal()
        };
        assert!(with(|s| s.api_key = ApiKey::new("sk-a\r\nX-Evil: 1")).is_some());
        assert!(with(|s| s.model = "../models".to_owned()).is_some());
        assert!(with(|s| s.moderation_model = String::new()).is_some());
        for wrong in ["", "1024", "1000x1000", "4096x4096", "0x0", "-16x16", "1024x1024x1"] {
            let settings = Settings { size: wrong.to_owned(), ..Settings::default() };
            assert!(settings.refusal().is_some(), "{wrong}");
        }
        assert_eq!(with(|s| s.size = "auto".to_owned()), None);
    }

    #[test]
    fn tokens_cost_what_the_price_list_says_rounded_up() {
        let settings = Settings::default();
        // 10 dollars for a million in, 40 dollars for a million out.
        assert_eq!(settings.cost_micros(1_000_000, 0), Some(10_000_000));
        assert_eq!(settings.cost_micros(50, 1_056), Some(500 + 42_240));
        let odd = Settings { input_cents_per_million: 1, ..settings.clone() };
        assert_eq!(odd.cost_micros(1, 0), Some(1));
        for (input, output) in [(-1, 5), (5, -1), (0, 0), (i64::MAX, 1), (1, i64::MAX)] {
            assert_eq!(settings.cost_micros(input, output), None);
        }
    }
}
