//! Splits a key file into blocks that the OpenPGP reader accepts.
//! Key files are binary, or have armoured blocks with any text between them.
//! The caller checks the keys.

use std::borrow::Cow;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Returns the armoured public keys in `bytes`, or all of `bytes` if there are none.
pub(super) fn blocks(bytes: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let text = String::from_utf8_lossy(bytes);
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line == BEGIN {
            block = Some(String::new());
        }
        let Some(lines) = &mut block else { continue };
        lines.push_str(line);
        lines.push('\n');
        if line == END {
            blocks.extend(block.take().map(|block| Cow::Owned(block.into_bytes())));
        }
    }
    // The reader reports a block that is cut off.
    blocks.extend(block.map(|block| Cow::Owned(block.into_bytes())));
    if blocks.is_empty() {
        blocks.push(Cow::Borrowed(bytes));
    }
    blocks
}

/// Returns the kind of a file that is not a public key, if it is a known one.
pub(super) fn describe_other_kind(bytes: &[u8]) -> Option<&'static str> {
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if has(b"-----BEGIN PGP PRIVATE KEY BLOCK-----") {
        return Some("it is a private key; expected the signer's public key");
    }
    if has(b"-----BEGIN PGP SIGNATURE-----") {
        return Some("it is a signature; expected the signer's public key");
    }
    let keybox = bytes.get(8..12) == Some(b"KBXf");
    keybox.then_some("it is a keybox of gpg; expected the signer's public key")
}
