//! The files that a machine is started with, in the run's work folder.
//!
//! In: the disk, keys, an identity. Out: names of files below the work folder, those with secrets readable by us
//! alone. Deliberately never writes to the disk that the machine starts from.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::arguments::{Accelerator, Uefi};
use super::run_files::{self, Part};
use super::{Launch, Way};
use crate::builder::access::{self, Purpose};
use crate::builder::qemu::snapshot_cache::Snapshot;
use crate::builder::qemu::{QemuOptions, disk_image};
use crate::builder::{AccessBy, Boot, BuilderError};
use crate::definition::{Firmware, MachineSpec};
use crate::plan::PlannedMachine;
use crate::process::{LAST_LINES, Program};
use crate::wait::Interrupt;

/// The files of one machine, relative to the work folder.
pub(super) struct Files {
    pub overlay: PathBuf,
    pub uefi: Option<Uefi>,
    pub credential: Option<PathBuf>,
    pub cloud_seed: Option<PathBuf>,
    pub identity: Option<PathBuf>,
    pub upload: Option<PathBuf>,
    /// The socket that keys come by.
    pub keys: Option<PathBuf>,
    /// The socket that memory comes by.
    pub memory: Option<PathBuf>,
}

impl Files {
    /// Makes all that a machine asks for that comes to run in this `way`, in its work folder. An earlier start of it may have
    /// failed at any point.
    pub async fn make(launch: &Launch<'_>, way: Way<'_>) -> Result<Self, BuilderError> {
        let Launch {
            settings,
            boot,
            accelerator,
            work,
            interrupt,
            ..
        } = launch;
        run_files::clear(boot.role, work)?;
        let (credential, cloud_seed) = match (boot.disk.access, way) {
            (_, Way::Resume(_)) => (None, None),
            (AccessBy::Credentials, _) => (Some(credential(boot, *accelerator, work)?), None),
            (AccessBy::CustomData, _) => return Err(BuilderError::OtherBuilder),
            (AccessBy::CloudInit, _) => {
                let seed = cloud_seed(settings, boot, work, interrupt).await?;
                (None, Some(seed))
            }
        };
        let overlay = match way {
            Way::Boot | Way::BootToSuspend => overlay(settings, boot, work, interrupt).await?,
            Way::Resume(kept) => resumed_overlay(kept, boot, work)?,
        };
        Ok(Self {
            overlay,
            uefi: match boot.disk.firmware {
                Firmware::Bios => None,
                Firmware::Uefi => Some(uefi(settings, boot.role, work)?),
            },
            credential,
            cloud_seed,
            identity: identity(boot, work)?,
            upload: upload(boot, work)?,
            keys: match way {
                Way::Boot => None,
                Way::BootToSuspend | Way::Resume(_) => Some(Part::Keys.of(boot.role)),
            },
            memory: match way {
                Way::Boot | Way::BootToSuspend => None,
                Way::Resume(_) => Some(Part::Memory.of(boot.role)),
            },
        })
    }
}

/// The machine's shape, where it is one of this computer.
pub fn shape<'a>(boot: &Boot<'a>) -> Result<&'a MachineSpec, BuilderError> {
    match boot.machine {
        PlannedMachine::Qemu(machine) => Ok(machine),
        PlannedMachine::Azure(_) => Err(BuilderError::OtherBuilder),
    }
}

/// Makes the overlay that the machine writes to.
async fn overlay(
    settings: &QemuOptions,
    boot: &Boot<'_>,
    work: &Path,
    interrupt: &Interrupt,
) -> Result<PathBuf, BuilderError> {
    let disk = boot.disk.file()?;
    let machine = shape(boot)?;
    let facts = disk_image::facts(&settings.tools, &disk.path, interrupt).await?;
    let refuse = |why| BuilderError::Image {
        path: disk.path.clone(),
        why,
    };
    if facts.format != disk.format {
        return Err(refuse(format!(
            "its format is {}; expected {}",
            facts.format, disk.format
        )));
    }
    let size_bytes = u64::from(machine.disk_gib) << 30;
    if facts.virtual_size_bytes > size_bytes {
        let least_gib = facts.virtual_size_bytes.div_ceil(1 << 30);
        return Err(refuse(format!(
            "the disk in it is larger than the machine's {} GiB: set disk_gib to at least {least_gib}",
            machine.disk_gib
        )));
    }
    let name = Part::Overlay.of(boot.role);
    let base = fs::canonicalize(&disk.path).map_err(BuilderError::file(&disk.path))?;
    let (format, below) = match boot.layer {
        Some(layer) => ("qcow2", layer.disk.clone()),
        None => (disk.format.as_str(), base),
    };
    Program::new(&settings.tools.qemu_img)
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .arg(below)
        .arg(&name)
        .arg(size_bytes.to_string())
        .in_folder(work)
        .run(interrupt)
        .await?;
    Ok(name)
}

/// A copy of what a suspended machine wrote, for one that goes on there.
fn resumed_overlay(kept: &Snapshot, boot: &Boot<'_>, work: &Path) -> Result<PathBuf, BuilderError> {
    let name = Part::Overlay.of(boot.role);
    fs::copy(&kept.overlay, work.join(&name)).map_err(BuilderError::file(&kept.overlay))?;
    Ok(name)
}

