//! The parts of a cluster that conditions ask about.
//! Takes conditions; returns parts, so that an observation need not ask every one.

use std::collections::BTreeSet;

use crate::rollout::Condition;

/// A part of the cluster that is asked by requests of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Servers and members of Consul.
    Consul,
    /// The state of each Vault node.
    Vault,
    /// What Consul and the active node know about Vault.
    Active,
    /// The load balancer.
    Front,
    /// A write and a read of the canary.
    Canary,
}

/// All parts.
pub(super) const ALL: [Part; 5] = [
    Part::Consul,
    Part::Vault,
    Part::Active,
    Part::Front,
    Part::Canary,
];

/// Returns the parts that the answers to `conditions` depend on.
pub(super) fn of(conditions: &[Condition]) -> BTreeSet<Part> {
    conditions.iter().flat_map(of_one).copied().collect()
}

fn of_one(condition: &Condition) -> &'static [Part] {
    match condition {
        Condition::Voters { .. } | Condition::LeftConsul { .. } | Condition::Follower { .. } => {
            &[Part::Consul]
        }
        Condition::SnapshotSaved | Condition::IdentitiesRenewed { .. } => &[],
        Condition::Answering { .. } => &[Part::Vault],
        Condition::ActiveAmong { .. } => &[Part::Vault, Part::Active, Part::Canary],
        Condition::Serving { .. }
        | Condition::Standby { .. }
        | Condition::Active { .. }
        | Condition::Stopped { .. }
        | Condition::Down { .. } => &[Part::Vault, Part::Active],
        Condition::InFront { .. } | Condition::Deleted { .. } => &[Part::Front],
    }
}
