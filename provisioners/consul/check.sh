#!/bin/sh
# Checks Consul's installation. On the booted image it also checks that Consul serves TLS only.
set -u
# shellcheck source=../lib.sh
. "$VB_LIB"

CONFIG=/etc/consul.d/consul.json
MANAGEMENT=${VB_INPUT_MANAGEMENT_SUBNETS:-}

plain_user() {
    getent passwd consul | grep -q ':/usr/sbin/nologin$' || { say "$(getent passwd consul)"; return 1; }
    getent shadow consul | cut -d : -f 2 | grep -q '^[!*]' || { say 'the password is not locked'; return 1; }
}

no_capabilities() {
    have getcap || return 0
    found=$(getcap /usr/bin/consul)
    [ -z "$found" ] || { say "$found"; return 1; }
}

tls_only_configuration() {
    says "$CONFIG" '"http": -1' '"https": 8501' '"verify_incoming": true' '"verify_outgoing": true' '"verify_server_hostname": true' \
        '"default_policy": "deny"' '"encrypt_verify_incoming": true' '"enable_script_checks": false'
}

no_secret() {
    ! grep -En '"(encrypt|tokens|master|initial_management|agent|default)":' "$CONFIG"
}

fails_closed() {
    systemctl show consul.service --property=Requires --value | grep -qw vault-bake-identity.service ||
        { say 'consul.service does not require vault-bake-identity.service'; return 1; }
}

empty_data() {
    found=$(find /var/lib/consul -mindepth 1)
    [ -z "$found" ] || { say "$found"; return 1; }
}

# addresses_of PORT: prints the addresses on which a process listens, as `ss` writes them.
addresses_of() {
    ss -Hltn "sport = :$1" | awk '{sub(/:[0-9]+$/, "", $4); print $4}' | sort -u
}

# Gossip listens on the private address, so the management listener has the same one.
listens_as_configured() {
    wanted=127.0.0.1
    [ -z "$MANAGEMENT" ] || wanted=$(printf '%s\n' 127.0.0.1 "$(addresses_of 8301 | grep -v '^127\.')" | sort -u)
    found=$(addresses_of 8501)
    [ "$found" = "$wanted" ] || { say 'the API listens on:' "$found" '- wanted:' "$wanted"; return 1; }
}

# at_each_address COMMAND…: runs it for each address of the API, with `https_host` and `https_name`.
# At the private address, a controller verifies the name of a server.
at_each_address() {
    listeners=$(addresses_of 8501)
    [ -n "$listeners" ] || { say 'nothing listens on port 8501'; return 1; }
    for https_host in $listeners; do
        https_name=localhost
        [ "$https_host" = 127.0.0.1 ] || https_name="server.$(jq -r .datacenter /run/consul-secrets/node.json).consul"
        "$@" || { say "at the address $https_host"; return 1; }
    done
}

# One authority signed all certificates of a node, so each can be the client's.
consul_get() {
    client=consul
    [ ! -r /run/vault-tls/tls.key ] || client=vault
    https_get 8501 /run/consul-tls/ca.pem "$1" -cert "/run/$client-tls/tls.crt" -key "/run/$client-tls/tls.key"
}

has_leader() {
    left=30
    until answer=$(consul_get /v1/status/leader) && printf '%s' "$answer" | grep -Eq '^"[0-9a-f.:[]'; do
        [ "$left" -gt 0 ] || { say "$answer"; return 1; }
        left=$((left - 1))
        sleep 1
    done
}

refuses_strangers() {
    answer=$(https_get 8501 /run/consul-tls/ca.pem /v1/status/leader)
    case $answer in
        *'HTTP/1'*) say "$answer"; return 1 ;;
        *alert*) ;;
        *) say "expected a TLS alert, found: $answer"; return 1 ;;
    esac
}

# Requests without a token get status 403.
refuses_tokenless() {
    answer=$(consul_get /v1/agent/self)
    case $answer in
        *'HTTP/1.'?' 403 '*) ;;
        *) say "$answer"; return 1 ;;
    esac
}

gossip_encrypted() {
    journalctl --unit consul.service --boot --no-pager --output cat | grep -Eqi 'Gossip( Encryption)?: *true'
}

# Prints the firewall's rules as nft reads them. A build VM loads them in a network of its own.
firewall() {
    if [ "$VB_PHASE" = build ]; then
        unshare --net sh -c 'nft --file /etc/nftables.conf && nft --json list table inet vault_bake'
    else
        nft --json list table inet vault_bake
    fi
}

open_to_named_subnets() {
    rules=$(firewall) || return 1
    found=$(printf '%s' "$rules" | jq -r -f files/firewall.jq) || return 1
    wanted=$(printf '%s' "$MANAGEMENT" | LC_ALL=C sort)
    [ "$found" = "$wanted" ] ||
        { say 'the firewall opens port 8501 to:' "${found:-none}" '- wanted, as harden needs the same management_subnets:' "${wanted:-none}"; return 1; }
}

# Consul listens soon after it was started, on loopback first.
serves() {
    https_host=127.0.0.1
    has_leader && at_each_address has_leader
}

nothing_else_listens() {
    for port in 8500 8502 8503 8600 8302; do
        not_listening "$port" || return 1
    done
}

check consul.binary 'the binary belongs to root and has no special bits' owned_as '755' root:root /usr/bin/consul
check consul.no-capabilities 'the binary has no file capabilities' no_capabilities
check consul.user 'its user cannot log in' plain_user
check consul.folders 'it cannot change its configuration' owned_as 750 root:consul /etc/consul.d
check consul.configuration-owner 'its configuration belongs to root' owned_as 640 root:consul "$CONFIG"
check consul.data-folder 'only its user can read its data' owned_as 700 consul:consul /var/lib/consul
check consul.configuration-tls 'its configuration is TLS only, with access control on' tls_only_configuration
check consul.no-secret 'no secret is in its configuration' no_secret
check consul.unit-valid 'its unit is valid' systemd-analyze verify --man=no /etc/systemd/system/consul.service
check consul.unit-sandboxed 'its unit is confined' sandboxed consul.service 16
check consul.unit-enabled 'it starts at boot' enabled consul.service
check consul.fails-closed 'it does not start without an identity' fails_closed
if [ -n "$MANAGEMENT" ] || grep -qs 'table inet vault_bake' /etc/nftables.conf; then
    check consul.firewall 'the firewall opens its API to the subnets in management_subnets only' open_to_named_subnets
else
    skip consul.firewall 'the firewall opens its API to the subnets in management_subnets only' 'the image has no firewall of harden'
fi

if [ "$VB_PHASE" = build ]; then
    check consul.data-empty 'its data folder is empty' empty_data
else
    check consul.active 'Consul runs' active consul.service 60
    check consul.leader 'it serves HTTPS and knows a leader' serves
    check consul.addresses 'its API listens on loopback, and on the private address only with management_subnets' listens_as_configured
    check consul.refuses-tokenless 'requests without a token are refused' at_each_address refuses_tokenless
    check consul.refuses-strangers 'clients without a certificate are refused' at_each_address refuses_strangers
    check consul.refuses-plaintext 'plain HTTP is refused' at_each_address plaintext_refused 8501
    check consul.refuses-old-tls 'TLS 1.1 is refused' at_each_address old_tls_refused 8501
    check consul.ports-closed 'no plaintext port is open' nothing_else_listens
    check consul.gossip-encrypted 'gossip is encrypted' gossip_encrypted
fi

done_testing
