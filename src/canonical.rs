//! Reads canonical JSON, and only that.
//!
//! In: bytes of a record. Out: its value, such that writing the value canonically (RFC 8785) gives the very same
//! bytes. Common parsers keep the last of two equal keys and round large numbers, so two readers could see two
//! records behind one digest; here both are refused. Deliberately knows no schema.

mod plain;
pub(crate) mod shape;

use std::fmt;
use std::io::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Serializer, Value};

use plain::Plain;

use crate::digest::canonical_json;

/// The largest integer that every JSON reader holds exactly.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 64;

/// Bytes that are not canonical JSON within our limits.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// Too large.
    #[error("{size} bytes, at most {most} are allowed")]
    Size {
        /// In bytes.
        size: usize,
        /// In bytes.
        most: usize,
    },
    /// Not JSON, or JSON with something that records never hold.
    #[error("not a record: {0}")]
    Json(#[from] serde_json::Error),
    /// The same value is written in another way.
    #[error("not canonical JSON (RFC 8785) from byte {at} on; records are never re-formatted")]
    NotCanonical {
        /// The first byte that differs, counted from 0.
        at: usize,
    },
}

/// The value of `bytes`, at most `most_bytes` of them.
pub fn parse(bytes: &[u8], most_bytes: usize) -> Result<Value, CanonicalError> {
    if let Some(value) = read(bytes, most_bytes) {
        return Ok(value);
    }
    // The long way, which finds out what is wrong.
    let value = parse_any_layout(bytes, most_bytes)?;
    let canonical = canonical_json(&value);
    if canonical == bytes {
        return Ok(value);
    }
    let common = canonical.iter().zip(bytes).take_while(|(a, b)| a == b);
    Err(CanonicalError::NotCanonical { at: common.count() })
}

/// What `bytes` say as a `T`, in a tenth of the time; `None` where they say anything else or more, or might not be canonical.
///
/// Written again it is the same bytes, in canonical form, so there is nothing else in them: no field that `T` does not know, no
/// key twice, no list in the place of an object.
pub(crate) fn read<'a, T: Deserialize<'a> + Serialize>(
    bytes: &'a [u8],
    most_bytes: usize,
) -> Option<T> {
    if bytes.len() > most_bytes {
        return None;
    }
    let value = serde_json::from_slice(bytes).ok()?;
    let mut rest = Rest(bytes);
    let mut writer = Serializer::with_formatter(&mut rest, Plain::default());
    T::serialize(&value, &mut writer).ok()?;
    rest.0.is_empty().then_some(value)
}

/// What has still to be written.
struct Rest<'a>(&'a [u8]);

impl Write for Rest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let rest = match (bytes, self.0) {
            // Every other piece is a mark alone, which is not worth a comparison of memory.
            ([mark], [first, rest @ ..]) => (first == mark).then_some(rest),
            _ => self.0.strip_prefix(bytes),
        };
        self.0 = rest.ok_or(io::ErrorKind::InvalidData)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same of JSON that people keep with line breaks: as strict about keys, numbers and nulls, but not about layout.
pub fn parse_any_layout(bytes: &[u8], most_bytes: usize) -> Result<Value, CanonicalError> {
    if bytes.len() > most_bytes {
        return Err(CanonicalError::Size {
            size: bytes.len(),
            most: most_bytes,
        });
    }
    Ok(strict(bytes)?)
}

fn strict(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// Reads one value, and refuses keys that stand twice.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format!("nested deeper than {MAX_DEPTH}")));
        }
        let depth = self.depth + 1;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, an integer, true, false, an array or an object")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if value > MAX_INTEGER {
            return Err(E::custom(format!("integer {value} is beyond 2^53 - 1")));
        }
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > MAX_INTEGER {
            return Err(E::custom(format!("integer {value} is beyond 2^53 - 1")));
        }
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let why = format!("number {value:e} is no integer within 2^53 - 1");
        Err(E::custom(why))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Err(E::custom("null: leave out what is absent"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !key.is_ascii() {
                return Err(A::Error::custom(format!("key `{key}` is not ASCII")));
            }
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("key `{key}` stands there twice")));
            }
            let value = entries.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