/// What firmware a machine gets: its variables in the file `vars`.
pub fn firmware(
    settings: &QemuOptions,
    firmware: Firmware,
    vars: &Path,
) -> Result<Option<Uefi>, BuilderError> {
    Ok(match firmware {
        Firmware::Bios => None,
        Firmware::Uefi => Some(Uefi {
            code: firmware_pair(settings)?.0.clone(),
            vars: vars.to_owned(),
        }),
    })
}

/// The first pair of UEFI firmware that is there.
fn firmware_pair(settings: &QemuOptions) -> Result<&(PathBuf, PathBuf), BuilderError> {
    let mut pairs = settings.ovmf.iter();
    let there = |(code, vars): &&(PathBuf, PathBuf)| code.is_file() && vars.is_file();
    pairs.find(there).ok_or_else(|| {
        let looked: Vec<String> = settings
            .ovmf
            .iter()
            .map(|(code, _)| code.display().to_string())
            .collect();
        BuilderError::Missing {
            what: format!("UEFI firmware ({})", looked.join(" or ")),
            package: "ovmf",
        }
    })
}

/// Finds UEFI firmware, and gives the machine variables of its own.
fn uefi(settings: &QemuOptions, role: &str, work: &Path) -> Result<Uefi, BuilderError> {
    let (code, vars) = firmware_pair(settings)?;
    let name = Part::FirmwareVariables.of(role);
    let own = work.join(&name);
    let mut source = File::open(vars).map_err(BuilderError::file(vars))?;
    create(&own)
        .and_then(|mut file| std::io::copy(&mut source, &mut file))
        .map_err(BuilderError::file(&own))?;
    Ok(Uefi {
        code: code.clone(),
        vars: name,
    })
}

/// Writes the SMBIOS string with the keys.
fn credential(
    boot: &Boot<'_>,
    accelerator: Accelerator,
    work: &Path,
) -> Result<PathBuf, BuilderError> {
    let name = Part::Credential.of(boot.role);
    let purpose = match boot.role {
        "build" => Purpose::Build {
            emulated: accelerator == Accelerator::Tcg,
        },
        _ => Purpose::Trial,
    };
    let credential = access::credential(boot.keys, purpose);
    write(&work.join(&name), credential.expose().as_bytes())?;
    Ok(name)
}

/// Makes a NoCloud seed: a FAT image with the label that cloud-init looks for.
async fn cloud_seed(
    settings: &QemuOptions,
    boot: &Boot<'_>,
    work: &Path,
    interrupt: &Interrupt,
) -> Result<PathBuf, BuilderError> {
    let name = Part::CloudSeed.of(boot.role);
    let folder = work.join(Part::CloudFolder.of(boot.role));
    fs::create_dir(&folder).map_err(BuilderError::file(&folder))?;
    let instance = format!("{}-{}", super::run_of(work), boot.role);
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
    let tools = &settings.tools;
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

/// Writes a node's identity as a raw disk: the archive, filled up to whole sectors.
fn identity(boot: &Boot<'_>, work: &Path) -> Result<Option<PathBuf>, BuilderError> {
    let Some(archive) = boot.identity else {
        return Ok(None);
    };
    let name = Part::Identity.of(boot.role);
    let mut content = archive.to_vec();
    content.resize(content.len().next_multiple_of(512).max(512), 0);
    write(&work.join(&name), &content)?;
    Ok(Some(name))
}

/// Makes the disk that uploads go by, with nothing on it yet. Machines that are tried get little, and see only what a node
/// would.
fn upload(boot: &Boot<'_>, work: &Path) -> Result<Option<PathBuf>, BuilderError> {
    if boot.role != "build" {
        return Ok(None);
    }
    let name = Part::Upload.of(boot.role);
    let path = work.join(&name);
    create(&path)
        .and_then(|file| file.set_len(UPLOAD_BYTES))
        .map_err(BuilderError::file(&path))?;
    Ok(Some(name))
}

/// A new file that nobody but us can read.
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

/// The last lines of a serial console, without control characters.
pub(super) fn console(serial: &Path) -> Vec<String> {
    let mut end = Vec::new();
    let read = File::open(serial).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(CONSOLE_BYTES)))?;
        file.read_to_end(&mut end)
    });
    if read.is_err() {
        // A machine that never ran has no console.
        return Vec::new();
    }
    let text = plain(&String::from_utf8_lossy(&end));
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines[first..].iter().map(ToString::to_string).collect()
}

/// `text` without terminal control sequences and other control characters but line ends.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next_if_eq(&'[').is_some() {
                    // A sequence ends with its first letter or `@`, `~` and the like.
                    for inner in characters.by_ref() {
                        if ('@'..='~').contains(&inner) {
                            break;
                        }
                    }
                } else {
                    characters.next();
                }
            }
            '\n' => plain.push('\n'),
            '\t' => plain.push(' '),
            character if character.is_control() => {}
            character => plain.push(character),
        }
    }
    plain
}

/// The seed's size: 1 MiB.
const SEED_SECTORS: u64 = 2048;
/// More than any upload; the file has holes, and takes what is written to it.
const UPLOAD_BYTES: u64 = 16 << 30;
/// How much of the console's end is looked at, in bytes.
const CONSOLE_BYTES: u64 = 16 << 10;
