//! The files that a machine's disk consists of, and how more come to be while it runs.
//!
//! In: a running machine. Out: all that was written to its disk so far as a layer in the cache; the machine goes on
//! writing to a new overlay of it. Deliberately keeps the guest out of it: it neither stops nor notices.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinHandle;

use super::QemuMachine;
use crate::builder::qemu::{QemuOptions, capture, layer_cache};
use crate::builder::{Boot, BuilderError, DiskFile, Made};
use crate::process::Program;
use crate::wait::Interrupt;

/// What a machine's disk consists of.
pub(in crate::builder::qemu) struct Disks {
    /// What it writes to.
    overlay: PathBuf,
    /// What that builds on, the base first.
    below: Vec<PathBuf>,
    base: DiskFile,
    /// Of the disk, in bytes.
    size_bytes: u64,
    /// The layer that the overlay builds on, where it is one.
    top: Option<layer_cache::Name>,
    /// The last layer, while it is being recorded.
    recording: Option<JoinHandle<Result<layer_cache::Name, BuilderError>>>,
    /// How many layers this machine left.
    kept: usize,
    /// While the machine is there no layer is removed.
    in_use: Option<Arc<fs::File>>,
}

impl Disks {
    /// Of a machine that starts with `overlay`.
    pub fn new(overlay: PathBuf, boot: &Boot<'_>) -> Result<Self, BuilderError> {
        let base = boot.disk.file()?.clone();
        let mut below = vec![base.path.clone()];
        below.extend(boot.layer.map(|layer| layer.disk.clone()));
        let last = boot.layer.and_then(|layer| layer.files.last());
        Ok(Self {
            overlay,
            below,
            base,
            size_bytes: u64::from(super::files::shape(boot)?.disk_gib) << 30,
            top: last.map(|file| (file.made.key, file.sha256)),
            recording: None,
            kept: 0,
            in_use: boot.layer.and_then(|layer| layer.in_use.clone()),
        })
    }

    /// What the machine writes to.
    pub fn overlay(&self) -> &Path {
        &self.overlay
    }

    /// All files, as far as they are known by name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.below
            .iter()
            .map(PathBuf::as_path)
            .chain([self.overlay()])
    }

    /// Waits until the last layer is recorded.
    pub async fn finish_layer(&mut self, interrupt: &Interrupt) -> Result<(), BuilderError> {
        if let Some(recording) = self.recording.take() {
            self.top = Some(match interrupt.or(recording).await? {
                Ok(recorded) => recorded?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            });
        }
        Ok(())
    }
}

impl QemuMachine {
    /// Waits until the last layer is recorded, or could not be.
    pub(in crate::builder::qemu) async fn finish_recording(&mut self) {
        if let Some(recording) = self.disks.recording.take() {
            let _ = recording.await;
        }
    }
}

/// Makes a layer of what `machine` wrote so far. Reading it through and recording it goes on beside the machine.
pub(in crate::builder::qemu) async fn keep_layer(
    settings: &QemuOptions,
    machine: &mut QemuMachine,
    made: Made,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    let disks = &mut machine.disks;
    disks.finish_layer(interrupt).await?;
    if disks.in_use.is_none() {
        disks.in_use = Some(Arc::new(layer_cache::hold(settings)?));
    }
    let folder = layer_cache::folder(settings);
    let folder = fs::canonicalize(&folder).map_err(BuilderError::file(&folder))?;
    capture::need_space(&folder, LEAST_MIB)?;
    let number = disks.kept + 1;
    let kept = folder.join(format!("{}-{number}.qcow2", made.run));
    let overlay = disks
        .overlay
        .with_file_name(format!("overlay-{}-{number}.qcow2", machine.role));
    // QEMU has the file below open already, by another name, and reads nothing of what its header says here.
    Program::new(&settings.tools.qemu_img)
        .args(["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b"])
        .arg(&kept)
        .arg(&overlay)
        .arg(disks.size_bytes.to_string())
        .run(interrupt)
        .await?;
    let node = format!("disk-{number}");
    let added = json!({
        "driver": "qcow2", "node-name": node, "backing": null, "discard": "unmap", "detect-zeroes": "unmap",
        "cache": {"direct": false, "no-flush": true},
        "file": {
            "driver": "file", "filename": overlay, "discard": "unmap",
            "cache": {"direct": false, "no-flush": true},
        },
    });
    let snapshot = json!({"node": format!("disk-{}", disks.kept), "overlay": node});
    for (command, arguments) in [("blockdev-add", added), ("blockdev-snapshot", snapshot)] {
        let done = machine.qmp.run(command, arguments).await;
        done.map_err(|error| BuilderError::Control {
            machine: machine.role.clone(),
            why: error.to_string(),
        })?;
    }
    fs::rename(&disks.overlay, &kept).map_err(BuilderError::file(&kept))?;
    disks.overlay = overlay;
    disks.below.push(kept.clone());
    disks.kept = number;
    let layer = layer_cache::Unrecorded {
        made,
        path: kept,
        below: disks.top,
        base: disks.base.clone(),
    };
    disks.recording = Some(tokio::task::spawn_blocking(move || {
        layer_cache::record(layer)
    }));
    Ok(())
}

/// A layer is not begun with less room than this for what comes after it, in MiB.
const LEAST_MIB: u64 = 512;
