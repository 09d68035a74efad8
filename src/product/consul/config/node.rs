//! The configuration fragment of one node, which its identity archive brings.

use std::collections::BTreeMap;
use std::net::IpAddr;

use semver::Version;
use serde::{Serialize, Serializer};

use crate::product::consul::changes::INITIAL_MANAGEMENT;
use crate::secret::Secret;

/// The fragment that a node adds to the image's file. All of it is secret.
#[derive(Serialize)]
pub struct Node<'a> {
    /// The name of the node.
    pub(crate) node_name: &'a str,
    /// The datacenter of the node.
    pub(crate) datacenter: &'a str,
    /// Whether the agent is a server.
    pub(crate) server: bool,
    /// The number of servers that found the cluster together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bootstrap_expect: Option<u8>,
    /// The addresses of other agents.
    pub(crate) retry_join: &'a [String],
    /// The address of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bind_addr: Option<IpAddr>,
    /// The address that the agent tells others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advertise_addr: Option<IpAddr>,
    /// The gossip key.
    #[serde(serialize_with = "exposed")]
    pub(crate) encrypt: &'a Secret,
    pub(crate) acl: NodeAcl<'a>,
}

#[derive(Serialize)]
pub(crate) struct NodeAcl<'a> {
    tokens: BTreeMap<&'static str, Exposed<'a>>,
}

impl<'a> NodeAcl<'a> {
    /// Returns the tokens of an agent with this version of Consul.
    ///
    /// `default` is not set, so that the anonymous token has no rights.
    pub(crate) fn new(
        version: &Version,
        agent: &'a Secret,
        initial_management: Option<&'a Secret>,
    ) -> Self {
        let management = if INITIAL_MANAGEMENT.is_in(version) {
            "initial_management"
        } else {
            "master"
        };
        let mut tokens = BTreeMap::from([("agent", Exposed(agent))]);
        tokens.extend(initial_management.map(|token| (management, Exposed(token))));
        Self { tokens }
    }
}

/// A secret that this file of the node contains.
struct Exposed<'a>(&'a Secret);

impl Serialize for Exposed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        exposed(self.0, serializer)
    }
}

fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}
