//! Values that must never be seen: a type that cannot be shown, and the scrubbing of text that others wrote.
//!
//! In: secret text. Out: the same text, only to a caller that asks with [`Secret::expose`]. Deliberately has no
//! `Display`, `Debug` or `Serialize`, so that a secret cannot reach an event, a record or an error by accident.

use std::borrow::Cow;

/// A value that is never shown. Cloning it is allowed, printing it is not.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes custody of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that has to hand it over.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// What stands in the place of a secret in text that others wrote.
pub const SCRUBBED: &str = "[secret]";

/// Removes known secrets from the output of programs that we run but did not write.
#[derive(Clone, Default)]
pub struct Scrubber(Vec<String>);

impl Scrubber {
    /// Scrubs `secrets`, and each line of those that have several. Text shorter than four bytes cannot be
    /// scrubbed without mangling everything and is refused where secrets are taken in, so it is passed over here.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut needles: Vec<String> = secrets
            .into_iter()
            .flat_map(|secret| {
                let whole = secret.expose();
                std::iter::once(whole)
                    .chain(whole.lines())
                    .flat_map(forms)
                    .collect::<Vec<_>>()
            })
            .filter(|needle| needle.len() >= SHORTEST_SECRET_BYTES)
            .collect();
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles.dedup();
        Self(needles)
    }

    /// `text` with every known secret replaced by [`SCRUBBED`].
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for needle in &self.0 {
            if text.contains(needle.as_str()) {
                text = Cow::Owned(text.replace(needle.as_str(), SCRUBBED));
            }
        }
        text
    }
}

/// Secrets shorter than this, in bytes, are refused: they could not be told from ordinary text.
pub const SHORTEST_SECRET_BYTES: usize = 4;

/// The forms in which a program may repeat a value: as it is, base64, hex and quoted for a shell or JSON.
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
