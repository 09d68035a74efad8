//! What others must be able to read, judged by the programs of others: bills of materials by the schema that CycloneDX
//! publishes and the library of its makers, markdown by GitHub's own renderer.

mod markdown;
mod sbom;

use std::path::{Path, PathBuf};

use testing::sample;
use vault_bake::process::Program;
use vault_bake::wait::Interrupt;

/// The Python that `scripts/setup tests` made for the judges; `None` where it could not.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/judges/bin/python");
    if python.exists() {
        return Some(python);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    let () = eprintln!(
        "SKIPPED: {} is missing (sh scripts/setup tests)",
        python.display()
    );
    None
}

/// What `judge`, a program in Python, says to `text` on its standard input.
async fn run_validator(python: &Path, program: &str, text: impl Into<Vec<u8>>) -> String {
    let text = String::from_utf8(text.into()).expect("UTF-8");
    let program = Program::new(python).arg("-c").arg(program).input(text);
    let output = program.run(&Interrupt::default()).await;
    let output = output.unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8_lossy(&output).into_owned()
}
