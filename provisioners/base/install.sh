#!/bin/sh
# Prepares the system that everything else is put upon.
set -eu
# shellcheck source=../lib.sh
. "$VB_LIB"

# cloud-init may still be writing users, mirrors and keys; what comes next must not race with it.
settle() {
    if have cloud-init; then
        say 'waiting for cloud-init'
        cloud-init status --wait >/dev/null || say "cloud-init ended as: $(cloud-init status | head -n 1)"
    fi
}

# An image is replaced, never changed in place: nothing may upgrade a running node behind the manifest's back.
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
        die "packages are missing and cannot be installed:$missing; put them into the base, or give the machine a network"
}

# One time daemon only.
keep_time() {
    for unit in chrony.service systemd-timesyncd.service; do
        if systemctl cat "$unit" >/dev/null 2>&1; then
            systemctl enable --quiet --no-reload "$unit"
            say "time is kept by $unit"
            return 0
        fi
    done
    say 'no time daemon is there: the clock is the hypervisor'\''s'
}

place_units() {
    have jq || die 'jq is not in the base, and identity archives are read with it: add the package jq'
    place 0644 root:root files/identity.jq /usr/lib/vault-bake/identity.jq
    place 0755 root:root files/identity /usr/lib/vault-bake/identity
    place 0644 root:root templates/identity.conf /etc/vault-bake/identity.conf
    for unit in vault-bake-identity.service vault-bake-renew-identity.service vault-bake-renew-identity.timer vault-bake-hostkeys.service; do
        place 0644 root:root "files/$unit" "/etc/systemd/system/$unit"
    done
    systemctl enable --quiet --no-reload vault-bake-hostkeys.service vault-bake-renew-identity.timer
}

# Nodes on Azure take their identity from Key Vault; a disk with one comes first where there is one.
place_fetching() {
    [ -n "${VB_INPUT_KEY_VAULTS:-}" ] || return 0
    for vault in $VB_INPUT_KEY_VAULTS; do
        case $vault in
            https://*[!a-zA-Z0-9.-]* | https:// | https://*/) die "input key_vaults names '$vault': expected https://NAME.vault.azure.net" ;;
            https://*) ;;
            *) die "input key_vaults names '$vault': expected https://NAME.vault.azure.net" ;;
        esac
    done
    have curl || die 'input key_vaults is given, and curl is not in the base: add the packages curl and ca-certificates'
    [ -s /etc/ssl/certs/ca-certificates.crt ] || die 'input key_vaults is given, and the base trusts no authority: add the package ca-certificates'
    place 0755 root:root files/fetch-identity /usr/lib/vault-bake/fetch-identity
    place 0644 root:root templates/key-vault.conf /etc/vault-bake/key-vault.conf
    place 0644 root:root files/vault-bake-fetch-identity.service /etc/systemd/system/vault-bake-fetch-identity.service
    place 0644 root:root files/needs-key-vault.conf /etc/systemd/system/vault-bake-identity.service.d/10-key-vault.conf
}

settle
stop_upgrades
install_missing
keep_time
place_units
place_fetching
