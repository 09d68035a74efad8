#!/bin/sh
# Checks the hardening: the files during the build, and the running system on the booted image.
set -u
# shellcheck source=../lib.sh
. "$VB_LIB"

sshd_says() {
    effective=$(sshd -T 2>&1) || { say "$effective"; return 1; }
    wrong=0
    for line in 'passwordauthentication no' 'kbdinteractiveauthentication no' 'permitemptypasswords no' 'x11forwarding no' \
        'allowtcpforwarding no' 'allowagentforwarding no' 'permittunnel no' 'maxauthtries 3' 'maxsessions 2' 'logingracetime 30'; do
        printf '%s\n' "$effective" | grep -qx "$line" || { say "sshd -T lacks: $line"; wrong=1; }
    done
    return "$wrong"
}

# During builds and boot tests, root logs in with the key of the run. The image's own settings forbid it.
root_stays_out() {
    says /etc/ssh/sshd_config.d/10-vault-bake-hardening.conf '^PermitRootLogin no$' || return 1
    others=$(grep -lEi '^[[:space:]]*(AllowUsers|AllowGroups|DenyUsers|DenyGroups|Match)' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf)
    [ -z "$others" ] || { say "rules for single users: $others"; return 1; }
}

no_remote_shell() {
    [ -d /etc/ssh ] || return 0
    says /etc/systemd/system/ssh.service.d/10-vault-bake.conf '^ConditionPathExists=/run/vault-bake/authorized_keys$' && masked ssh.socket || return 1
    ! grep -Ew 'tcp dport .*22' /etc/nftables.conf
}

no_swap() {
    masked swap.target || return 1
    [ "$(wc -l </proc/swaps)" -le 1 ] || { cat /proc/swaps; return 1; }
    ! grep -En '^[^#].*[[:space:]]swap[[:space:]]' /etc/fstab
}

no_core_dumps() {
    says /etc/systemd/system.conf.d/10-vault-bake.conf '^DefaultLimitCORE=0$' &&
        says /etc/systemd/coredump.conf.d/10-vault-bake.conf '^Storage=none$' &&
        says /etc/security/limits.d/10-vault-bake.conf '^\* hard core 0$'
}

private_files() {
    says /etc/login.defs '^UMASK 027$' && says /etc/profile.d/vault-bake.sh '^umask 027$'
}

only_named_shells() {
    found=$(getent passwd | while IFS=: read -r name _ id _ _ _ shell; do
        case $shell in
            */nologin | */false) continue ;;
        esac
        [ "$name" = root ] || listed "$name" "${VB_INPUT_LOGIN_USERS:-}" || say "$name ($id) has the shell $shell"
    done)
    say "$found"
    [ -z "$found" ]
}

no_passwords() {
    found=$(getent shadow | grep -Ev '^[^:]+:[!*]')
    [ -z "$found" ] || { printf '%s\n' "$found" | cut -d : -f 1; return 1; }
    [ "$(getent passwd | awk -F : '$3 == 0' | wc -l)" -eq 1 ] || { say 'more than one user has the number 0'; return 1; }
}

no_set_uid() {
    found=$(find / -xdev \( -path /proc -o -path /sys -o -path /run \) -prune -o -type f -perm /6000 -print |
        while IFS= read -r program; do
            listed "$program" "${VB_INPUT_SUID_ALLOWED:-}" || say "$program"
        done)
    say "$found"
    [ -z "$found" ]
}

no_open_folders() {
    found=$(find / -xdev \( -path /proc -o -path /sys -o -path /run \) -prune -o \( -type d -perm -0002 ! -perm -1000 -o -type f -perm -0002 \) -print)
    say "$found"
    [ -z "$found" ]
}

