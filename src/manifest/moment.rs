//! Times in records, in whole seconds.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time in UTC, to the second: `2026-11-22T19:18:17Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// Returns the time stamp.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_second(self.0).expect("a moment was a time stamp once")
    }
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self(at.as_second())
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Other spellings of a time, and a 60th second, are rejected. Years before 0 would have a
        // sign.
        let form = b"0000-00-00T00:00:00Z";
        let fits = |(byte, form): (u8, &u8)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == *form,
        };
        let plain =
            text.len() == form.len() && text.bytes().zip(form).all(fits) && !text.ends_with(":60Z");
        let moment = text.parse::<Timestamp>().ok().filter(|_| plain);
        moment.map(Self::from).ok_or_else(|| {
            format!("`{text}` is not a time such as 2026-11-22T19:18:17Z (UTC, whole seconds)")
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
