//! Deterministic keys for tests, each made from a number.

use base64::Engine as _;
use jiff::Timestamp;
use vault_bake::sign::{Signer, SigningKey, Trust};
use vault_bake::store::Store;
use vault_bake::store::backend::Backend;
use vault_bake::wait::Interrupt;

/// Returns key number `n`.
pub fn key(n: u8) -> SigningKey {
    SigningKey::from_pem("a test's key", key_pem(n).as_bytes()).expect("an ed25519 key")
}

/// Returns key number `n` as PEM, as openssl writes it.
pub fn key_pem(n: u8) -> String {
    // PKCS #8 of an ed25519 key (RFC 8410, section 7), then 32 bytes in place of a secret.
    let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let der = [&head[..], &[n; 32]].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

/// Returns a signer with key number `n`.
pub fn signer(n: u8) -> Signer {
    Signer::Key(key(n))
}

/// Returns a policy that trusts only key 1.
pub fn trust() -> Trust {
    Trust::single_key(key(1).public())
}

/// Opens or makes a store that trusts only key 1 and signs with it.
pub async fn signed_store<B: Backend>(backend: B, now: Timestamp) -> Store<B> {
    let store = Store::open_or_create(backend, &trust(), now).await;
    let store = store.unwrap_or_else(|error| panic!("{error}"));
    store.with_signers(vec![signer(1)], Interrupt::default())
}
