//! The uses that keep an artifact, and their words.

use serde::Serialize;

use crate::manifest::Moment;

/// A use that keeps an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Hold {
    /// A channel has it among its last generations.
    Channel {
        /// `image:channel`.
        channel: String,
        /// The newest generation that points to it.
        generation: u64,
        /// Whether that is the present generation.
        present: bool,
    },
    /// A pin refers to it.
    Pin {
        /// The name of the pin and of its file.
        pin: String,
    },
    /// An open rollout puts nodes on it, or replaces nodes of it.
    Rollout {
        /// The name of the cluster.
        cluster: String,
    },
    /// A running node uses it, according to a list or to the processes of this machine.
    InUse {
        /// The line of the list, or the process.
        by: String,
    },
    /// It is the newest of its image that passed its test and is not revoked.
    NewestTested,
    /// It was recorded recently.
    Young {
        /// The time until which it stays.
        until: Moment,
    },
    /// A kept image was built from it.
    BaseOf {
        /// The image that was built from it.
        name: String,
    },
    /// A kept image has the same file.
    SharedWith {
        /// The image that shares the file.
        name: String,
    },
    /// It is not in the store, and `gc` removes only from the store.
    Elsewhere {
        /// The target that has it.
        target: String,
    },
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channel {
                channel,
                generation,
                present: true,
            } => write!(f, "channel {channel} (generation {generation})"),
            Self::Channel {
                channel,
                generation,
                present: false,
            } => write!(f, "channel {channel} held it (generation {generation})"),
            Self::Pin { pin } => write!(f, "pin {pin}"),
            Self::Rollout { cluster } => write!(f, "rollout of cluster {cluster}"),
            Self::InUse { by } => write!(f, "in use: {by}"),
            Self::NewestTested => f.write_str("newest tested"),
            Self::Young { until } => write!(f, "young until {until}"),
            Self::BaseOf { name } => write!(f, "base of {name}"),
            Self::SharedWith { name } => write!(f, "same file as {name}"),
            Self::Elsewhere { target } => write!(f, "kept at {target}, not in the store"),
        }
    }
}
