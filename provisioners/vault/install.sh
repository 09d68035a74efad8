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
