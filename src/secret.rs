//! Keeps secrets out of output: a type that cannot be printed, and a scrubber of output.
//! [`Secret`] has no `Display`, `Debug` or `Serialize`; only [`Secret::expose`] returns the text.

use std::borrow::Cow;

/// A secret value, which can be cloned but not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text. Use it only to pass the secret on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Replacement for a secret in the output of programs.
pub(crate) const SCRUBBED: &str = "[secret]";

/// Removes known secrets from the output of programs.
#[derive(Clone, Default)]
pub struct Scrubber(Vec<String>);

impl Scrubber {
    /// Creates a scrubber for `secrets` and for each line of them.
    ///
    /// Texts shorter than [`SHORTEST_SECRET_BYTES`] are skipped: scrubbing them would damage other
    /// text. Definitions refuse such secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut patterns: Vec<String> = secrets
            .into_iter()
            .flat_map(|secret| {
                let text = secret.expose();
                std::iter::once(text)
                    .chain(text.lines())
                    .flat_map(forms)
                    .collect::<Vec<_>>()
            })
            .filter(|pattern| pattern.len() >= SHORTEST_SECRET_BYTES)
            .collect();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.len()));
        patterns.dedup();
        Self(patterns)
    }

    /// Replaces every known secret in `text` by [`SCRUBBED`].
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for pattern in &self.0 {
            if text.contains(pattern.as_str()) {
                text = Cow::Owned(text.replace(pattern.as_str(), SCRUBBED));
            }
        }
        text
    }
}

/// Smallest size of a secret in bytes. Shorter ones cannot be told from ordinary text.
pub(crate) const SHORTEST_SECRET_BYTES: usize = 4;

/// Returns the forms in which a program may print a value: plain, base64, hex, and quoted for a
/// shell or JSON.
fn forms(text: &str) -> Vec<String> {
    let quoted = serde_json::Value::from(text).to_string();
    vec![
        text.to_owned(),
        quoted.trim_matches('"').to_owned(),
        text.replace('\'', "'\\''"),
        openssl::base64::encode_block(text.as_bytes())
            .trim_end_matches('=')
            .to_owned(),
        crate::digest::hex(text.as_bytes()),
    ]
}
