//! Checks the quotas of a subscription for one VM.
//!
//! Takes the processors of a size and the remaining quotas of a location; returns the first
//! quota that is too small. A build runs one VM at a time.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::try_join;

use super::super::{AzureError, body};
use super::refused;
use crate::azure::ArmClient;
use crate::platform::azure::definition::{Address, AzureMachine};

/// The processors of a VM size.
pub(super) struct Processors {
    /// The number of processors, as Azure's quotas count them.
    pub count: i64,
    /// The name of the quota of the size's family.
    pub family: String,
}

/// The rest of each quota, by its name in lower case.
pub(super) type Remaining = BTreeMap<String, i64>;

/// Reads the remaining quotas of a location.
pub(super) async fn read_remaining(
    arm: &ArmClient,
    location: &str,
) -> Result<Remaining, AzureError> {
    let usages = async |provider: &str, api: &str| {
        let path = format!(
            "/subscriptions/{}/providers/{provider}/locations/{location}/usages",
            arm.subscription()
        );
        arm.list(path, api, &[]).await
    };
    let (compute, network) = try_join!(
        usages("Microsoft.Compute", body::COMPUTE),
        usages("Microsoft.Network", body::NETWORK)
    )?;
    let remaining = |usage: &Value| {
        let name = usage["name"]["value"].as_str()?.to_lowercase();
        Some((
            name,
            usage["limit"].as_i64()? - usage["currentValue"].as_i64()?,
        ))
    };
    Ok(compute
        .iter()
        .chain(&network)
        .filter_map(remaining)
        .collect())
}

/// Fails with the first quota that is too small for one VM. Ignores quotas that are not listed.
pub(super) fn evaluate(
    machine: &AzureMachine,
    needed: &Processors,
    remaining: &Remaining,
) -> Result<(), AzureError> {
    let mut all = if machine.spot {
        vec![("lowPriorityCores", needed.count)]
    } else {
        vec![("cores", needed.count), (&needed.family, needed.count)]
    };
    if machine.address == Address::Public {
        all.push(("PublicIPAddresses", 1));
        all.push(("StandardSkuPublicIpAddresses", 1));
    }
    for (name, needed) in all {
        let left = remaining.get(&name.to_lowercase());
        if let Some(left) = left.filter(|left| **left < needed) {
            return Err(refused(
                &format!("quota {name} in {}", machine.location),
                format!("{needed} needed, {left} left", left = (*left).max(0)),
                "Request more quota, or delete unused resources.",
            ));
        }
    }
    Ok(())
}
