//! The platforms of this version: only this file names them all.
//! Each folder has what its platform adds to definitions, locks, plans and builds.

pub mod azure;
pub mod qemu;

use crate::azure::ArmClient;
use crate::definition::platform::Platforms;

use azure::{AzurePlatform, Images};
use qemu::QemuPlatform;

/// Returns all platforms. Without a client of Azure, no base on Azure can be locked.
pub fn all(arm: Option<ArmClient>) -> Platforms {
    let images = arm.map(|client| Box::new(client) as Box<dyn Images>);
    Platforms::new(vec![
        Box::new(QemuPlatform::default()),
        Box::new(AzurePlatform { images }),
    ])
}
