//! Reads `[machine.qemu]` and `[output.qemu]`. All keys have defaults.

use serde::{Deserialize, Serialize};

use crate::definition::document::Table;
use crate::definition::options::choice;
use crate::definition::variables::Variables;

/// The shape of the build VM on QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Number of virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Size of the disk in GiB.
    pub disk_gib: u32,
    /// Network access of the build VM.
    pub network: Network,
    /// Longest time until the build VM answers on SSH, in seconds.
    pub boot_timeout_s: u64,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory_mib: 2048,
            disk_gib: 4,
            network: Network::Outbound,
            boot_timeout_s: 300,
        }
    }
}

/// The network access of a build VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The networks of the host.
    Outbound,
    /// No network.
    None,
}

/// The format of the captured file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// Compression of the qcow2 file's clusters.
    pub compression: Compression,
}

/// The compression of a qcow2 file's clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// zstd: small and fast.
    #[default]
    Zstd,
    /// zlib: for programs without support for zstd.
    Zlib,
    /// No compression: largest and fastest.
    None,
}

/// Reads `[machine.qemu]`.
pub(super) fn read(table: Option<Table>, variables: &Variables) -> MachineSpec {
    let mut machine = MachineSpec::default();
    let Some(mut table) = table else {
        return machine;
    };
    table.reject_unknown(&[
        "cpus",
        "memory_mib",
        "disk_gib",
        "network",
        "boot_timeout_s",
    ]);
    let number = |least, most| move |item| variables.integer(item, least, most);
    table.read_into("cpus", &mut machine.cpus, number(1, 64));
    table.read_into("memory_mib", &mut machine.memory_mib, number(512, 1 << 20));
    table.read_into("disk_gib", &mut machine.disk_gib, number(2, 2048));
    table.read_into("boot_timeout_s", &mut machine.boot_timeout_s, |item| {
        variables.integer(item, 10, 3600).map(u64::from)
    });
    let networks = [("outbound", Network::Outbound), ("none", Network::None)];
    table.read_into("network", &mut machine.network, |item| {
        choice(item, variables, &networks)
    });
    machine
}

/// Reads `[output.qemu]`.
pub(super) fn output(table: Option<Table>, variables: &Variables) -> OutputSpec {
    let mut output = OutputSpec::default();
    let Some(mut table) = table else {
        return output;
    };
    table.reject_unknown(&["compression"]);
    let known = [
        ("zstd", Compression::Zstd),
        ("zlib", Compression::Zlib),
        ("none", Compression::None),
    ];
    table.read_into("compression", &mut output.compression, |item| {
        choice(item, variables, &known)
    });
    output
}
