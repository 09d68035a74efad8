//! Identity archives: tar files with the members of `docs/identity.md`, written and read in memory.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{IdentityError, Leaf};
use crate::secret::Secret;

/// The largest archive that a node reads, in bytes.
const LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// The members of an archive, in order, and their modes.
const MEMBERS: [(&str, u32); 9] = [
    ("node.json", 0o644),
    ("consul/ca.pem", 0o644),
    ("consul/tls.crt", 0o644),
    ("consul/tls.key", 0o600),
    ("consul/node.json", 0o600),
    ("vault/ca.pem", 0o644),
    ("vault/tls.crt", 0o644),
    ("vault/tls.key", 0o600),
    ("vault/env", 0o600),
];

/// The members of an archive, by name.
pub(super) struct Members(BTreeMap<String, Secret>);

impl Members {
    pub(super) fn new(node: &str, datacenter: &str) -> Self {
        let node = json!({ "schema": 1, "node": node, "datacenter": datacenter });
        let mut members = Self(BTreeMap::new());
        members.put("node.json", format!("{node}\n"));
        members
    }

    /// Adds Consul's authority, without which Vault cannot verify Consul.
    pub(super) fn put_consul_authority(&mut self, ca_pem: &str) {
        self.put("consul/ca.pem", ca_pem);
    }

    pub(super) fn put_consul(&mut self, ca_pem: &str, leaf: &Leaf, fragment: &Secret) {
        self.put_consul_authority(ca_pem);
        self.put_leaf("consul", leaf);
        self.put("consul/node.json", fragment.expose());
    }

    pub(super) fn put_vault(&mut self, ca_pem: &str, leaf: &Leaf, env: &Secret) {
        self.put("vault/ca.pem", ca_pem);
        self.put_leaf("vault", leaf);
        self.put("vault/env", env.expose());
    }

    pub(super) fn put_leaf(&mut self, product: &str, leaf: &Leaf) {
        self.put(&format!("{product}/tls.crt"), &leaf.certificate_pem);
        self.put(&format!("{product}/tls.key"), leaf.key_pem.expose());
    }

    fn put(&mut self, name: &str, content: impl Into<String>) {
        self.0.insert(name.to_owned(), Secret::new(content));
    }

    /// Reads the members of an archive that a node accepts.
    pub(super) fn read(tar: &[u8]) -> Result<Self, IdentityError> {
        let unreadable =
            |error: std::io::Error| IdentityError::Archive(format!("it is no tar file: {error}"));
        let mut members = BTreeMap::new();
        for entry in tar::Archive::new(tar).entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            if entry.header().entry_type().is_dir() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut content = String::new();
            entry.read_to_string(&mut content).map_err(unreadable)?;
            members.insert(name, Secret::new(content));
        }
        Ok(Self(members))
    }

    /// Returns the content of a member.
    pub(super) fn get(&self, name: &str) -> Result<&str, IdentityError> {
        let member = self.0.get(name).map(Secret::expose);
        member.ok_or_else(|| IdentityError::Archive(format!("it lacks {name}")))
    }

    /// Returns the value of a member in JSON.
    pub(super) fn get_json<'a, T: Deserialize<'a>>(
        &'a self,
        name: &str,
    ) -> Result<T, IdentityError> {
        // The error of serde could quote a secret.
        serde_json::from_str(self.get(name)?)
            .map_err(|_| IdentityError::Archive(format!("{name} is not as expected")))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Packs an archive with root as the owner and one time for all members.
    pub(super) fn to_tar(&self, made_at: Timestamp) -> Secret {
        let mtime = u64::try_from(made_at.as_second()).unwrap_or(0);
        let mut tar = tar::Builder::new(Vec::new());
        for (name, mode) in MEMBERS {
            let Some(content) = self.0.get(name).map(Secret::expose) else {
                continue;
            };
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(mtime);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes())
                .expect("writing to memory with short, plain paths does not fail");
        }
        let tar = tar.into_inner().expect("writing to memory does not fail");
        Secret::new(String::from_utf8(tar).expect("members and headers are text"))
    }
}

/// Returns the archive itself, if it is compressed, as Azure Key Vault may have it.
pub(super) fn decompressed(archive: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let mut tar = Vec::new();
    let read = if archive.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(archive)
            .take(LIMIT_BYTES + 1)
            .read_to_end(&mut tar)
    } else {
        archive.take(LIMIT_BYTES + 1).read_to_end(&mut tar)
    };
    read.map_err(|error| IdentityError::Archive(error.to_string()))?;
    if tar.len() as u64 > LIMIT_BYTES {
        return Err(IdentityError::Archive(format!(
            "it has more than {} MiB",
            LIMIT_BYTES >> 20
        )));
    }
    Ok(tar)
}
