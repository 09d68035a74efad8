//! Reads a SHA256SUMS file, strictly.
//!
//! In: the file's bytes. Out: the digest of each file that it lists. Deliberately forgives nothing: a release
//! server writes these files by machine, so what looks different is no sums file of a release.

use crate::digest::Digest;

/// A SHA256SUMS file that is not one, or that does not list what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SumsError {
    /// A line is not as it must be.
    #[error(
        "line {line}: {reason}; expected 64 lower-case hex digits, two spaces, a file name and a line feed"
    )]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file is listed twice.
    #[error("line {line}: `{file}` is listed a second time")]
    Twice {
        /// The number of the second line, from 1.
        line: usize,
        /// The file.
        file: String,
    },
    /// It lists nothing.
    #[error("it is empty")]
    Empty,
}

/// What a SHA256SUMS file lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums(Vec<(String, Digest)>);

impl Sums {
    /// Reads all of `bytes`; one bad line spoils the file.
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

    /// The digest of `file`, where it is listed.
    pub fn of(&self, file: &str) -> Option<Digest> {
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
    let line = std::str::from_utf8(line).map_err(|_| "it is not text")?;
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
