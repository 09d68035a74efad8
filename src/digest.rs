//! Computes SHA-256 digests of bytes, files and values.
//! A value is digested as canonical JSON.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written `sha256:<64 lower-case hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not `sha256:` and 64 lower-case hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no digest; expected `sha256:` and 64 lower-case hex digits")]
pub struct InvalidDigest(String);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn hash_bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes.as_ref()).into())
    }

    /// Reads `reader` to its end and returns the digest and the size in bytes.
    pub(crate) fn hash_reader(mut reader: impl Read) -> io::Result<(Self, u64)> {
        let mut hashing = HashingWriter::new(io::sink());
        let size_bytes = io::copy(&mut reader, &mut hashing)?;
        Ok((hashing.finish().0, size_bytes))
    }

    /// Returns the digest and the size in bytes of the file at `path`.
    pub fn hash_file(path: &Path) -> io::Result<(Self, u64)> {
        Self::hash_reader(File::open(path)?)
    }

    /// Returns the digest of the canonical JSON of `value`.
    pub fn hash_value(value: &impl Serialize) -> Self {
        Self::hash_bytes(canonical_json(value))
    }

    /// Returns the 32 bytes of the digest.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hex digits, without the prefix `sha256:`.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Returns the first 12 hex digits, for display only: they are not unique.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Value of each byte as a hex digit; 255 for other bytes.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Returns the lower-case hex digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.extend(digits(*byte).map(char::from));
    }
    text
}

fn digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|value| DIGITS[usize::from(value)])
}

/// Serializes `value` as canonical JSON (RFC 8785), the format of records.
///
/// # Panics
/// If `value` has a map with keys that are no strings, which is a defect of its type.
pub fn canonical_json(value: &impl Serialize) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).expect("records serialize to JSON")
}

/// A writer that hashes the bytes it passes on.
pub(crate) struct HashingWriter<W> {
    inner: W,
    hash: Sha256,
    size_bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Creates a writer that passes bytes on to `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            size_bytes: 0,
        }
    }

    /// Returns the digest, the size in bytes, and the inner writer.
    pub fn finish(self) -> (Digest, u64, W) {
        (
            Digest(self.hash.finalize().into()),
            self.size_bytes,
            self.inner,
        )
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buf)?;
        self.hash.update(&buf[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDigest(text.to_owned());
        let digits = text.strip_prefix("sha256:").ok_or_else(invalid)?;
        let (pairs, []) = digits.as_bytes().as_chunks() else {
            return Err(invalid());
        };
        let pairs: &[[u8; 2]; 32] = pairs.try_into().map_err(|_| invalid())?;
        let mut bytes = [0; 32];
        let mut all_values = 0;
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
            all_values |= high | low;
            *byte = high << 4 | low;
        }
        if all_values > 15 {
            return Err(invalid());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
        for (pair, byte) in text[7..].as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = digits(byte);
        }
        serializer.serialize_str(std::str::from_utf8(&text).expect("digits are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(DigestVisitor)
    }
}

struct DigestVisitor;

impl Visitor<'_> for DigestVisitor {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
        text.parse().map_err(E::custom)
    }
}
