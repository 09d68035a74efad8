#!/bin/sh
# Installs Consul: binary, user, folders, configuration, unit. It does not start Consul, which needs an identity.
set -eu
# shellcheck source=../lib.sh
. "$VB_LIB"

# `consul validate` needs a complete set of files, so a sample replaces the node's file.
validate() {
    rehearsal=$(mktemp -d /run/vault-bake-consul.XXXXXX)
    cp configuration/consul.json "$rehearsal/consul.json"
    printf '{"node_name":"rehearsal","server":true,"bootstrap_expect":1,"bind_addr":"127.0.0.1","encrypt":"%s"}\n' \
        "$(head -c 32 /dev/zero | openssl base64 -A)" >"$rehearsal/node.json"
    /usr/bin/consul validate "$rehearsal" || { rm -rf "$rehearsal"; die 'consul validate refuses the rendered configuration'; }
    rm -rf "$rehearsal"
}

service_user consul "$VB_INPUT_UID"
install_release consul "$VB_CONSUL_VERSION" "$VB_CONSUL_SHA256"
validate

install -d -m 0750 -o root -g consul /etc/consul.d
install -d -m 0700 -o consul -g consul /var/lib/consul
place 0640 root:consul configuration/consul.json /etc/consul.d/consul.json
place 0644 root:root files/consul.sh /etc/profile.d/consul.sh
place 0644 root:root files/consul.service /etc/systemd/system/consul.service
systemctl enable --quiet --no-reload consul.service
