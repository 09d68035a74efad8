//! Parses a SHA256SUMS file and returns the digest of each listed file.
//! Parsing is strict: programs write these files, so any deviation is an error.

use crate::digest::Digest;

/// A malformed SHA256SUMS file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SumsError {
    /// A malformed line.
    #[error(
        "line {line}: {reason}; expected 64 lower-case hex digits, two spaces, a file name and a line feed"
    )]
    Line {
        /// The line number, from 1.
        line: usize,
        /// The defect.
        reason: &'static str,
    },
    /// A file that is listed twice.
    #[error("line {line}: `{file}` is listed a second time")]
    Twice {
        /// The number of the second line, from 1.
        line: usize,
        /// The file name.
        file: String,
    },
    /// A file without lines.
    #[error("it is empty")]
    Empty,
}

/// The files in a SHA256SUMS file, with their digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums(Vec<(String, Digest)>);

impl Sums {
    /// Parses `bytes`. One malformed line makes the whole file an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, SumsError> {
        if bytes.is_empty() {
            return Err(SumsError::Empty);
        }
        let mut listed: Vec<(String, Digest)> = Vec::new();
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let (digest, file) = parse_line(line).map_err(|reason| SumsError::Line {
                line: index + 1,
                reason,
            })?;
            if listed.iter().any(|(name, _)| name == file) {
                return Err(SumsError::Twice {
                    line: index + 1,
                    file: file.to_owned(),
                });
            }
            listed.push((file.to_owned(), digest));
        }
        Ok(Self(listed))
    }

    /// Returns the digest of `file`, if it is listed.
    pub fn digest_of(&self, file: &str) -> Option<Digest> {
        self.0
            .iter()
            .find(|(name, _)| name == file)
            .map(|(_, digest)| *digest)
    }
}

fn parse_line(line: &[u8]) -> Result<(Digest, &str), &'static str> {
    let line = line
        .strip_suffix(b"\n")
        .ok_or("it does not end with a line feed")?;
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
    let (digits, file) = line
        .split_once("  ")
        .ok_or("there are no two spaces between digest and file name")?;
    let digest = format!("sha256:{digits}")
        .parse()
        .map_err(|_| "it does not begin with 64 lower-case hex digits")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if !file.starts_with(|first: char| first.is_ascii_alphanumeric()) || !file.bytes().all(plain) {
        return Err("the file name has characters other than letters, digits and `._+-`");
    }
    Ok((digest, file))
}
