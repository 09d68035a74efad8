//! Makes what a node gets from outside at boot: its address, its host name and the login.
//! Takes the address and keys; returns an SMBIOS string. All files are in memory of the node.
//!
//! A login comes by a virtual serial port that the owner of the VM adds while it runs. No port of
//! the network opens, and only the owner of the QEMU process can add one.

use std::net::Ipv4Addr;

use super::super::Site;
use crate::builder::access::{self, GuestFile};
use crate::platform::qemu::machine::arguments::Card;
use crate::secret::Secret;
use crate::ssh::Keys;

/// The start of the name of a virtual serial port for a login.
pub(super) const LOGIN: &str = "vault-bake-login";

/// Starts a server for each new port. The name of a port becomes known in a second event.
const RULE: &str = "ACTION!=\"remove\", SUBSYSTEM==\"virtio-ports\", \
    ATTR{name}==\"vault-bake-login*\", TAG+=\"systemd\", \
    ENV{SYSTEMD_WANTS}+=\"vault-bake-login@%k.service\"\n";

/// Serves one login after the other on a port. `select` waits until a client is connected, because
/// until then the port reads as ended.
const UNIT: &str = "[Unit]
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
";

const SSHD: &str = "HostKey /run/vault-bake-login/host_key
AuthorizedKeysFile /run/vault-bake-login/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
PrintMotd no
AcceptEnv LANG
";

/// Returns the SMBIOS string for a node.
///
/// The last line is for a systemd-networkd that has started before its files were written: systemd
/// starts it again. Without that process the line has no effect.
pub fn credential(name: &str, address: Ipv4Addr, site: &Site, keys: &Keys) -> Secret {
    let lines = format!(
        "d /run/vault-bake-login 0700 root root -\n\
         w /proc/sys/kernel/hostname - - - - {name}\n\
         w /sys/fs/cgroup/system.slice/systemd-networkd.service/cgroup.kill - - - - 1\n"
    );
    let file = |path, content: String| GuestFile {
        path,
        mode: "0644",
        content: Secret::new(content),
    };
    let secret = |path, content: &str| GuestFile {
        path,
        mode: "0600",
        content: Secret::new(content),
    };
    let files = [
        file(
            "/run/systemd/network/05-node.network",
            site.network_unit(&matching(Card::Private, address), address, ""),
        ),
        file(
            "/run/systemd/network/05-gateway.network",
            gateway_unit(address, site.gateway),
        ),
        file(
            "/run/udev/rules.d/99-vault-bake-login.rules",
            RULE.to_owned(),
        ),
        file(
            "/run/systemd/system/vault-bake-login@.service",
            UNIT.to_owned(),
        ),
        secret("/run/vault-bake-login/sshd_config", SSHD),
        secret("/run/vault-bake-login/host_key", keys.host_private.expose()),
        secret(
            "/run/vault-bake-login/authorized_keys",
            &format!("{}\n", keys.user_public.trim_end()),
        ),
    ];
    access::smbios_string(&access::encode(lines, &files))
}

fn matching(card: Card, address: Ipv4Addr) -> String {
    format!("MACAddress={}", card.mac(address))
}

/// Returns the unit of the card to the gateway, which has no address of its own.
fn gateway_unit(address: Ipv4Addr, gateway: Ipv4Addr) -> String {
    let matching = matching(Card::Gateway, address);
    format!(
        "[Match]\n{matching}\n\n[Link]\nRequiredForOnline=no\n\n\
         [Network]\nDHCP=no\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n\n\
         [Route]\nDestination={gateway}/32\nScope=link\n\n\
         [Route]\nGateway={gateway}\nGatewayOnLink=yes\n"
    )
}
