//! Containers as nodes: `systemd-nspawn` boots overlays of the root of a captured disk.
//! They run in their own namespaces, below one process that ends with this one.
//! The kernel then removes processes, mounts, loop devices and network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use vault_bake::event::Events;
use vault_bake::process::{ProcessError, Program, Running};
use vault_bake::terminal::visible;
use vault_bake::wait::{Interrupt, Poll, Wait};

use super::groups::ControlGroups;
use crate::qemu::found;

/// Limit of a boot. A node without an identity waits half a minute for one.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);

/// Limit of a power-off or a crash.
const END_DEADLINE: Duration = Duration::from_secs(120);

/// Limit of a script in a node.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(300);

/// The required programs, with their Debian packages.
const PROGRAMS: [(&str, &str); 7] = [
    ("systemd-nspawn", "systemd-container"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("partx", "util-linux"),
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("qemu-img", "qemu-utils"),
];

/// Prepares the namespaces, then waits for the end of its standard input.
const HOLD: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
ip link add nodes type bridge forward_delay 0
ip addr add 10.77.0.254/24 dev nodes
ip link set nodes up
mkdir /run/ready
read -r _ || :
"#;

/// Tests all that nodes need: a loop device, an overlay, a container in a control group.
const TRY: &str = r#"
set -e
mkdir -p /run/boot/image /run/boot/upper /run/boot/work /run/boot/root
truncate -s 1M /run/boot/disk
mkfs.ext4 -q -O ^has_journal /run/boot/disk
mount -o loop,ro /run/boot/disk /run/boot/image
mount -t overlay overlay -o lowerdir=/run/boot/image,upperdir=/run/boot/upper,workdir=/run/boot/work /run/boot/root
for folder in bin lib lib64; do ln -s usr/$folder /run/boot/root/$folder; done
mkdir /run/boot/root/usr
systemd-nspawn --quiet --register=no --keep-unit --machine=boot --directory=/run/boot/root --bind-ro=/usr \
    --network-bridge=nodes --resolv-conf=off --timezone=off --link-journal=no --console=pipe /usr/bin/true
umount /run/boot/root /run/boot/image
"#;

/// Mounts partition 3, the root, of a disk, without a write to it.
const MOUNT: &str = r#"
set -e
start=$(partx --noheadings --raw --output START --nr 3 "$1")
mkdir -p "$2"
mount -o loop,ro,noload,offset=$((start * 512)) "$1" "$2"
"#;

/// Makes the disk of node `$1` from the image at `$2`, with the identity from standard input.
const PREPARE: &str = r#"
set -e
node=/run/nodes/$1
mkdir -p $node/upper $node/work $node/root
mount -t overlay overlay -o lowerdir=$2,upperdir=$node/upper,workdir=$node/work $node/root
printf '[Match]\nName=host0\n\n[Network]\nAddress=10.77.0.%s/24\nGateway=10.77.0.254\nDHCP=no\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n' $1 >$node/network
cat >$node/identity
"#;

/// Starts node `$1` in place of this shell. Its console is standard error.
const START: &str = r#"
node=/run/nodes/$1
# The network of a node that was killed is removed a little later.
ip link delete vb-node-$1 2>/dev/null
set --
[ ! -s $node/identity ] || set -- --bind-ro=$node/identity:/dev/disk/by-id/virtio-vault-bake-seed
exec systemd-nspawn --quiet --boot --register=no --keep-unit --machine=node-${node##*/} --directory=$node/root --network-bridge=nodes \
    --resolv-conf=off --timezone=off --link-journal=no --console=read-only \
    --bind-ro=$node/network:/run/systemd/network/05-node.network "$@" >&2
"#;

/// Prints how much memory a process can lock.
const LIMIT: &str = "ulimit -l unlimited 2>/dev/null || :; ulimit -l";

/// Writes standard input to the place where a node reads its identity.
const PUT: &str = r"
seed=/dev/disk/by-id/virtio-vault-bake-seed
! mountpoint -q $seed || umount $seed
mkdir -p /dev/disk/by-id
(umask 077; cat >/run/other-identity)
ln -sfn /run/other-identity $seed
";

/// The namespaces of one test's nodes, with a bridge.
pub struct Containers {
    /// The process whose end ends all nodes.
    holder: Running,
    /// The first process in the namespaces.
    first: u32,
    /// Whether a process can lock unlimited memory.
    pub may_lock_memory: bool,
    images: usize,
    groups: ControlGroups,
}

/// The root of a captured disk, mounted in the namespaces.
pub struct Image(String);

/// A node.
pub struct Container {
    number: u8,
    first: u32,
    groups: Vec<PathBuf>,
    /// The parent of `systemd-nspawn`. Its standard error is the console.
    running: Running,
}

impl Containers {
    /// Fails with the reason if containers are not possible here.
    pub async fn begin() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("they need root".to_owned());
        }
        for (program, package) in PROGRAMS {
            if !found(Path::new(program)) {
                return Err(format!("{program} is missing (package {package})"));
            }
        }
        let groups = ControlGroups::make()?;
        let holder = Program::new("unshare")
            .args([
                "--mount",
                "--net",
                "--ipc",
                "--pid",
                "--fork",
                "--kill-child",
            ])
            .args(["--mount-proc", "sh", "-c", HOLD])
            // The pipe stays open as long as this process lives.
            .input([])
            .start();
        let mut holder = holder.map_err(|error| error.to_string())?;
        let first = first_inside(&mut holder).await?;
        let mut containers = Self {
            holder,
            first,
            may_lock_memory: false,
            images: 0,
            groups,
        };
        let group = containers.groups.add("boot")?;
        let tried = containers.run(TRY, &[], &group).await;
        tried.map_err(|error| error.to_string())?;
        let limit = containers.run(LIMIT, &[], &[]).await;
        let limit = limit.map_err(|error| error.to_string())?;
        containers.may_lock_memory = limit.starts_with(b"unlimited");
        Ok(containers)
    }

    /// Runs a script in the namespaces, outside of the nodes.
    async fn run(
        &self,
        script: &str,
        arguments: &[&str],
        groups: &[PathBuf],
    ) -> Result<Vec<u8>, ProcessError> {
        let program = inside(self.first, script, arguments, groups);
        program.run(&Interrupt::default()).await
    }

    /// Mounts the root of a captured disk. The loop device keeps the file, so the path can be
    /// removed.
    pub async fn mount(&mut self, artifact: &Path) -> Image {
        let folder = tempfile::tempdir().expect("a folder");
        let raw = folder.path().join("disk");
        let converting = Program::new("qemu-img")
            .args(["convert", "-O", "raw"])
            .args([artifact, &raw]);
        let interrupt = Interrupt::default();
        converting.run(&interrupt).await.expect("a raw disk");
        self.images += 1;
        let at = format!("/run/images/{}", self.images);
        let arguments = [raw.to_str().expect("a path"), &at];
        let mounted = self.run(MOUNT, &arguments, &[]).await;
        mounted.unwrap_or_else(|error| panic!("{error}"));
        Image(at)
    }

    /// Starts to boot a node with address `10.77.0.number`.
    pub async fn start(&self, image: &Image, number: u8, identity: Option<Vec<u8>>) -> Container {
        let groups = self.groups.add(&number.to_string()).expect("a group");
        let arguments = [&number.to_string(), image.0.as_str()];
        let preparing = inside(self.first, PREPARE, &arguments, &[]);
        let preparing = preparing.input(identity.unwrap_or_default());
        let prepared = preparing.run(&Interrupt::default()).await;
        prepared.unwrap_or_else(|error| panic!("{error}"));
        Container {
            number,
            first: self.first,
            running: start(self.first, number, &groups),
            groups,
        }
    }

    /// Ends all nodes, and asserts that nothing is left.
    pub async fn finish(mut self) {
        self.holder.kill().await;
        let leftovers = self.groups.remove();
        assert_eq!(leftovers, Vec::<PathBuf>::new());
    }
}

