//! Machines of a base or a layer that start where an earlier one stood still, once it had started.
//!
//! In: what a machine is to start from. Out: one that answers within seconds. The first of its kind starts as computers do, with
//! keys that nobody uses after; it is suspended without them, kept, and goes on as all later ones do. Under emulation alone: there
//! a start takes as long as all steps together. Deliberately only helps: where a kept machine does not resume, one is started.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::arguments::{Accelerator, Arguments};
use super::run_files::Part;
use super::{Launch, QemuMachine, Way, files, key_channel, migration};
use crate::builder::access::{self, Purpose};
use crate::builder::qemu::cache;
use crate::builder::qemu::snapshot_cache::{Snapshot, SnapshotSlot};
use crate::builder::{AccessBy, Boot, BuilderError, Kernel, Machine as _, Resumed, start};
use crate::digest::Digest;
use crate::event::Events;
use crate::process::ProcessError;
use crate::secret::Scrubber;
use crate::ssh::{Connector, Keys, Session, SshError};
use crate::teardown::Teardown;
use crate::wait::{Poll, Wait, WaitError};

/// Starts the machine: by one that was kept, or as computers do. Where `place` is none that is all there is.
pub(super) async fn start(
    launch: Launch<'_>,
    teardown: &mut Teardown,
) -> Result<QemuMachine, BuilderError> {
    let Some(place) = snapshot_slot(&launch)? else {
        return launch.start(Way::Boot, teardown).await;
    };
    if let Some(kept) = place.find() {
        match resume(&launch, &kept, teardown).await {
            Ok(machine) => return Ok(machine),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                launch.interrupt.check()?;
                let note =
                    format!("the suspended machine does not resume, so one is booted: {error}");
                launch.events.note(note);
                place.forget(&kept.run)?;
            }
        }
    }
    match boot_and_save(&launch, &place, teardown).await {
        Err(error) if !is_final(&error) => {
            launch.interrupt.check()?;
            let note = format!("the machine could not be suspended, so it boots again: {error}");
            launch.events.note(note);
            place.forget(&super::run_of(launch.work))?;
            launch.start(Way::Boot, teardown).await
        }
        started => started,
    }
}

/// Whether it would be the same without anything suspended.
fn is_final(error: &BuilderError) -> bool {
    match error {
        BuilderError::Interrupted(_) | BuilderError::NotUp { .. } => true,
        BuilderError::Process(error) => matches!(error, ProcessError::Start { .. }),
        BuilderError::Died { end, .. } => !end.by.is_platform(),
        _ => false,
    }
}

/// Where the machine would be kept; nothing where it has to start as computers do.
fn snapshot_slot(launch: &Launch<'_>) -> Result<Option<SnapshotSlot>, BuilderError> {
    let Launch {
        settings,
        boot,
        accelerator,
        ..
    } = launch;
    let fits = settings.suspend
        && *accelerator == Accelerator::Tcg
        && boot.role == "build"
        && !boot.again
        && boot.disk.access == AccessBy::Credentials
        && boot.identity.is_none();
    let (true, Some(kernel)) = (fits, &boot.disk.kernel) else {
        return Ok(None);
    };
    let disk = boot.disk.file()?;
    let below = boot.layer.map_or(&disk.path, |layer| &layer.disk);
    // A cache may be reached by several paths.
    let real = |path: &Path| fs::canonicalize(path).map_err(BuilderError::file(path));
    let kernel = Kernel {
        image: real(&kernel.image)?,
        initrd: real(&kernel.initrd)?,
        arguments: kernel.arguments.clone(),
    };
    let nothing = Path::new("");
    let uefi = files::firmware(settings, boot.disk.firmware, nothing)?;
    let arguments = Arguments {
        marker: "",
        spec: files::shape(boot)?,
        accelerator: *accelerator,
        overlay: nothing,
        uefi: uefi.as_ref(),
        kernel: Some(&kernel),
        credential: None,
        cloud_seed: None,
        identity: None,
        upload: Some(nothing),
        serial: nothing,
        control: nothing,
        keys: Some(nothing),
        memory: None,
    };
    let layers = boot.layer.map_or(&[][..], |layer| &layer.files);
    let layers: Vec<_> = layers.iter().map(|file| file.sha256).collect();
    let key = Digest::of_value(&json!({
        "recipe": RECIPE,
        "arguments": arguments.list(),
        // The overlay of a resumed machine keeps its size, which is in no argument.
        "disk_gib": arguments.spec.disk_gib,
        "kernel": [cache::Stamp::of(&kernel.image)?, cache::Stamp::of(&kernel.initrd)?],
        "base": disk.sha256,
        "layers": layers,
    }));
    Ok(Some(SnapshotSlot::new(settings, key, real(below)?)))
}

