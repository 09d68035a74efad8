//! The names of a cluster's secrets.

use std::fmt;

use super::SecretError;
use crate::manifest::is_name;

/// The name of a secret. It is a file name, and the last argument of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretName {
    /// The key of the certificate authority.
    AuthorityKey,
    /// The certificate of the authority, which is public, but belongs to its key.
    AuthorityCertificate,
    /// The gossip key of Consul.
    GossipKey,
    /// The first management token of Consul.
    ConsulManagement,
    /// The token for status and rollout.
    ConsulOperator,
    /// The token of the Consul agent of a node.
    ConsulAgent(String),
    /// The token of Vault for its storage, of a node.
    VaultConsul(String),
    /// The answer of Vault to its initialisation: shares and root token, JSON.
    VaultInit,
    /// The token for the operation of Vault.
    VaultOperator,
    /// A secret of the user, which the cluster file names.
    Own(String),
}

impl SecretName {
    /// Returns the text, if it is a valid name.
    pub(super) fn checked(&self) -> Result<String, SecretError> {
        let text = self.to_string();
        let is_free = || {
            let taken = Self::FIXED.iter().any(|fixed| fixed.to_string() == text);
            !taken
                && !["consul-agent-", "vault-consul-"]
                    .iter()
                    .any(|it| text.starts_with(it))
        };
        // A node's name has 63 characters, and its secrets a prefix before it.
        let (is_valid, shown) = match self {
            Self::ConsulAgent(node) | Self::VaultConsul(node) => (is_name(node), node),
            Self::Own(own) => (is_name(own) && is_free(), own),
            _ => return Ok(text),
        };
        if is_valid {
            Ok(text)
        } else {
            Err(SecretError::Name(shown.clone()))
        }
    }

    const FIXED: [Self; 7] = [
        Self::AuthorityKey,
        Self::AuthorityCertificate,
        Self::GossipKey,
        Self::ConsulManagement,
        Self::ConsulOperator,
        Self::VaultInit,
        Self::VaultOperator,
    ];
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthorityKey => "authority-key",
            Self::AuthorityCertificate => "authority-certificate",
            Self::GossipKey => "gossip-key",
            Self::ConsulManagement => "consul-management",
            Self::ConsulOperator => "consul-operator",
            Self::VaultInit => "vault-init",
            Self::VaultOperator => "vault-operator",
            Self::ConsulAgent(node) => return write!(f, "consul-agent-{node}"),
            Self::VaultConsul(node) => return write!(f, "vault-consul-{node}"),
            Self::Own(own) => own,
        })
    }
}
