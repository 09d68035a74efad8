//! What programs of others judged last. They take long, so outside of `exhaustive` they run only on what changed since.

use std::fs;
use std::path::{Path, PathBuf};

use vault_bake::digest::Digest;

/// Something that is not what was judged last.
pub struct Changed {
    name: String,
    digest: Digest,
}

/// `None` if `judged`, everything that the verdict depends on, is what was judged last under this name.
pub fn changed(name: &str, judged: &[u8]) -> Option<Changed> {
    let digest = Digest::of(judged);
    let last = fs::read_to_string(file(name)).unwrap_or_default();
    (last.trim() != digest.to_string()).then(|| Changed {
        name: name.to_owned(),
        digest,
    })
}

impl Changed {
    /// Fails, and says what to do: `was_judged` is false where there is no judge on this computer.
    pub fn refuse(self, was_judged: bool) -> ! {
        let Self { name, digest } = self;
        assert!(
            was_judged,
            "{name} changed since it was judged, and there is no judge here: run `sh scripts/setup tests`"
        );
        panic!(
            "{name} changed, and was judged well. Write that down: echo {digest} >tests/judged/{name}"
        );
    }
}

/// The lines of `scripts/setup` with the versions of the judges.
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

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
