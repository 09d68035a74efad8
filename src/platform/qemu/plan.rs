//! Plans a build on QEMU.
//! Checks that the locked base is that of the definition, and resolves paths.

use std::path::Path;

use serde::Deserialize as _;
use serde_json::json;

use super::definition::{MachineSpec, Network, OutputSpec, QemuBase};
use super::lock::LockedBase;
use crate::definition::Definition;
use crate::definition::platform::{
    Parts, PlannedBase, PlannedMachine, PlannedOutput, Target, TargetLines, Unplannable, word,
};
use crate::lock::resolve_path;
use crate::release::Architecture;

/// The architecture of all bases for QEMU.
const ARCHITECTURE: Architecture = Architecture::X86_64;

/// Plans a build of `definition`.
pub(super) fn plan(
    definition: &Definition,
    parts: &Parts,
    locked: &toml::Table,
) -> Result<Target, Unplannable> {
    let other_base = Unplannable::Lock("its base is not that of image.toml");
    let machine = MachineSpec::deserialize(&parts.machine).expect("what this platform read");
    let output = OutputSpec::deserialize(&parts.output).expect("what this platform read");
    let wanted = QemuBase::deserialize(&parts.base).expect("what this platform read");
    let Ok(locked) = locked.clone().try_into::<LockedBase>() else {
        return Err(other_base);
    };
    if !fits(&wanted, &locked) {
        return Err(other_base);
    }
    let lines = TargetLines {
        base: base_lines(&wanted, &locked),
        machine: format!(
            "{} processors, {} MiB, {} GiB disk, network {}, up to {} s to boot",
            machine.cpus,
            machine.memory_mib,
            machine.disk_gib,
            word(&machine.network),
            machine.boot_timeout_s
        ),
        output: vec![format!("qcow2, compression {}", word(&output.compression))],
    };
    let downloads =
        matches!(wanted, QemuBase::CloudImage { .. }) || machine.network != Network::None;
    let base = resolved(&definition.folder, wanted, locked);
    Ok(Target {
        base,
        architecture: ARCHITECTURE,
        // Vault's address templates need the default route that a node has.
        test_machine: PlannedMachine(json!(MachineSpec {
            network: Network::Outbound,
            ..machine.clone()
        })),
        machine: PlannedMachine(json!(machine)),
        output: PlannedOutput(json!(output)),
        downloads,
        not_pinned: Vec::new(),
        lines,
    })
}

/// Tells if `wanted` can be locked to `locked`.
fn fits(wanted: &QemuBase, locked: &LockedBase) -> bool {
    match (wanted, locked) {
        (QemuBase::Packages { .. }, LockedBase::Packages { index }) => index
            .iter()
            .map(|index| (index.mirror.as_str(), index.suite.as_str()))
            .eq(wanted.suites()),
        (
            QemuBase::CloudImage { url, sha512, .. },
            LockedBase::CloudImage {
                url: locked_url,
                sha512: locked_sha512,
            },
        ) => url == locked_url && sha512 == locked_sha512,
        _ => false,
    }
}

/// Returns the base with paths from the working directory.
fn resolved(folder: &Path, mut wanted: QemuBase, mut locked: LockedBase) -> PlannedBase {
    if let QemuBase::CloudImage { url, .. } = &mut wanted {
        *url = resolve_path(folder, url);
    }
    if let LockedBase::CloudImage { url, .. } = &mut locked {
        *url = resolve_path(folder, url);
    }
    PlannedBase {
        wanted: json!(wanted),
        locked: json!(locked),
    }
}

/// Returns the lines of a printed plan. Paths start at the definition's folder.
fn base_lines(wanted: &QemuBase, locked: &LockedBase) -> Vec<String> {
    let mut lines = match wanted {
        QemuBase::Packages {
            packages, firmware, ..
        } => {
            let first = format!("packages, firmware {}", word(firmware));
            let packages = packages.iter().map(|name| format!("with {name}"));
            std::iter::once(first).chain(packages).collect()
        }
        QemuBase::CloudImage { firmware, .. } => {
            vec![format!("cloud image, firmware {}", word(firmware))]
        }
    };
    match locked {
        LockedBase::Packages { index } => {
            for index in index {
                lines.push(format!(
                    "{} {} of {}",
                    index.mirror, index.suite, index.date
                ));
                lines.push(index.sha256.to_string());
            }
        }
        LockedBase::CloudImage { url, sha512 } => {
            lines.push(url.clone());
            lines.push(format!("sha512:{sha512}"));
        }
    }
    lines
}
