//! The steps of `cluster up`, each of which can be repeated.

use std::collections::BTreeMap;

use semver::Version;

use super::begin::{images_folder, no_product};
use super::consul::{self, Grant};
use super::controller::Controller;
use super::file::TierName;
use super::identities::{Identities, NodeNumber};
use super::images::disk_path;
use super::policies::{self, Policy};
use super::secrets::SecretName;
use super::state::{NodeState, Phase, PlatformKind, State, StateFolder};
use super::vault::{self, VaultNode};
use super::{CONSUL_PORT, Cluster, ClusterError, Context, UpOptions, VAULT_PORT, serve};
use crate::identity::{self, Products};
use crate::platform::containers::Containers;
use crate::platform::machines::Machines;
use crate::platform::{IdentityArchive, Node, Platform};
use crate::product;
use crate::secret::Secret;

/// Whether the shares of Vault's unseal key are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    Known,
    Lost,
}

/// A cluster with its platform and the keys of its controller.
pub(super) struct Running<'a> {
    cluster: Cluster<'a>,
    state: &'a State,
    platform: Platform,
    keys: Controller,
    context: &'a Context<'a>,
}

/// Opens the platform of a cluster, and makes its network if it does not exist.
async fn open_platform(
    folder: &StateFolder,
    state: &State,
    context: &Context<'_>,
) -> Result<Platform, ClusterError> {
    let (site, events, interrupt) = (state.site(folder), context.events, context.interrupt);
    Ok(match state.platform {
        PlatformKind::Containers => {
            Platform::Containers(Containers::open(&site, events, interrupt).await?)
        }
        PlatformKind::Machines => {
            Platform::Machines(Machines::open(&site, events, interrupt).await?)
        }
    })
}

/// Returns the platform of a cluster. Returns `None` if no process of the cluster runs.
pub async fn platform_of(
    folder: &StateFolder,
    state: &State,
    context: &Context<'_>,
) -> Result<Option<Platform>, ClusterError> {
    let (site, events, interrupt) = (state.site(folder), context.events, context.interrupt);
    Ok(match state.platform {
        PlatformKind::Containers => {
            let found = Containers::find(&site, events, interrupt).await?;
            found.map(Platform::Containers)
        }
        PlatformKind::Machines => {
            let found = Machines::find(&site, events, interrupt).await?;
            found.map(Platform::Machines)
        }
    })
}

impl<'a> Running<'a> {
    /// Opens the platform of a cluster, and reads or makes what its nodes have in common.
    pub(super) async fn open(
        cluster: Cluster<'a>,
        state: &'a State,
        context: &'a Context<'a>,
    ) -> Result<Self, ClusterError> {
        let platform = open_platform(cluster.folder, state, context).await?;
        let keys = Controller::open(&cluster, context).await?;
        Ok(Self {
            cluster,
            state,
            platform,
            keys,
            context,
        })
    }

    fn nodes(&self, tier: TierName) -> impl Iterator<Item = (&String, &NodeState)> {
        let nodes = self.state.nodes.iter();
        nodes.filter(move |(_, node)| node.tier == tier)
    }

    /// Starts the nodes of a tier that do not run.
    async fn start(&self, tier: TierName) -> Result<(), ClusterError> {
        let images = images_folder(self.cluster.folder);
        let (events, interrupt) = (self.context.events, self.context.interrupt);
        let env = self.host_variables();
        for (name, state) in self.nodes(tier) {
            if self.platform.is_running(name) {
                continue;
            }
            let node = Node {
                name: name.clone(),
                address: state.address,
                disk: disk_path(&images, &state.artifact),
                disk_digest: state.artifact,
                firmware: state.firmware,
                identity: self.identity(state, &env).await?,
            };
            self.platform.start(&node, events, interrupt).await?;
            events.note(format!("started {name} at {}", state.address));
        }
        Ok(())
    }

    /// Returns the variables of Vault that this computer demands.
    fn host_variables(&self) -> BTreeMap<String, Secret> {
        let mut variables = BTreeMap::new();
        if !self.platform.can_lock_memory() {
            variables.insert("VAULT_DISABLE_MLOCK".to_owned(), Secret::new("true"));
        }
        variables
    }

    /// Makes the archive of a node, and checks it as the node will.
    async fn identity(
        &self,
        node: &NodeState,
        env: &BTreeMap<String, Secret>,
    ) -> Result<IdentityArchive, ClusterError> {
        let (cluster, interrupt) = (&self.cluster, self.context.interrupt);
        let (now, version) = ((self.context.now)(), consul_version(node)?);
        let identities =
            Identities::open(cluster.file, cluster.secrets, &version, now, interrupt).await?;
        let number = NodeNumber {
            tier: node.tier,
            generation: node.generation,
            number: node.number,
        };
        let made = identities.make(&number, env).await?;
        let bytes = made.archive.expose().as_bytes();
        let products = Products {
            consul: true,
            vault: node.tier == TierName::Vault,
        };
        identity::check(bytes, products, interrupt).await?;
        Ok(IdentityArchive::new(bytes.to_vec()))
    }

    async fn consul_clients(&self) -> Result<Vec<(String, product::consul::Client)>, ClusterError> {
        let mut clients = Vec::new();
        for (name, node) in self.nodes(TierName::Consul) {
            let client = self
                .keys
                .consul(&self.platform, self.cluster.file, node, self.context);
            clients.push((name.clone(), client.await?));
        }
        Ok(clients)
    }

    async fn vault_nodes(&self) -> Result<Vec<VaultNode>, ClusterError> {
        let mut nodes = Vec::new();
        for (name, node) in self.nodes(TierName::Vault) {
            let client = self.keys.vault(&self.platform, node, self.context);
            nodes.push((name.clone(), client.await?));
        }
        Ok(nodes)
    }

