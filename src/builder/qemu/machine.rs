//! Running machines: one QEMU process each, watched until its end.
//!
//! In: a disk, keys, a shape. Out: a [`QemuMachine`] that says where it answers, and why it died where it has. All
//! files of it are in the run's work folder. Deliberately does not wait for the guest: whoever connects does.

pub mod accelerator;
pub mod arguments;
mod files;
mod key_channel;
mod layers;
mod migration;
mod run_files;
mod upload_disk;
mod snapshot;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::builder::qemu::QemuOptions;
use crate::builder::qemu::qmp::{Qmp, QmpEvents};
use crate::builder::qemu::snapshot_cache::Snapshot;
use crate::builder::{Boot, BuilderError, EndedBy, Machine, MachineEnd, Resumed};
use crate::event::Events;
use crate::process::{Program, Running, last_lines};
use crate::ssh::Endpoint;
use crate::teardown::{Teardown, Undo};
use crate::wait::{Interrupt, Poll, Wait, WaitError};

use arguments::{Accelerator, Arguments};
use run_files::Part;

pub(super) use layers::keep_layer;

/// A machine in a QEMU process. Dropping it kills the process.
pub struct QemuMachine {
    role: String,
    process: Running,
    /// Since when it is known that the process ended.
    ended_since: Option<Instant>,
    pub(super) qmp: Qmp,
    heard: QmpEvents,
    serial: PathBuf,
    pub(super) disks: layers::Disks,
    upload: Option<upload_disk::UploadDisk>,
    resumed: Option<Resumed>,
    address: SocketAddr,
}

impl QemuMachine {
    /// `build` or `test`.
    pub(super) fn role(&self) -> &str {
        &self.role
    }

    /// Whether it ended by switching itself off; nothing while it runs.
    pub(super) fn ended_well(&mut self) -> Option<bool> {
        let status = self.ended()?;
        Some(status.success() && self.heard.guest_end() == Some(EndedBy::GuestShutdown))
    }

    /// How the process ended, once it has and all that it said before is known.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.ended()?;
        let since = self.ended_since.get_or_insert_with(Instant::now);
        let is_all = self.qmp.has_read_all() && self.process.has_said_all();
        // A child of it may keep its streams open.
        (is_all || since.elapsed() >= LAST_WORDS).then_some(status)
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

    fn died(&mut self) -> Option<MachineEnd> {
        let status = self.ended()?;
        let by = self.heard.guest_end().unwrap_or(emulator_end(status));
        let heard = self.heard.words();
        Some(end(by, status, &heard, &self.process, &self.serial))
    }

    async fn console(&self) -> Vec<String> {
        files::console(&self.serial)
    }

    fn detach(self) {
        self.process.leave();
    }
}

/// Whether machines run under KVM on this computer.
pub(super) fn kvm_works() -> bool {
    accelerator_here() == arguments::Accelerator::Kvm
}

fn accelerator_here() -> arguments::Accelerator {
    accelerator::choose(Path::new("/dev/kvm"), Path::new("/proc/cpuinfo"))
}

/// What the end of QEMU itself says.
fn emulator_end(status: ExitStatus) -> EndedBy {
    match (status.signal(), status.code()) {
        (Some(signal), _) => EndedBy::Signal(signal),
        (None, code) => EndedBy::Exit(code.unwrap_or_default()),
    }
}

/// How a machine ended, with the last lines of QEMU and of the serial console.
fn end(
    by: EndedBy,
    status: ExitStatus,
    heard: &[String],
    process: &Running,
    serial: &Path,
) -> MachineEnd {
    let mut words = format!("QEMU ended ({status})");
    for event in heard {
        words.push_str("; ");
        words.push_str(event);
    }
    words.push_str(&last_lines(&process.last_lines()));
    let console = files::console(serial);
    if console.is_empty() {
        words.push_str("\nthe serial console stayed empty");
    } else {
        words.push_str("\nlast on the serial console:");
        words.push_str(&last_lines(&console));
    }
    MachineEnd { by, words }
}

