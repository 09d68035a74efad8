#!/bin/sh
# Checks Consul's installation. On the booted image it also checks that Consul serves TLS only.
set -u
# shellcheck source=../lib.sh
. "$VB_LIB"

CONFIG=/etc/consul.d/consul.json

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

# Uses Vault's certificate as client certificate: the same authority signed it.
consul_get() {
    https_get 8501 /run/consul-tls/ca.pem "$1" -cert /run/vault-tls/tls.crt -key /run/vault-tls/tls.key
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

if [ "$VB_PHASE" = build ]; then
    check consul.data-empty 'its data folder is empty' empty_data
else
    check consul.active 'Consul runs' active consul.service 60
    if [ -r /run/vault-tls/tls.key ]; then
        check consul.leader 'it serves HTTPS and knows a leader' has_leader
        check consul.refuses-tokenless 'requests without a token are refused' refuses_tokenless
    else
        skip consul.leader 'it serves HTTPS and knows a leader' 'the image has no Vault, so there is no client certificate'
        skip consul.refuses-tokenless 'requests without a token are refused' 'the image has no Vault, so there is no client certificate'
    fi
    check consul.refuses-strangers 'clients without a certificate are refused' refuses_strangers
    check consul.refuses-plaintext 'plain HTTP is refused' plaintext_refused 8501
    check consul.refuses-old-tls 'TLS 1.1 is refused' old_tls_refused 8501
    check consul.ports-closed 'no plaintext port is open' nothing_else_listens
    check consul.gossip-encrypted 'gossip is encrypted' gossip_encrypted
fi

done_testing
