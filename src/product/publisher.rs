//! Who publishes the releases of products: servers, and the key that signs.

/// A publisher of releases.
#[derive(Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The URL of the release server, without a final slash.
    pub base: &'static str,
    /// The URL of the status of releases, to which product and version are added.
    pub status: &'static str,
    /// The URL of the public key.
    pub key: &'static str,
    /// The primary fingerprint of the key.
    pub fingerprint: &'static str,
}

/// HashiCorp: <https://www.hashicorp.com/trust/security>.
pub static HASHICORP: Publisher = Publisher {
    base: "https://releases.hashicorp.com",
    status: "https://api.releases.hashicorp.com/v1/releases",
    key: "https://www.hashicorp.com/.well-known/pgp-key.txt",
    fingerprint: "C874011F0AB405110D02105534365D9472D7468F",
};
