//! Running machines: one QEMU process each, watched until its end.
//!
//! In: a disk, keys, a shape. Out: a [`QemuMachine`] that says where it answers, and why it died where it has. All
//! files of it are in the run's work folder. Deliberately does not wait for the guest: whoever connects does.

pub mod accelerator;
pub mod arguments;
mod files;
mod handover;
mod layering;
mod memory;
mod shown;
mod suspend;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::builder::qemu::QemuSettings;
use crate::builder::qemu::qmp::{Heard, Qmp};
use crate::builder::qemu::suspended::Suspended;
use crate::builder::{Boot, BuilderError, Machine, Resumed};
use crate::event::Events;
use crate::process::{Program, Running, last_lines};
use crate::ssh::Endpoint;
use crate::teardown::{Teardown, Undo};
use crate::wait::{Interrupt, Seen, Wait, WaitError};

use arguments::{Accelerator, Arguments};

pub(super) use layering::keep_layer;

/// A machine in a QEMU process. Dropping it kills the process.
pub struct QemuMachine {
    role: String,
    process: Running,
    pub(super) qmp: Qmp,
    heard: Heard,
    serial: PathBuf,
    pub(super) disks: layering::Disks,
    upload: Option<shown::UploadDisk>,
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
        let status = self.process.ended()?;
        Some(status.success() && self.heard.guest_shut_down())
    }
}

impl Machine for QemuMachine {
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address,
            user: "root".into(),
        }
    }

    async fn show(&self, folder: &Path, interrupt: &Interrupt) -> Result<bool, BuilderError> {
        let Some(disk) = &self.upload else {
            return Ok(false);
        };
        disk.fill(folder, interrupt).await?;
        Ok(true)
    }

    fn resumed(&self) -> Option<&Resumed> {
        self.resumed.as_ref()
    }

    fn died(&mut self) -> Option<String> {
        let status = self.process.ended()?;
        Some(last_words(
            &status.to_string(),
            &self.heard.words(),
            &self.process,
            &self.serial,
        ))
    }

    async fn console(&self) -> Vec<String> {
        files::console(&self.serial)
    }

    fn leave(self) {
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

/// How a machine ended, with the last lines of QEMU and of the serial console.
fn last_words(status: &str, heard: &[String], process: &Running, serial: &Path) -> String {
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
    words
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
    settings: &QemuSettings,
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
    suspend::start(launch, teardown).await
}

/// How a machine comes to run.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// As computers do.
    Boot,
    /// The same, with a port for keys that come later.
    BootToSuspend,
    /// From where another one stood still.
    Resume(&'a Suspended),
}

/// What every try to start a machine shares.
#[derive(Clone, Copy)]
struct Launch<'a> {
    settings: &'a QemuSettings,
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
        let control = format!("{role}.qmp");
        let serial = PathBuf::from(format!("serial-{role}.log"));
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
            control: Path::new(&control),
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
            heard: qmp.heard(),
            qmp,
            serial,
            disks: layering::Disks::new(work.join(&files.overlay), &boot)?,
            upload: files
                .upload
                .map(|name| shown::UploadDisk::new(work.join(name), &settings.tools)),
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
    let name = format!("{role}.qmp");
    let mut ended = None;
    let connected = Wait::new(format!("QEMU of machine {role}"), CONTROL_DEADLINE)
        .until(events, interrupt, || {
            ended = process.ended();
            let ended = ended;
            let name = &name;
            async move {
                if ended.is_some() {
                    return Seen::Never(());
                }
                match Qmp::connect(work, name).await {
                    Ok(qmp) => Seen::Ready(qmp),
                    Err(error) => Seen::NotYet(error.to_string()),
                }
            }
        })
        .await;
    let died = |words: String| BuilderError::Died {
        machine: role.to_owned(),
        words,
    };
    match (connected, ended) {
        (Ok(mut qmp), _) => match qmp.ssh_port().await {
            Ok(port) => Ok((qmp, port)),
            Err(error) => Err(BuilderError::Control {
                machine: role.to_owned(),
                why: error.to_string(),
            }),
        },
        (Err(WaitError::Interrupted(error)), _) => Err(error.into()),
        (Err(_), Some(status)) => {
            process.failure(status).await;
            Err(died(last_words(&status.to_string(), &[], process, serial)))
        }
        (Err(WaitError::Deadline { waited_s, last, .. }), None) => {
            let words =
                format!("QEMU did not open its control connection within {waited_s} s: {last}");
            Err(died(words + &last_lines(&process.last_lines())))
        }
        (Err(WaitError::Never(())), None) => Err(died("QEMU ended".into())),
    }
}

/// QEMU opens its control connection before the guest runs its first instruction.
const CONTROL_DEADLINE: Duration = Duration::from_secs(30);
