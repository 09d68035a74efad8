//! Makes the secrets of a cluster, each once: nodes use the value of the first time.
//! If a secret that was made is absent, it is lost, and nothing is stored.

use jiff::{SignedDuration, Timestamp};

use super::{ClusterFile, IdentitiesError, TierName, file};
use crate::cluster::secrets::{SecretName, SecretStore};
use crate::identity::{self, Authority};
use crate::secret::Secret;
use crate::wait::Interrupt;

/// The validity of a generated authority, in hours: ten years.
const AUTHORITY_VALID_H: i64 = 10 * 365 * 24;

/// Returns the secrets that the nodes of a cluster have in common. A key is before its certificate.
pub fn common_secrets(file: &ClusterFile) -> Vec<SecretName> {
    let mut names = Vec::new();
    if file.identity.authority == file::Authority::Generated {
        names.extend([SecretName::AuthorityKey, SecretName::AuthorityCertificate]);
    }
    names.extend([SecretName::GossipKey, SecretName::ConsulManagement]);
    names
}

/// Returns the secrets of one node.
pub fn node_secrets(tier: TierName, node: &str) -> Vec<SecretName> {
    let mut names = vec![SecretName::ConsulAgent(node.to_owned())];
    if tier == TierName::Vault {
        names.push(SecretName::VaultConsul(node.to_owned()));
    }
    names
}

/// Makes and stores the secrets of `needed` that are absent.
///
/// Stores nothing if one of them is lost: it was made before, as `was_made` says, or it is the key
/// of a certificate that exists. A command that was killed after it stored some is repeated safely.
pub async fn make_secrets(
    file: &ClusterFile,
    needed: &[SecretName],
    was_made: impl Fn(&SecretName) -> bool,
    secrets: &SecretStore,
    now: Timestamp,
    interrupt: &Interrupt,
) -> Result<(), IdentitiesError> {
    let mut absent = Vec::new();
    for name in needed {
        if secrets.get(name, interrupt).await?.is_none() {
            if was_made(name) {
                return Err(IdentitiesError::lost(file, name, secrets));
            }
            absent.push(name);
        }
    }
    let is_present = |name: &SecretName| needed.contains(name) && !absent.contains(&name);
    let key = SecretName::AuthorityKey;
    if absent.contains(&&key) && is_present(&SecretName::AuthorityCertificate) {
        return Err(IdentitiesError::lost(file, &key, secrets));
    }
    for name in absent {
        let made = make(file, name, secrets, now, interrupt).await?;
        let made = || Ok::<_, IdentitiesError>(made);
        secrets.get_or_create(name, made, interrupt).await?;
    }
    Ok(())
}

async fn make(
    file: &ClusterFile,
    name: &SecretName,
    secrets: &SecretStore,
    now: Timestamp,
    interrupt: &Interrupt,
) -> Result<Secret, IdentitiesError> {
    Ok(match name {
        SecretName::AuthorityKey => Authority::generate_key()?,
        SecretName::AuthorityCertificate => {
            let key = existing_secret(file, &SecretName::AuthorityKey, secrets, interrupt).await?;
            let valid = SignedDuration::from_hours(AUTHORITY_VALID_H);
            let common_name = format!("vault-bake cluster {}", file.name);
            let authority = Authority::with_key(&common_name, key, now, valid)?;
            Secret::new(authority.certificate_pem())
        }
        SecretName::GossipKey => identity::new_gossip_key()?,
        _ => identity::new_token()?,
    })
}

/// Returns a secret of a cluster, which was made before.
pub(crate) async fn existing_secret(
    file: &ClusterFile,
    name: &SecretName,
    secrets: &SecretStore,
    interrupt: &Interrupt,
) -> Result<Secret, IdentitiesError> {
    let found = secrets.get(name, interrupt).await?;
    found.ok_or_else(|| IdentitiesError::lost(file, name, secrets))
}