modules_blocked() {
    says /etc/modprobe.d/vault-bake.conf '^install usb-storage /bin/false$' '^install sctp /bin/false$' || return 1
    ! grep -Ehn '^(install|blacklist) (udf|vfat)' /etc/modprobe.d/*.conf
}

kernel_settings_live() {
    wrong=0
    while read -r key _ value; do
        case $key in
            '' | '#'*) continue ;;
        esac
        file=/proc/sys/$(printf '%s' "$key" | tr . /)
        # This kernel may lack a setting.
        [ -e "$file" ] || continue
        [ "$(cat "$file")" = "$value" ] || { say "$key is $(cat "$file"), wanted $value"; wrong=1; }
    done </etc/sysctl.d/99-vault-bake.conf
    return "$wrong"
}

firewall_live() {
    rules=$(nft list table inet vault_bake 2>&1) || { say "$rules"; return 1; }
    printf '%s' "$rules" | grep -Eq 'hook input priority filter; policy drop' || { say "$rules"; return 1; }
    printf '%s' "$rules" | grep -Eq '169\.254\.169\.254' || { say "$rules"; return 1; }
}

mounted_bare() {
    wrong=0
    for path in /tmp /var/tmp /dev/shm; do
        options=$(findmnt --noheadings --output OPTIONS --mountpoint "$path" | tail -n 1)
        for option in nosuid nodev noexec; do
            case ",$options," in
                *",$option,"*) ;;
                *) say "$path is mounted with '$options', without $option"; wrong=1 ;;
            esac
        done
    done
    return "$wrong"
}

audit_rules() {
    says /etc/audit/rules.d/90-vault-bake.rules '^-w /etc/vault.d -p wa' '^-w /etc/systemd/system -p wa' '^-e 2$' || return 1
    enabled auditd.service
}

# All rules are loaded and locked. The kernel stops loading at the first rule that it refuses.
audit_live() {
    active auditd.service 30 || return 1
    auditctl -s | grep -qx 'enabled 2' || { auditctl -s; return 1; }
    loaded=$(auditctl -l)
    wanted=$(grep -c '^-[wa] ' /etc/audit/rules.d/90-vault-bake.rules)
    found=$(printf '%s\n' "$loaded" | grep -c 'vault-bake-')
    [ "$found" -eq "$wanted" ] || { say "$found of $wanted rules are loaded"; say "$loaded"; return 1; }
}

console_kept() {
    grep -q 'console=ttyS0' /proc/cmdline
}

check harden.sshd 'ssh accepts keys only and forwards nothing' sshd_says
check harden.sshd-root 'root cannot log in by ssh' root_stays_out
if [ "$VB_INPUT_SSH" = false ]; then
    check harden.no-ssh 'no ssh server starts on a node' no_remote_shell
else
    skip harden.no-ssh 'no ssh server starts on a node' 'the input ssh is true'
fi
check harden.no-swap 'there is no swap' no_swap
check harden.no-core-dumps 'core dumps are off' no_core_dumps
check harden.umask 'new files are private to their user and group' private_files
check harden.no-shells 'only root and the users in login_users have a shell' only_named_shells
check harden.no-passwords 'no user has a password' no_passwords
check harden.no-set-uid 'only the programs in suid_allowed are set-uid or set-gid' no_set_uid
check harden.no-open-files 'no file or folder is world-writable' no_open_folders
check harden.modules 'unneeded kernel modules are blocked, needed ones are not' modules_blocked
check harden.ctrl-alt-del 'the keyboard cannot restart the machine' masked ctrl-alt-del.target
check harden.firewall-rules 'the firewall rules are valid' nft -c -f /etc/nftables.conf
check harden.firewall-enabled 'the firewall starts at boot' enabled nftables.service
check harden.mount-units 'temporary folders are mounted at boot' enabled tmp.mount var-tmp.mount
check harden.journal 'the journal is persistent and has a size limit' says /etc/systemd/journald.conf.d/10-vault-bake.conf '^Storage=persistent$' '^SystemMaxUse='
if have auditctl; then
    check harden.audit-rules 'changes to configuration, programs and users are audited' audit_rules
else
    skip harden.audit-rules 'changes to configuration, programs and users are audited' 'the base has no auditd'
fi
check harden.banner 'ssh shows a banner before login' says /etc/issue.net 'Authorised use only'

if [ "$VB_PHASE" = image ]; then
    check harden.firewall-live 'the firewall drops traffic to all other ports' firewall_live
    check harden.kernel-live 'the running kernel has all settings' kernel_settings_live
    check harden.mounts-live 'no program can run from temporary folders' mounted_bare
    if have auditctl; then
        check harden.audit-live 'the audit rules are loaded, and locked until the next boot' audit_live
    else
        skip harden.audit-live 'the audit rules are loaded, and locked until the next boot' 'the base has no auditd'
    fi
    if grep -q 'console=' /proc/cmdline; then
        check harden.console 'the serial console is enabled' console_kept
    else
        skip harden.console 'the serial console is enabled' 'the kernel command line has no console'
    fi
fi

done_testing
