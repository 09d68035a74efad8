//! Digests of the input that external validators accepted last.
//! Outside of `exhaustive`, a validator runs only if its input changed.

use std::fs;
use std::path::PathBuf;

use vault_bake::digest::Digest;

use crate::root;

/// Input that differs from the last accepted input.
pub struct Changed {
    name: String,
    digest: Digest,
}

/// Compares all `input` of a validator with the last accepted input. Returns `None` if it is the
/// same.
pub fn changed(name: &str, input: &[u8]) -> Option<Changed> {
    let digest = Digest::hash_bytes(input);
    let last = fs::read_to_string(file(name)).unwrap_or_default();
    (last.trim() != digest.to_string()).then(|| Changed {
        name: name.to_owned(),
        digest,
    })
}

impl Changed {
    /// Panics with the way out. `was_validated` is false if the validator is not installed.
    pub fn refuse(self, was_validated: bool) -> ! {
        let Self { name, digest } = self;
        assert!(
            was_validated,
            "cannot check {name}, which changed: its validator is missing. Run `sh scripts/setup tests`."
        );
        panic!(
            "{name} changed, and its validator accepts it. Commit that: echo {digest} >tests/judged/{name}"
        );
    }
}

/// Returns the lines of `scripts/setup` that pin the version of a validator.
pub fn pinned(package: &str) -> String {
    let text = fs::read_to_string(root().join("scripts/setup")).expect("the script");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("==")).collect();
    let own: Vec<&str> = lines
        .into_iter()
        .filter(|line| line.contains(package))
        .collect();
    assert!(!own.is_empty(), "no version of {package}");
    own.join("\n")
}

fn file(name: &str) -> PathBuf {
    root().join("tests/judged").join(name)
}
