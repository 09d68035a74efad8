//! The keys with which this computer asks the nodes of a cluster.

use std::net::SocketAddr;

use super::file::ClusterFile;
use super::identities::{authority, existing_secret};
use super::secrets::SecretName;
use super::state::NodeState;
use super::{Cluster, ClusterError, Context};
use crate::identity::Request;
use crate::nodes::Platform;
use crate::product::consul::{API_PORT as CONSUL_PORT, server_name};
use crate::product::vault::{API_PORT as VAULT_PORT, SERVER_NAME as VAULT_NAME};
use crate::product::{Endpoint, TlsMaterial, consul, vault};
use crate::secret::Secret;

/// The validity of the controller's certificate, which is made for each command, in hours.
const VALID_H: i64 = 24;

/// The certificate and the token of the controller.
pub(crate) struct Controller {
    pub(crate) tls: TlsMaterial,
    /// The token of Consul for status and rollouts.
    pub(crate) operator: Secret,
}

impl Controller {
    /// Makes a certificate, and reads the token.
    pub(super) async fn open(
        cluster: &Cluster<'_>,
        context: &Context<'_>,
    ) -> Result<Self, ClusterError> {
        let (now, interrupt) = ((context.now)(), context.interrupt);
        let (file, secrets) = (cluster.file, cluster.secrets);
        let authority = authority(file, secrets, now, interrupt).await?;
        let request = Request {
            names: vec!["controller.vault-bake".to_owned()],
            addresses: Vec::new(),
            valid_h: VALID_H,
        };
        let leaf = authority.issue(&request, now, interrupt).await?;
        let operator = SecretName::ConsulOperator;
        let operator = existing_secret(file, &operator, secrets, interrupt);
        Ok(Self {
            tls: TlsMaterial {
                ca_pem: authority.certificate_pem().to_owned(),
                client: Some(leaf),
            },
            operator: operator.await?,
        })
    }

    /// Returns a client of the Consul server on a node.
    pub(super) async fn consul(
        &self,
        platform: &Platform,
        file: &ClusterFile,
        node: &NodeState,
        context: &Context<'_>,
    ) -> Result<consul::Client, ClusterError> {
        let server_name = server_name(&file.datacenter);
        let endpoint = endpoint(platform, node, CONSUL_PORT, server_name, context).await?;
        Ok(consul::Client::new(&endpoint, &self.tls)?)
    }

    /// Returns a client of the Vault on a node.
    pub(super) async fn vault(
        &self,
        platform: &Platform,
        node: &NodeState,
        context: &Context<'_>,
    ) -> Result<vault::Client, ClusterError> {
        let endpoint = vault_endpoint(platform, node, context).await?;
        Ok(vault::Client::new(&endpoint, &self.tls)?)
    }
}

/// Returns the way to the Vault on a node.
pub(crate) async fn vault_endpoint(
    platform: &Platform,
    node: &NodeState,
    context: &Context<'_>,
) -> Result<Endpoint, ClusterError> {
    endpoint(platform, node, VAULT_PORT, VAULT_NAME.to_owned(), context).await
}

async fn endpoint(
    platform: &Platform,
    node: &NodeState,
    port: u16,
    server_name: String,
    context: &Context<'_>,
) -> Result<Endpoint, ClusterError> {
    let to = SocketAddr::from((node.address, port));
    let address = platform
        .route(to, context.events, context.interrupt)
        .await?;
    Ok(Endpoint {
        address,
        server_name,
        network: platform.network().clone(),
    })
}
