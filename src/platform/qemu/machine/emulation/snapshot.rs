//! Starts an emulated build VM from a VM snapshot, because an emulated boot takes minutes.
//! The first VM boots with temporary keys, is saved without keys, and resumes. Later VMs resume.
//! If a save or a resume fails, the VM boots without a snapshot.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::cache::{Snapshot, SnapshotSlot};
use super::{key_channel, migration};
use crate::builder::access::{self, Purpose};
use crate::builder::{AccessBy, Boot, BuilderError, Kernel, Machine as _, Resumed, start};
use crate::digest::Digest;
use crate::event::Events;
use crate::platform::qemu::cache;
use crate::platform::qemu::machine::arguments::Arguments;
use crate::platform::qemu::machine::run_files::Part;
use crate::platform::qemu::machine::{Launch, QemuMachine, StartMode, files};
use crate::process::ProcessError;
use crate::secret::Scrubber;
use crate::ssh::{Connector, Keys, Session, SshError};
use crate::teardown::{Teardown, run_of};
use crate::wait::{Poll, Wait, WaitError};

/// Starts the VM: from a VM snapshot if possible, otherwise by booting it.
pub(super) async fn start(
    launch: Launch<'_>,
    teardown: &mut Teardown,
) -> Result<QemuMachine, BuilderError> {
    let Some(slot) = snapshot_slot(&launch)? else {
        return launch.start(StartMode::Boot, teardown).await;
    };
    if let Some(snapshot) = slot.find() {
        match resume(&launch, &snapshot, teardown).await {
            Ok(machine) => return Ok(machine),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                launch.interrupt.check()?;
                let note = format!("cannot resume from the VM snapshot, booting instead: {error}");
                launch.events.note(note);
                slot.discard(&snapshot.run)?;
            }
        }
    }
    match boot_and_save(&launch, &slot, teardown).await {
        Err(error) if !is_final(&error) => {
            launch.interrupt.check()?;
            let note = format!("cannot save a VM snapshot, booting again: {error}");
            launch.events.note(note);
            slot.discard(&run_of(launch.work))?;
            launch.start(StartMode::Boot, teardown).await
        }
        started => started,
    }
}

/// Returns whether a boot without a VM snapshot would fail in the same way.
fn is_final(error: &BuilderError) -> bool {
    match error {
        BuilderError::Interrupted(_) | BuilderError::NotUp { .. } => true,
        BuilderError::Process(error) => matches!(error, ProcessError::Start { .. }),
        BuilderError::Died { end, .. } => !end.cause.is_platform(),
        _ => false,
    }
}

/// Returns the cache slot for this VM, or `None` if it must boot.
fn snapshot_slot(launch: &Launch<'_>) -> Result<Option<SnapshotSlot>, BuilderError> {
    let Launch {
        options,
        boot,
        accelerator,
        ..
    } = launch;
    let can_resume = options.use_snapshots
        && accelerator.is_emulation()
        && boot.role == "build"
        && !boot.is_retry
        && boot.disk.access == AccessBy::Credentials
        && boot.identity.is_none();
    let (true, Some(kernel)) = (can_resume, &boot.disk.kernel) else {
        return Ok(None);
    };
    let disk = boot.disk.file()?;
    let below = boot.layer.map_or(&disk.path, |layer| &layer.disk);
    // The path of the cache may contain links.
    let canonical = |path: &Path| fs::canonicalize(path).map_err(BuilderError::file(path));
    let kernel = Kernel {
        image: canonical(&kernel.image)?,
        initrd: canonical(&kernel.initrd)?,
        arguments: kernel.arguments.clone(),
    };
    // Paths differ between runs, so they are empty in the key.
    let empty = Path::new("");
    let uefi = files::firmware(options, boot.disk.firmware, empty)?;
    let spec = files::spec(boot)?;
    let arguments = Arguments {
        marker: "",
        spec: &spec,
        accelerator: *accelerator,
        overlay: empty,
        uefi: uefi.as_ref(),
        kernel: Some(&kernel),
        credential: None,
        cloud_seed: None,
        identity: None,
        upload: Some(empty),
        serial: empty,
        control: empty,
        keys: Some(empty),
        memory: None,
        node: None,
    };
    let layers = boot.layer.map_or(&[][..], |layer| &layer.files);
    let layers: Vec<_> = layers.iter().map(|file| file.sha256).collect();
    let key = Digest::hash_value(&json!({
        "recipe": RECIPE,
        "arguments": arguments.list(),
        // The size of the overlay is in the VM snapshot, but not in the arguments.
        "disk_gib": arguments.spec.disk_gib,
        "kernel": [cache::Stamp::of(&kernel.image)?, cache::Stamp::of(&kernel.initrd)?],
        "base": disk.sha256,
        "layers": layers,
    }));
    Ok(Some(SnapshotSlot::new(options, key, canonical(below)?)))
}