    /// Starts the Consul servers, and creates policies and tokens.
    pub(super) async fn start_consul(&self) -> Result<(), ClusterError> {
        self.start(TierName::Consul).await?;
        let clients = self.consul_clients().await?;
        let client = consul::wait_for_leader(&clients, self.context).await;
        let client = client.map_err(|error| self.explain(error, &clients[0].0, CONSUL_PORT))?;
        let management = self.secret(&SecretName::ConsulManagement).await?;
        let mut grants = vec![self.grant(
            policies::operator(&self.cluster.file.name),
            self.keys.operator.clone(),
        )];
        for (name, node) in &self.state.nodes {
            let token = self.secret(&SecretName::ConsulAgent(name.clone())).await?;
            grants.push(self.grant(policies::agent(name), token));
            if node.tier == TierName::Vault {
                let token = self.secret(&SecretName::VaultConsul(name.clone())).await?;
                grants.push(self.grant(policies::vault(name), token));
            }
        }
        consul::create_tokens(&client, &management, &grants, self.context).await?;
        let operator = &self.keys.operator;
        consul::wait_for_voters(&client, operator, clients.len(), self.context).await
    }

    fn grant(&self, policy: Policy, secret: Secret) -> Grant {
        Grant::new(&self.state.id, policy, secret)
    }

    /// Returns a token of Consul, and chooses it if it is new.
    async fn secret(&self, name: &SecretName) -> Result<Secret, ClusterError> {
        let make = || Ok::<_, ClusterError>(identity::new_token()?);
        let secrets = self.cluster.secrets;
        secrets
            .get_or_create(name, make, self.context.interrupt)
            .await
    }

    /// Starts the Vault nodes, initialises Vault if it is new, and unseals the nodes.
    pub(super) async fn start_vault(&self, options: &UpOptions) -> Result<Keys, ClusterError> {
        self.start(TierName::Vault).await?;
        let nodes = self.vault_nodes().await?;
        let (secrets, unseal) = (self.cluster.secrets, &self.cluster.file.unseal);
        let answers = vault::wait_for_answers(&nodes, self.context).await;
        answers.map_err(|error| self.explain(error, &nodes[0].0, VAULT_PORT))?;
        let known = vault::initialize(&nodes[0], unseal, secrets, self.context).await?;
        // Of a complete cluster the user may have moved the shares away.
        if known == Keys::Lost && self.state.phase == Phase::Creating {
            return Ok(known);
        }
        let shares = &options.unseal_shares;
        vault::unseal(&nodes, unseal, shares, secrets, self.context).await?;
        let active = vault::active(&nodes, self.context).await?;
        if self.state.phase == Phase::Creating {
            let keep_root = options.keep_root_token;
            vault::configure(&active, keep_root, secrets, self.context).await?;
        }
        Ok(Keys::Known)
    }

    /// Starts the load balancer.
    pub(super) async fn serve(&self) -> Result<Vec<String>, ClusterError> {
        let authority = &self.keys.tls.ca_pem;
        let (cluster, platform) = (&self.cluster, &self.platform);
        serve::start(cluster, self.state, platform, authority, self.context).await
    }

    /// Deletes the nodes of a cluster that was never complete.
    ///
    /// A former run was killed between Vault's answer to the initialisation and its storage, so
    /// the shares are lost.
    pub(super) async fn start_over(&self) -> Result<(), ClusterError> {
        let (events, interrupt) = (self.context.events, self.context.interrupt);
        events.warn("a former run could not store Vault's key shares: the nodes are made again");
        for name in self.state.nodes.keys() {
            self.platform.remove(name, events, interrupt).await?;
        }
        Ok(())
    }

    /// Adds the last lines of a node's console to the error of a service that did not answer.
    fn explain(&self, error: ClusterError, node: &str, port: u16) -> ClusterError {
        let ClusterError::Service { message, .. } = error else {
            return error;
        };
        let hint = (port == CONSUL_PORT).then(|| {
            let subnet = &self.state.subnet;
            format!(
                "If the node runs, build the image with `--var management_subnets={subnet}`: \
                 its Consul must be reachable from the network of the nodes."
            )
        });
        ClusterError::Service {
            message,
            hint,
            console: self.platform.console(node),
        }
    }
}

fn consul_version(node: &NodeState) -> Result<Version, ClusterError> {
    let version = node.releases.get("consul");
    let version = version.and_then(|version| Version::parse(version).ok());
    version.ok_or_else(|| no_product(node.tier, &node.image, node.version, "consul"))
}

/// Gives the running nodes of a cluster new certificates, one node after the other.
/// Returns the names of the nodes.
pub async fn renew(
    cluster: &Cluster<'_>,
    context: &Context<'_>,
) -> Result<Vec<String>, ClusterError> {
    let _lock = cluster.folder.lock()?;
    let state = cluster.folder.require()?;
    let running = Running::open(*cluster, &state, context).await?;
    let env = running.host_variables();
    let mut renewed = Vec::new();
    for (name, node) in &state.nodes {
        if !running.platform.is_running(name) {
            continue;
        }
        let identity = running.identity(node, &env).await?;
        running.platform.put_identity(name, &identity)?;
        let interrupt = context.interrupt;
        running.platform.run_script(name, RELOAD, interrupt).await?;
        context.events.note(format!("{name} has new certificates"));
        renewed.push(name.clone());
    }
    Ok(renewed)
}

/// Takes new certificates on a node; see `docs/identity.md`.
const RELOAD: &str = "systemctl reload vault-bake-identity.service";
