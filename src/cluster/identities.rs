//! The identities of a cluster's nodes: the authority, and one archive for each node.
//! Takes the cluster file and its secrets, which [`make_secrets`] has made.
//! So an interrupted command uses the same authority, gossip key and tokens when it is repeated.

mod made;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use jiff::Timestamp;
use semver::Version;

use super::file::{self, ClusterFile, EnvValue, TierName, UnsealKind};
use super::secrets::{SecretError, SecretName, SecretStore, read_private_file};
use crate::identity::{Authority, ConsulNode, IdentityError, NodeIdentity, Request, VaultNode};
use crate::secret::Secret;
use crate::wait::Interrupt;

pub(crate) use made::existing_secret;
pub use made::{common_secrets, make_secrets, node_secrets};

/// Identities that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentitiesError {
    /// A certificate or an archive that cannot be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A secret that cannot be read or stored.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificate of the user's authority that cannot be read.
    #[error("cannot read {}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// A secret of the cluster that its nodes use, and that is absent.
    #[error("cannot find the secret `{secret}` of cluster {cluster}: {asked} has no such secret")]
    Lost {
        /// The name of the cluster.
        cluster: String,
        /// The name of the secret.
        secret: String,
        /// The folder or the command that was asked.
        asked: String,
        /// Where it belongs.
        place: String,
    },
    /// A secret of the user that the cluster file names.
    #[error("cannot make the identity of {node}: the secret `{secret}` of {variable} is absent")]
    Missing {
        /// The name of the node.
        node: String,
        /// The name of the secret.
        secret: String,
        /// The variable that has it.
        variable: String,
        /// Where it belongs.
        place: String,
    },
}

impl IdentitiesError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Identity(error) => error.hint(),
            Self::Secret(error) => error.hint(),
            Self::Read { .. } => None,
            Self::Lost { place, .. } => Some(format!(
                "Take its value from a backup, and store it {place}: the nodes use it."
            )),
            Self::Missing { place, .. } => Some(format!("Store it {place}.")),
        }
    }

    fn lost(file: &ClusterFile, secret: &SecretName, secrets: &SecretStore) -> Self {
        Self::Lost {
            cluster: file.name.clone(),
            secret: secret.to_string(),
            asked: secrets.asked(),
            place: secrets.place_of(secret),
        }
    }
}

/// A node whose identity is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNumber {
    /// The tier.
    pub tier: TierName,
    /// The generation, from 1. Replaced nodes have another one.
    pub generation: u32,
    /// The number in its tier, from 1.
    pub number: u32,
}

/// The addresses in the identity of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address of the node.
    pub address: Ipv4Addr,
    /// The addresses of the Consul servers that it joins.
    pub servers: Vec<Ipv4Addr>,
}

/// The identity archive of a node.
pub struct NodeArchive {
    /// The name of the node.
    pub node: String,
    /// The archive.
    pub archive: Secret,
}

/// Makes the identities of a cluster.
pub struct Identities<'a> {
    file: &'a ClusterFile,
    secrets: &'a SecretStore,
    authority: Authority,
    /// The version of Consul in the image of the servers.
    consul: &'a Version,
    now: Timestamp,
    interrupt: &'a Interrupt,
}

impl<'a> Identities<'a> {
    /// Reads the authority of the cluster.
    pub async fn open(
        file: &'a ClusterFile,
        secrets: &'a SecretStore,
        consul: &'a Version,
        now: Timestamp,
        interrupt: &'a Interrupt,
    ) -> Result<Self, IdentitiesError> {
        Ok(Self {
            authority: authority(file, secrets, now, interrupt).await?,
            file,
            secrets,
            consul,
            now,
            interrupt,
        })
    }

    /// Returns the authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the nodes of a new cluster.
    pub fn first_nodes(file: &ClusterFile) -> Vec<NodeNumber> {
        let of_tier = |tier| {
            (1..=file.tier(tier).nodes).map(move |number| NodeNumber {
                tier,
                generation: 1,
                number,
            })
        };
        let consul = of_tier(TierName::Consul);
        consul.chain(of_tier(TierName::Vault)).collect()
    }

    /// Makes the archive of a node. Servers of generation 1 found the cluster together.
    ///
    /// `env` has further variables of Vault.
    pub async fn make(
        &self,
        node: &NodeNumber,
        env: &BTreeMap<String, Secret>,
    ) -> Result<NodeArchive, IdentitiesError> {
        let servers = 1..=self.file.consul.nodes;
        let place = Place {
            address: match node.tier {
                TierName::Consul => self.file.consul_address(node.number),
                TierName::Vault => self.file.vault_address(node.number),
            },
            servers: servers.map(|n| self.file.consul_address(n)).collect(),
        };
        self.make_at(node, &place, env).await
    }