/// Resumes from a VM snapshot.
async fn resume(
    launch: &Launch<'_>,
    snapshot: &Snapshot,
    teardown: &mut Teardown,
) -> Result<QemuMachine, BuilderError> {
    let mut machine = launch.start(StartMode::Resume(snapshot), teardown).await?;
    if machine.query("query-version").await? != snapshot.qemu {
        return Err(machine.control_error("another version of QEMU saved the VM snapshot"));
    }
    let memory_sha256 = migration::load(launch, &mut machine, &snapshot.memory).await?;
    if memory_sha256 != snapshot.memory_sha256 {
        return Err(machine.control_error("the saved memory has changed"));
    }
    migration::until_status(launch, &mut machine, "query-status", "paused").await?;
    machine.resumed = Some(Resumed {
        run: snapshot.run.clone(),
        memory_sha256,
    });
    let run = &snapshot.run;
    launch.events.note(format!(
        "resuming from the VM snapshot of run {run}; `--fresh-boot` boots instead"
    ));
    continue_with_keys(launch, machine).await
}

/// Boots the VM, saves a VM snapshot of it, and lets it continue.
async fn boot_and_save(
    launch: &Launch<'_>,
    slot: &SnapshotSlot,
    teardown: &mut Teardown,
) -> Result<QemuMachine, BuilderError> {
    let Launch {
        boot,
        events,
        interrupt,
        ..
    } = *launch;
    // These keys are removed before the save, so they give no access to a VM that does build work.
    let temporary_keys = Keys::generate();
    let first = Launch {
        boot: Boot {
            keys: &temporary_keys,
            ..boot
        },
        ..*launch
    };
    let mut machine = first.start(StartMode::BootToSave, teardown).await?;
    let mut channel = machine.key_channel(launch.work).await?;
    let session = match connect(launch, &mut machine, &temporary_keys).await {
        Ok(session) => session,
        Err(error) => return Err(start::not_up(boot.role, error, &mut machine).await),
    };
    let prepared = session
        .output(key_channel::standby_script(), interrupt)
        .await;
    prepared.map_err(|error| machine.control_error(error))?;
    // The guest waits for the end of the session.
    drop(session);
    channel.wait_until_ready(events, interrupt).await?;
    machine.control("stop", json!({})).await?;
    let run = run_of(launch.work);
    let (memory, overlay) = slot.new_paths(&run)?;
    let memory_sha256 = migration::save(launch, &mut machine, &memory).await?;
    // At the end of the migration QEMU has flushed and released its disks, so the file is complete.
    let from = machine.disks.overlay().to_owned();
    let to = overlay.clone();
    let copying = cache::blocking(interrupt, move || {
        fs::copy(&from, &to)
            .map(|_bytes| ())
            .map_err(BuilderError::file(&to))
    });
    copying.await?;
    slot.record(&Snapshot {
        memory,
        overlay,
        memory_sha256,
        qemu: machine.query("query-version").await?,
        run,
    })?;
    drop(channel);
    continue_with_keys(launch, machine).await
}

/// Connects to a VM that is booting. Stops waiting when the VM ends.
async fn connect(
    launch: &Launch<'_>,
    machine: &mut QemuMachine,
    keys: &Keys,
) -> Result<Session, SshError> {
    let Launch {
        boot,
        events,
        interrupt,
        ..
    } = *launch;
    let endpoint = machine.endpoint();
    let timeout = Duration::from_secs(boot.machine.boot_timeout_s());
    let connector = Connector::new(&endpoint, keys, Scrubber::default())?;
    let connecting = connector.connect(timeout, async || None, events, interrupt);
    let watching = Wait::new("the end of the VM", timeout + GRACE);
    let silent = Events::silent();
    let ending = watching.until(&silent, interrupt, || {
        let running = || Poll::NotYet("it still runs".to_owned());
        let poll = machine
            .end()
            .map_or_else(running, |end| Poll::<_, SshError>::Ready(end.to_string()));
        std::future::ready(poll)
    });
    tokio::select! {
        session = connecting => session,
        ended = ending => Err(match ended {
            Err(WaitError::Interrupted(error)) => error.into(),
            ended => SshError::Died {
                endpoint: endpoint.to_string(),
                words: ended.unwrap_or_else(|error| error.to_string()),
            },
        }),
    }
}

/// Continues a paused VM and sends it the keys of its run.
async fn continue_with_keys(
    launch: &Launch<'_>,
    mut machine: QemuMachine,
) -> Result<QemuMachine, BuilderError> {
    machine.control("cont", json!({})).await?;
    let mut channel = machine.key_channel(launch.work).await?;
    let keys = access::tmpfiles(
        launch.boot.keys,
        Purpose::Build {
            lines: launch.guest_lines,
        },
    );
    channel
        .send_keys(&keys, launch.events, launch.interrupt)
        .await?;
    Ok(machine)
}

impl QemuMachine {
    async fn key_channel(&self, work: &Path) -> Result<key_channel::KeyChannel, BuilderError> {
        let name = Part::Keys.name(&self.role);
        let channel = key_channel::KeyChannel::connect(work, &name).await;
        channel.map_err(|error| self.control_error(error))
    }
}

/// The version of the save procedure. A change makes all cached VM snapshots unused.
const RECIPE: u32 = 1;
/// The connection attempt must reach its time limit before the watch for the VM's end.
const GRACE: Duration = Duration::from_secs(5);