fn start(first: u32, number: u8, groups: &[PathBuf]) -> Running {
    let starting = inside(first, START, &[&number.to_string()], groups);
    starting.start().expect("a container starts")
}

/// Returns a program that runs a script in the namespaces of process `first` and in control groups.
fn inside(first: u32, script: &str, arguments: &[&str], groups: &[PathBuf]) -> Program {
    let enter = "for group in $NODE_GROUPS; do echo 0 >$group/cgroup.procs; done\n";
    let names: Vec<_> = groups
        .iter()
        .map(|group| group.display().to_string())
        .collect();
    Program::new("nsenter")
        .args(["--target", &first.to_string()])
        .args(["--mount", "--net", "--ipc", "--pid"])
        .args(["sh", "-c", &format!("{enter}{script}"), "sh"])
        .args(arguments)
        .env("NODE_GROUPS", names.join(" "))
}

/// Waits until the namespaces are ready. Returns the id of the first process in them.
async fn first_inside(holder: &mut Running) -> Result<u32, String> {
    let wait = Wait::new("namespaces", Duration::from_secs(20));
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let waiting = wait.until(&events, &interrupt, || {
        let first = holder.pid().and_then(child_of);
        let ready =
            first.filter(|first| Path::new(&format!("/proc/{first}/root/run/ready")).exists());
        let ended = holder.exit_status();
        async move {
            match (ready, ended) {
                (Some(first), _) => Poll::Ready(first),
                (None, Some(status)) => Poll::Never(std::io::Error::other(status.to_string())),
                (None, None) => Poll::NotYet("nothing".to_owned()),
            }
        }
    });
    let waited = waiting.await;
    waited.map_err(|error| format!("{error}: {}", holder.last_lines().join("; ")))
}

