//! Key files as people keep them: one or more armoured blocks, with anything between them, or binary.
//!
//! In: the bytes of a file. Out: its blocks, each of which the OpenPGP reader takes. What is in them is for the caller.

use std::borrow::Cow;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The blocks of public keys in `bytes`: armoured ones where there are any, or else all of it.
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
    // One that was cut off is for the reader to refuse.
    blocks.extend(block.map(|block| Cow::Owned(block.into_bytes())));
    if blocks.is_empty() {
        blocks.push(Cow::Borrowed(bytes));
    }
    blocks
}

/// What a file without a public key is, where that is easily seen.
pub(super) fn what_it_is(bytes: &[u8]) -> Option<&'static str> {
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if has(b"-----BEGIN PGP PRIVATE KEY BLOCK-----") {
        return Some("it is a private key; export the public one with `gpg --armor --export`");
    }
    if has(b"-----BEGIN PGP SIGNATURE-----") {
        return Some("it is a signature; expected the public key of the signer");
    }
    let keybox = bytes.get(8..12) == Some(b"KBXf");
    keybox.then_some("it is a keybox of gpg; export the key with `gpg --armor --export`")
}
