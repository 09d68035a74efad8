//! Whether the subscription has processors and an address left for one machine.
//!
//! In: what a size takes, what is left of each quota in a location. Out: the first that is too small. A bake has one machine at
//! a time, so one machine is what must fit.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::try_join;

use super::super::{AzureError, body};
use super::refused;
use crate::azure::ArmClient;
use crate::definition::{Address, AzureMachine};

/// What a size takes.
pub(super) struct Processors {
    /// How many, in units of Azure's quotas.
    pub count: i64,
    /// The quota of the size's own family.
    pub family: String,
}

/// What is left of each quota, by Azure's name of it in lower case.
pub(super) type Left = BTreeMap<String, i64>;

/// What is left in a location.
pub(super) async fn left(arm: &ArmClient, location: &str) -> Result<Left, AzureError> {
    let of = async |provider: &str, api: &str| {
        let path = format!(
            "/subscriptions/{}/providers/{provider}/locations/{location}/usages",
            arm.subscription()
        );
        arm.list(path, api, &[]).await
    };
    let (compute, network) = try_join!(
        of("Microsoft.Compute", body::COMPUTE),
        of("Microsoft.Network", body::NETWORK)
    )?;
    let read = |one: &Value| {
        let name = one["name"]["value"].as_str()?.to_lowercase();
        Some((name, one["limit"].as_i64()? - one["currentValue"].as_i64()?))
    };
    Ok(compute.iter().chain(&network).filter_map(read).collect())
}

/// Compares. A quota that is not listed is not in the way.
pub(super) fn evaluate(
    machine: &AzureMachine,
    needed: &Processors,
    left: &Left,
) -> Result<(), AzureError> {
    let mut all = match machine.spot {
        true => vec![("lowPriorityCores", needed.count)],
        false => vec![("cores", needed.count), (&needed.family, needed.count)],
    };
    if machine.address == Address::Public {
        all.push(("PublicIPAddresses", 1));
        all.push(("StandardSkuPublicIpAddresses", 1));
    }
    for (name, needed) in all {
        let left = left.get(&name.to_lowercase());
        if let Some(left) = left.filter(|left| **left < needed) {
            return Err(refused(
                &format!("quota {name} in {}", machine.location),
                format!(
                    "{needed} needed, {left} left; ask for more, or remove what is not needed",
                    left = (*left).max(0)
                ),
            ));
        }
    }
    Ok(())
}
