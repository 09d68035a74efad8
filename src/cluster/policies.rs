//! The ACL policies of Consul in a cluster: the least that each token needs, in HCL.
//! Measured with Consul 1.8.7, whose default is to deny.

/// A policy of Consul's ACL system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name, which is the name of its token's secret.
    pub name: String,
    /// The rules, HCL.
    pub rules: String,
}

/// Returns the policy of a node's Consul agent, server or client: it registers itself.
///
/// It has no `service` rule. Without `read`, an agent does not see its services in the catalog,
/// and needs not: Vault's own token registers and removes them. With `read` alone, Consul 1.8.7
/// tries to remove unknown services of the node, and logs an error each time.
pub fn agent(node: &str) -> Policy {
    Policy {
        name: format!("consul-agent-{node}"),
        rules: format!("node \"{node}\" {{ policy = \"write\" }}\n"),
    }
}

/// Returns the policy of Vault on a node: its storage, its lock and its service.
pub fn vault(node: &str) -> Policy {
    let rules = format!(
        r#"key_prefix "vault/" {{ policy = "write" }}
service "vault" {{ policy = "write" }}
agent "{node}" {{ policy = "read" }}
session "{node}" {{ policy = "write" }}
"#
    );
    Policy {
        name: format!("vault-consul-{node}"),
        rules,
    }
}

/// Returns the policy for status and rollouts of the cluster with this name.
///
/// Sessions of Vault's nodes are read only: to destroy one would release Vault's lock.
pub fn operator(cluster: &str) -> Policy {
    let rules = format!(
        r#"operator = "write"
agent_prefix "{cluster}-consul-" {{ policy = "write" }}
node_prefix "" {{ policy = "read" }}
service_prefix "" {{ policy = "read" }}
key "vault/core/lock" {{ policy = "read" }}
key_prefix "vault-bake/rollout/" {{ policy = "write" }}
session_prefix "{cluster}-consul-" {{ policy = "write" }}
session_prefix "{cluster}-vault-" {{ policy = "read" }}
"#
    );
    Policy {
        name: "consul-operator".to_owned(),
        rules,
    }
}
