//! Arguments of `cluster`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::groups::example;

/// Run a cluster of Consul and Vault nodes on this computer
///
/// A cluster is defined in clusters/NAME/cluster.toml. Its nodes run from recorded images.
#[derive(Args)]
#[command(after_help = example("cluster up dev"))]
pub struct Cluster {
    /// The command to run.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// What to do with a cluster.
#[derive(Subcommand)]
pub enum ClusterCommand {
    Init(InitCluster),
    Up(Up),
    Status(Status),
    Env(Env),
    Logs(Logs),
    Shell(Shell),
    Renew(Renew),
    Down(Down),
}

/// Add a cluster to the project
///
/// Writes `clusters/NAME/cluster.toml` with a subnet and a port that no other cluster of the
/// project has. An existing file is not changed.
#[derive(Args)]
#[command(after_help = example("cluster init staging"))]
pub struct InitCluster {
    /// Name of the new cluster: at most 20 lower-case letters, digits and `-`
    pub name: String,
}

/// Which cluster.
#[derive(Args)]
pub struct Named {
    /// Name of the cluster [default: the only cluster of the project]
    #[arg(value_name = "CLUSTER")]
    pub name: Option<String>,
    /// Folder with the state and the secrets of clusters
    /// [default: ~/.local/state/vault-bake/clusters]
    #[arg(long, value_name = "DIR", env = "VAULT_BAKE_CLUSTERS")]
    pub state: Option<PathBuf>,
}

/// Make a cluster, or start what does not run of it
///
/// Starts the nodes, bootstraps access control, initialises and unseals Vault, and starts the load
/// balancer. Every step can be repeated. Nodes that exist keep their images.
#[derive(Args)]
#[command(after_help = example("cluster up dev"))]
pub struct Up {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
    /// File with shares of Vault's unseal key, one a line, if they are not stored with the cluster
    #[arg(long, value_name = "FILE", env = "VAULT_BAKE_UNSEAL_KEYS_FILE")]
    pub unseal_keys: Option<PathBuf>,
    /// Leave Vault's root token valid
    #[arg(long)]
    pub keep_root_token: bool,
    /// Accept a revoked image
    #[arg(long)]
    pub allow_revoked: bool,
    /// Accept an image that is untested or failed its test
    #[arg(long)]
    pub allow_untested: bool,
}

/// Print what each node does, when its certificate ends, and whether its image is outdated
///
/// Exit code 1 means that a node or the load balancer does not serve.
#[derive(Args)]
#[command(after_help = example("cluster status dev --watch"))]
pub struct Status {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
    /// Print it again every two seconds, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// Print the variables that a Vault client needs, for a shell
#[derive(Args)]
#[command(after_help = example("cluster env dev >dev.env"))]
pub struct Env {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
}

/// Print the journal of Vault and Consul on a node
#[derive(Args)]
#[command(after_help = example("cluster logs dev-vault-1-1 --lines 50"))]
pub struct Logs {
    /// Name of the node, as `cluster status` prints it
    pub node: String,
    /// Number of lines
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub lines: u32,
    /// Print new lines as they are written, until Ctrl-C
    #[arg(long)]
    pub follow: bool,
    /// Folder with the state and the secrets of clusters
    #[arg(long, value_name = "DIR", env = "VAULT_BAKE_CLUSTERS")]
    pub state: Option<PathBuf>,
}

/// Open a shell as root on a node
///
/// It enters the node from outside, by the container or the console. The image has no login for it.
#[derive(Args)]
#[command(after_help = example("cluster shell dev-consul-1-1"))]
pub struct Shell {
    /// Name of the node, as `cluster status` prints it
    pub node: String,
    /// Folder with the state and the secrets of clusters
    #[arg(long, value_name = "DIR", env = "VAULT_BAKE_CLUSTERS")]
    pub state: Option<PathBuf>,
}

/// Give the running nodes of a cluster new certificates
///
/// One node after the other takes them, while it serves. Vault uses the new certificate towards
/// Consul after its next restart.
#[derive(Args)]
#[command(after_help = example("cluster renew dev"))]
pub struct Renew {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
}

/// Remove a cluster: its nodes, network, disks and secrets
#[derive(Args)]
#[command(after_help = example("cluster down dev"))]
pub struct Down {
    /// Which cluster.
    #[command(flatten)]
    pub named: Named,
    /// Remove it although a rollout of it is open, or its cluster.json is lost or damaged
    #[arg(long)]
    pub force: bool,
}
