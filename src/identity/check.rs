//! Checks an identity archive with the program that checks it on the node, and reads its content.
//! The program runs unchanged, with folders of its own in memory: `check.sh`.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::archive::{self, Members};
use super::{IdentityError, certificate, verify};
use crate::digest::Digest;
use crate::process::{ProcessError, Program};
use crate::wait::Interrupt;

const CHECK: &str = include_str!("check.sh");
const PROGRAM: &str = include_str!("../../provisioners/base/files/identity");
const RULES: &str = include_str!("../../provisioners/base/files/identity.jq");

/// The products of the image that an archive is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Products {
    /// Whether the image has Consul.
    pub consul: bool,
    /// Whether the image has Vault.
    pub vault: bool,
}

/// The public content of an archive that a node accepts today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedIdentity {
    /// The name of the node.
    pub node: String,
    /// The datacenter of the node.
    pub datacenter: String,
    /// Whether its Consul agent is a server.
    pub server: bool,
    /// Digest of the authority's certificates as the archive has them.
    pub authority: Digest,
    /// The end of the authority.
    pub authority_not_after: Timestamp,
    /// Consul's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consul: Option<CheckedCertificate>,
    /// Vault's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<CheckedCertificate>,
    /// The earliest end of all certificates.
    pub not_after: Timestamp,
}

/// A certificate of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedCertificate {
    /// The DNS names.
    pub names: Vec<String>,
    /// The IP addresses.
    pub addresses: Vec<IpAddr>,
    /// The end of the certificate and its chain.
    pub not_after: Timestamp,
}

/// Checks an archive as a node with these products does, at the current time of this computer.
///
/// A compressed archive is accepted too, as from Azure Key Vault.
/// Uses the programs jq, openssl and tar of this computer.
pub async fn check(
    archive: &[u8],
    products: Products,
    interrupt: &Interrupt,
) -> Result<CheckedIdentity, IdentityError> {
    let tar = archive::decompressed(archive)?;
    run_program(&tar, products, interrupt).await?;
    read(&Members::read(&tar)?, products)
}

impl Products {
    /// Returns the products that an archive has files for.
    pub fn of_archive(archive: &[u8]) -> Result<Self, IdentityError> {
        let members = Members::read(&archive::decompressed(archive)?)?;
        let has = |product: &str| {
            // Vault needs Consul's authority, even if the image has no Consul.
            let mut names = members.names().filter(|name| *name != "consul/ca.pem");
            names.any(|name| name.starts_with(product))
        };
        Ok(Self {
            consul: has("consul/"),
            vault: has("vault/"),
        })
    }
}

async fn run_program(
    tar: &[u8],
    products: Products,
    interrupt: &Interrupt,
) -> Result<(), IdentityError> {
    let named = [(products.consul, "consul"), (products.vault, "vault")];
    let named: Vec<&str> = named
        .into_iter()
        .filter_map(|(has, name)| has.then_some(name))
        .collect();
    let program = Program::new("sh")
        .args(["-c", CHECK, "identity", PROGRAM, RULES, &named.join(" ")])
        .input(tar);
    match program.run(interrupt).await {
        Ok(_) => Ok(()),
        Err(ProcessError::Interrupted(interrupted)) => Err(interrupted.into()),
        Err(error) => Err(refusal(error)),
    }
}

/// Returns why the program refused the archive, or why it could not run.
fn refusal(error: ProcessError) -> IdentityError {
    let ProcessError::Failed { last, .. } = &error else {
        return IdentityError::Checker(error);
    };
    let after = |prefix| last.iter().find_map(|line| line.strip_prefix(prefix));
    if let Some(reason) = after("vault-bake identity refused: ") {
        return IdentityError::Refused(reason.to_owned());
    }
    match after("missing programs: ") {
        Some(names) => IdentityError::MissingPrograms(names.to_owned()),
        None => IdentityError::Checker(error),
    }
}

/// `node.json`.
#[derive(Deserialize)]
pub(super) struct NodeFile {
    pub(super) node: String,
    datacenter: String,
}

/// `consul/node.json`.
#[derive(Deserialize)]
struct Fragment {
    #[serde(default)]
    server: bool,
}

fn read(members: &Members, products: Products) -> Result<CheckedIdentity, IdentityError> {
    let node: NodeFile = members.get_json("node.json")?;
    let authority_not_after = end(members, "consul/ca.pem")?;
    let mut not_after = authority_not_after;
    let mut certificate = |has: bool, product: &str| {
        if !has {
            return Ok(None);
        }
        let checked = read_certificate(members, &format!("{product}/tls.crt"))?;
        let authority = end(members, &format!("{product}/ca.pem"))?;
        not_after = not_after.min(checked.not_after).min(authority);
        Ok::<_, IdentityError>(Some(checked))
    };
    let consul = certificate(products.consul, "consul")?;
    let vault = certificate(products.vault, "vault")?;
    let server = products.consul && members.get_json::<Fragment>("consul/node.json")?.server;
    Ok(CheckedIdentity {
        node: node.node,
        datacenter: node.datacenter,
        server,
        authority: Digest::hash_bytes(members.get("consul/ca.pem")?),
        authority_not_after,
        consul,
        vault,
        not_after,
    })
}

fn read_certificate(members: &Members, name: &str) -> Result<CheckedCertificate, IdentityError> {
    let certificates = certificate::parse(members.get(name)?);
    let certificates = certificates.map_err(|reason| unreadable(name, &reason))?;
    let leaf = certificates.first().map(|leaf| verify::names(leaf));
    let (names, addresses) = leaf.unwrap_or_default();
    Ok(CheckedCertificate {
        names,
        addresses,
        not_after: end(members, name)?,
    })
}

fn end(members: &Members, name: &str) -> Result<Timestamp, IdentityError> {
    certificate::not_after(members.get(name)?).map_err(|error| unreadable(name, &error.to_string()))
}

fn unreadable(name: &str, reason: &str) -> IdentityError {
    IdentityError::Archive(format!("{name}: {reason}"))
}
