//! Parses references to images on the command line.

use std::fmt;
use std::str::FromStr;

use super::ImageVersion;

/// A reference to a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `name@version`.
    Version {
        /// The name of the image.
        image: String,
        /// The version of the image.
        version: ImageVersion,
    },
    /// `sha256:` and the first 12 or more hex digits, if they are unique.
    Digest {
        /// The hex digits.
        hex: String,
    },
    /// `name`: the manifest that was recorded last.
    Newest {
        /// The name of the image.
        image: String,
    },
    /// `name:channel`: the manifest that the channel points to.
    Channel {
        /// The name of the image.
        image: String,
        /// The name of the channel.
        channel: String,
    },
}

/// The text is not a valid reference.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is not a reference to an image: {why}; expected name@version, name:channel, name, or sha256: and at least {SHORTEST_HEX} hex digits"
)]
pub struct InvalidReference {
    text: String,
    why: String,
}

/// The smallest number of hex digits in a reference.
const SHORTEST_HEX: usize = 12;

/// The rule of [`is_name`], in words.
pub(super) const NAME_RULE: &str =
    "a name of 1 to 64 letters, digits, `-`, `_` or `.` that begins with a letter or digit";

/// Whether `text` is a valid name of an image or a channel.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len())
        && text.bytes().all(allowed)
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why: String| InvalidReference {
            text: text.to_owned(),
            why,
        };
        let name = |part: &str| {
            if is_name(part) {
                Ok(part.to_owned())
            } else {
                Err(invalid(format!("`{part}` is not {NAME_RULE}")))
            }
        };
        if let Some(hex) = text.strip_prefix("sha256:") {
            let digits = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            return if digits && (SHORTEST_HEX..=64).contains(&hex.len()) {
                Ok(Self::Digest {
                    hex: hex.to_owned(),
                })
            } else {
                Err(invalid(format!(
                    "a digest has {SHORTEST_HEX} to 64 lower-case hex digits"
                )))
            };
        }
        if let Some((image, version)) = text.split_once('@') {
            return Ok(Self::Version {
                image: name(image)?,
                version: version
                    .parse()
                    .map_err(|error| invalid(format!("{error}")))?,
            });
        }
        match text.split_once(':') {
            Some((image, channel)) => Ok(Self::Channel {
                image: name(image)?,
                channel: name(channel)?,
            }),
            None => Ok(Self::Newest { image: name(text)? }),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { image, version } => write!(f, "{image}@{version}"),
            Self::Digest { hex } => write!(f, "sha256:{hex}"),
            Self::Newest { image } => f.write_str(image),
            Self::Channel { image, channel } => write!(f, "{image}:{channel}"),
        }
    }
}
