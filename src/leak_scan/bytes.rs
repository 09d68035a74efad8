//! What secrets look like, and where they stand in a stream of bytes.

use std::io::{self, Read};

use regex::bytes::{Regex, RegexBuilder};

use super::Rule;
use crate::digest::Digest;
use crate::secret::Secret;

/// A rule about bytes, wherever they are.
pub(super) struct ByteRule {
    pub(super) rule: Rule,
    /// None: the run's own secrets.
    pattern: Option<&'static str>,
}

/// No pattern may match more than [`OVERLAP`] bytes.
pub(super) const RULES: &[ByteRule] = &[
    ByteRule {
        rule: Rule {
            id: "disk.private-keys",
            words: "no private key is on the captured disk, nor in its free blocks",
        },
        // RFC 7468 and OpenSSH's own; with headers as RFC 1421 has them, and with line ends as JSON writes them.
        pattern: Some(
            r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY-----(?:\r?\n|\\n)(?:[A-Za-z0-9-]{1,20}: [^\n]{1,80}\r?\n){0,3}\s{0,4}[A-Za-z0-9+/]{32}",
        ),
    },
    ByteRule {
        rule: Rule {
            id: "disk.tokens",
            words: "no token or key of an account is on the captured disk, nor in its free blocks",
        },
        // Vault's tokens since 1.10; both products' variables; Azure storage accounts and their signatures.
        pattern: Some(
            r#"\bhv[sbr]\.[A-Za-z0-9_-]{24,200}|(?:VAULT|CONSUL_HTTP)_TOKEN=["']?[A-Za-z0-9._-]{16,200}|AccountKey=[A-Za-z0-9+/]{80,100}==|[?&]sig=[A-Za-z0-9%]{40,80}%3[Dd]"#,
        ),
    },
    ByteRule {
        rule: Rule {
            id: "disk.gossip-keys",
            words: "no gossip key of Consul is on the captured disk, nor in its free blocks",
        },
        // 32 bytes in base64, as `encrypt` of a configuration.
        pattern: Some(r#"\bencrypt"?\s{0,8}[:=]\s{0,8}"[A-Za-z0-9+/]{43}=""#),
    },
    ByteRule {
        rule: Rule {
            id: RUN_SECRETS,
            words: "no secret of the bake itself is on the captured disk, nor in its free blocks",
        },
        pattern: None,
    },
];

const RUN_SECRETS: &str = "disk.run-secrets";

/// What a window of bytes is moved back by, so that nothing is cut in two.
const OVERLAP: usize = 4096;
/// A small one is as fast as a large one, and a bake is to be small in memory.
const WINDOW: usize = 256 << 10;

/// Shorter ones would be found by chance.
const SHORTEST_NEEDLE_BYTES: usize = 12;

/// How much of an OpenSSH key every key of its kind begins with: its first line, and one of the same bytes for all.
const COMMON_KEY_LINES: usize = 2;

/// The secrets of a run, to be looked for.
#[derive(Clone, Default)]
pub struct SecretPatterns(Vec<Vec<u8>>);

impl SecretPatterns {
    /// Looks for `secrets` as they are. Those with fewer than 12 bytes are left out: they would be found by chance.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let long = |secret: &&Secret| secret.expose().len() >= SHORTEST_NEEDLE_BYTES;
        let bytes = |secret: &Secret| {
            let bytes = secret.expose().as_bytes();
            bytes[..bytes.len().min(OVERLAP)].to_vec()
        };
        Self(secrets.into_iter().filter(long).map(bytes).collect())
    }

    /// Looks for each line of these private keys as well, but for those that all keys have.
    #[must_use]
    pub fn and_keys<'a>(mut self, keys: impl IntoIterator<Item = &'a Secret>) -> Self {
        for key in keys {
            let lines = key.expose().lines().skip(COMMON_KEY_LINES);
            let own = lines.filter(|line| !line.starts_with("-----"));
            let long = own.filter(|line| line.len() >= SHORTEST_NEEDLE_BYTES);
            self.0.extend(long.map(|line| line.as_bytes().to_vec()));
        }
        self
    }
}

/// A match.
pub(super) struct Hit {
    pub(super) rule: &'static str,
    /// From the start of the stream, in bytes.
    pub(super) at: u64,
    /// Of what matched.
    pub(super) seen: Digest,
    /// Whether it is a secret for sure, not only of the shape of one.
    pub(super) known: bool,
}

/// All rules, ready.
pub(super) struct Patterns(Vec<(&'static str, Regex)>);

impl Patterns {
    pub(super) fn new(needles: &SecretPatterns) -> Self {
        let of_run = || {
            let literals = needles.0.iter().map(|needle| {
                needle
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
                .map_or_else(of_run, |text| Some(text.to_owned()))?;
            let regex = RegexBuilder::new(&pattern)
                .unicode(false)
                .size_limit(64 << 20)
                .build()
                .expect("the patterns are constants and literals");
            Some((rule.rule.id, regex))
        });
        Self(compiled.collect())
    }

    /// Everything in `reader` that matches, once for each place.
    pub(super) fn search(&self, mut reader: impl Read) -> io::Result<Vec<Hit>> {
        let mut hits: Vec<Hit> = Vec::new();
        let mut window = Vec::new();
        let mut start = 0_u64;
        loop {
            let wanted = (WINDOW - window.len()) as u64;
            let read = reader.by_ref().take(wanted).read_to_end(&mut window)?;
            let last = (read as u64) < wanted;
            // What begins in the part that is kept is found whole in the next window.
            let kept = if last { 0 } else { OVERLAP };
            for (rule, regex) in &self.0 {
                for found in regex.find_iter(&window) {
                    if found.start() < window.len() - kept {
                        hits.push(Hit {
                            rule,
                            at: start + found.start() as u64,
                            seen: Digest::of(found.as_bytes()),
                            known: *rule == RUN_SECRETS,
                        });
                    }
                }
            }
            if last {
                return Ok(hits);
            }
            let done = window.len() - kept;
            window.drain(..done);
            start += done as u64;
        }
    }
}
