#!/bin/sh
# Checks the work of `base`. On the booted image it also checks that this node took its identity.
set -u
# shellcheck source=../lib.sh
. "$VB_LIB"

tools_installed() {
    wrong=0
    for tool in openssl tar jq ssh-keygen systemctl ss gzip sha256sum setpriv; do
        have "$tool" || { say "$tool is missing"; wrong=1; }
    done
    return "$wrong"
}

identity_files() {
    owned_as 755 root:root /usr/lib/vault-bake/identity || return 1
    owned_as 644 root:root /usr/lib/vault-bake/identity.jq
}

# The installed jq and rules must recognize a key of the image if it is written with escapes.
refuses_escapes() {
    printf '{"schema":1,"node":"a","datacenter":"a"}' >/run/vault-bake-check.node
    printf '{"\\u0076erify_incoming":false}' >/run/vault-bake-check.fragment
    message=$(jq -nr --stream --slurpfile node /run/vault-bake-check.node --slurpfile fragment /run/vault-bake-check.fragment \
        --argjson env null -f /usr/lib/vault-bake/identity.jq /run/vault-bake-check.node /run/vault-bake-check.fragment 2>&1)
    status=$?
    rm -f /run/vault-bake-check.node /run/vault-bake-check.fragment
    say "status $status: $message"
    case $message in
        refused*verify_incoming*'belongs to the image'*) ;;
        *) return 1 ;;
    esac
}

# Without an identity the program must fail with a message.
refuses_without_seed() {
    mkdir -p /run/vault-bake-check
    printf 'seed_device=/nonexistent/seed\nwait_s=0\n' >/run/vault-bake-check.conf
    message=$(VB_IDENTITY_CONFIG=/run/vault-bake-check.conf VB_IDENTITY_RUN=/run/vault-bake-check /usr/lib/vault-bake/identity 2>&1)
    status=$?
    rm -rf /run/vault-bake-check /run/vault-bake-check.conf
    say "status $status: $message"
    [ "$status" -ne 0 ] || return 1
    case $message in
        *'identity refused'*) ;;
        *) return 1 ;;
    esac
}

handed_over() {
    owned_as '750' root:consul /run/consul-tls /run/consul-secrets || return 1
    owned_as '640' root:consul /run/consul-tls/tls.key /run/consul-secrets/node.json || return 1
    [ ! -e /run/vault-bake-identity ] || { say '/run/vault-bake-identity was not removed'; return 1; }
}

fetch_required() {
    systemctl show vault-bake-identity.service --property=Requires --value | grep -qw vault-bake-fetch-identity.service ||
        { say 'the identity unit does not require vault-bake-fetch-identity.service'; return 1; }
    systemd-analyze verify --man=no /etc/systemd/system/vault-bake-fetch-identity.service
}

# Without a metadata service and a disk the program must fail with a message.
fetch_refuses() {
    mkdir -p /run/vault-bake-check
    printf 'key_vaults=https://none.vault.azure.net\nmetadata_url=http://127.0.0.1:1\nseed_device=/nonexistent/seed\n' >/run/vault-bake-check.conf
    message=$(VB_FETCH_CONFIG=/run/vault-bake-check.conf VB_IDENTITY_RUN=/run/vault-bake-check /usr/lib/vault-bake/fetch-identity 2>&1)
    status=$?
    rm -rf /run/vault-bake-check /run/vault-bake-check.conf
    say "status $status: $message"
    [ "$status" -ne 0 ] || return 1
    case $message in
        *'identity refused: no seed'*) ;;
        *) return 1 ;;
    esac
    says /etc/vault-bake/key-vault.conf "^key_vaults='https://[a-zA-Z0-9. :/-]+'$"
}

# Renews with the same identity. The checks of consul and vault show that the services still run.
renewable() {
    for product in consul vault; do
        [ ! -d "/run/$product-tls" ] || break
    done
    before=$(stat -c %i "/run/$product-tls/tls.crt")
    systemctl start vault-bake-renew-identity.service || { journalctl --boot --unit vault-bake-identity.service --lines 5 --output cat; return 1; }
    [ "$(stat -c %i "/run/$product-tls/tls.crt")" != "$before" ] || { say "/run/$product-tls/tls.crt was not replaced"; return 1; }
}

no_failed_units() {
    timeout 60 systemctl is-system-running --wait >/dev/null 2>&1 || :
    failed=$(systemctl list-units --state=failed --no-legend --plain)
    say "$failed"
    for unit in $(printf '%s\n' "$failed" | cut -d ' ' -f 1); do
        say "$(journalctl --no-pager --quiet --boot --output=cat --lines=8 --unit="$unit")"
        # Its status names the module that failed.
        case $unit in cloud-*) say "$(cloud-init status --long 2>&1)" ;; esac
    done
    [ -z "$failed" ]
}

own_host_key() {
    ls /etc/ssh/ssh_host_*_key >/dev/null 2>&1 || { say '/etc/ssh has no host key'; return 1; }
    [ -z "$(find /etc/ssh -name 'ssh_host_*_key' -perm /077)" ]
}

check base.tools 'all programs that the image needs are installed' tools_installed
check base.no-upgrades 'automatic upgrades are off' masked apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service
check base.identity-files 'the identity program belongs to root' identity_files
check base.units-valid 'its units are valid' systemd-analyze verify --man=no /etc/systemd/system/vault-bake-identity.service \
    /etc/systemd/system/vault-bake-renew-identity.service /etc/systemd/system/vault-bake-hostkeys.service
check base.identity-sandboxed 'the identity unit is confined' sandboxed vault-bake-identity.service 30
check base.renewal-enabled 'the node looks for renewed certificates every day' enabled vault-bake-renew-identity.timer
check base.host-keys-made 'ssh host keys are made at first boot' enabled vault-bake-hostkeys.service

if systemctl cat chrony.service >/dev/null 2>&1; then
    check base.time 'time is kept by chrony' enabled chrony.service
elif systemctl cat systemd-timesyncd.service >/dev/null 2>&1; then
    check base.time 'time is kept by systemd-timesyncd' enabled systemd-timesyncd.service
else
    skip base.time 'a time daemon is enabled' 'the base has none'
fi

if [ -n "${VB_INPUT_KEY_VAULTS:-}" ]; then
    check base.fetch-files 'the program that reads Key Vault belongs to root' owned_as 755 root:root /usr/lib/vault-bake/fetch-identity
    check base.fetch-required 'no identity is taken if the fetch from Key Vault failed' fetch_required
    check base.fetch-sandboxed 'the unit that reads Key Vault is confined' sandboxed vault-bake-fetch-identity.service 30
    check base.fetch-refuses 'only the configured Key Vaults can supply an identity' fetch_refuses
fi

if [ "$VB_PHASE" = build ]; then
    check base.identity-reads 'escapes in an identity archive bypass no rule' refuses_escapes
    check base.identity-refuses 'the identity program refuses a machine without an identity' refuses_without_seed
else
    check base.booted 'no unit failed at boot' no_failed_units
    check base.identity-taken 'this node took its identity' active vault-bake-identity.service 60
    check base.identity-handed-over 'keys are in tmpfs, readable only by their service' handed_over
    check base.identity-renewed 'certificates are renewed while the services run' renewable
    check base.own-host-key 'this node has its own host keys' own_host_key
fi

done_testing