/// Returns the id of the only child of a process.
fn child_of(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    children.ok()?.split_whitespace().next()?.parse().ok()
}

impl Container {
    /// Returns the first process of the node: a grandchild, as `nsenter` starts `systemd-nspawn`.
    fn leader(&self) -> Option<u32> {
        child_of(child_of(self.running.pid()?)?)
    }

    /// Waits until all units were started, or have failed.
    pub async fn booted(&mut self) {
        let wait = Wait::new(format!("node {} to boot", self.number), BOOT_DEADLINE);
        let (events, interrupt) = (Events::silent(), Interrupt::default());
        let waiting = wait.until(&events, &interrupt, || {
            let ended = self.running.exit_status();
            let state = self.leader().map(|leader| {
                within(leader).args(["sh", "-c", "systemctl is-system-running --wait || :"])
            });
            async move {
                if let Some(status) = ended {
                    return Poll::Never(std::io::Error::other(format!("it ended: {status}")));
                }
                let Some(state) = state else {
                    return Poll::NotYet("no first process".to_owned());
                };
                match state.run(&Interrupt::default()).await {
                    Ok(state) => {
                        let state = String::from_utf8_lossy(&state).trim().to_owned();
                        match state.as_str() {
                            "running" | "degraded" => Poll::Ready(()),
                            _ => Poll::NotYet(state),
                        }
                    }
                    Err(error) => Poll::NotYet(error.to_string()),
                }
            }
        });
        if let Err(error) = waiting.await {
            panic!("{error}\n{}", self.console());
        }
    }

    /// Runs a script as root. Returns its standard output.
    pub async fn says(&self, script: &str) -> String {
        // The shell reads the script to its end first, as its commands may read standard input.
        let output = self.run("(eval \"$(cat)\") || :", script).await;
        String::from_utf8_lossy(&output).trim().to_owned()
    }

    async fn run(&self, script: &str, input: impl Into<Vec<u8>>) -> Vec<u8> {
        let leader = self
            .leader()
            .unwrap_or_else(|| panic!("the node has ended:\n{}", self.console()));
        let program = within(leader).args(["sh", "-c", script]).input(input);
        let interrupt = Interrupt::default();
        let running = program.run(&interrupt);
        match tokio::time::timeout(SCRIPT_DEADLINE, running).await {
            Ok(output) => output.unwrap_or_else(|error| panic!("{error}\n{}", self.console())),
            Err(_) => panic!(
                "a script did not end within {SCRIPT_DEADLINE:?}:\n{script}\n{}",
                self.console()
            ),
        }
    }

    /// Replaces the identity that the node reads.
    pub async fn put(&self, identity: Vec<u8>) {
        self.run(PUT, identity).await;
    }

    /// Powers the node off.
    pub async fn power_off(&mut self) {
        let status = self.end("RTMIN+4").await;
        assert!(status.success(), "{status}:\n{}", self.console());
    }

    /// Kills the node, as a crash does.
    pub async fn kill(&mut self) {
        self.end("KILL").await;
    }

    /// Sends a signal to the first process and waits for its end.
    async fn end(&mut self, signal: &str) -> ExitStatus {
        let leader = self.leader().expect("it runs");
        let sending = Program::new("kill").args(["-s", signal, &leader.to_string()]);
        let sent = sending.run(&Interrupt::default()).await;
        sent.expect("a signal");
        match tokio::time::timeout(END_DEADLINE, self.running.wait()).await {
            Ok(status) => status.expect("a status"),
            Err(_) => panic!(
                "it did not end within {END_DEADLINE:?}:\n{}",
                self.console()
            ),
        }
    }

    /// Returns the last lines of the console.
    fn console(&self) -> String {
        visible(&self.running.last_lines().join("\n")).into_owned()
    }

    /// Starts the ended node again with its disk.
    pub async fn start_again(&mut self) {
        self.running = start(self.first, self.number, &self.groups);
        self.booted().await;
    }

    pub fn address(&self) -> String {
        format!("10.77.0.{}", self.number)
    }
}

/// Returns a program that runs another one in a node.
fn within(leader: u32) -> Program {
    Program::new("nsenter")
        .args(["--target", &leader.to_string(), "--all"])
        .args(["env", "-i", "HOME=/root", "LANG=C.UTF-8"])
        .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}
