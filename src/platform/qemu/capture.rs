//! Captures the disk of a VM.
//! Shuts a VM down; returns one compressed qcow2 file, and a raw copy for the leak scan.
//! Fails if the guest did not shut down cleanly.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::try_join;

use crate::builder::{Artifact, BuilderError, Captured, CapturedFile, Machine as _};
use crate::digest::Digest;
use crate::event::Events;
use crate::platform::qemu::definition::Compression;
use crate::platform::qemu::space::need_space;
use crate::platform::qemu::{QemuMachine, QemuOptions, cache, disk_image, layer_cache};
use crate::process::Program;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// Shuts `machine` down and writes its disk to `to`. The file must not exist.
pub(super) async fn capture(
    options: &QemuOptions,
    mut machine: QemuMachine,
    to: PathBuf,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Captured, BuilderError> {
    if to.exists() {
        return Err(BuilderError::Image {
            path: to,
            why: "the file exists; an artifact never replaces a file".into(),
        });
    }
    let folder = to.parent().unwrap_or(Path::new("."));
    need_space(folder, needed_mib(options.compression, &machine)?)?;
    shut_down(options, &mut machine, events, interrupt).await?;
    machine.disks.finish_layer(interrupt).await?;
    convert(options, machine.disks.overlay(), &to, interrupt).await?;
    // Dropping the VM releases its lock on the layer cache.
    drop(machine);
    layer_cache::prune(options, None)?;
    let facts = disk_image::facts(&options.tools, &to, interrupt).await?;
    let raw = folder.join("captured.raw");
    let ((), (sha256, size_bytes), ()) = try_join!(
        check(options, &to, interrupt),
        hash(&to, interrupt),
        unpack(options, &to, &raw, interrupt)
    )?;
    Ok(Captured {
        raw: Some(raw),
        artifact: Artifact::File(CapturedFile {
            path: to,
            format: facts.format,
            sha256,
            size_bytes,
            virtual_size_bytes: facts.virtual_size_bytes,
        }),
    })
}

/// Presses the power button and waits until the guest has shut down. A guest that has already shut
/// down is accepted.
async fn shut_down(
    options: &QemuOptions,
    machine: &mut QemuMachine,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    let role = machine.role().to_owned();
    if machine.clean_shutdown().is_none()
        && let Err(error) = machine.qmp.run("system_powerdown", json!({})).await
        && machine.clean_shutdown().is_none()
    {
        return Err(BuilderError::Control {
            machine: role,
            why: error.to_string(),
        });
    }
    let waited = Wait::new(
        format!("the {role} VM to shut down"),
        options.shutdown_timeout,
    )
    .until(events, interrupt, || {
        let is_clean = machine.clean_shutdown();
        async move {
            match is_clean {
                Some(true) => Poll::Ready(()),
                Some(false) => Poll::Never(()),
                None => Poll::NotYet("it still runs".into()),
            }
        }
    })
    .await;
    match waited {
        Ok(()) => Ok(()),
        Err(WaitError::Interrupted(error)) => Err(error.into()),
        Err(WaitError::Never(())) => Err(match machine.end() {
            Some(end) => BuilderError::Died {
                machine: role,
                end: Box::new(end),
            },
            None => machine.control_error("QEMU ended without a clean shutdown of the guest"),
        }),
        Err(WaitError::Deadline { waited_s, .. }) => Err(BuilderError::StillRunning {
            machine: role,
            why: format!("it still runs {waited_s} s after its power button was pressed"),
            console: machine.console().await,
        }),
    }
}

/// Verifies the structure of the qcow2 file.
async fn check(
    options: &QemuOptions,
    file: &Path,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    Program::new(&options.tools.qemu_img)
        .args(["check", "-q", "-f", "qcow2"])
        .arg(file)
        .run(interrupt)
        .await?;
    Ok(())
}

/// Flushes the file to the disk of this host, then returns its digest and its size in bytes.
async fn hash(file: &Path, interrupt: &Interrupt) -> Result<(Digest, u64), BuilderError> {
    let path = file.to_owned();
    cache::blocking(interrupt, move || {
        fs::File::open(&path)
            .and_then(|file| {
                file.sync_all()?;
                Digest::hash_reader(file)
            })
            .map_err(BuilderError::file(&path))
    })
    .await
}

async fn convert(
    options: &QemuOptions,
    overlay: &Path,
    to: &Path,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    let compression: &[&str] = match options.compression {
        Compression::Zstd => &["-c", "-o", "compression_type=zstd"],
        Compression::Zlib => &["-c", "-o", "compression_type=zlib"],
        Compression::None => &[],
    };
    Program::new(&options.tools.qemu_img)
        .args(["convert", "-f", "qcow2", "-O", "qcow2", "-W", "-m", "16"])
        .args(compression)
        .arg(overlay)
        .arg(to)
        .run(interrupt)
        .await?;
    Ok(())
}

/// Converts a captured file to a sparse raw disk at `to`.
async fn unpack(
    options: &QemuOptions,
    file: &Path,
    to: &Path,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    Program::new(&options.tools.qemu_img)
        .args(["convert", "-f", "qcow2", "-O", "raw", "-W", "-m", "16"])
        .arg(file)
        .arg(to)
        .run(interrupt)
        .await?;
    Ok(())
}

/// Estimates the size of the artifact, in MiB. Disks of installed systems compress to a third or
/// less.
fn needed_mib(compression: Compression, machine: &QemuMachine) -> Result<u64, BuilderError> {
    let mut bytes = 0;
    for path in machine.disks.files() {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path).map_err(BuilderError::file(path))?;
        bytes += metadata.blocks() * 512;
    }
    let mib = bytes >> 20;
    Ok(match compression {
        Compression::Zstd | Compression::Zlib => mib / 3,
        Compression::None => mib,
    })
}