/// The id of the run that `work` is the work folder of.
pub(super) fn run_of(work: &Path) -> String {
    work.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Starts a machine and returns once QEMU runs it, and where it was resumed once it answers.
pub(super) async fn start(
    settings: &QemuOptions,
    boot: &Boot<'_>,
    teardown: &mut Teardown,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<QemuMachine, BuilderError> {
    check_role(boot.role)?;
    let work = fs::canonicalize(teardown.work()).map_err(BuilderError::file(teardown.work()))?;
    let accelerator = accelerator_here();
    if accelerator == Accelerator::Tcg {
        events
            .note("KVM does not work here: the machine is emulated, which is several times slower");
    }
    let launch = Launch {
        settings,
        boot: *boot,
        accelerator,
        work: &work,
        events,
        interrupt,
    };
    snapshot::start(launch, teardown).await
}

/// How a machine comes to run.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// As computers do.
    Boot,
    /// The same, with a port for keys that come later.
    BootToSuspend,
    /// From where another one stood still.
    Resume(&'a Snapshot),
}

/// What every try to start a machine shares.
#[derive(Clone, Copy)]
struct Launch<'a> {
    settings: &'a QemuOptions,
    boot: Boot<'a>,
    accelerator: Accelerator,
    work: &'a Path,
    events: &'a Events,
    interrupt: &'a Interrupt,
}

impl Launch<'_> {
    /// Starts QEMU, and returns once it can be controlled.
    async fn start(
        &self,
        way: Way<'_>,
        teardown: &mut Teardown,
    ) -> Result<QemuMachine, BuilderError> {
        let Self {
            settings,
            boot,
            accelerator,
            work,
            ..
        } = *self;
        let role = boot.role;
        let files = files::Files::make(self, way).await?;
        let marker = format!("guest=vault-bake-{}-{role}", run_of(work));
        let control = Part::Control.of(role);
        let serial = Part::Serial.of(role);
        let arguments = Arguments {
            marker: &marker,
            spec: files::shape(&boot)?,
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
        }
        .list();
        teardown.register(Undo::Process { marker })?;
        let mut process = Program::new(&settings.tools.qemu_system)
            .args(arguments)
            .in_folder(work)
            .start()?;
        let serial = work.join(serial);
        let connecting = control_connection(self, &mut process, &serial);
        let (qmp, port) = connecting.await?;
        if let Some(credential) = &files.credential {
            // QEMU has read it; a private key should lie about no longer than it must.
            let path = work.join(credential);
            fs::remove_file(&path).map_err(BuilderError::file(&path))?;
        }
        Ok(QemuMachine {
            role: role.to_owned(),
            process,
            ended_since: None,
            heard: qmp.events(),
            qmp,
            serial,
            disks: layers::Disks::new(work.join(&files.overlay), &boot)?,
            upload: files
                .upload
                .map(|name| upload_disk::UploadDisk::new(work.join(name), &settings.tools)),
            resumed: None,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        })
    }
}

/// Roles are parts of file names and arguments.
fn check_role(role: &str) -> Result<(), BuilderError> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !role.is_empty() && role.bytes().all(valid) {
        return Ok(());
    }
    Err(BuilderError::Control {
        machine: role.to_owned(),
        why: "a role is made of lower-case letters, digits and `-`".into(),
    })
}

/// Connects to a QEMU that was just started, and learns its forwarded port. Its end is told at once.
async fn control_connection(
    launch: &Launch<'_>,
    process: &mut Running,
    serial: &Path,
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
    let name = Part::Control.of(role);
    let mut ended = None;
    let connected = Wait::new(format!("QEMU of machine {role}"), CONTROL_DEADLINE)
        .until(events, interrupt, || {
            ended = process.ended();
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
            by: EndedBy::NeverStarted,
            words: format!("QEMU did not open its control connection within {waited_s} s: {last}")
                + &last_lines(&process.last_lines()),
        })),
        (Err(_), ended) => {
            let status = match ended {
                Some(status) => status,
                None => process.wait().await?,
            };
            process.said_all(LAST_WORDS).await;
            let by = emulator_end(status);
            Err(died(end(by, status, &[], process, serial)))
        }
    }
}

/// QEMU opens its control connection before the guest runs its first instruction.
const CONTROL_DEADLINE: Duration = Duration::from_secs(30);
/// How long what a process said last may be on its way after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);
