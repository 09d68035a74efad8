//! Checks that size, base and image definition support the disk controller of the definition.
//!
//! A size or an image that names no controllers has SCSI only.

use serde_json::Value;

use super::super::AzureError;
use super::refused;
use crate::platform::azure::definition::{DiskController, GalleryOutput};
use crate::platform::azure::lock::{disk_controllers, split_list};
use crate::platform::azure::locked_image::{LockedImage, VmGeneration};

/// Checks that the size and the base support the controller.
pub(super) fn check_size(
    size: &str,
    capability: &str,
    wanted: DiskController,
    base: &LockedImage,
) -> Result<(), AzureError> {
    let of_size = or_scsi(split_list(capability));
    if !has(&of_size, wanted) {
        let hint = match wanted {
            DiskController::Scsi => {
                "Set `disk_controller = \"nvme\"` in `[machine.azure]`, or choose another `vm_size`."
            }
            DiskController::Nvme => "Remove `disk_controller`, or choose another `vm_size`.",
        };
        let why = supports(&of_size, wanted);
        return Err(refused(size, why, hint));
    }
    let base_name = format!("base {}", base.image);
    if wanted == DiskController::Nvme && base.generation == VmGeneration::V1 {
        let why = "NVMe disks need generation V2, the base has V1";
        let hint = "Name a base of generation V2, or choose a `vm_size` with SCSI disks.";
        return Err(refused(&base_name, why, hint));
    }
    let of_base = or_scsi(base.disk_controllers.clone());
    if has(&of_base, wanted) {
        return Ok(());
    }
    Err(refused(
        &base_name,
        supports(&of_base, wanted),
        "Run `vault-bake lock` if the lock file is older than the key `disk_controller`. Otherwise name another base or another `vm_size`.",
    ))
}

/// Checks that VMs of the image definition can have the controller.
pub(super) fn check_definition(
    definition: &str,
    features: &Value,
    wanted: DiskController,
    gallery: &GalleryOutput,
) -> Result<(), AzureError> {
    let found = or_scsi(disk_controllers(features));
    if has(&found, wanted) {
        return Ok(());
    }
    Err(refused(
        definition,
        supports(&found, wanted),
        format!(
            "Use another image definition than {}, created with DiskControllerTypes=SCSI,NVMe in `--features`.",
            gallery.definition
        ),
    ))
}

fn or_scsi(named: Vec<String>) -> Vec<String> {
    if named.is_empty() {
        return vec![DiskController::Scsi.as_str().to_owned()];
    }
    named
}

fn has(found: &[String], wanted: DiskController) -> bool {
    let wanted = wanted.as_str();
    found.iter().any(|one| one.eq_ignore_ascii_case(wanted))
}

fn supports(found: &[String], wanted: DiskController) -> String {
    format!(
        "its DiskControllerTypes are {}, the VM needs {}",
        found.join(", "),
        wanted.as_str()
    )
}
