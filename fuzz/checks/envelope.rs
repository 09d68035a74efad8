//! Checks the parsers of envelopes and of statements in them.

use std::sync::OnceLock;

use vault_bake::sign::{
    Envelope, STATEMENT_PAYLOAD_TYPE, Statement, Trust, pre_authentication_encoding,
};

/// More than a payload of the longest envelope.
const ANY_SIZE: usize = 1 << 20;

/// Returns whether `data` is an envelope. Panics if one is accepted that is not in canonical form.
pub fn check(data: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(data) else {
        return false;
    };
    assert_eq!(envelope.to_bytes(), data, "another form of the envelope");
    assert_eq!(Envelope::parse(data).expect("as before"), envelope);
    assert!(!envelope.signatures.is_empty(), "it has no signature");
    let signed = envelope.signed_bytes();
    assert_eq!(
        signed,
        pre_authentication_encoding(&envelope.payload_type, &envelope.payload)
    );
    assert!(signed.ends_with(&envelope.payload));
    signatures(&envelope);
    if envelope.payload_type == STATEMENT_PAYLOAD_TYPE {
        statement(&envelope.payload);
    }
    true
}

/// Checks that the policy knows each signer once, and that no signature fits another payload.
fn signatures(envelope: &Envelope) {
    let Ok(signers) = envelope.signers(trust()) else {
        return;
    };
    assert_eq!(signers.len(), envelope.signatures.len());
    assert!(signers.iter().all(|key| trust().key(key).is_some()));
    let mut other = envelope.clone();
    other.payload.push(b'0');
    assert!(
        other.signers(trust()).is_err(),
        "a signature over another payload"
    );
    let mut other = envelope.clone();
    other.payload_type.push('0');
    assert!(
        other.signers(trust()).is_err(),
        "a signature over another type"
    );
}

fn statement(payload: &[u8]) {
    if let Ok(statement) = Statement::parse(payload, ANY_SIZE) {
        assert_eq!(
            statement.to_bytes(),
            payload,
            "another form of the statement"
        );
        assert!(!statement.subjects.is_empty(), "about nothing");
    }
}

/// Returns the policy with the keys that signed the seeds.
fn trust() -> &'static Trust {
    static TRUST: OnceLock<Trust> = OnceLock::new();
    TRUST.get_or_init(|| Trust::from_json(include_bytes!("trust.json")).expect("a policy"))
}
