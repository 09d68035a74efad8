//! The QEMU builder with VMs. All tests start from one cached base.
//! `VAULT_BAKE_TEST_CACHE` names the cache; without it, it is below `target/`.

mod base;
mod machines;
mod snapshots;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize as _;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use vault_bake::builder::{Boot, Builder as _, BuilderError, Content, Disk, DiskFile, Machine};
use vault_bake::definition::Definition;
use vault_bake::definition::platform::{Firmware, PlannedBase, PlannedMachine};
use vault_bake::digest::Digest;
use vault_bake::event::{Event, Events};
use vault_bake::http;
use vault_bake::platform::qemu::{
    LockedBase, MachineSpec, Network, PackageIndex, Qemu, QemuBase, QemuMachine, QemuOptions,
    Tools, requirements,
};
use vault_bake::ssh::Keys;
use vault_bake::teardown::Teardown;
use vault_bake::wait::{Interrupt, Poll, Wait};

/// Limit of a boot under emulation, with other VMs at the same time.
pub const BOOT_DEADLINE: Duration = Duration::from_secs(300);

/// The builder and the run of one test.
pub struct VmHarness {
    qemu: Qemu,
    teardown: Teardown,
    pub events: Events,
    pub interrupt: Interrupt,
    pub keys: Keys,
    runs: tempfile::TempDir,
}

impl VmHarness {
    /// Returns `None` and prints the reason if a tool is missing.
    pub fn begin(run: &str) -> Option<Self> {
        Self::begin_with(run, Tools::default())
    }

    /// Makes a harness with other programs.
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    pub fn begin_with(run: &str, tools: Tools) -> Option<Self> {
        let settings = QemuOptions {
            tools,
            ..QemuOptions::new(cache())
        };
        for requirement in requirements(&settings) {
            if !found(&requirement.program) {
                eprintln!(
                    "SKIPPED: {} is missing (package {})",
                    requirement.program.display(),
                    requirement.package
                );
                return None;
            }
        }
        let runs = tempfile::tempdir().expect("a folder for the runs");
        let began = Instant::now();
        let teardown = Teardown::begin(runs.path(), run).expect("a journal");
        let run = run.to_owned();
        let events = Events::new(move |event: &Event| {
            let line = serde_json::to_string(event).expect("an event is JSON");
            if !line.contains("\"progress\"") {
                eprintln!("[{run} {:6.1}] {line}", began.elapsed().as_secs_f32());
            }
        });
        Some(Self {
            qemu: Qemu::new(settings),
            teardown,
            events,
            interrupt: Interrupt::default(),
            keys: Keys::generate(),
            runs,
        })
    }

    async fn base(&mut self, packages: &[&str], firmware: Firmware) -> Disk {
        let base = planned(packages, firmware, &self.events, &self.interrupt).await;
        self.qemu
            .base(&base, &mut self.teardown, &self.events, &self.interrupt)
            .await
            .expect("a base")
    }

    async fn boot(&mut self, disk: &Disk, role: &str) -> impl Machine + use<> {
        self.boot_with(disk, role, None).await
    }

    /// Starts a VM, with an identity disk if there is one.
    pub async fn boot_with(
        &mut self,
        disk: &Disk,
        role: &str,
        identity: Option<&[u8]>,
    ) -> QemuMachine {
        let booting = self.try_boot(disk, spec(), role, identity);
        booting.await.expect("a machine")
    }

    /// Starts a VM of any shape, or returns the error.
    async fn try_boot(
        &mut self,
        disk: &Disk,
        machine: MachineSpec,
        role: &str,
        identity: Option<&[u8]>,
    ) -> Result<QemuMachine, BuilderError> {
        let boot = Boot {
            disk,
            layer: None,
            machine: &PlannedMachine(json!(machine)),
            keys: &self.keys,
            identity,
            role,
            is_retry: false,
        };
        self.qemu
            .boot(boot, &mut self.teardown, &self.events, &self.interrupt)
            .await
    }

