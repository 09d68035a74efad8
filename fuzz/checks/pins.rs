//! Checks the parser of pin files.

use vault_bake::digest::Digest;
use vault_bake::pin::PinFile;

/// Returns whether `data` is a pin file. Panics if writing and reading it again changes it.
pub fn check(data: &[u8]) -> bool {
    let file = match PinFile::parse("pins", data) {
        Ok(file) => file,
        Err(error) => {
            assert!(error.is_invalid() && !error.is_integrity(), "{error}");
            return false;
        }
    };
    let text = file.to_text();
    let again = PinFile::parse("pins", text.as_bytes()).expect("what was written is read");
    assert_eq!(again, file);
    assert_eq!(again.to_text(), text);
    assert_eq!((again.origin(), again.head()), (file.origin(), file.head()));
    for (name, pin) in file.pins() {
        assert_eq!(file.pin(name).expect("it is there"), pin);
    }
    match (file.verify(None), again.verify(None)) {
        (Ok(proved), Ok(again)) => {
            assert_eq!(proved, again);
            proves(&file);
        }
        (Err(error), Err(again)) => {
            assert!(error.is_integrity() && !error.is_invalid(), "{error}");
            assert_eq!(error.to_string(), again.to_string());
        }
        (first, again) => panic!("once {first:?}, then {again:?}"),
    }
    true
}

/// Checks that the pins of a verified file match their manifests.
fn proves(file: &PinFile) {
    for pin in file.pins().values() {
        let manifest = pin.manifest().expect("a verified manifest");
        assert_eq!(
            Digest::hash_bytes(&pin.proof.manifest.payload),
            pin.manifest
        );
        assert_eq!(
            (&manifest.image, manifest.version),
            (&pin.image, pin.version)
        );
        assert_eq!(manifest.outputs.len(), pin.outputs.len());
        for (output, pinned) in manifest.outputs.iter().zip(&pin.outputs) {
            assert_eq!((&output.id, output.digest()), (&pinned.id, pinned.digest));
        }
    }
}
