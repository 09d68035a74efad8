//! Tokens of administrators that cannot be used.

use crate::cluster::secrets::{SecretName, SecretStore};

/// An administrator's token that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is absent.
    #[error("the secret `{name}` is absent")]
    Absent {
        /// The name of the secret.
        name: SecretName,
        /// Where it belongs.
        place: String,
    },
    /// The product does not know it.
    #[error("{product} refuses the token in the secret `{name}`", product = product_of(name))]
    Refused {
        /// The name of the secret.
        name: SecretName,
        /// Where it belongs.
        place: String,
    },
}

/// Returns the product that a token is for.
fn product_of(name: &SecretName) -> &'static str {
    match name {
        SecretName::VaultOperator => "Vault",
        _ => "Consul",
    }
}

impl TokenError {
    pub(super) fn absent(name: SecretName, secrets: &SecretStore) -> Self {
        let place = secrets.place_of(&name);
        Self::Absent { name, place }
    }

    pub(in crate::cluster) fn refused(name: SecretName, secrets: &SecretStore) -> Self {
        let place = secrets.place_of(&name);
        Self::Refused { name, place }
    }

    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> String {
        let (Self::Absent { name, place } | Self::Refused { name, place }) = self;
        match name {
            SecretName::VaultOperator => format!(
                "Take its value from a backup, or make a new one as docs/troubleshooting.md shows, \
                 and store it {place}."
            ),
            _ => format!(
                "Take its first value from a backup, and store it {place}: the servers know no \
                 other."
            ),
        }
    }
}
