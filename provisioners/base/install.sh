#!/bin/sh
# Prepares the system for the other provisioners.
set -eu
# shellcheck source=../lib.sh
. "$VB_LIB"

# cloud-init may still be writing users, mirrors and keys.
wait_for_cloud_init() {
    if have cloud-init; then
        say 'waiting for cloud-init'
        cloud-init status --wait >/dev/null || say "cloud-init ended with $(cloud-init status | head -n 1)"
    fi
}

# A running node must have the packages that its manifest lists.
stop_upgrades() {
    units='apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service unattended-upgrades.service'
    # shellcheck disable=SC2086 # A list of units.
    systemctl stop $units 2>/dev/null || :
    # shellcheck disable=SC2086
    mask_units $units
}

apt_get() {
    apt-get -q -o DPkg::Lock::Timeout=120 "$@"
}

install_missing() {
    missing=
    for package in ${VB_INPUT_PACKAGES:-}; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :)" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    # shellcheck disable=SC2086 # A list of package names.
    { apt_get update && apt_get -y --no-install-recommends install $missing; } ||
        die "cannot install missing packages:$missing; add them to the packages of the base, or give the build VM a network"
}

# Enables one time daemon: two would compete.
enable_time_daemon() {
    for unit in chrony.service systemd-timesyncd.service; do
        if systemctl cat "$unit" >/dev/null 2>&1; then
            systemctl enable --quiet --no-reload "$unit"
            say "enabled the time daemon $unit"
            return 0
        fi
    done
    say 'no time daemon is installed: nodes use the clock of the hypervisor'
}

place_units() {
    have jq || die 'jq is missing, which reads identity archives; add the package jq to the base'
    place 0644 root:root files/identity.jq /usr/lib/vault-bake/identity.jq
    place 0755 root:root files/identity /usr/lib/vault-bake/identity
    place 0644 root:root templates/identity.conf /etc/vault-bake/identity.conf
    for unit in vault-bake-identity.service vault-bake-renew-identity.service vault-bake-renew-identity.timer vault-bake-hostkeys.service; do
        place 0644 root:root "files/$unit" "/etc/systemd/system/$unit"
    done
    systemctl enable --quiet --no-reload vault-bake-hostkeys.service vault-bake-renew-identity.timer
}

# Nodes on Azure take their identity from Key Vault. An identity disk takes precedence.
place_fetch_units() {
    [ -n "${VB_INPUT_KEY_VAULTS:-}" ] || return 0
    for vault in $VB_INPUT_KEY_VAULTS; do
        case $vault in
            https://*[!a-zA-Z0-9.-]* | https:// | https://*/) die "input key_vaults names '$vault': expected https://NAME.vault.azure.net" ;;
            https://*) ;;
            *) die "input key_vaults names '$vault': expected https://NAME.vault.azure.net" ;;
        esac
    done
    have curl || die 'input key_vaults needs curl; add the packages curl and ca-certificates to the base'
    [ -s /etc/ssl/certs/ca-certificates.crt ] || die 'input key_vaults needs CA certificates; add the package ca-certificates to the base'
    place 0755 root:root files/fetch-identity /usr/lib/vault-bake/fetch-identity
    place 0644 root:root templates/key-vault.conf /etc/vault-bake/key-vault.conf
    place 0644 root:root files/vault-bake-fetch-identity.service /etc/systemd/system/vault-bake-fetch-identity.service
    place 0644 root:root files/needs-key-vault.conf /etc/systemd/system/vault-bake-identity.service.d/10-key-vault.conf
}

wait_for_cloud_init
stop_upgrades
install_missing
enable_time_daemon
place_units
place_fetch_units
