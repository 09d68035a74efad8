//! Generates the identity archive of one node for a boot test: CA, certificates, gossip key, token.
//! Takes the node's name, its datacenter and the version of Consul; returns an [`Identity`].
//! It is valid for hours, and unusable for a real cluster: the CA's key is dropped.

mod authority;

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use serde_json::json;

use crate::product_config::{consul, to_json_text};
use crate::secret::Secret;

use authority::Authority;

/// The validity of the certificates after their creation, in hours.
/// It exceeds the longest boot test under emulation.
pub const VALID_H: i64 = 12;

/// The validity of the certificates before their creation, in hours, for a VM whose clock is slow.
pub const BACKDATED_H: i64 = 1;

/// The certificates, keys and tokens of one node.
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

/// A certificate and its key.
pub struct Leaf {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The key, PKCS #8 PEM.
    pub key_pem: Secret,
}

/// An identity that cannot be generated.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// An error of OpenSSL.
    #[error("cannot generate the identity of {node}: {error}")]
    Crypto {
        /// The name of the node.
        node: String,
        /// The errors of OpenSSL.
        error: ErrorStack,
    },
    /// A name that is not a valid DNS label.
    #[error(
        "`{0}` is not a valid name of a node or datacenter: expected 1 to 63 lower-case letters, digits and `-`, beginning and ending with a letter or digit"
    )]
    Name(String),
    /// A malformed version of Consul.
    #[error("`{0}` is not a version of Consul: expected MAJOR.MINOR.PATCH, as in 1.21.1")]
    ConsulVersion(String),
}

impl IdentityError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

impl Identity {
    /// Generates an identity for a node with a single Consul server and Vault.
    pub fn generate(
        node: &str,
        datacenter: &str,
        consul_version: &str,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        for name in [node, datacenter] {
            if !is_label(name) {
                return Err(IdentityError::Name(name.to_owned()));
            }
        }
        let version = semver::Version::parse(consul_version)
            .map_err(|_| IdentityError::ConsulVersion(consul_version.to_owned()))?;
        Self::create(node, datacenter, &version, now).map_err(|error| IdentityError::Crypto {
            node: node.to_owned(),
            error,
        })
    }

    fn create(
        node: &str,
        datacenter: &str,
        consul_version: &semver::Version,
        now: Timestamp,
    ) -> Result<Self, ErrorStack> {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let authority = Authority::new(now)?;
        let consul_name = format!("server.{datacenter}.consul");
        let consul = authority.issue(&[&consul_name, "localhost"], localhost)?;
        let vault = authority.issue(&["vault.service.consul", "localhost"], localhost)?;
        let gossip_key = Secret::new(openssl::base64::encode_block(&random::<32>()?));
        let token = uuid::Builder::from_random_bytes(random()?).into_uuid();
        let management_token = Secret::new(token.to_string());
        let (key, token) = (gossip_key.expose(), management_token.expose());
        let fragment = consul::Node::single_server(consul_version, (node, datacenter), key, token);
        let fragment = Secret::new(to_json_text(&fragment));
        Ok(Self {
            node: node.to_owned(),
            datacenter: datacenter.to_owned(),
            ca_pem: authority.certificate_pem()?,
            consul,
            vault,
            gossip_key,
            management_token,
            consul_fragment: fragment,
            made_at: now,
        })
    }

    /// Returns the identity archive, a tar file with a fixed order. It contains secrets.
    pub fn to_tar(&self) -> Vec<u8> {
        let node = json!({ "schema": 1, "node": self.node, "datacenter": self.datacenter });
        let env = format!("CONSUL_HTTP_TOKEN={}\n", self.management_token.expose());
        let mut tar = Archive::new(self.made_at);
        tar.file("node.json", 0o644, &format!("{node}\n"));
        tar.folder("consul/");
        tar.file("consul/ca.pem", 0o644, &self.ca_pem);
        tar.file("consul/tls.crt", 0o644, &self.consul.certificate_pem);
        tar.file("consul/tls.key", 0o600, self.consul.key_pem.expose());
        tar.file("consul/node.json", 0o600, self.consul_fragment.expose());
        tar.folder("vault/");
        tar.file("vault/ca.pem", 0o644, &self.ca_pem);
        tar.file("vault/tls.crt", 0o644, &self.vault.certificate_pem);
        tar.file("vault/tls.key", 0o600, self.vault.key_pem.expose());
        tar.file("vault/env", 0o600, &env);
        tar.finish()
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

/// Whether `text` is a lower-case label of a DNS name.
fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn random<const N: usize>() -> Result<[u8; N], ErrorStack> {
    let mut bytes = [0; N];
    rand_bytes(&mut bytes)?;
    Ok(bytes)
}

/// A tar archive in memory, with root as the owner and one time for all entries.
struct Archive {
    tar: tar::Builder<Vec<u8>>,
    mtime: u64,
}

impl Archive {
    fn new(made_at: Timestamp) -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
            mtime: u64::try_from(made_at.as_second()).unwrap_or(0),
        }
    }

    fn folder(&mut self, path: &str) {
        self.append(path, tar::EntryType::Directory, 0o755, &[]);
    }

    fn file(&mut self, path: &str, mode: u32, content: &str) {
        self.append(path, tar::EntryType::Regular, mode, content.as_bytes());
    }

    fn append(&mut self, path: &str, kind: tar::EntryType, mode: u32, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(content.len() as u64);
        self.tar
            .append_data(&mut header, path, content)
            .expect("writing to memory with short, plain paths does not fail");
    }

    fn finish(self) -> Vec<u8> {
        self.tar
            .into_inner()
            .expect("writing to memory does not fail")
    }
}
