//! The steps of `cluster up`, each of which can be repeated.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use semver::Version;

use super::begin::{images_folder, no_product};
use super::consul::{self, Grant};
use super::controller::Controller;
use super::file::TierName;
use super::identities::{Identities, NodeNumber, Place, existing_secret, node_secrets};
use super::images::disk_path;
use super::platforms::open_platform;
use super::policies::{self, Policy};
use super::secrets::SecretName;
use super::state::{NodeState, Phase, State};
use super::vault::{self, Keys, VaultNode};
use super::{Cluster, ClusterError, Context, UpOptions, operator_token, serve};
use crate::identity::{self, Products};
use crate::nodes::{IdentityArchive, Node, Platform};
use crate::product;
use crate::product::consul::API_PORT as CONSUL_PORT;
use crate::product::vault::API_PORT as VAULT_PORT;
use crate::secret::Secret;

/// A cluster with its platform and the keys of its controller.
pub(crate) struct Running<'a> {
    cluster: Cluster<'a>,
    state: &'a State,
    platform: Platform,
    keys: Controller,
    context: &'a Context<'a>,
}

impl<'a> Running<'a> {
    /// Opens the platform of a cluster, and reads what its nodes have in common.
    pub(crate) async fn open(
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

    /// Starts the nodes of a tier that do not run.
    async fn start(&self, tier: TierName) -> Result<(), ClusterError> {
        let servers = self.state.addresses(TierName::Consul);
        for (name, node) in self.state.serving(tier) {
            self.start_node(name, node, &servers).await?;
        }
        Ok(())
    }

    /// Starts a node that joins `servers`, unless it runs.
    pub(crate) async fn start_node(
        &self,
        name: &str,
        state: &NodeState,
        servers: &[Ipv4Addr],
    ) -> Result<(), ClusterError> {
        if self.platform.is_running(name) {
            return Ok(());
        }
        let (events, interrupt) = (self.context.events, self.context.interrupt);
        let node = Node {
            name: name.to_owned(),
            address: state.address,
            disk: disk_path(&images_folder(self.cluster.folder), &state.artifact),
            disk_digest: state.artifact,
            firmware: state.firmware,
            identity: self.identity(state, servers).await?,
        };
        self.platform.start(&node, events, interrupt).await?;
        events.note(format!("started {name} at {}", state.address));
        Ok(())
    }

    /// Gives a node a new identity for its next start, with which it joins `servers`.
    pub(crate) async fn put_identity(
        &self,
        name: &str,
        node: &NodeState,
        servers: &[Ipv4Addr],
    ) -> Result<(), ClusterError> {
        let identity = self.identity(node, servers).await?;
        Ok(self.platform.put_identity(name, &identity)?)
    }

    pub(crate) fn platform(&self) -> &Platform {
        &self.platform
    }

    pub(crate) fn keys(&self) -> &Controller {
        &self.keys
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
        servers: &[Ipv4Addr],
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
        let place = Place {
            address: node.address,
            servers: servers.to_vec(),
        };
        let env = self.host_variables();
        let made = identities.make_at(&number, &place, &env).await?;
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
        for (name, node) in self.state.serving(TierName::Consul) {
            clients.push((name.clone(), self.consul(node).await?));
        }
        Ok(clients)
    }

    /// Returns a client of the Consul server on a node.
    pub(crate) async fn consul(
        &self,
        node: &NodeState,
    ) -> Result<product::consul::Client, ClusterError> {
        let (keys, file) = (&self.keys, self.cluster.file);
        keys.consul(&self.platform, file, node, self.context).await
    }

    /// Returns a client of the Vault on a node.
    pub(crate) async fn vault(
        &self,
        node: &NodeState,
    ) -> Result<product::vault::Client, ClusterError> {
        self.keys.vault(&self.platform, node, self.context).await
    }

    async fn vault_nodes(&self) -> Result<Vec<VaultNode>, ClusterError> {
        let mut nodes = Vec::new();
        for (name, node) in self.state.serving(TierName::Vault) {
            nodes.push((name.clone(), self.vault(node).await?));
        }
        Ok(nodes)
    }

    /// Starts the Consul servers, and creates policies and tokens.
    pub(super) async fn start_consul(&self) -> Result<(), ClusterError> {
        self.start(TierName::Consul).await?;
        let clients = self.consul_clients().await?;
        let client = consul::wait_for_leader(&clients, self.context).await;
        let client = client.map_err(|error| self.explain(error, &clients[0].0, CONSUL_PORT))?;
        let management = self.known_management(&client).await?;
        let mut grants = vec![self.grant(
            policies::operator(&self.cluster.file.name),
            (SecretName::ConsulOperator, self.keys.operator.clone()),
        )];
        for (name, node) in &self.state.nodes {
            grants.extend(self.node_grants(name, node.tier).await?);
        }
        let secrets = self.cluster.secrets;
        consul::create_tokens(&client, &management, &grants, secrets, self.context).await?;
        consul::wait_for_voters(&client, &self.keys.operator, clients.len(), self.context).await
    }

    /// Returns the tokens of a node.
    async fn node_grants(&self, name: &str, tier: TierName) -> Result<Vec<Grant>, ClusterError> {
        let mut grants = Vec::new();
        let secrets = node_secrets(tier, name);
        for (policy, name) in node_policies(name, tier).into_iter().zip(secrets) {
            let secret = self.secret(&name).await?;
            grants.push(self.grant(policy, (name, secret)));
        }
        Ok(grants)
    }

    /// Creates the tokens of new nodes.
    pub(crate) async fn create_node_tokens(
        &self,
        client: &product::consul::Client,
        nodes: &[(&str, TierName)],
    ) -> Result<(), ClusterError> {
        let management = self.known_management(client).await?;
        let mut grants = Vec::new();
        for (name, tier) in nodes {
            grants.extend(self.node_grants(name, *tier).await?);
        }
        let secrets = self.cluster.secrets;
        consul::create_tokens(client, &management, &grants, secrets, self.context).await
    }

    /// Deletes the tokens of a node, so that its identity is worth nothing any more.
    pub(crate) async fn delete_node_tokens(
        &self,
        client: &product::consul::Client,
        (name, tier): (&str, TierName),
    ) -> Result<(), ClusterError> {
        let management = self.management().await?;
        for policy in node_policies(name, tier) {
            let accessor = Grant::accessor(&self.state.id, &policy);
            client.delete_token(&management, &accessor).await?;
        }
        for secret in node_secrets(tier, name) {
            self.cluster.secrets.remove(&secret)?;
        }
        Ok(())
    }

    /// Returns Consul's management token when the servers know it.
    async fn known_management(
        &self,
        client: &product::consul::Client,
    ) -> Result<Secret, ClusterError> {
        let management = self.management().await?;
        let (tokens, secrets) = ((&management, &self.keys.operator), self.cluster.secrets);
        consul::wait_for_management(client, tokens, secrets, self.context).await?;
        Ok(management)
    }

    /// Returns Consul's management token.
    pub(crate) async fn management(&self) -> Result<Secret, ClusterError> {
        self.secret(&SecretName::ConsulManagement).await
    }

    fn grant(&self, policy: Policy, secret: (SecretName, Secret)) -> Grant {
        Grant::new(&self.state.id, policy, secret)
    }

    /// Returns a token of Consul. Its value was chosen before Consul knew it.
    async fn secret(&self, name: &SecretName) -> Result<Secret, ClusterError> {
        let (file, secrets) = (self.cluster.file, self.cluster.secrets);
        Ok(existing_secret(file, name, secrets, self.context.interrupt).await?)
    }

    /// Starts the Vault nodes, initialises Vault if it is new, and unseals the nodes.
    pub(super) async fn start_vault(&self, options: &UpOptions) -> Result<Keys, ClusterError> {
        self.start(TierName::Vault).await?;
        let nodes = self.vault_nodes().await?;
        let (secrets, unseal) = (self.cluster.secrets, &self.cluster.file.unseal);
        let answers = vault::wait_for_answers(&nodes, self.context).await;
        answers.map_err(|error| self.explain(error, &nodes[0].0, VAULT_PORT))?;
        if self.state.phase == Phase::Creating {
            let known = vault::initialize(&nodes[0], unseal, secrets, self.context).await?;
            if known == Keys::Lost {
                return Ok(known);
            }
        } else {
            // The user may have moved the shares away, and a second Vault would have no data.
            vault::require_initialized(&nodes[0]).await?;
        }
        let shares = &options.unseal_shares;
        vault::unseal(&nodes, unseal, shares, secrets, self.context).await?;
        let active = vault::active(&nodes, self.context).await?;
        if self.state.phase == Phase::Creating {
            let keep_root = options.keep_root_token;
            vault::configure(&active, keep_root, secrets, self.context).await?;
        }
        let token = operator_token(&active, secrets, self.context).await?;
        if let Err(error) = token {
            // The cluster serves without it.
            let hint = error.hint();
            self.context.events.warn(format!("{error}. {hint}"));
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

/// Returns the policies of a node's tokens, in the order of their secrets.
fn node_policies(name: &str, tier: TierName) -> Vec<Policy> {
    match tier {
        TierName::Consul => vec![policies::agent(name)],
        TierName::Vault => vec![policies::agent(name), policies::vault(name)],
    }
}

fn consul_version(node: &NodeState) -> Result<Version, ClusterError> {
    let version = node.releases.get("consul");
    let version = version.and_then(|version| Version::parse(version).ok());
    version.ok_or_else(|| no_product(node.tier, &node.image, node.version, "consul"))
}
