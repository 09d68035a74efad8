//! Makes, checks and renews the identities of nodes: certificates, gossip key and tokens.
//! An [`Authority`] issues certificates, and a [`NodeIdentity`] packs the archive of one node.
//! [`Identity`] is a temporary one for boot tests, valid for hours; the key of its CA is dropped.

mod archive;
mod authority;
mod certificate;
mod check;
mod error;
mod node;
mod renew;
mod request;
mod verify;

use jiff::{SignedDuration, Timestamp};

use crate::product::config::to_json_text;
use crate::product::consul::config as consul;
use crate::secret::Secret;

use archive::Members;

pub use crate::product::Leaf;
pub use authority::Authority;
pub use certificate::not_after;
pub use check::{CheckedCertificate, CheckedIdentity, Products, check};
pub use error::IdentityError;
pub use node::{ConsulNode, NodeIdentity, VaultNode};
pub use renew::renew;
pub use request::Request;

/// The validity of the certificates of a boot test after their creation, in hours.
/// It exceeds the longest boot test under emulation.
pub const VALID_H: i64 = 12;

/// The validity of certificates before their creation, in hours, for a VM whose clock is slow.
pub const BACKDATED_H: i64 = 1;

/// The certificates, keys and tokens of the node of a boot test.
pub struct Identity {
    /// The name of the node.
    pub node: String,
    /// The datacenter of the node.
    pub datacenter: String,
    /// The certificate of the CA, PEM.
    pub ca_pem: String,
    /// Consul's certificate, for `server.<datacenter>.consul`.
    pub consul: Leaf,
    /// Vault's certificate, for `vault.service.consul` and as a client of Consul.
    pub vault: Leaf,
    /// Consul's gossip key, 32 bytes in base64.
    pub gossip_key: Secret,
    /// The management token of Consul, a UUIDv4, which allows everything.
    pub management_token: Secret,
    /// Consul's configuration fragment, JSON, with the gossip key and the token.
    pub consul_fragment: Secret,
    /// The time of creation.
    pub made_at: Timestamp,
}

impl Identity {
    /// Generates an identity for a node with a single Consul server and Vault.
    pub fn generate(
        node: &str,
        datacenter: &str,
        consul_version: &str,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        check_labels([node, datacenter])?;
        let version = semver::Version::parse(consul_version)
            .map_err(|_| IdentityError::ConsulVersion(consul_version.to_owned()))?;
        let validity = SignedDuration::from_hours(VALID_H);
        let authority = Authority::generate("vault-bake throw-away CA", now, validity)?;
        let consul = authority.sign(&Request::consul(Some(datacenter), None, VALID_H), now)?;
        let vault = authority.sign(&Request::vault(None, VALID_H), now)?;
        let (gossip_key, management_token) = (new_gossip_key()?, new_token()?);
        let fragment = consul::Node {
            node_name: node,
            datacenter,
            server: true,
            bootstrap_expect: Some(1),
            retry_join: &[],
            bind_addr: None,
            advertise_addr: None,
            encrypt: &gossip_key,
            acl: consul::NodeAcl::new(&version, &management_token, Some(&management_token)),
        };
        let consul_fragment = Secret::new(to_json_text(&fragment));
        Ok(Self {
            node: node.to_owned(),
            datacenter: datacenter.to_owned(),
            ca_pem: authority.certificate_pem().to_owned(),
            consul,
            vault,
            gossip_key,
            management_token,
            consul_fragment,
            made_at: now,
        })
    }

    /// Returns the identity archive, a tar file with a fixed order. It contains secrets.
    pub fn to_tar(&self) -> Vec<u8> {
        let token = self.management_token.expose();
        // A boot test reaches no key service, so this Vault has key shares whatever its seal is.
        let env = format!("CONSUL_HTTP_TOKEN={token}\nVAULT_SEAL_TYPE=shamir\n");
        let env = Secret::new(env);
        let mut members = Members::new(&self.node, &self.datacenter);
        members.put_consul(&self.ca_pem, &self.consul, &self.consul_fragment);
        members.put_vault(&self.ca_pem, &self.vault, &env);
        let tar = members.to_tar(self.made_at);
        tar.expose().as_bytes().to_vec()
    }

    /// Returns the secrets to scrub from output.
    pub fn secrets(&self) -> [&Secret; 4] {
        [
            &self.gossip_key,
            &self.management_token,
            &self.consul.key_pem,
            &self.vault.key_pem,
        ]
    }
}

/// Generates a gossip key for Consul: 32 random bytes in base64.
pub fn new_gossip_key() -> Result<Secret, IdentityError> {
    let bytes = random::<32>("a gossip key")?;
    Ok(Secret::new(openssl::base64::encode_block(&bytes)))
}

/// Generates a token for Consul's ACL system: a UUIDv4.
pub fn new_token() -> Result<Secret, IdentityError> {
    let uuid = uuid::Builder::from_random_bytes(random("a token")?).into_uuid();
    Ok(Secret::new(uuid.to_string()))
}

fn random<const N: usize>(what: &str) -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    openssl::rand::rand_bytes(&mut bytes).map_err(IdentityError::crypto(what))?;
    Ok(bytes)
}

/// Checks that names of nodes and datacenters are lower-case labels of DNS names.
fn check_labels<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), IdentityError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |text: &str| {
        (1..=63).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    match names.into_iter().find(|name| !is_label(name)) {
        Some(name) => Err(IdentityError::Name(name.to_owned())),
        None => Ok(()),
    }
}
