//! A fake QEMU: a script, with its control socket in this test. Each start ends or answers as
//! configured.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use vault_bake::builder::{
    AccessBy, Boot, Builder as _, BuilderError, Content, Disk, DiskFile, Kernel, Machine as _,
    MachineEnd,
};
use vault_bake::definition::platform::{Firmware, PlannedMachine};
use vault_bake::digest::Digest;
use vault_bake::event::{Event, Events};
use vault_bake::platform::qemu::machine::accelerator::Accelerator;
use vault_bake::platform::qemu::machine::arguments::{Arguments, Uefi};
use vault_bake::platform::qemu::{MachineSpec, Network, Qemu, QemuMachine, QemuOptions};
use vault_bake::ssh::Keys;
use vault_bake::teardown::Teardown;
use vault_bake::wait::{Interrupt, Poll, Wait};

/// The behaviour of a start of QEMU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// A failed assertion ends it before its control socket exists.
    Abort,
    /// It prints an error, and ends with status 1.
    Refuse,
    /// It runs, with these sockets, and answers.
    Run(Run),
}

/// How a QEMU runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    /// Whether the port for keys exists.
    pub keys: bool,
    /// Whether the port for keys closes on the first connection.
    pub closes_keys: bool,
    /// Whether there is a socket for memory.
    pub memory: bool,
    /// The refused command.
    pub refuses: &'static str,
    /// The status that it reports.
    pub status: &'static str,
    /// The event that it sends before it ends: the reason of a shutdown.
    pub says: &'static str,
    /// The command after whose response it ends, unless the test ends it.
    pub ends_after: &'static str,
    /// How it ends then, as shell commands.
    pub ends: &'static str,
}

/// A builder with the fake QEMU, a disk for it, and a run.
pub struct Lab {
    pub folder: tempfile::TempDir,
    pub settings: QemuOptions,
    pub disk: Disk,
    pub teardown: Teardown,
    pub keys: Keys,
    /// The size of disks that boot. [`Lab::put_snapshot`] uses the initial size.
    pub disk_gib: u32,
    notes: Arc<Mutex<Vec<String>>>,
}

const QEMU_IMG: &str = r#"#!/bin/sh
case $1 in
info) echo '{"format": "raw", "virtual-size": 16777216}' ;;
create) for last; do file=$before before=$last; done; echo "an overlay" >"$file" ;;
esac
"#;

/// Each start has a number, and a file with its further behaviour.
const QEMU: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo 'QEMU emulator version 9.2.0'; exit; }
ulimit -c 0
echo "$*" >>'LAB/starts'
start=$(wc -l <'LAB/starts')
touch "LAB/up-$start"
. "LAB/start-$start"
"#;

