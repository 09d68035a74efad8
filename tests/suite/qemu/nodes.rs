//! VMs in a cluster: the command line, and what they get at boot.

use std::net::Ipv4Addr;
use std::path::Path;

use vault_bake::nodes::Site;
use vault_bake::nodes::machines::guest;
use vault_bake::platform::qemu::Network;
use vault_bake::platform::qemu::machine::accelerator::Accelerator;
use vault_bake::platform::qemu::machine::arguments::NodeParts;

use super::{arguments, decoded, keys, list_lines, spec};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 31);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The gateway is on a card of its own, as its network answers packets for every address.
#[test]
fn a_node_has_a_card_for_the_other_nodes_and_one_for_its_gateway() {
    let spec = spec(Network::None);
    let mut arguments = arguments(&spec, Accelerator::Tcg);
    let of_a_run = arguments.list();
    let parts = NodeParts {
        cluster: "null,id=vault-bake-dev-1f2e3d4c",
        address: ADDRESS,
        gateway: GATEWAY,
        prefix: 24,
        forwards: &[(8200, 40_000), (8501, 40_001)].into(),
        socket: Path::new("../../network/node-31"),
        switch: Path::new("../../network/switch-31"),
    };
    arguments.node = Some(&parts);
    let mut more = arguments.list();
    more.retain(|word| word.starts_with('-') || !of_a_run.contains(word));
    insta::assert_snapshot!(list_lines(&more), @"
    -name
    -nodefaults
    -no-user-config
    -machine
    -accel
    -cpu
    -smp
    -m
    -display
    -vga
    -serial
    -qmp
    -device
    -device
    -drive if=none,id=disk,node-name=disk-0,format=qcow2,cache=writeback,discard=unmap,detect-zeroes=unmap,file=overlay-build.qcow2
    -device
    -netdev dgram,id=private,local.type=unix,local.path=../../network/node-31,remote.type=unix,remote.path=../../network/switch-31
    -device virtio-net-pci,netdev=private,romfile=,mac=52:54:00:4d:00:1f
    -netdev user,id=gateway,net=10.77.0.0/24,host=10.77.0.1,dns=10.77.0.0,dhcpstart=10.77.0.31,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:40000-10.77.0.31:8200,hostfwd=tcp:127.0.0.1:40001-10.77.0.31:8501
    -device virtio-net-pci,netdev=gateway,romfile=,mac=52:54:01:4d:00:1f
    -device virtio-serial-pci,id=logins
    -chardev null,id=vault-bake-dev-1f2e3d4c
    ");
}

#[test]
fn a_node_gets_its_address_and_a_login_in_memory() {
    let site = Site {
        folder: "cluster".into(),
        id: "dev-1f2e3d4c".to_owned(),
        gateway: GATEWAY,
        prefix: 24,
    };
    let credential = guest::credential("dev-vault-1-1", ADDRESS, &site, &keys());
    let (_, value) = credential.expose().split_once('=').expect("a credential");
    let lines = decoded(value);
    assert!(!lines.contains("/etc/"), "on the disk");
    let printed: Vec<String> = lines
        .lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((start, content)) if line.starts_with("f+~") => {
                format!("{start}\n{}", decoded(content))
            }
            _ => line.to_owned(),
        })
        .collect();
    insta::assert_snapshot!(printed.join("\n"), @r#"
    d /run/vault-bake-login 0700 root root -
    w /proc/sys/kernel/hostname - - - - dev-vault-1-1
    w /sys/fs/cgroup/system.slice/systemd-networkd.service/cgroup.kill - - - - 1
    f+~ /run/systemd/network/05-node.network 0644 root root -
    [Match]
    MACAddress=52:54:00:4d:00:1f

    [Network]
    Address=10.77.0.31/24
    DHCP=no
    IPv6AcceptRA=no
    LinkLocalAddressing=no

    f+~ /run/systemd/network/05-gateway.network 0644 root root -
    [Match]
    MACAddress=52:54:01:4d:00:1f

    [Link]
    RequiredForOnline=no

    [Network]
    DHCP=no
    IPv6AcceptRA=no
    LinkLocalAddressing=no

    [Route]
    Destination=10.77.0.1/32
    Scope=link

    [Route]
    Gateway=10.77.0.1
    GatewayOnLink=yes

    f+~ /run/udev/rules.d/99-vault-bake-login.rules 0644 root root -
    ACTION!="remove", SUBSYSTEM=="virtio-ports", ATTR{name}=="vault-bake-login*", TAG+="systemd", ENV{SYSTEMD_WANTS}+="vault-bake-login@%k.service"

    f+~ /run/systemd/system/vault-bake-login@.service 0644 root root -
    [Unit]
    Description=Login by the virtual serial port %i
    BindsTo=dev-%i.device
    After=dev-%i.device
    StartLimitIntervalSec=0

    [Service]
    ExecStart=-/usr/bin/perl -e 'vec(my $$port, 1, 1) = 1; select undef, $$port, undef, undef; exec @ARGV' /usr/sbin/sshd -i -f /run/vault-bake-login/sshd_config
    StandardInput=file:/dev/%i
    StandardOutput=file:/dev/%i
    StandardError=journal
    RuntimeDirectory=sshd
    RuntimeDirectoryMode=0755
    RuntimeDirectoryPreserve=yes
    Restart=always
    RestartSec=1

    f+~ /run/vault-bake-login/sshd_config 0600 root root -
    HostKey /run/vault-bake-login/host_key
    AuthorizedKeysFile /run/vault-bake-login/authorized_keys
    PermitRootLogin prohibit-password
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    UsePAM yes
    PrintMotd no
    AcceptEnv LANG

    f+~ /run/vault-bake-login/host_key 0600 root root -
    HOST-PRIVATE-CANARY

    f+~ /run/vault-bake-login/authorized_keys 0600 root root -
    ssh-ed25519 AAAAuser
    "#);
}
