//! What a certificate of a node must be valid for, and its signing request. Keys are EC P-256.

use std::net::{IpAddr, Ipv4Addr};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::extension::{ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509Extension, X509Name, X509ReqBuilder, X509v3Context};

use super::certificate;
use crate::product::{consul, vault};

/// A certificate to issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The DNS names; the first one is the subject.
    pub names: Vec<String>,
    /// The IP addresses.
    pub addresses: Vec<IpAddr>,
    /// The validity in hours. A command that signs may decide otherwise.
    pub valid_h: i64,
}

impl Request {
    /// Returns the certificate of a Consul agent. A server has a datacenter here.
    pub fn consul(server_of: Option<&str>, address: Option<IpAddr>, valid_h: i64) -> Self {
        let server = server_of.map(consul::server_name);
        Self::local(server, address, valid_h)
    }

    /// Returns the certificate of Vault.
    pub fn vault(address: Option<IpAddr>, valid_h: i64) -> Self {
        Self::local(Some(vault::SERVER_NAME.to_owned()), address, valid_h)
    }

    /// Adds the names of this computer, under which a service of the node reaches another.
    fn local(name: Option<String>, address: Option<IpAddr>, valid_h: i64) -> Self {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            names: name.into_iter().chain(["localhost".to_owned()]).collect(),
            addresses: std::iter::once(localhost).chain(address).collect(),
            valid_h,
        }
    }

    /// Returns the first name, for messages.
    pub(super) fn subject(&self) -> &str {
        self.names.first().map_or("a node", String::as_str)
    }

    /// Returns the subject. A common name has at most 64 characters.
    pub(super) fn subject_name(&self) -> Result<X509Name, ErrorStack> {
        let name = self.names.first().filter(|name| name.len() <= 64);
        certificate::name(name.map_or("vault-bake node", String::as_str))
    }

    pub(super) fn alternative_names(
        &self,
        context: &X509v3Context<'_>,
    ) -> Result<X509Extension, ErrorStack> {
        let mut alternatives = SubjectAlternativeName::new();
        for name in &self.names {
            alternatives.dns(name);
        }
        for address in &self.addresses {
            alternatives.ip(&address.to_string());
        }
        alternatives.build(context)
    }

    /// Returns the signing request of `key`, PEM.
    pub(super) fn to_pem(&self, key: &PKey<Private>) -> Result<Vec<u8>, ErrorStack> {
        let mut builder = X509ReqBuilder::new()?;
        builder.set_version(0)?;
        let subject = self.subject_name()?;
        builder.set_subject_name(&subject)?;
        builder.set_pubkey(key)?;
        let mut extensions = Stack::new()?;
        extensions.push(self.alternative_names(&builder.x509v3_context(None))?)?;
        extensions.push(usage()?)?;
        extensions.push(extended_usage()?)?;
        builder.add_extensions(&extensions)?;
        builder.sign(key, MessageDigest::sha256())?;
        builder.build().to_pem()
    }
}

pub(super) fn usage() -> Result<X509Extension, ErrorStack> {
    KeyUsage::new().critical().digital_signature().build()
}

/// The use of a node's certificate: it is a server, and a client of other servers.
pub(super) fn extended_usage() -> Result<X509Extension, ErrorStack> {
    ExtendedKeyUsage::new().server_auth().client_auth().build()
}
