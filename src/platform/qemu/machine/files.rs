//! Makes the files that a VM is started with, in the run's work folder.
//! Takes the disk, keys and an identity archive; returns file names. The base disk is only read.
//! Files with secrets can be read only by the user of this process.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;

use super::arguments::Uefi;
use super::emulation::Snapshot;
use super::run_files::{self, Part};
use super::{Launch, StartMode};
use crate::builder::access::{self, Purpose};
use crate::builder::{AccessBy, Boot, BuilderError};
use crate::definition::Firmware;
use crate::platform::qemu::definition::MachineSpec;
use crate::platform::qemu::{QemuOptions, disk_image};
use crate::process::Program;
use crate::teardown::run_of;
use crate::wait::Interrupt;

/// The files of one VM, relative to the work folder.
pub(super) struct Files {
    pub overlay: PathBuf,
    pub uefi: Option<Uefi>,
    pub credential: Option<PathBuf>,
    pub cloud_seed: Option<PathBuf>,
    pub identity: Option<PathBuf>,
    pub upload: Option<PathBuf>,
    /// The socket of the key channel.
    pub keys: Option<PathBuf>,
    /// The socket from which QEMU reads the memory of a VM snapshot.
    pub memory: Option<PathBuf>,
}

impl Files {
    /// Makes the files for a start in this `mode`. Removes files of an earlier attempt before.
    pub async fn make(launch: &Launch<'_>, mode: StartMode<'_>) -> Result<Self, BuilderError> {
        let Launch {
            options,
            boot,
            guest_lines,
            work,
            interrupt,
            ..
        } = launch;
        run_files::clear(boot.role, work)?;
        let (credential, cloud_seed) = match (boot.disk.access, mode) {
            (_, StartMode::Resume(_)) => (None, None),
            (AccessBy::Credentials, _) => (Some(credential(boot, guest_lines, work)?), None),
            (AccessBy::CustomData, _) => return Err(BuilderError::WrongBuilder),
            (AccessBy::CloudInit, _) => {
                let seed = cloud_seed(options, boot, work, interrupt).await?;
                (None, Some(seed))
            }
        };
        let overlay = match mode {
            StartMode::Boot | StartMode::BootToSave => {
                overlay(options, boot, work, interrupt).await?
            }
            StartMode::Resume(snapshot) => resumed_overlay(snapshot, boot, work)?,
        };
        Ok(Self {
            overlay,
            uefi: match boot.disk.firmware {
                Firmware::Bios => None,
                Firmware::Uefi => Some(uefi(options, boot.role, work)?),
            },
            credential,
            cloud_seed,
            identity: identity(boot, work)?,
            upload: upload_disk(boot, work)?,
            keys: match mode {
                StartMode::Boot => None,
                StartMode::BootToSave | StartMode::Resume(_) => Some(Part::Keys.name(boot.role)),
            },
            memory: match mode {
                StartMode::Boot | StartMode::BootToSave => None,
                StartMode::Resume(_) => Some(Part::Memory.name(boot.role)),
            },
        })
    }
}

/// Returns the VM's size and network, or an error for a VM of another builder.
pub fn spec(boot: &Boot<'_>) -> Result<MachineSpec, BuilderError> {
    MachineSpec::deserialize(&boot.machine.0).map_err(|_| BuilderError::WrongBuilder)
}

/// Makes the overlay that the VM writes to.
async fn overlay(
    options: &QemuOptions,
    boot: &Boot<'_>,
    work: &Path,
    interrupt: &Interrupt,
) -> Result<PathBuf, BuilderError> {
    let disk = boot.disk.file()?;
    let machine = spec(boot)?;
    let facts = disk_image::facts(&options.tools, &disk.path, interrupt).await?;
    if facts.format != disk.format {
        return Err(BuilderError::Image {
            path: disk.path.clone(),
            why: format!(
                "the image format is {}; expected {}",
                facts.format, disk.format
            ),
        });
    }
    let size_bytes = u64::from(machine.disk_gib) << 30;
    if facts.virtual_size_bytes > size_bytes {
        return Err(BuilderError::DiskTooSmall {
            path: disk.path.clone(),
            disk_gib: machine.disk_gib,
            least_gib: facts.virtual_size_bytes.div_ceil(1 << 30),
        });
    }
    let name = Part::Overlay.name(boot.role);
    let base = fs::canonicalize(&disk.path).map_err(BuilderError::file(&disk.path))?;
    let (format, below) = match boot.layer {
        Some(layer) => ("qcow2", layer.disk.clone()),
        None => (disk.format.as_str(), base),
    };
    Program::new(&options.tools.qemu_img)
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .arg(below)
        .arg(&name)
        .arg(size_bytes.to_string())
        .in_folder(work)
        .run(interrupt)
        .await?;
    Ok(name)
}

/// Copies the overlay of a VM snapshot for a VM that resumes from it.
fn resumed_overlay(
    snapshot: &Snapshot,
    boot: &Boot<'_>,
    work: &Path,
) -> Result<PathBuf, BuilderError> {
    let name = Part::Overlay.name(boot.role);
    fs::copy(&snapshot.overlay, work.join(&name)).map_err(BuilderError::file(&snapshot.overlay))?;
    Ok(name)
}

