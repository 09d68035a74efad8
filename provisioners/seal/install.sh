#!/bin/sh
# Removes what is this machine's own. Runs last; the session that runs it goes on working until the power goes off.
set -eu
# shellcheck source=../lib.sh
. "$VB_LIB"

# wipe PATH…: what is in these folders, not the folders.
wipe() {
    for folder in "$@"; do
        [ ! -d "$folder" ] || find "$folder" -xdev -mindepth 1 -delete
    done
}

stop_services() {
    systemctl stop vault.service consul.service vault-bake-identity.service 2>/dev/null || :
    wipe /var/lib/consul /var/log/vault /run/consul-tls /run/consul-secrets /run/vault-tls /run/vault-secrets
    rm -f /etc/vault-bake/run.json
    # It may be stopped by its own signal alone, and would write on into a file that is deleted.
    if [ -s /run/auditd.pid ]; then
        kill "$(cat /run/auditd.pid)" || :
    fi
}

# sshd has read all of this already; only a new daemon would miss it.
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

# An empty file, not a missing one: systemd then makes a new id at the next boot without taking it for the first boot of all,
# which would reset which units are enabled.
forget_machine() {
    : >/etc/machine-id
    [ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
    rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /etc/adjtime
    rm -f /var/lib/dhcp/* /var/lib/dhcpcd/* /var/lib/NetworkManager/*lease* /etc/udev/rules.d/70-persistent-net.rules
    wipe /var/lib/systemd/coredump /var/crash
    # The seed for randomness is saved again at power-off; two nodes must not start from the same.
    mkdir -p /run/systemd/system/systemd-random-seed.service.d
    printf '[Service]\nExecStop=\n' >/run/systemd/system/systemd-random-seed.service.d/vault-bake-seal.conf
    systemctl daemon-reload
}

# The journal goes on in memory, so that nothing of the rest of this session reaches the disk.
forget_logs() {
    journalctl --relinquish-var >/dev/null 2>&1 || :
    find /var/log -xdev \( -type f -o -type l \) -delete
    wipe /var/log/journal /tmp /var/tmp
    # What a mount hides is on the disk all the same: in a machine that was started again after it was hardened /tmp is memory.
    disk=$(mktemp -d -p /run)
    mount --bind / "$disk"
    wipe "$disk/tmp" "$disk/var/tmp"
    umount "$disk"
    rmdir "$disk"
}

# What a node must have as it was baked, by digest. It needs the package aide in the base.
measure() {
    have aide || { say 'aide is not in the base: nothing is measured'; return 0; }
    place 0600 root:root files/aide.conf /etc/aide/aide.conf
    rm -f /var/lib/aide/*
    install -d -m 0700 -o root -g root /var/lib/aide
    aide --init --config=/etc/aide/aide.conf >/dev/null || die 'aide cannot measure the image'
    chmod 0600 /var/lib/aide/aide.db
}

# Captured disks keep what was deleted; only blocks that are given back are gone.
give_back_blocks() {
    sync
    fstrim --all --verbose || say 'the disk takes no discards: deleted blocks stay in it'
}

# A node says which image and which run it is from. No step before the seal could: it may have been done in another run.
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
measure
give_back_blocks
