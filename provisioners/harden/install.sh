#!/bin/sh
# Hardens the system. Most changes take effect at the next boot, so the build keeps its connection.
set -eu
# shellcheck source=../lib.sh
. "$VB_LIB"

kernel() {
    # 99 sorts after the files of the distribution.
    place 0644 root:root files/sysctl.conf /etc/sysctl.d/99-vault-bake.conf
    place 0644 root:root files/modprobe.conf /etc/modprobe.d/vault-bake.conf
}

# Memory of Vault must not reach a disk.
no_swap() {
    swapoff -a || :
    sed -i '/^[^#].*[[:space:]]swap[[:space:]]/d' /etc/fstab 2>/dev/null || :
    mask_units swap.target
    place 0644 root:root files/coredump.conf /etc/systemd/coredump.conf.d/10-vault-bake.conf
    place 0644 root:root files/manager.conf /etc/systemd/system.conf.d/10-vault-bake.conf
    place 0644 root:root files/limits.conf /etc/security/limits.d/10-vault-bake.conf
}

mounts() {
    place 0644 root:root files/tmp.mount /etc/systemd/system/tmp.mount
    place 0644 root:root files/var-tmp.mount /etc/systemd/system/var-tmp.mount
    grep -Eqs '^[^#[:space:]]+[[:space:]]+/dev/shm[[:space:]]' /etc/fstab ||
        printf 'tmpfs /dev/shm tmpfs nosuid,nodev,noexec 0 0\n' >>/etc/fstab
}

firewall() {
    for user in $VB_INPUT_METADATA_USERS; do
        getent passwd "$user" >/dev/null || die "input metadata_users: the image has no user $user"
    done
    nft -c -f templates/nftables.conf || die 'nft refuses the rendered rules; check the inputs allowed_tcp, allowed_udp and management_subnets'
    place 0640 root:root templates/nftables.conf /etc/nftables.conf
}

remote_shell() {
    [ -d /etc/ssh ] || return 0
    place 0600 root:root files/sshd.conf /etc/ssh/sshd_config.d/10-vault-bake-hardening.conf
    sshd -t || die 'sshd refuses its configuration'
    [ "$VB_INPUT_SSH" = false ] || return 0
    place 0644 root:root files/no-ssh.conf /etc/systemd/system/ssh.service.d/10-vault-bake.conf
    mask_units ssh.socket
}

# Only the configured DNS servers resolve names: any machine of the local network can answer LLMNR and mDNS.
names() {
    place 0644 root:root files/resolved.conf /etc/systemd/resolved.conf.d/10-vault-bake.conf
}

logs() {
    place 0644 root:root files/journald.conf /etc/systemd/journald.conf.d/10-vault-bake.conf
    install -d -m 2755 -o root -g systemd-journal /var/log/journal
}

# Audits changes to configuration, programs and users, and programs that the services start. Needs the package auditd.
auditing() {
    have auditctl || { say 'skipping the audit: auditd is not installed'; return 0; }
    place 0640 root:root files/audit.rules /etc/audit/rules.d/90-vault-bake.rules
    for user in vault consul; do
        ! getent passwd "$user" >/dev/null ||
            printf -- '-a always,exit -F arch=b64 -S execve -F uid=%s -k vault-bake-started\n' "$(id -u "$user")" >>/etc/audit/rules.d/90-vault-bake.rules
    done
    systemctl enable --quiet --no-reload auditd.service
}

# Only listed users keep a shell. Root's password is locked.
people() {
    for file in /etc/issue /etc/issue.net; do
        place 0644 root:root files/issue "$file"
    done
    : >/etc/motd
    # pam_env logs an error at each login if this file is missing.
    [ -e /etc/default/locale ] || : >/etc/default/locale
    place 0644 root:root files/profile.sh /etc/profile.d/vault-bake.sh
    # Debian 13 has no line for the umask, which is 022 then.
    sed -i -E '/^#?[[:space:]]*UMASK[[:space:]]/d; s/^(HOME_MODE[[:space:]]+).*/\10700/; s/^(PASS_MIN_DAYS[[:space:]]+).*/\11/' /etc/login.defs
    # The image has no passwords. A password set later gets a slow hash.
    sed -i -E '/^#?[[:space:]]*SHA_CRYPT_(MIN|MAX)_ROUNDS[[:space:]]/d' /etc/login.defs
    printf 'UMASK 027\nSHA_CRYPT_MIN_ROUNDS 100000\nSHA_CRYPT_MAX_ROUNDS 500000\n' >>/etc/login.defs
    passwd --quiet --lock root
    getent passwd | while IFS=: read -r name _ _ _ _ _ shell; do
        case $shell in
            */nologin | */false) continue ;;
        esac
        [ "$name" = root ] || listed "$name" "${VB_INPUT_LOGIN_USERS:-}" && continue
        usermod --shell /usr/sbin/nologin "$name"
        say "removed the shell of $name"
    done
}

set_uid_programs() {
    find / -xdev \( -path /proc -o -path /sys -o -path /run \) -prune -o -type f -perm /6000 -print | while IFS= read -r program; do
        listed "$program" "${VB_INPUT_SUID_ALLOWED:-}" && continue
        chmod ug-s "$program"
        say "removed set-uid and set-gid of $program"
    done
}

units() {
    systemctl enable --quiet --no-reload tmp.mount var-tmp.mount nftables.service
    # shellcheck disable=SC2086 # A list of units.
    mask_units ctrl-alt-del.target ${VB_INPUT_MASKED_UNITS:-}
}

kernel
no_swap
mounts
firewall
remote_shell
names
logs
auditing
people
set_uid_programs
units
