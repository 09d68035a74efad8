//! Shell scripts that make namespaces, disks and containers. They run as root.

/// Prepares the namespaces, then waits for ever. `$0` is the marker, `$1` the gateway's address.
/// It reaps processes whose parents have ended.
pub(super) const HOLD: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
ip link add nodes type bridge forward_delay 0
ip addr add "$1" dev nodes
ip link set nodes up
mkdir /run/ready
while :; do sleep 3600 & wait; done
"#;

/// Mounts the partition at byte `$2` of the disk `$1` on the folder `$3`, without a write to it.
pub(super) const MOUNT: &str = r#"
set -e
mountpoint -q "$3" || mount -o "loop,ro,noload,offset=$2" "$1" "$3"
"#;

/// Mounts a node's root: the folder `$1` of the image below the changes in the folder `$2`.
pub(super) const PREPARE: &str = r#"
set -e
mkdir -p "$2/upper" "$2/work" "$2/root"
mountpoint -q "$2/root" || mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
"#;

/// Starts the node in the folder `$1` with the machine name `$2`.
pub(super) const START: &str = r#"
# The network device of a node that was killed is removed a little later.
ip link delete "vb-$2" 2>/dev/null
exec systemd-nspawn --quiet --boot --register=no --keep-unit --machine="$2" --directory "$1/root" \
    --network-bridge=nodes --resolv-conf=off --timezone=off --link-journal=no --console=read-only \
    --bind-ro="$1/network:/run/systemd/network/05-node.network" \
    --bind-ro="$1/identity:/dev/disk/by-id/virtio-vault-bake-seed"
"#;

/// Deletes the disk of a stopped node in the folder `$1`.
pub(super) const REMOVE: &str = r#"
set -e
! mountpoint -q "$1/root" || umount "$1/root"
rm -rf "$1"
"#;

/// Prints how much memory a process can lock.
pub(super) const MEMORY_LIMIT: &str = "ulimit -l unlimited 2>/dev/null || :; ulimit -l";
