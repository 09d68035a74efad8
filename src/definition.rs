//! SKELETON. What is wanted: `images/<name>/image.toml`, parsed into a type that cannot be wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::secret::Secret;

/// A definition with its variables filled in.
pub struct Definition {
    /// The image's name: the folder's.
    pub name: String,
    /// In a sentence.
    pub description: String,
    /// Where paths of the definition start: the folder of `image.toml`.
    pub folder: PathBuf,
    /// Values of the variables, by name.
    pub variables: BTreeMap<String, Value>,
    /// The base for the QEMU builder.
    pub qemu: Option<QemuBase>,
    /// Releases: product to version.
    pub releases: BTreeMap<String, String>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// How the QEMU builder runs its machines.
    pub machine: MachineSpec,
    /// Over everything after variables are filled in; secrets stand by name only.
    pub digest: Digest,
}

/// A variable's value.
pub enum Value {
    /// Plain text, number, flag or list, as JSON.
    Plain(serde_json::Value),
    /// Never shown.
    Secret(Secret),
}

/// What a QEMU bake starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum QemuBase {
    /// Made on the spot from the distribution's signed packages. Boots by BIOS and by UEFI.
    Packages {
        /// As in `http://deb.debian.org/debian`.
        mirror: String,
        /// As in `bookworm`.
        suite: String,
        /// Further `deb` lines: `mirror suite`, as in `http://deb.debian.org/debian-security bookworm-security`.
        extra: Vec<String>,
        /// Packages beside the ones that every base has.
        packages: Vec<String>,
        /// `bios` or `uefi`.
        firmware: Firmware,
    },
    /// A cloud image of the distribution's.
    CloudImage {
        /// Where it is: https, or a file below the definition's folder.
        url: String,
        /// 128 hex digits.
        sha512: String,
        /// `bios` or `uefi`.
        firmware: Firmware,
    },
}

/// How a machine starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

/// The temporary machine's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Size of the disk in GiB.
    pub disk_gib: u32,
    /// Whether the guest may reach the world: `outbound` or `none`.
    pub network: Network,
    /// How long the machine may take to answer on SSH, in seconds.
    pub boot_timeout_s: u64,
}

/// What the guest reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Whatever this machine reaches.
    Outbound,
    /// Nothing.
    None,
}

/// One step of the definition.
pub struct Step {
    /// Unique name; default: the provisioner's, the script's file name …
    pub name: String,
    /// What it does.
    pub action: Action,
    /// At the most, in seconds.
    pub timeout_s: u64,
}

/// What a step does.
pub enum Action {
    /// A shipped or user's provisioner with its inputs.
    Provisioner {
        /// Its name.
        provisioner: String,
        /// Inputs given.
        inputs: BTreeMap<String, Value>,
    },
    /// A script of the user's.
    Shell {
        /// Its text.
        script: String,
        /// Environment.
        env: BTreeMap<String, Value>,
    },
    /// A file of the user's to put into the image.
    File {
        /// On this machine.
        source: PathBuf,
        /// In the image.
        destination: String,
        /// As in 0o644.
        mode: u32,
        /// As in `root:root`.
        owner: String,
    },
    /// A playbook of the user's, run by `ansible-playbook` on this machine.
    Ansible {
        /// On this machine.
        playbook: PathBuf,
        /// Extra variables.
        variables: BTreeMap<String, Value>,
    },
    /// Restart the machine and wait until it runs a new boot.
    Reboot,
}