/// Goes on where `kept` stands still.
async fn resume(
    launch: &Launch<'_>,
    kept: &Snapshot,
    teardown: &mut Teardown,
) -> Result<QemuMachine, BuilderError> {
    let mut machine = launch.start(Way::Resume(kept), teardown).await?;
    if machine.query("query-version").await? != kept.qemu {
        return Err(machine.refusal("another QEMU suspended it"));
    }
    let memory_sha256 = migration::load(launch, &mut machine, &kept.memory).await?;
    if memory_sha256 != kept.memory_sha256 {
        return Err(machine.refusal("its memory is not what it was"));
    }
    migration::until_status(launch, &mut machine, "query-status", "paused").await?;
    machine.resumed = Some(Resumed {
        run: kept.run.clone(),
        memory_sha256,
    });
    let run = &kept.run;
    launch.events.note(format!(
        "the machine goes on where run {run} suspended one; `--fresh-boot` boots it"
    ));
    hand_over(launch, machine).await
}

/// Starts as computers do, and leaves behind what the next one resumes from.
async fn boot_and_save(
    launch: &Launch<'_>,
    place: &SnapshotSlot,
    teardown: &mut Teardown,
) -> Result<QemuMachine, BuilderError> {
    let Launch {
        boot,
        events,
        interrupt,
        ..
    } = *launch;
    // They let nobody into any machine that this run, or another one, does something in.
    let passing = Keys::generate();
    let first = Launch {
        boot: Boot {
            keys: &passing,
            ..boot
        },
        ..*launch
    };
    let mut machine = first.start(Way::BootToSuspend, teardown).await?;
    let mut port = machine.port(launch.work).await?;
    let session = match logged_in(launch, &mut machine, &passing).await {
        Ok(session) => session,
        Err(error) => return Err(start::not_up(boot.role, error, &mut machine).await),
    };
    let asked = session
        .output(key_channel::standby_script(), interrupt)
        .await;
    asked.map_err(|error| machine.refusal(error))?;
    // The machine waits for the session's end.
    drop(session);
    port.wait_until_ready(events, interrupt).await?;
    machine.control("stop", json!({})).await?;
    let run = super::run_of(launch.work);
    let (memory, overlay) = place.fresh(&run)?;
    let memory_sha256 = migration::save(launch, &mut machine, &memory).await?;
    // QEMU let go of its disks in the end, so what they hold is in the file.
    let from = machine.disks.overlay().to_owned();
    let to = overlay.clone();
    let copying = cache::blocking(interrupt, move || {
        fs::copy(&from, &to)
            .map(|_bytes| ())
            .map_err(BuilderError::file(&to))
    });
    copying.await?;
    place.keep(&Snapshot {
        memory,
        overlay,
        memory_sha256,
        qemu: machine.query("query-version").await?,
        run,
    })?;
    drop(port);
    hand_over(launch, machine).await
}

/// A session with a machine that boots.
async fn logged_in(
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
    let watching = Wait::new("the machine to die", timeout + GRACE);
    let unsaid = Events::silent();
    let dying = watching.until(&unsaid, interrupt, || {
        let alive = || Poll::NotYet("it lives".to_owned());
        let seen = machine
            .died()
            .map_or_else(alive, |end| Poll::<_, SshError>::Ready(end.to_string()));
        std::future::ready(seen)
    });
    tokio::select! {
        session = connecting => session,
        died = dying => Err(match died {
            Err(WaitError::Interrupted(error)) => error.into(),
            died => SshError::Died {
                endpoint: endpoint.to_string(),
                words: died.unwrap_or_else(|error| error.to_string()),
            },
        }),
    }
}

/// Lets a machine go on that stands by, with the keys of its run.
async fn hand_over(
    launch: &Launch<'_>,
    mut machine: QemuMachine,
) -> Result<QemuMachine, BuilderError> {
    machine.control("cont", json!({})).await?;
    let mut port = machine.port(launch.work).await?;
    let keys = access::tmpfiles(launch.boot.keys, Purpose::Build { emulated: true });
    port.send_keys(&keys, launch.events, launch.interrupt)
        .await?;
    Ok(machine)
}

impl QemuMachine {
    /// Runs a command of the control connection.
    pub(super) async fn control(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> Result<Value, BuilderError> {
        let done = self.qmp.run(command, arguments).await;
        done.map_err(|error| self.refusal(error))
    }

    pub(super) async fn query(&mut self, command: &str) -> Result<Value, BuilderError> {
        self.control(command, json!({})).await
    }

    /// The port that it takes keys by.
    async fn port(&self, work: &Path) -> Result<key_channel::KeyChannel, BuilderError> {
        let port = key_channel::KeyChannel::connect(work, &Part::Keys.of(&self.role)).await;
        port.map_err(|error| self.refusal(error))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "errors and words are handed over where they arise"
    )]
    pub(in crate::builder::qemu) fn refusal(&self, why: impl ToString) -> BuilderError {
        BuilderError::Control {
            machine: self.role.clone(),
            why: why.to_string(),
        }
    }
}

/// Of what a machine that is kept went through; another number makes all that are kept useless.
const RECIPE: u32 = 1;
/// Whoever connects is late before whoever watches.
const GRACE: Duration = Duration::from_secs(5);
