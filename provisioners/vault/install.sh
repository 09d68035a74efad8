#!/bin/sh
# Installs Vault: binary, user, folders, configuration, unit. It does not start Vault, which needs an identity.
set -eu
# shellcheck source=../lib.sh
. "$VB_LIB"

# Vault verifies Key Vault's certificate with the authorities of the system.
seal() {
    [ "$VB_INPUT_SEAL" != azurekeyvault ] || [ -s /etc/ssl/certs/ca-certificates.crt ] ||
        die 'the seal azurekeyvault needs CA certificates; add the package ca-certificates to the base'
}

# A full disk stops Vault, so its audit log needs a bound.
rotate_audit() {
    have logrotate || die 'logrotate is missing, which bounds the audit log; add the package logrotate to the base'
    place 0644 root:root templates/audit-log.conf /etc/vault-bake/audit-log.conf
    place 0755 root:root files/reopen-audit /usr/lib/vault-bake/reopen-audit
    for unit in vault-bake-rotate-audit.service vault-bake-rotate-audit.timer; do
        place 0644 root:root "files/$unit" "/etc/systemd/system/$unit"
    done
    systemctl enable --quiet --no-reload vault-bake-rotate-audit.timer
}

seal
service_user vault "$VB_INPUT_UID"
install_release vault "$VB_VAULT_VERSION" "$VB_VAULT_SHA256"

install -d -m 0750 -o root -g vault /etc/vault.d
install -d -m 0755 -o root -g root /opt/vault /opt/vault/plugins
[ -z "$VB_INPUT_PLUGIN_DIRECTORY" ] || install -d -m 0755 -o root -g root "$VB_INPUT_PLUGIN_DIRECTORY"
install -d -m 0750 -o vault -g vault /var/log/vault
place 0640 root:vault configuration/vault.json /etc/vault.d/vault.json
place 0644 root:root files/vault.sh /etc/profile.d/vault.sh
place 0644 root:root files/vault.service /etc/systemd/system/vault.service
systemctl enable --quiet --no-reload vault.service
rotate_audit
