//! QEMU VMs behind the simulator: each virtual machine is a QEMU VM with a loopback address.
//! Captured images are disks for further VMs. Custom data reaches cloud-init on a NoCloud disk,
//! while Azure's own agent reads it.

#![expect(
    clippy::disallowed_methods,
    reason = "the simulator starts these VMs, not the library"
)]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testing::azure::{Machines, Source, Spec};
use vault_bake::builder::DiskFile;
use vault_bake::platform::qemu::machine::accelerator::Accelerator;

/// The running VMs.
pub struct QemuMachines {
    folder: TempDir,
    /// The disk of marketplace images.
    base: PathBuf,
    /// The format of that disk.
    format: String,
    made: AtomicU32,
    running: Mutex<HashMap<String, Vm>>,
}

struct Vm {
    folder: PathBuf,
    spec: Spec,
    process: Option<Child>,
}

impl QemuMachines {
    /// Makes VMs whose marketplace image is the disk `base`, which has cloud-init.
    pub fn new(base: &DiskFile) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            base: base.path.clone(),
            format: base.format.clone(),
            made: AtomicU32::new(0),
            running: Mutex::default(),
        }
    }

    fn with<T>(&self, id: &str, work: impl FnOnce(&mut Vm) -> T) -> Result<T, String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let vm = running
            .get_mut(id)
            .ok_or_else(|| format!("no machine {id}"))?;
        Ok(work(vm))
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

impl Machines for QemuMachines {
    fn create(&self, spec: &Spec) -> Result<(), String> {
        // Short, as the path of a socket is limited to about 100 characters.
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.path().join(number.to_string());
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let (from, format) = match &spec.source {
            Source::Marketplace { .. } => (self.base.clone(), self.format.as_str()),
            Source::Captured { file, id } => {
                let file = file.clone();
                let file = file.ok_or_else(|| format!("{id} was never captured"))?;
                (file, "qcow2")
            }
        };
        done(
            Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
                .arg(from)
                .arg(folder.join("disk.qcow2"))
                .arg("8G"),
        )?;
        seed(&folder, spec)?;
        let mut vm = Vm {
            folder,
            spec: spec.clone(),
            process: None,
        };
        vm.start()?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(spec.id.clone(), vm);
        Ok(())
    }

    fn start(&self, id: &str) -> Result<(), String> {
        self.with(id, Vm::start)?
    }

    fn stop(&self, id: &str) -> Result<(), String> {
        self.with(id, Vm::stop)?
    }

    fn capture(&self, id: &str, image: &str) -> Result<Option<PathBuf>, String> {
        let name: String = image.chars().filter(char::is_ascii_alphanumeric).collect();
        let to = self.folder.path().join(format!("{name}.qcow2"));
        let disk = self.with(id, |vm| vm.folder.join("disk.qcow2"))?;
        let convert = [
            "convert",
            "-O",
            "qcow2",
            "-c",
            "-o",
            "compression_type=zstd",
        ];
        done(Command::new("qemu-img").args(convert).arg(disk).arg(&to))?;
        Ok(Some(to))
    }

    fn delete(&self, id: &str) {
        // Nothing can report this error any more.
        let _ = self.with(id, |vm| {
            vm.process.take().map(|mut process| {
                let _ = process.kill();
                process.wait()
            })
        });
    }

    fn discard(&self, id: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut vm) = running.remove(id) {
            if let Some(mut process) = vm.process.take() {
                let _ = process.kill();
                let _ = process.wait();
            }
            let _ = fs::remove_dir_all(&vm.folder);
        }
    }

    fn serial_log(&self, id: &str) -> String {
        let folder = self.with(id, |vm| vm.folder.clone()).unwrap_or_default();
        let logs = ["qemu.log", "serial.log"].map(|name| fs::read(folder.join(name)));
        let logs = logs.into_iter().flatten().flatten().collect::<Vec<u8>>();
        String::from_utf8_lossy(&logs).into_owned()
    }
}

impl Vm {
    fn start(&mut self) -> Result<(), String> {
        let address = self.spec.ssh.ok_or("the VM has no address")?;
        let file = |name: &str| self.folder.join(name).display().to_string();
        let kvm = vault_bake::platform::qemu::kvm_works();
        let (accelerator, cpu) = match kvm {
            true => Accelerator::Kvm.options(),
            false => Accelerator::TcgOneThread.options(),
        };
        let forward = format!("hostfwd=tcp:{}:{}-:22", address.ip(), address.port());
        let log = fs::File::create(file("qemu.log")).map_err(|error| error.to_string())?;
        let process = Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-no-user-config",
                "-machine",
                "q35,graphics=off",
                "-display",
                "none",
                "-vga",
                "none",
            ])
            .args([
                "-accel",
                accelerator,
                "-cpu",
                cpu,
                "-smp",
                "2",
                "-m",
                "1536",
                "-device",
                "virtio-rng-pci",
            ])
            .args([
                "-drive",
                &format!(
                    "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file={}",
                    file("disk.qcow2")
                ),
            ])
            .args(["-device", "virtio-blk-pci,drive=disk,bootindex=0"])
            .args([
                "-drive",
                &format!(
                    "if=none,id=cloud,format=raw,readonly=on,file={}",
                    file("seed.raw")
                ),
            ])
            .args(["-device", "virtio-blk-pci,drive=cloud"])
            .args([
                "-netdev",
                &format!("user,id=net,ipv6=off,{forward}"),
                "-device",
                "virtio-net-pci,netdev=net,romfile=",
            ])
            .args(["-serial", &format!("file:{}", file("serial.log"))])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", file("qmp"))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(process.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Presses the power button and waits for the end, as a deallocation does.
    fn stop(&mut self) -> Result<(), String> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let pressed = press_power(&self.folder.join("qmp"));
        let began = Instant::now();
        while pressed.is_ok() && began.elapsed() < Duration::from_secs(120) {
            if matches!(process.try_wait(), Ok(Some(_))) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let _ = process.kill();
        let _ = process.wait();
        Err(format!(
            "it did not stop in time, or could not be told to: {pressed:?}"
        ))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn press_power(socket: &Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    lines.next().transpose()?;
    for command in ["qmp_capabilities", "system_powerdown"] {
        writeln!(stream, "{{\"execute\": \"{command}\"}}")?;
        lines.next().transpose()?;
    }
    Ok(())
}

/// Makes a FAT image with the label that cloud-init searches for.
fn seed(folder: &Path, spec: &Spec) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    fs::write(folder.join("user-data"), &spec.custom_data).map_err(words)?;
    let meta = format!("{{\"instance-id\": \"{}\"}}\n", spec.id.replace('/', "-"));
    fs::write(folder.join("meta-data"), meta).map_err(words)?;
    let image = folder.join("seed.raw");
    fs::File::create(&image)
        .and_then(|file| file.set_len(8192 * 512))
        .map_err(words)?;
    done(
        Command::new("mformat")
            .arg("-i")
            .arg(&image)
            .args(["-v", "CIDATA", "-T", "8192", "::"]),
    )?;
    done(
        Command::new("mcopy")
            .arg("-i")
            .arg(&image)
            .arg(folder.join("user-data"))
            .arg(folder.join("meta-data"))
            .arg("::/"),
    )
}
