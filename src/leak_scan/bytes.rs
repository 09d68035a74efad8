//! Patterns of secrets, and the search for them in a stream of bytes.

use std::io::{self, Read};

use regex::bytes::{Regex, RegexBuilder};

use super::Rule;
use crate::digest::Digest;
use crate::secret::Secret;

/// A rule about bytes, in files and in free blocks.
pub(super) struct ByteRule {
    pub(super) rule: Rule,
    /// `None` means the secrets of the run.
    pattern: Option<&'static str>,
}

/// No pattern may match more than [`OVERLAP`] bytes.
pub(super) const RULES: &[ByteRule] = &[
    ByteRule {
        rule: Rule {
            id: "disk.private-keys",
            description: "no private key is on the captured disk, nor in its free blocks",
        },
        // PEM (RFC 7468) and OpenSSH, also with RFC 1421 headers, and with `\n` escaped as in JSON.
        pattern: Some(
            r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY-----(?:\r?\n|\\n)(?:[A-Za-z0-9-]{1,20}: [^\n]{1,80}\r?\n){0,3}\s{0,4}[A-Za-z0-9+/]{32}",
        ),
    },
    ByteRule {
        rule: Rule {
            id: "disk.tokens",
            description: "no token or key of an account is on the captured disk, nor in its free blocks",
        },
        // Tokens of Vault 1.10 and later, token variables of both products, keys and SAS of Azure
        // storage accounts.
        pattern: Some(
            r#"\bhv[sbr]\.[A-Za-z0-9_-]{24,200}|(?:VAULT|CONSUL_HTTP)_TOKEN=["']?[A-Za-z0-9._-]{16,200}|AccountKey=[A-Za-z0-9+/]{80,100}==|[?&]sig=[A-Za-z0-9%]{40,80}%3[Dd]"#,
        ),
    },
    ByteRule {
        rule: Rule {
            id: "disk.gossip-keys",
            description: "no gossip key of Consul is on the captured disk, nor in its free blocks",
        },
        // The option `encrypt` with 32 bytes in base64.
        pattern: Some(r#"\bencrypt"?\s{0,8}[:=]\s{0,8}"[A-Za-z0-9+/]{43}=""#),
    },
    ByteRule {
        rule: Rule {
            id: RUN_SECRETS,
            description: "no secret of the build itself is on the captured disk, nor in its free blocks",
        },
        pattern: None,
    },
];

const RUN_SECRETS: &str = "disk.run-secrets";

/// The overlap of two windows, so that a match at a boundary is found whole.
const OVERLAP: usize = 4096;
/// A larger window is not faster and needs more memory.
const WINDOW: usize = 256 << 10;

/// Shorter secrets would match by chance.
const MIN_SECRET_BYTES: usize = 12;

/// The first lines of an OpenSSH key that are the same in all keys of its type: the header and one
/// line of base64.
const COMMON_KEY_LINES: usize = 2;

/// The secrets of a run.
#[derive(Clone, Default)]
pub struct SecretPatterns(Vec<Vec<u8>>);

impl SecretPatterns {
    /// Adds `secrets` as literal bytes. Omits those with fewer than 12 bytes, because they would
    /// match by chance.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let long = |secret: &&Secret| secret.expose().len() >= MIN_SECRET_BYTES;
        let bytes = |secret: &Secret| {
            let bytes = secret.expose().as_bytes();
            bytes[..bytes.len().min(OVERLAP)].to_vec()
        };
        Self(secrets.into_iter().filter(long).map(bytes).collect())
    }

    /// Adds each line of these private keys, except the lines that all keys have.
    #[must_use]
    pub fn with_keys<'a>(mut self, keys: impl IntoIterator<Item = &'a Secret>) -> Self {
        for key in keys {
            let lines = key.expose().lines().skip(COMMON_KEY_LINES);
            let content = lines.filter(|line| !line.starts_with("-----"));
            let long = content.filter(|line| line.len() >= MIN_SECRET_BYTES);
            self.0.extend(long.map(|line| line.as_bytes().to_vec()));
        }
        self
    }
}

/// A match.
pub(super) struct Hit {
    pub(super) rule: &'static str,
    /// The distance from the start of the stream, in bytes.
    pub(super) at: u64,
    /// The digest of the matched bytes.
    pub(super) matched: Digest,
    /// Whether it is a secret of the run, and not only the pattern of a secret.
    pub(super) is_run_secret: bool,
}

/// The compiled patterns of all rules, each with the id of its rule.
pub(super) struct Patterns(Vec<(&'static str, Regex)>);

impl Patterns {
    pub(super) fn new(secrets: &SecretPatterns) -> Self {
        let run_secrets = || {
            let literals = secrets.0.iter().map(|secret| {
                secret
                    .iter()
                    .map(|byte| format!("\\x{byte:02x}"))
                    .collect::<String>()
            });
            let literals: Vec<String> = literals.collect();
            (!literals.is_empty()).then(|| literals.join("|"))
        };
        let compiled = RULES.iter().filter_map(|rule| {
            let pattern = rule
                .pattern
                .map_or_else(run_secrets, |text| Some(text.to_owned()))?;
            let regex = RegexBuilder::new(&pattern)
                .unicode(false)
                .size_limit(64 << 20)
                .build()
                .expect("the patterns are constants and literals");
            Some((rule.rule.id, regex))
        });
        Self(compiled.collect())
    }

    /// Returns all matches in `reader`, one for each location.
    pub(super) fn search(&self, mut reader: impl Read) -> io::Result<Vec<Hit>> {
        let mut hits: Vec<Hit> = Vec::new();
        let mut window = Vec::new();
        let mut start = 0_u64;
        loop {
            let missing = (WINDOW - window.len()) as u64;
            let read = reader.by_ref().take(missing).read_to_end(&mut window)?;
            let is_last = (read as u64) < missing;
            // A match that begins in the overlap is found whole in the next window.
            let overlap = if is_last { 0 } else { OVERLAP };
            for (rule, regex) in &self.0 {
                for found in regex.find_iter(&window) {
                    if found.start() < window.len() - overlap {
                        hits.push(Hit {
                            rule,
                            at: start + found.start() as u64,
                            matched: Digest::hash_bytes(found.as_bytes()),
                            is_run_secret: *rule == RUN_SECRETS,
                        });
                    }
                }
            }
            if is_last {
                return Ok(hits);
            }
            let done = window.len() - overlap;
            window.drain(..done);
            start += done as u64;
        }
    }
}
