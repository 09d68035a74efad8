//! Checks that size and base support the security type of the definition.

use super::super::AzureError;
use super::refused;
use crate::platform::azure::definition::Security;
use crate::platform::azure::locked_image::{LockedImage, VmGeneration};

/// Checks a size, which may have trusted launch disabled, and a base.
pub(super) fn check(
    size: &str,
    disabled: bool,
    wanted: Security,
    base: &LockedImage,
) -> Result<(), AzureError> {
    let of_base = base.security.as_deref().unwrap_or("Standard");
    let base_name = format!("base {}", base.image);
    if wanted == Security::Standard {
        // Only this type excludes standard VMs.
        if of_base != "TrustedLaunch" {
            return Ok(());
        }
        return Err(refused(
            &base_name,
            "its SecurityType is TrustedLaunch, so it starts trusted-launch VMs only",
            "Set `security = \"trusted-launch\"` in `[machine.azure]`, or name another base.",
        ));
    }
    if disabled || base.generation == VmGeneration::V1 {
        return Err(refused(
            size,
            "trusted launch needs a size that supports it and a base of generation V2",
            "Choose another size and base, or set `security = \"standard\"`.",
        ));
    }
    if of_base.contains("TrustedLaunch") {
        return Ok(());
    }
    Err(refused(
        &base_name,
        format!("its SecurityType is {of_base}, so it does not support trusted launch"),
        "Name another base, or set `security = \"standard\"`.",
    ))
}
