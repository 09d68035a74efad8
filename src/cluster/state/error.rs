//! The errors of a cluster's state, with the way out of each.

use std::io;
use std::path::{Path, PathBuf};

/// A state that cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or folder that cannot be used.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A state that is damaged.
    #[error("cannot read {}: {why}", path.display())]
    Malformed {
        /// The name of the cluster.
        name: String,
        /// The path.
        path: PathBuf,
        /// The defect.
        why: String,
    },
    /// A state of another version of vault-bake.
    #[error("cannot read {}: expected schema 1, found {schema}", path.display())]
    Schema {
        /// The path.
        path: PathBuf,
        /// The schema of the file.
        schema: u32,
    },
    /// A folder without a state that is not empty.
    #[error("cannot use cluster {name}: {} is missing, and its folder is not empty", path.display())]
    Lost {
        /// The name of the cluster.
        name: String,
        /// The path of the state.
        path: PathBuf,
    },
    /// A folder with nodes whose cluster is unknown.
    #[error("cannot find the processes of cluster {name}: no file in {} names its id", path.display())]
    NoId {
        /// The name of the cluster.
        name: String,
        /// The folder.
        path: PathBuf,
    },
    /// Another command changes the cluster.
    #[error("cannot change cluster {name}: another command is changing it")]
    Locked {
        /// The name of the cluster.
        name: String,
    },
    /// A state from before a rollout that has ended, as a backup may be.
    #[error("cannot use {}: it is older than the rollout {rollout} of cluster {name}", path.display())]
    Stale {
        /// The name of the cluster.
        name: String,
        /// The path of the state.
        path: PathBuf,
        /// The last rollout that has ended, as `ID@EPOCH`.
        rollout: String,
    },
    /// The cluster does not exist on this computer.
    #[error("cannot find cluster {name}: it does not run on this computer")]
    Missing {
        /// The name of the cluster.
        name: String,
    },
}

impl StateError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => None,
            Self::Malformed { name, .. } => {
                Some(format!("Restore it from a backup. {}", begin_anew(name)))
            }
            Self::Stale { name, rollout, .. } => Some(format!(
                "It names nodes that are gone, and not those that run. Restore the file and the \
                 secrets from a backup that is newer than the rollout {rollout}: `vault-bake \
                 rollout show {rollout}` prints its end. {}",
                begin_anew(name)
            )),
            Self::Schema { .. } => Some(
                "Use the version of vault-bake that made the cluster, or a newer one.".to_owned(),
            ),
            Self::Lost { name, .. } => Some(format!(
                "Restore it from a backup. Without one, run `vault-bake cluster down {name} \
                 --force`: this deletes the secrets in the folder, too."
            )),
            Self::NoId { name, path } => Some(format!(
                "End the processes that `pgrep -fa vault-bake-.*{name}-` lists, and delete {}.",
                path.display()
            )),
            Self::Locked { .. } => Some("Wait until that command has ended.".to_owned()),
            Self::Missing { name } => Some(format!("Run `vault-bake cluster up {name}`.")),
        }
    }
}

pub(super) fn file_error(path: &Path) -> impl Fn(io::Error) -> StateError + use<> {
    let path = path.to_owned();
    move |error| StateError::File {
        path: path.clone(),
        error,
    }
}

/// Returns the way out if nothing can be restored.
pub(in crate::cluster) fn begin_anew(cluster: &str) -> String {
    format!(
        "Without one, run `vault-bake cluster down {cluster} --force`, then `vault-bake cluster \
         up {cluster}`: the cluster begins anew, without its data."
    )
}
