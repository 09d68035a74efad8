//! Versions of images: three numbers, as required by Azure Compute Galleries.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `MAJOR.MINOR.PATCH`, each below 2^31, ordered as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The text is not a valid version of an image.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not an image version: expected MAJOR.MINOR.PATCH, three numbers below 2147483648 without leading zeros, such as 2026.1122.0"
)]
pub struct InvalidVersion(String);

impl ImageVersion {
    /// Returns the first version of `date` in the default scheme `YYYY.MMDD.N`, with N = 0.
    pub fn first_of(date: Date) -> Self {
        Self {
            major: u32::from(date.year().unsigned_abs()),
            minor: u32::from(date.month().unsigned_abs()) * 100
                + u32::from(date.day().unsigned_abs()),
            patch: 0,
        }
    }

    /// Returns this version with the last number increased by one, or `None` at the limit.
    pub fn next(self) -> Option<Self> {
        let patch = self.patch + 1;
        (patch <= LARGEST).then_some(Self { patch, ..self })
    }

    /// Whether the first two numbers are equal.
    pub(crate) fn same_series(self, other: Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }
}

const LARGEST: u32 = (1 << 31) - 1;

impl fmt::Display for ImageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for ImageVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'));
            let number = part.parse().ok().filter(|number| *number <= LARGEST);
            number.filter(|_| plain)
        };
        let numbers: Option<Vec<u32>> = text.split('.').map(number).collect();
        match numbers.as_deref() {
            Some(&[major, minor, patch]) => Ok(Self {
                major,
                minor,
                patch,
            }),
            _ => Err(InvalidVersion(text.to_owned())),
        }
    }
}

impl Serialize for ImageVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
