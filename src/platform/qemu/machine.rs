//! Runs VMs, each as one QEMU process with its files in the run's work folder.
//! Takes a disk, keys and a VM size; returns a [`QemuMachine`] that knows the cause of its end.
//! Waiting for the guest is left to the caller.

pub mod accelerator;
pub mod arguments;
mod console;
pub mod emulation;
mod files;
mod layers;
mod run_files;
mod upload_disk;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::builder::{Boot, BuilderError, EndCause, Machine, MachineEnd, Resumed};
use crate::event::Events;
use crate::platform::qemu::QemuOptions;
use crate::platform::qemu::qmp::{Qmp, QmpEvents};
use crate::process::{Program, Running, last_lines};
use crate::ssh::Endpoint;
use crate::teardown::{Teardown, Undo, run_of};
use crate::wait::{Interrupt, Poll, Wait, WaitError};

use accelerator::Accelerator;
use arguments::Arguments;
use console::Console;
use emulation::Snapshot;
use run_files::Part;

pub(super) use layers::keep_layer;

/// A VM in a QEMU process. Dropping it kills the process.
pub struct QemuMachine {
    role: String,
    process: Running,
    /// The time at which the end of the process was first observed.
    end_observed: Option<Instant>,
    pub(super) qmp: Qmp,
    events: QmpEvents,
    console: Console,
    pub(super) disks: layers::Disks,
    upload: Option<upload_disk::UploadDisk>,
    resumed: Option<Resumed>,
    address: SocketAddr,
}

impl QemuMachine {
    pub(super) fn role(&self) -> &str {
        &self.role
    }

    /// Returns whether the guest shut down cleanly, or `None` while the VM runs.
    pub(super) fn clean_shutdown(&mut self) -> Option<bool> {
        let status = self.exit_status()?;
        Some(status.success() && self.events.guest_end() == Some(EndCause::GuestShutdown))
    }

    /// Returns the exit status of the process after its remaining output was read, or `None`
    /// before.
    fn exit_status(&mut self) -> Option<ExitStatus> {
        let status = self.process.exit_status()?;
        let observed = self.end_observed.get_or_insert_with(Instant::now);
        let is_complete = self.qmp.is_read_to_end() && self.process.is_stderr_closed();
        // A child of the process may keep its streams open.
        (is_complete || observed.elapsed() >= OUTPUT_DEADLINE).then_some(status)
    }

    /// Runs a command on the control connection.
    async fn control(&mut self, command: &str, arguments: Value) -> Result<Value, BuilderError> {
        let reply = self.qmp.run(command, arguments).await;
        reply.map_err(|error| self.control_error(error))
    }

    async fn query(&mut self, command: &str) -> Result<Value, BuilderError> {
        self.control(command, json!({})).await
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers pass errors and literals"
    )]
    pub(super) fn control_error(&self, why: impl ToString) -> BuilderError {
        BuilderError::Control {
            machine: self.role.clone(),
            why: why.to_string(),
        }
    }
}

impl Machine for QemuMachine {
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address,
            user: "root".into(),
        }
    }

    async fn attach_uploads(
        &self,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<bool, BuilderError> {
        let Some(disk) = &self.upload else {
            return Ok(false);
        };
        disk.fill(folder, interrupt).await?;
        Ok(true)
    }

    fn resumed(&self) -> Option<&Resumed> {
        self.resumed.as_ref()
    }

    fn end(&mut self) -> Option<MachineEnd> {
        let kernel_end = self.console.kernel_end();
        if kernel_end.is_some() {
            // QEMU may run on, with a guest that does nothing any more.
            self.process.signal_kill();
        }
        let status = self.exit_status()?;
        let by = match (kernel_end, self.events.guest_end()) {
            (Some(EndCause::Emulation), _) => EndCause::Emulation,
            (seen, told) => told.or(seen).unwrap_or(emulator_end(status)),
        };
        let events = self.events.texts();
        Some(describe_end(
            by,
            status,
            &events,
            &self.process,
            &self.console,
        ))
    }

    async fn console(&self) -> Vec<String> {
        self.console.last_lines()
    }

    fn detach(self) {
        self.process.detach();
    }
}

/// Returns whether VMs run under KVM on this host.
pub(super) fn kvm_works() -> bool {
    choose_accelerator() == Accelerator::Kvm
}

/// Returns KVM if it works on this host, or else emulation.
pub(crate) fn choose_accelerator() -> Accelerator {
    accelerator::choose(Path::new("/dev/kvm"), Path::new("/proc/cpuinfo"))
}

/// Returns the cause that follows from QEMU's exit status.
fn emulator_end(status: ExitStatus) -> EndCause {
    match (status.signal(), status.code()) {
        (Some(signal), _) => EndCause::Signal(signal),
        (None, code) => EndCause::Exit(code.unwrap_or_default()),
    }
}

/// Describes the end of a VM, with the last lines of QEMU and of the serial console.
fn describe_end(
    by: EndCause,
    status: ExitStatus,
    events: &[String],
    process: &Running,
    console: &Console,
) -> MachineEnd {
    let mut words = format!("QEMU ended ({status})");
    for event in events {
        words.push_str("; ");
        words.push_str(event);
    }
    words.push_str(&last_lines(&process.last_lines()));
    let console = console.last_lines();
    if console.is_empty() {
        words.push_str("\nthe serial console is empty");
    } else {
        words.push_str("\nlast lines of the serial console:");
        words.push_str(&last_lines(&console));
    }
    MachineEnd {
        cause: by,
        details: words,
    }
}

