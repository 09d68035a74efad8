//! Checks the parser of SHA256SUMS files.

use std::collections::BTreeSet;

use vault_bake::digest::Digest;
use vault_bake::release::sums::{Sums, SumsError};

/// Returns whether `data` is a SHA256SUMS file. Panics if an accepted file lists anything but
/// digests of files.
pub fn check(data: &[u8]) -> bool {
    let sums = match Sums::parse(data) {
        Ok(sums) => sums,
        Err(error) => {
            check_error(data, &error);
            return false;
        }
    };
    assert_eq!(Sums::parse(data).expect("as before"), sums);
    let text = std::str::from_utf8(data).expect("what is listed is text");
    assert!(text.ends_with('\n'), "the end may be missing");
    let mut files = BTreeSet::new();
    let mut written = String::new();
    for line in text.lines() {
        let (digits, file) = (&line[..64], &line[66..]);
        let digest = sums.digest_of(file).expect("what is there is listed");
        assert_eq!(digest.hex(), digits);
        assert!(files.insert(file), "{file} is listed twice");
        is_file_name(file);
        written.extend([digits, "  ", file, "\n"]);
    }
    assert_eq!(written, text, "another form of the same list");
    for absent in ["", ".", "..", " ", "\n", "no such file"] {
        assert_eq!(sums.digest_of(absent), None);
    }
    // Digests have one form: upper-case digits are refused.
    assert!(
        format!("sha256:{}", text[..64].to_uppercase())
            .parse::<Digest>()
            .is_err()
            || text[..64].bytes().all(|byte| byte.is_ascii_digit())
    );
    true
}

/// Checks that a name stays in its folder and does not look like an option.
fn is_file_name(file: &str) {
    assert!(
        file.is_ascii() && !file.contains(['/', '\\', ' ', '\0', '\r', '*']),
        "{file}"
    );
    assert!(!file.is_empty() && !file.starts_with(['.', '-']), "{file}");
}

/// Checks that the error names an existing line.
fn check_error(data: &[u8], error: &SumsError) {
    let lines = data.split_inclusive(|byte| *byte == b'\n').count();
    match error {
        SumsError::Line { line, .. } => assert!((1..=lines).contains(line), "{error}"),
        SumsError::Twice { line, .. } => assert!((2..=lines).contains(line), "{error}"),
        SumsError::Empty => assert!(data.is_empty()),
    }
}
