//! Saves the changes on the disk of a running VM as a layer in the cache.
//! The VM then writes to a new overlay of that layer. The guest keeps running and does not notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinHandle;

use super::QemuMachine;
use crate::builder::{Boot, BuilderError, DiskFile, LayerOrigin};
use crate::platform::qemu::space::need_space;
use crate::platform::qemu::{QemuOptions, layer_cache};
use crate::process::Program;
use crate::wait::Interrupt;

/// The files of a VM's disk.
pub(in crate::platform::qemu) struct Disks {
    /// The file that the VM writes to.
    overlay: PathBuf,
    /// The files below the overlay, the base first.
    below: Vec<PathBuf>,
    base: DiskFile,
    /// The size of the disk, in bytes.
    size_bytes: u64,
    /// The layer below the overlay; `None` if it is the base.
    top: Option<layer_cache::Name>,
    /// The task that records the last layer.
    recording: Option<JoinHandle<Result<layer_cache::Name, BuilderError>>>,
    /// The number of layers that this VM has saved.
    saved: usize,
    /// A shared lock. No layer is removed from the cache while it is locked.
    in_use: Option<Arc<fs::File>>,
}

impl Disks {
    /// Returns the files of a VM that starts with `overlay`.
    pub fn new(overlay: PathBuf, boot: &Boot<'_>) -> Result<Self, BuilderError> {
        let base = boot.disk.file()?.clone();
        let mut below = vec![base.path.clone()];
        below.extend(boot.layer.map(|layer| layer.disk.clone()));
        let last = boot.layer.and_then(|layer| layer.files.last());
        Ok(Self {
            overlay,
            below,
            base,
            size_bytes: u64::from(super::files::spec(boot)?.disk_gib) << 30,
            top: last.map(|file| (file.made.key, file.sha256)),
            recording: None,
            saved: 0,
            in_use: boot.layer.and_then(|layer| layer.in_use.clone()),
        })
    }

    pub fn overlay(&self) -> &Path {
        &self.overlay
    }

    /// Returns all files above the start layer, that layer and the base.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.below
            .iter()
            .map(PathBuf::as_path)
            .chain([self.overlay()])
    }

    /// Waits until the last layer is recorded.
    pub(crate) async fn finish_layer(&mut self, interrupt: &Interrupt) -> Result<(), BuilderError> {
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
    /// Waits until the last layer is recorded, and ignores an error.
    pub(in crate::platform::qemu) async fn finish_recording(&mut self) {
        if let Some(recording) = self.disks.recording.take() {
            let _ = recording.await;
        }
    }
}

/// Saves the changes on the disk of `machine` as a layer. Hashing and recording continue in a
/// background task.
pub(in crate::platform::qemu) async fn keep_layer(
    options: &QemuOptions,
    machine: &mut QemuMachine,
    made: LayerOrigin,
    interrupt: &Interrupt,
) -> Result<(), BuilderError> {
    let disks = &mut machine.disks;
    disks.finish_layer(interrupt).await?;
    if disks.in_use.is_none() {
        disks.in_use = Some(Arc::new(layer_cache::lock_shared(options)?));
    }
    let folder = layer_cache::folder(options);
    let folder = fs::canonicalize(&folder).map_err(BuilderError::file(&folder))?;
    need_space(&folder, LEAST_MIB)?;
    let number = disks.saved + 1;
    let layer_path = folder.join(format!("{}-{number}.qcow2", made.run));
    let overlay = disks
        .overlay
        .with_file_name(format!("overlay-{}-{number}.qcow2", machine.role));
    // QEMU already has the backing file open under another name, and does not read this path from
    // the header.
    Program::new(&options.tools.qemu_img)
        .args(["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b"])
        .arg(&layer_path)
        .arg(&overlay)
        .arg(disks.size_bytes.to_string())
        .run(interrupt)
        .await?;
    let node = format!("disk-{number}");
    let new_node = json!({
        "driver": "qcow2", "node-name": node, "backing": null, "discard": "unmap", "detect-zeroes": "unmap",
        "cache": {"direct": false, "no-flush": true},
        "file": {
            "driver": "file", "filename": overlay, "discard": "unmap",
            "cache": {"direct": false, "no-flush": true},
        },
    });
    let snapshot = json!({"node": format!("disk-{}", disks.saved), "overlay": node});
    for (command, arguments) in [("blockdev-add", new_node), ("blockdev-snapshot", snapshot)] {
        let reply = machine.qmp.run(command, arguments).await;
        reply.map_err(|error| BuilderError::Control {
            machine: machine.role.clone(),
            why: error.to_string(),
        })?;
    }
    fs::rename(&disks.overlay, &layer_path).map_err(BuilderError::file(&layer_path))?;
    disks.overlay = overlay;
    disks.below.push(layer_path.clone());
    disks.saved = number;
    let layer = layer_cache::Unrecorded {
        made,
        path: layer_path,
        below: disks.top,
        base: disks.base.clone(),
    };
    disks.recording = Some(tokio::task::spawn_blocking(move || {
        layer_cache::record(layer)
    }));
    Ok(())
}

/// The free space for the next overlay, in MiB. No layer is saved with less.
const LEAST_MIB: u64 = 512;