/// Starts a VM. Returns when QEMU runs it or, if it resumed from a VM snapshot, when it answers.
pub(super) async fn start(
    options: &QemuOptions,
    boot: &Boot<'_>,
    teardown: &mut Teardown,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<QemuMachine, BuilderError> {
    check_role(boot.role)?;
    let work = fs::canonicalize(teardown.work()).map_err(BuilderError::file(teardown.work()))?;
    let launch = Launch {
        options,
        boot: *boot,
        accelerator: choose_accelerator(),
        guest_lines: "",
        work: &work,
        events,
        interrupt,
    };
    match launch.accelerator {
        Accelerator::Kvm => launch.start(StartMode::Boot, teardown).await,
        Accelerator::Tcg | Accelerator::TcgOneThread => emulation::start(launch, teardown).await,
    }
}

/// The way to start a VM.
#[derive(Clone, Copy)]
enum StartMode<'a> {
    Boot,
    /// Boots with a key channel, which delivers keys after the VM snapshot was saved.
    BootToSave,
    Resume(&'a Snapshot),
}

/// The parameters that all attempts to start a VM share.
#[derive(Clone, Copy)]
struct Launch<'a> {
    options: &'a QemuOptions,
    boot: Boot<'a>,
    accelerator: Accelerator,
    /// Further lines for systemd-tmpfiles in a build VM.
    guest_lines: &'static str,
    work: &'a Path,
    events: &'a Events,
    interrupt: &'a Interrupt,
}

impl Launch<'_> {
    /// Starts QEMU. Returns when the control connection works.
    async fn start(
        &self,
        mode: StartMode<'_>,
        teardown: &mut Teardown,
    ) -> Result<QemuMachine, BuilderError> {
        let Self {
            options,
            boot,
            accelerator,
            work,
            ..
        } = *self;
        let role = boot.role;
        let files = files::Files::make(self, mode).await?;
        let marker = format!("guest=vault-bake-{}-{role}", run_of(work));
        let control = Part::Control.name(role);
        let serial = Part::Serial.name(role);
        let spec = files::spec(&boot)?;
        let arguments = Arguments {
            marker: &marker,
            spec: &spec,
            accelerator,
            overlay: &files.overlay,
            uefi: files.uefi.as_ref(),
            kernel: boot.disk.kernel.as_ref(),
            credential: files.credential.as_deref(),
            cloud_seed: files.cloud_seed.as_deref(),
            identity: files.identity.as_deref(),
            upload: files.upload.as_deref(),
            serial: &serial,
            control: &control,
            keys: files.keys.as_deref(),
            memory: files.memory.as_deref(),
            node: None,
        }
        .list();
        teardown.register(Undo::Process { marker })?;
        let mut process = Program::new(&options.tools.qemu_system)
            .args(arguments)
            .in_folder(work)
            .start()?;
        let console = Console::new(work.join(serial), accelerator);
        let connecting = connect_control(self, &mut process, &console);
        let (qmp, port) = connecting.await?;
        if let Some(credential) = &files.credential {
            // It contains a private key, and QEMU has already read it.
            let path = work.join(credential);
            fs::remove_file(&path).map_err(BuilderError::file(&path))?;
        }
        Ok(QemuMachine {
            role: role.to_owned(),
            process,
            end_observed: None,
            events: qmp.events(),
            qmp,
            console,
            disks: layers::Disks::new(work.join(&files.overlay), &boot)?,
            upload: files
                .upload
                .map(|name| upload_disk::UploadDisk::new(work.join(name), &options.tools)),
            resumed: None,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        })
    }
}

/// Checks that a role can be part of file names and arguments.
fn check_role(role: &str) -> Result<(), BuilderError> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !role.is_empty() && role.bytes().all(valid) {
        return Ok(());
    }
    Err(BuilderError::Control {
        machine: role.to_owned(),
        why: "expected a role of lower-case letters, digits and `-`".into(),
    })
}

/// Connects to a QEMU that was just started. Also returns its forwarded SSH port. Fails immediately
/// if QEMU ends.
async fn connect_control(
    launch: &Launch<'_>,
    process: &mut Running,
    console: &Console,
) -> Result<(Qmp, u16), BuilderError> {
    let Launch {
        boot: Boot { role, .. },
        work,
        events,
        interrupt,
        ..
    } = *launch;
    let died = |end: MachineEnd| BuilderError::Died {
        machine: role.to_owned(),
        end: Box::new(end),
    };
    let name = Part::Control.name(role);
    let mut ended = None;
    let connected = Wait::new(format!("QEMU of the {role} VM"), CONTROL_DEADLINE)
        .until(events, interrupt, || {
            ended = process.exit_status();
            let (ended, name) = (ended, &name);
            async move {
                if ended.is_some() {
                    return Poll::Never(());
                }
                match Qmp::open(work, name).await {
                    Ok(opened) => Poll::Ready(opened),
                    Err(error) => Poll::NotYet(error.to_string()),
                }
            }
        })
        .await;
    match (connected, ended) {
        (Ok(opened), _) => Ok(opened),
        (Err(WaitError::Interrupted(error)), _) => Err(error.into()),
        (Err(WaitError::Deadline { waited_s, last, .. }), None) => Err(died(MachineEnd {
            cause: EndCause::NeverStarted,
            details: format!(
                "QEMU did not open its control connection within {waited_s} s: {last}"
            ) + &last_lines(&process.last_lines()),
        })),
        (Err(_), ended) => {
            let status = match ended {
                Some(status) => status,
                None => process.wait().await?,
            };
            process.drain_stderr(OUTPUT_DEADLINE).await;
            let by = emulator_end(status);
            Err(died(describe_end(by, status, &[], process, console)))
        }
    }
}

/// QEMU opens its control connection before the guest runs its first instruction.
const CONTROL_DEADLINE: Duration = Duration::from_secs(30);
/// The time for reading the remaining output of a process after its end.
const OUTPUT_DEADLINE: Duration = Duration::from_secs(1);