impl Lab {
    pub fn new(firmware: Firmware, access: AccessBy) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        let file = |name: &str, text: &str| {
            let path = at.join(name);
            fs::write(&path, text.replace("LAB", &at.display().to_string())).expect("a file");
            path
        };
        let program = |name: &str, text: &str| {
            let path = file(name, text);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
            path
        };
        let mut settings = QemuOptions::new(at.join("cache"));
        settings.tools.qemu_system = program("qemu", QEMU);
        settings.tools.qemu_img = program("qemu-img", QEMU_IMG);
        settings.tools.mformat = program("mformat", "#!/bin/sh\n");
        settings.tools.mcopy = program("mcopy", "#!/bin/sh\n");
        settings.ovmf = vec![(file("code.fd", "code"), file("vars.fd", "variables"))];
        let disk = Disk {
            content: Content::File(DiskFile {
                path: file("base.raw", "a base"),
                format: "raw".to_owned(),
                sha256: Digest::hash_bytes("a base"),
            }),
            firmware,
            access,
            kernel: Some(Kernel {
                image: file("vmlinuz", "a kernel"),
                initrd: file("initrd.img", "an initrd"),
                arguments: "root=/dev/vda1".to_owned(),
            }),
        };
        Self {
            teardown: Teardown::begin(&at.join("runs"), "run1").expect("a journal"),
            settings,
            disk,
            keys: Keys::generate(),
            disk_gib: spec().disk_gib,
            notes: Arc::default(),
            folder,
        }
    }

    /// Boots with these starts, in order, as `role`.
    pub async fn boot(
        &mut self,
        starts: &[Start],
        role: &str,
        again: bool,
    ) -> Result<QemuMachine, BuilderError> {
        for (number, start) in (1..).zip(starts) {
            let text = match start {
                Start::Abort => {
                    "echo 'msix_table_mmio_write: Assertion failed.' >&2; kill -ABRT $$\n"
                }
                Start::Refuse => "echo 'cannot set up guest memory' >&2; exit 1\n",
                Start::Run(Run { ends: "", .. }) => "exec sleep 1000\n",
                Start::Run(run) => &format!(
                    "until [ -e 'LAB/end' ]; do sleep 0.02; done\n{}\n",
                    run.ends
                ),
            };
            let lab = self.folder.path().display().to_string();
            let path = self.folder.path().join(format!("start-{number}"));
            fs::write(path, text.replace("LAB", &lab)).expect("a script");
        }
        let serving = tokio::spawn(serve(
            self.folder.path().to_owned(),
            self.teardown.work().to_owned(),
            role.to_owned(),
            starts.to_vec(),
        ));
        let notes = Arc::clone(&self.notes);
        let events = Events::new(move |event: &Event| {
            if let Event::Note { message } | Event::Warning { message } = event {
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                notes.push(message.clone());
            }
        });
        let machine = PlannedMachine(json!(MachineSpec {
            disk_gib: self.disk_gib,
            ..spec()
        }));
        let boot = Boot {
            disk: &self.disk,
            layer: None,
            machine: &machine,
            keys: &self.keys,
            identity: (role == "test").then_some(b"an identity"),
            role,
            is_retry: again,
        };
        let booted = Qemu::new(self.settings.clone())
            .boot(boot, &mut self.teardown, &events, &Interrupt::default())
            .await;
        // The tasks of its sockets continue.
        drop(serving);
        booted
    }

    /// Returns the number of starts of QEMU.
    pub fn starts(&self) -> usize {
        let text = fs::read_to_string(self.folder.path().join("starts")).unwrap_or_default();
        text.lines().count()
    }

    /// Returns the notes, without those that differ between hosts.
    pub fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_a_start = |text: &&String| !text.starts_with("KVM is not available");
        notes.iter().filter(of_a_start).cloned().collect()
    }

    /// Ends the running QEMU as its start defines. Returns the result of the builder.
    pub async fn end(&self, machine: &mut QemuMachine) -> MachineEnd {
        fs::write(self.folder.path().join("end"), "").expect("a file");
        let ended = Wait::new("the end", Duration::from_secs(10))
            .until(&Events::silent(), &Interrupt::default(), || {
                let seen = match machine.end() {
                    Some(end) => Poll::<_, std::io::Error>::Ready(end),
                    None => Poll::NotYet("it runs".to_owned()),
                };
                async { seen }
            })
            .await;
        ended.expect("it ended")
    }

    /// Puts a VM snapshot into the cache from which the next build VM of this disk resumes. Its
    /// memory is
    /// `memory`.
    pub fn put_snapshot(&self, memory: &str) {
        let snapshots_folder = self.settings.cache.join("suspended");
        fs::create_dir_all(&snapshots_folder).expect("a folder");
        let snapshots_folder = fs::canonicalize(snapshots_folder).expect("a folder");
        let kept = |name: &str, content: &str| {
            let path = snapshots_folder.join(name);
            fs::write(&path, content).expect("a file");
            json!({"name": name, "stamp": stamp(&path)})
        };
        let below = fs::canonicalize(&self.disk.file().expect("a file").path).expect("a path");
        let record = json!({
            "schema": 1,
            "run": "old",
            "qemu": version(),
            "memory_sha256": Digest::hash_bytes("memory"),
            "memory": kept("old.memory", memory),
            "overlay": kept("old.qcow2", "an overlay"),
            "below": below,
        });
        let name = format!("{}.json", self.snapshot_key().hex());
        fs::write(snapshots_folder.join(name), record.to_string()).expect("a record");
    }

    /// Returns the remaining files of VM snapshots.
    pub fn snapshots(&self) -> Vec<String> {
        let entries = fs::read_dir(self.settings.cache.join("suspended")).into_iter();
        let names = entries.flatten().flatten().map(|entry| entry.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    fn snapshot_key(&self) -> Digest {
        let nothing = Path::new("");
        let uefi = (self.disk.firmware == Firmware::Uefi).then(|| Uefi {
            code: self.settings.ovmf[0].0.clone(),
            vars: nothing.to_owned(),
        });
        let kernel = self.disk.kernel.as_ref().expect("a kernel");
        let spec = spec();
        let arguments = Arguments {
            marker: "",
            spec: &spec,
            accelerator: Accelerator::Tcg,
            overlay: nothing,
            uefi: uefi.as_ref(),
            kernel: Some(kernel),
            credential: None,
            cloud_seed: None,
            identity: None,
            upload: Some(nothing),
            serial: nothing,
            control: nothing,
            keys: Some(nothing),
            memory: None,
            node: None,
        };
        Digest::hash_value(&json!({
            "recipe": 1,
            "arguments": arguments.list(),
            "disk_gib": spec.disk_gib,
            "kernel": [stamp(&kernel.image), stamp(&kernel.initrd)],
            "base": self.disk.file().expect("a file").sha256,
            "layers": [],
        }))
    }
}

fn spec() -> MachineSpec {
    MachineSpec {
        cpus: 1,
        memory_mib: 512,
        disk_gib: 8,
        network: Network::None,
        boot_timeout_s: 20,
    }
}

fn stamp(path: &Path) -> Value {
    let metadata = fs::metadata(path).expect("a file");
    let modified = metadata.modified().expect("a time");
    let modified = modified.duration_since(std::time::SystemTime::UNIX_EPOCH);
    let modified_ns = modified.expect("after 1970").as_nanos();
    json!({"size_bytes": metadata.len(), "modified_ns": i64::try_from(modified_ns).expect("small")})
}

fn version() -> Value {
    json!({"qemu": {"major": 7}})
}

/// Answers for one QEMU after the other, as they start.
async fn serve(lab: PathBuf, work: PathBuf, role: String, starts: Vec<Start>) {
    for (number, start) in (1..).zip(starts) {
        let up = lab.join(format!("up-{number}"));
        let waited = Wait::new("QEMU", Duration::from_secs(60))
            .pausing(Duration::from_millis(5), Duration::from_millis(5))
            .until(&Events::silent(), &Interrupt::default(), || async {
                match up.exists() {
                    true => Poll::Ready(()),
                    false => Poll::<(), std::io::Error>::NotYet("not yet".to_owned()),
                }
            })
            .await;
        let (Ok(()), Start::Run(run)) = (waited, start) else {
            continue;
        };
        if run.keys {
            let keys = listen(&work.join(format!("{role}.keys")));
            tokio::spawn(hold(keys, run.closes_keys));
        }
        if run.memory {
            let memory = listen(&work.join(format!("{role}.memory")));
            tokio::spawn(hold(memory, false));
        }
        let control = listen(&work.join(format!("{role}.qmp")));
        let end = lab.join("end");
        tokio::spawn(async move {
            if let Ok((stream, _)) = control.accept().await {
                // The client may close at any time.
                let _ = answer(stream, run, &end).await;
            }
        });
    }
}

/// Replaces an existing file, as QEMU does.
fn listen(path: &Path) -> UnixListener {
    let _ = fs::remove_file(path);
    UnixListener::bind(path).expect("a socket")
}

/// Accepts all data, or none.
async fn hold(listener: UnixListener, closes: bool) {
    while let Ok((mut stream, _)) = listener.accept().await {
        if !closes {
            tokio::spawn(async move {
                let mut all = Vec::new();
                let _ = stream.read_to_end(&mut all).await;
                std::future::pending::<()>().await;
            });
        }
    }
}

async fn answer(stream: UnixStream, run: Run, end: &Path) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"{\"QMP\": {}}\n").await?;
    let mut ending = tokio::time::interval(Duration::from_millis(10));
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            _ = ending.tick() => {
                if run.ends.is_empty() || !end.exists() {
                    continue;
                }
                if !run.says.is_empty() {
                    let event = json!({"event": "SHUTDOWN", "data": {"reason": run.says}});
                    write.write_all(format!("{event}\n").as_bytes()).await?;
                }
                return Ok(());
            }
        };
        let Some(line) = line else { return Ok(()) };
        let asked: Value = serde_json::from_str(&line)?;
        let command = asked["execute"].as_str().unwrap_or_default();
        let answer = match command {
            refused if refused == run.refuses => json!({"error": {"desc": "told to refuse"}}),
            "human-monitor-command" => {
                json!({"return": "TCP[HOST_FORWARD]  12  127.0.0.1 1  10.0.2.15  22  0  0"})
            }
            "query-version" => json!({"return": version()}),
            "query-status" => json!({"return": {"status": run.status}}),
            _ => json!({"return": {}}),
        };
        write.write_all(format!("{answer}\n").as_bytes()).await?;
        if command == run.ends_after {
            fs::write(end, "")?;
        }
    }
}
