//! Validates output with other programs: bills of materials with the CycloneDX library and its
//! official schema, markdown with GitHub's renderer.

mod markdown;
mod sbom;

use std::path::{Path, PathBuf};

use testing::sample;
use vault_bake::process::Program;
use vault_bake::wait::Interrupt;

/// Returns the Python that `scripts/setup tests` made for the validators; `None` if it is missing.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/judges/bin/python");
    if python.exists() {
        return Some(python);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
    let () = eprintln!(
        "SKIPPED: {} is missing (sh scripts/setup tests)",
        python.display()
    );
    None
}

/// Runs `program`, which is Python, with `text` as standard input. Returns its output.
async fn run_validator(python: &Path, program: &str, text: impl Into<Vec<u8>>) -> String {
    let text = String::from_utf8(text.into()).expect("UTF-8");
    let program = Program::new(python).arg("-c").arg(program).input(text);
    let output = program.run(&Interrupt::default()).await;
    let output = output.unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8_lossy(&output).into_owned()
}
