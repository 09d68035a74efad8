#!/bin/sh
# Checks that the image has no data of the build VM. On the booted image it checks that the node made its own.
set -u
# shellcheck source=../lib.sh
. "$VB_LIB"

PLACES='/etc /root /home /opt /srv /var /usr/local'

# A cloud writes keys of the node's user and agent at boot, so on a booted image only files older than the boot count.
# In the build every file counts.
OLDER=
[ "$VB_PHASE" = build ] || OLDER='! -newer /run/systemd/system'

# none PATH…: none of the paths exists.
none() {
    wrong=0
    for path in "$@"; do
        [ ! -e "$path" ] || { say "$path exists"; wrong=1; }
    done
    return "$wrong"
}

# files_with PATTERN: prints the files of the image that contain this text.
files_with() {
    # shellcheck disable=SC2086 # Lists of folders and of conditions.
    find $PLACES -xdev $OLDER -type f -size -4096k ! -path '/etc/ssh/ssh_host_*_key' ! -path '/var/log/journal/*' -exec grep -lEI -- "$1" {} + 2>/dev/null
}

no_text() {
    found=$(files_with "$1")
    say "$found"
    [ -z "$found" ]
}

no_files_named() {
    # shellcheck disable=SC2086 # Lists of folders and of conditions.
    found=$(find $PLACES -xdev $OLDER \( "$@" \) -print)
    say "$found"
    [ -z "$found" ]
}

empty_folders() {
    wrong=0
    for folder in "$@"; do
        found=$(find "$folder" -xdev -mindepth 1 -print 2>/dev/null | head -n 5)
        [ -z "$found" ] || { say "$folder contains: $found"; wrong=1; }
    done
    return "$wrong"
}

# A mount hides the folders of the disk, so the bind mount shows them.
no_temporary_files() {
    disk=$(mktemp -d -p /run)
    mount --bind / "$disk" || return 1
    empty_folders /tmp /var/tmp "$disk/tmp" "$disk/var/tmp"
    empty=$?
    umount "$disk" && rmdir "$disk"
    return "$empty"
}

no_logs() {
    found=$(find /var/log -xdev -type f -size +0)
    say "$found"
    [ -z "$found" ]
}

no_machine_id() {
    [ -f /etc/machine-id ] || { say '/etc/machine-id is missing; it must exist and be empty'; return 1; }
    [ ! -s /etc/machine-id ] || { say '/etc/machine-id is set'; return 1; }
    [ -L /var/lib/dbus/machine-id ] || none /var/lib/dbus/machine-id
}

own_machine_id() {
    grep -Eqx '[0-9a-f]{32}' /etc/machine-id || { say "machine-id is '$(cat /etc/machine-id)'"; return 1; }
}

own_host_keys() {
    born=$(stat -c %Y /etc/ssh/ssh_host_ed25519_key 2>/dev/null) || { say 'there is no ed25519 host key'; return 1; }
    booted=$(awk '/^btime/ {print $2}' /proc/stat)
    [ "$born" -ge "$((booted - 5))" ] || { say 'the host key is older than this boot, so it came with the image'; return 1; }
}

only_own_journal() {
    id=$(cat /etc/machine-id)
    found=$(find /var/log/journal -mindepth 1 -maxdepth 1 ! -name "$id" ! -name "$id.*")
    say "$found"
    [ -z "$found" ]
}

as_baked() {
    aide --check --config=/etc/aide/aide.conf
}

# In both phases.
check seal.release-file 'the image has its name and build in release.json' says /etc/vault-bake/release.json '"schema":1' "\"image\":\"$VB_IMAGE\""
check seal.no-private-keys 'no private key is on the disk' no_text 'BEGIN ([A-Z]+ )*PRIVATE KEY'
check seal.no-tokens 'no token is on the disk' no_text '(^|[^A-Za-z0-9_.])hv[sbr]\.[A-Za-z0-9_-]{20,}|CONSUL_HTTP_TOKEN=.|VAULT_TOKEN=.'
check seal.no-key-files 'no file with keys is on the disk' no_files_named -name '*.p12' -o -name '*.pfx' -o -name '*.jks' -o -name '*.prv'
check seal.no-authorized-keys 'no authorized_keys is on the disk' no_files_named -name 'authorized_keys*' -o -name known_hosts -o -name .vault-token
check seal.no-history 'no shell history is on the disk' no_files_named -name '.*_history'
check seal.no-package-lists 'no package list or archive is on the disk' empty_folders /var/lib/apt/lists /var/cache/apt/archives

if [ "$VB_PHASE" = build ]; then
    check seal.no-access 'the ssh access of the build is removed' none /etc/ssh/sshd_config.d/00-vault-bake.conf
    check seal.no-host-keys 'no ssh host key is on the disk' no_files_named -name 'ssh_host_*'
    check seal.no-machine-id 'the machine has no id' no_machine_id
    check seal.no-random-seed 'no random seed is on the disk' none /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
    check seal.no-consul-data 'no data of Consul is on the disk' empty_folders /var/lib/consul
    check seal.no-logs 'no log is on the disk' no_logs
    check seal.no-temporary-files 'no temporary file is on the disk' no_temporary_files
    if [ -d /var/lib/cloud ]; then
        check seal.no-cloud-data 'cloud-init has no instance data' empty_folders /var/lib/cloud
    else
        skip seal.no-cloud-data 'cloud-init has no instance data' 'the base has no cloud-init'
    fi
else
    check seal.own-machine-id 'this node made its own machine id' own_machine_id
    check seal.own-host-keys 'this node made its own host keys' own_host_keys
    check seal.own-journal 'the journal has entries of this node only' only_own_journal
    if have aide; then
        check seal.as-baked 'programs and configuration are unchanged since the build' as_baked
    else
        skip seal.as-baked 'programs and configuration are unchanged since the build' 'the base has no aide'
    fi
fi

done_testing