/// Returns the firmware files of a VM, with its variables in the file `vars`.
pub fn firmware(
    options: &QemuOptions,
    firmware: Firmware,
    vars: &Path,
) -> Result<Option<Uefi>, BuilderError> {
    Ok(match firmware {
        Firmware::Bios => None,
        Firmware::Uefi => Some(Uefi {
            code: firmware_pair(options)?.0.clone(),
            vars: vars.to_owned(),
        }),
    })
}

/// Returns the first existing pair of UEFI firmware files.
fn firmware_pair(options: &QemuOptions) -> Result<&(PathBuf, PathBuf), BuilderError> {
    let mut pairs = options.ovmf.iter();
    let exists = |(code, vars): &&(PathBuf, PathBuf)| code.is_file() && vars.is_file();
    pairs.find(exists).ok_or_else(|| {
        let searched: Vec<String> = options
            .ovmf
            .iter()
            .map(|(code, _)| code.display().to_string())
            .collect();
        BuilderError::Missing {
            what: format!("UEFI firmware ({})", searched.join(" or ")),
            package: "ovmf",
        }
    })
}

/// Finds UEFI firmware, and copies its variables for this VM.
fn uefi(options: &QemuOptions, role: &str, work: &Path) -> Result<Uefi, BuilderError> {
    let (code, vars) = firmware_pair(options)?;
    let name = Part::FirmwareVariables.name(role);
    let copy = work.join(&name);
    let mut source = File::open(vars).map_err(BuilderError::file(vars))?;
    create(&copy)
        .and_then(|mut file| std::io::copy(&mut source, &mut file))
        .map_err(BuilderError::file(&copy))?;
    Ok(Uefi {
        code: code.clone(),
        vars: name,
    })
}

/// Writes the SMBIOS string with the keys.
fn credential(
    boot: &Boot<'_>,
    guest_lines: &'static str,
    work: &Path,
) -> Result<PathBuf, BuilderError> {
    let name = Part::Credential.name(boot.role);
    let purpose = match boot.role {
        "build" => Purpose::Build { lines: guest_lines },
        _ => Purpose::BootTest,
    };
    let credential = access::credential(boot.keys, purpose);
    write(&work.join(&name), credential.expose().as_bytes())?;
    Ok(name)
}

/// Makes a NoCloud seed: a FAT image with the label that cloud-init looks for.
async fn cloud_seed(
    options: &QemuOptions,
    boot: &Boot<'_>,
    work: &Path,
    interrupt: &Interrupt,
) -> Result<PathBuf, BuilderError> {
    let name = Part::CloudSeed.name(boot.role);
    let folder = work.join(Part::CloudFolder.name(boot.role));
    fs::create_dir(&folder).map_err(BuilderError::file(&folder))?;
    let instance = format!("{}-{}", run_of(work), boot.role);
    write(
        &folder.join("user-data"),
        access::user_data(boot.keys).expose().as_bytes(),
    )?;
    write(
        &folder.join("meta-data"),
        access::meta_data(&instance).as_bytes(),
    )?;
    let image = work.join(&name);
    create(&image)
        .and_then(|file| file.set_len(SEED_SECTORS * 512))
        .map_err(BuilderError::file(&image))?;
    let tools = &options.tools;
    Program::new(&tools.mformat)
        .arg("-i")
        .arg(&name)
        .args(["-v", "CIDATA", "-T"])
        .arg(SEED_SECTORS.to_string())
        .arg("::")
        .in_folder(work)
        .run(interrupt)
        .await?;
    Program::new(&tools.mcopy)
        .arg("-i")
        .arg(&name)
        .arg(folder.join("user-data"))
        .arg(folder.join("meta-data"))
        .arg("::/")
        .in_folder(work)
        .run(interrupt)
        .await?;
    fs::remove_dir_all(&folder).map_err(BuilderError::file(&folder))?;
    Ok(name)
}

/// Writes the identity archive as a raw disk, padded to whole sectors.
fn identity(boot: &Boot<'_>, work: &Path) -> Result<Option<PathBuf>, BuilderError> {
    let Some(archive) = boot.identity else {
        return Ok(None);
    };
    let name = Part::Identity.name(boot.role);
    let mut content = archive.to_vec();
    content.resize(content.len().next_multiple_of(512).max(512), 0);
    write(&work.join(&name), &content)?;
    Ok(Some(name))
}

/// Makes an empty upload disk for a build VM. The VM of a boot test has none, so that it has the
/// same disks as a node.
fn upload_disk(boot: &Boot<'_>, work: &Path) -> Result<Option<PathBuf>, BuilderError> {
    if boot.role != "build" {
        return Ok(None);
    }
    let name = Part::Upload.name(boot.role);
    let path = work.join(&name);
    create(&path)
        .and_then(|file| file.set_len(UPLOAD_BYTES))
        .map_err(BuilderError::file(&path))?;
    Ok(Some(name))
}

/// Creates a file that only the user of this process can read.
pub fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn write(path: &Path, content: &[u8]) -> Result<(), BuilderError> {
    create(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(BuilderError::file(path))
}

/// The size of a NoCloud seed, in sectors: 1 MiB.
const SEED_SECTORS: u64 = 2048;
/// The size of the sparse upload disk, in bytes: more than any upload.
const UPLOAD_BYTES: u64 = 16 << 30;
