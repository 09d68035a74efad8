#!/bin/sh
# Removes what belongs to the build VM. Runs last; its ssh session stays open until the power goes off.
set -eu
# shellcheck source=../lib.sh
. "$VB_LIB"

# wipe FOLDER…: empties the folders.
wipe() {
    for folder in "$@"; do
        [ ! -d "$folder" ] || find "$folder" -xdev -mindepth 1 -delete
    done
}

stop_services() {
    systemctl stop vault.service consul.service vault-bake-identity.service 2>/dev/null || :
    wipe /var/lib/consul /var/log/vault /run/consul-tls /run/consul-secrets /run/vault-tls /run/vault-secrets
    rm -f /etc/vault-bake/run.json
    # auditd ignores `systemctl stop`, and would keep writing to a deleted file.
    if [ -s /run/auditd.pid ]; then
        kill "$(cat /run/auditd.pid)" || :
    fi
}

# The running sshd has read these files already.
forget_access() {
    rm -f /etc/ssh/sshd_config.d/00-vault-bake.conf /etc/ssh/ssh_host_*
    getent passwd | cut -d : -f 6 | sort -u | while IFS= read -r home; do
        case $home in
            / | '') continue ;;
        esac
        rm -f "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2" "$home/.ssh/known_hosts" "$home/.vault-token"
        rm -f "$home"/.*_history "$home/.lesshst" "$home/.viminfo" "$home/.wget-hsts" "$home/.python_history"
        rm -rf "$home/.ansible" "$home/.cache"
    done
}

forget_cloud() {
    if have cloud-init; then
        cloud-init clean --logs --seed
        wipe /var/lib/cloud
        rm -f /etc/sudoers.d/90-cloud-init-users /etc/ssh/sshd_config.d/50-cloud-init.conf /etc/netplan/50-cloud-init.yaml
    fi
    if have waagent; then
        waagent -force -deprovision+user
        rm -rf /var/lib/waagent/*.prv /var/lib/waagent/ovf-env.xml /var/log/azure /var/log/waagent.log
    fi
}

forget_packages() {
    apt-get clean 2>/dev/null || :
    wipe /var/lib/apt/lists /var/cache/apt /var/cache/debconf /var/cache/man
    rm -f /var/cache/ldconfig/aux-cache /var/lib/dpkg/*-old
}

# Empties /etc/machine-id: systemd then makes a new id at boot. If the file were missing, systemd would also
# reset which units are enabled, as on a first boot.
forget_machine() {
    : >/etc/machine-id
    [ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
    rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /etc/adjtime
    rm -f /var/lib/dhcp/* /var/lib/dhcpcd/* /var/lib/NetworkManager/*lease* /etc/udev/rules.d/70-persistent-net.rules
    wipe /var/lib/systemd/coredump /var/crash
    # systemd saves a random seed at power-off. Nodes must not share it.
    mkdir -p /run/systemd/system/systemd-random-seed.service.d
    printf '[Service]\nExecStop=\n' >/run/systemd/system/systemd-random-seed.service.d/vault-bake-seal.conf
    systemctl daemon-reload
}

# The journal stays in memory from here, so that later entries do not reach the disk.
forget_logs() {
    journalctl --relinquish-var >/dev/null 2>&1 || :
    find /var/log -xdev \( -type f -o -type l \) -delete
    wipe /var/log/journal /tmp /var/tmp
    # After a reboot of a hardened build VM, tmpfs hides /tmp of the disk.
    disk=$(mktemp -d -p /run)
    mount --bind / "$disk"
    wipe "$disk/tmp" "$disk/var/tmp"
    umount "$disk"
    rmdir "$disk"
}

# Records digests of programs and configuration. Needs the package aide.
record_digests() {
    have aide || { say 'skipping the digests: aide is not installed'; return 0; }
    place 0600 root:root files/aide.conf /etc/aide/aide.conf
    rm -f /var/lib/aide/*
    install -d -m 0700 -o root -g root /var/lib/aide
    aide --init --config=/etc/aide/aide.conf >/dev/null || die 'cannot record digests: aide --init failed'
    chmod 0600 /var/lib/aide/aide.db
}

# Captured disks keep deleted blocks unless they are discarded.
discard_blocks() {
    sync
    fstrim --all --verbose || say 'the disk does not support discard: deleted blocks stay in it'
}

# Records image and run of a node. Earlier steps cannot: they may come from the layer cache of another run.
name_image() {
    install -d -m 0755 -o root -g root /etc/vault-bake
    printf '{"schema":1,"image":"%s","run":"%s"}\n' "$VB_IMAGE" "$VB_RUN" >/etc/vault-bake/release.json
    chmod 0644 /etc/vault-bake/release.json
}

stop_services
name_image
forget_access
forget_cloud
forget_packages
forget_machine
forget_logs
record_digests
discard_blocks
