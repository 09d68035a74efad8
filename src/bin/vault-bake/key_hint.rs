//! The way out if the signing keys do not suffice for an event.

use vault_bake::sign::{Role, Shortage, SuccessionError};
use vault_bake::store::StoreError;

/// Returns the hint of an error of a store.
pub fn store_hint(error: &StoreError) -> Option<String> {
    match error {
        StoreError::NotAllowed { role, shortage, .. } => Some(key_hint(*role, shortage)),
        StoreError::Succession(error) => succession_hint(error),
        other => other.hint(),
    }
}

/// Returns how to sign with enough keys of `role`.
fn key_hint(role: Role, shortage: &Shortage) -> String {
    if shortage.trusted.is_empty() {
        return format!("Ask a root to run `vault-bake trust add KEY --role {role}`.");
    }
    if shortage.count() > 0 && role.can_share() {
        return "Run the command again with --propose. The holders of other keys then run \
            `vault-bake sign`."
            .to_owned();
    }
    if shortage.count() > 0 {
        return format!(
            "This command signs with one key. Ask the roots to run `vault-bake trust threshold {role} 1`."
        );
    }
    format!(
        "Use a key that has the role {role}, with --signing-key. Or send the output of `vault-bake trust key` to a root, \
         who runs `vault-bake trust add KEY --role {role}`."
    )
}

fn succession_hint(error: &SuccessionError) -> Option<String> {
    Some(match error {
        SuccessionError::Version { .. } => {
            "Take the output of `vault-bake trust show`, and add 1 to its version.".to_owned()
        }
        SuccessionError::Roots { whose: "old", .. } => {
            "Use the key of a root, with --signing-key.".to_owned()
        }
        SuccessionError::Roots { .. } => {
            "Run the command again with --propose, for other roots to sign. New roots must be in the \
             policy before they can sign: add them first, and remove old ones later."
                .to_owned()
        }
    })
}