    /// Ends the run and asserts that nothing is left.
    pub async fn finish(self) {
        let work = self.teardown.work().to_owned();
        let leaks = self.teardown.finish(&self.events, &self.interrupt).await;
        assert_eq!(leaks, []);
        assert!(!work.exists(), "the work folder is gone");
        let left: Vec<_> = std::fs::read_dir(self.runs.path())
            .expect("the runs")
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| name != ".gate")
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an environment variable names the cache of the tests"
)]
pub fn cache() -> PathBuf {
    std::env::var_os("VAULT_BAKE_TEST_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/real-cache"),
        PathBuf::from,
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "programs are found by the search path"
)]
pub fn found(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Makes or finds a base with these packages. Prints the reason and returns `None` if a tool is
/// missing.
pub async fn base_with(run: &str, packages: &[&str]) -> Option<DiskFile> {
    let mut harness = VmHarness::begin(run)?;
    let disk = harness.base(packages, Firmware::Bios).await;
    harness.finish().await;
    match disk.content {
        Content::File(file) => Some(file),
        Content::Cloud(image) => panic!("a base of this machine, not {image:?}"),
    }
}

fn spec() -> MachineSpec {
    MachineSpec {
        cpus: 2,
        memory_mib: 1024,
        disk_gib: 8,
        network: Network::Outbound,
        boot_timeout_s: 300,
    }
}

/// Returns the shape of the quickstart's build VM: build VMs of this shape share one VM snapshot.
fn build_spec() -> MachineSpec {
    MachineSpec {
        memory_mib: 2048,
        disk_gib: 4,
        network: Network::None,
        ..spec()
    }
}

/// The packages of the quickstart, so that all tests share one base.
const PACKAGES: [&str; 6] = [
    "jq",
    "logrotate",
    "nftables",
    "openssl",
    "python3",
    "systemd-timesyncd",
];

/// Plans today's base of a definition with these packages: with the same packages, all tests share
/// one base.
async fn planned(
    packages: &[&str],
    firmware: Firmware,
    events: &Events,
    interrupt: &Interrupt,
) -> PlannedBase {
    let firmware = match firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    };
    let text = format!(
        "schema = 1\ndescription = \"base\"\n\n[base.qemu]\nkind = \"packages\"\npackages = {packages:?}\n\
         firmware = \"{firmware}\"\n\n[[step]]\nprovisioner = \"seal\"\n"
    );
    let definition = Definition::parse(
        Path::new("base/image.toml"),
        &text,
        &BTreeMap::new(),
        &vault_bake::platform::all(None),
    );
    let definition = definition.expect("a definition");
    let parts = definition.parts("qemu").expect("a base");
    let wanted = QemuBase::deserialize(&parts.base).expect("a base");
    let QemuBase::Packages {
        mirror,
        suite,
        extra,
        ..
    } = &wanted
    else {
        panic!("packages are wanted: {wanted:?}");
    };
    let mut index = Vec::new();
    for line in [format!("{mirror} {suite}")].iter().chain(extra) {
        let (mirror, suite) = line.split_once(' ').expect("a mirror and a suite");
        let url = format!("{mirror}/dists/{suite}/InRelease");
        let bytes = http::fetch_bytes(&url, 1 << 24, events, interrupt)
            .await
            .expect("an index");
        index.push(PackageIndex {
            mirror: mirror.into(),
            suite: suite.into(),
            date: date(&bytes),
            sha256: Digest::hash_bytes(&bytes),
        });
    }
    PlannedBase {
        wanted: json!(wanted),
        locked: json!(LockedBase::Packages { index }),
    }
}

fn date(index: &[u8]) -> String {
    let text = String::from_utf8_lossy(index);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Date: "))
        .expect("an index has a date");
    jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S UTC", line)
        .expect("a date")
        .to_zoned(jiff::tz::TimeZone::UTC)
        .expect("a time")
        .timestamp()
        .to_string()
}

/// Waits for the first line of an SSH server; fails at once if the VM ends.
async fn banner(harness: &VmHarness, machine: &mut impl Machine) -> String {
    let address = machine.endpoint().address;
    let answered = Wait::new("the SSH banner", BOOT_DEADLINE)
        .until(&harness.events, &harness.interrupt, || {
            let died = machine.end();
            async move {
                if let Some(end) = died {
                    return Poll::Never(std::io::Error::other(end.to_string()));
                }
                match first_bytes(address).await {
                    Ok(text) if text.starts_with("SSH-2.0") => Poll::Ready(text),
                    Ok(text) => Poll::NotYet(format!("answered {text:?}")),
                    Err(error) => Poll::NotYet(error.to_string()),
                }
            }
        })
        .await;
    match answered {
        Ok(text) => text,
        Err(error) => panic!("{error}\n{}", machine.console().await.join("\n")),
    }
}

async fn first_bytes(address: std::net::SocketAddr) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let mut buffer = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(3), stream.read(&mut buffer))
        .await
        .map_err(std::io::Error::other)??;
    Ok(String::from_utf8_lossy(&buffer[..read])
        .trim_end()
        .to_owned())
}