    /// Makes the archive of a node with an address of its own, which joins other servers.
    pub async fn make_at(
        &self,
        node: &NodeNumber,
        place: &Place,
        env: &BTreeMap<String, Secret>,
    ) -> Result<NodeArchive, IdentitiesError> {
        let name = self.file.node_name(node.tier, node.generation, node.number);
        let address = IpAddr::V4(place.address);
        let valid_h = i64::from(self.file.identity.valid_h);
        let server = node.tier == TierName::Consul;
        let datacenter = &self.file.datacenter;
        let server_of = server.then_some(datacenter.as_str());
        let request = Request::consul(server_of, Some(address), valid_h);
        let leaf = self.authority.issue(&request, self.now, self.interrupt);
        let settings = self.consul_node(&name, server && node.generation == 1, server, place);
        let identity = NodeIdentity::new(&name, datacenter, &self.authority, self.now)?
            .consul(leaf.await?, &settings.await?)?;
        let identity = if server {
            identity
        } else {
            let request = Request::vault(Some(address), valid_h);
            let leaf = self.authority.issue(&request, self.now, self.interrupt);
            let settings = self.vault_node(&name, address, env).await?;
            identity.vault(leaf.await?, &settings)?
        };
        Ok(NodeArchive {
            archive: identity.to_tar(),
            node: name,
        })
    }

    async fn consul_node(
        &self,
        node: &str,
        founds: bool,
        server: bool,
        place: &Place,
    ) -> Result<ConsulNode, IdentitiesError> {
        let servers = self.file.consul.nodes;
        let management = if founds {
            Some(self.secret(&SecretName::ConsulManagement).await?)
        } else {
            None
        };
        Ok(ConsulNode {
            version: self.consul.clone(),
            server,
            bootstrap_expect: founds.then(|| u8::try_from(servers).unwrap_or(u8::MAX)),
            retry_join: place.servers.iter().map(ToString::to_string).collect(),
            bind_addr: None,
            advertise_addr: None,
            gossip_key: self.secret(&SecretName::GossipKey).await?,
            agent_token: self
                .secret(&SecretName::ConsulAgent(node.to_owned()))
                .await?,
            initial_management: management,
        })
    }

    async fn vault_node(
        &self,
        node: &str,
        address: IpAddr,
        env: &BTreeMap<String, Secret>,
    ) -> Result<VaultNode, IdentitiesError> {
        let token = self
            .secret(&SecretName::VaultConsul(node.to_owned()))
            .await?;
        let mut settings = VaultNode::new(&token, address);
        let (seal, variables) = match &self.file.unseal.kind {
            UnsealKind::Shares => (None, None),
            UnsealKind::Transit(variables) => (Some("transit"), Some(variables)),
            UnsealKind::AzureKeyVault(variables) => (Some("azurekeyvault"), Some(variables)),
        };
        if let Some(seal) = seal {
            settings = settings.with("VAULT_SEAL_TYPE", Secret::new(seal));
        }
        for (variable, value) in variables.into_iter().flatten() {
            let value = match value {
                EnvValue::Text(text) => Secret::new(text.as_str()),
                EnvValue::Secret(secret) => {
                    let name = SecretName::Own(secret.clone());
                    let value = self.secrets.get(&name, self.interrupt).await?;
                    value.ok_or_else(|| IdentitiesError::Missing {
                        node: node.to_owned(),
                        secret: secret.clone(),
                        variable: variable.clone(),
                        place: self.secrets.place_of(&name),
                    })?
                }
            };
            settings = settings.with(variable.as_str(), value);
        }
        for (variable, value) in env {
            settings = settings.with(variable.as_str(), value.clone());
        }
        Ok(settings)
    }

    async fn secret(&self, name: &SecretName) -> Result<Secret, IdentitiesError> {
        existing_secret(self.file, name, self.secrets, self.interrupt).await
    }
}

/// Returns the authority of a cluster, which exists.
pub async fn authority(
    file: &ClusterFile,
    secrets: &SecretStore,
    now: Timestamp,
    interrupt: &Interrupt,
) -> Result<Authority, IdentitiesError> {
    let read_file = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| IdentitiesError::Read {
            path: path.clone(),
            error,
        })
    };
    Ok(match &file.identity.authority {
        file::Authority::Generated => {
            let read = async |name| existing_secret(file, &name, secrets, interrupt).await;
            let key = read(SecretName::AuthorityKey).await?;
            let certificate = read(SecretName::AuthorityCertificate).await?;
            Authority::from_files(certificate.expose(), key, now)?
        }
        file::Authority::Files { certificate, key } => {
            Authority::from_files(&read_file(certificate)?, read_private_file(key)?, now)?
        }
        file::Authority::Command {
            certificate,
            command,
        } => Authority::external(&read_file(certificate)?, command.clone(), now)?,
    })
}
