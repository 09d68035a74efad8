#!/bin/sh
# Checks Vault's installation. On the booted image it also checks that Vault serves TLS only.
set -u
# shellcheck source=../lib.sh
. "$VB_LIB"

CONFIG=/etc/vault.d/vault.json
ROTATION=/etc/vault-bake/audit-log.conf

plain_user() {
    getent passwd vault | grep -q ':/usr/sbin/nologin$' || { say "$(getent passwd vault)"; return 1; }
    getent shadow vault | cut -d : -f 2 | grep -q '^[!*]' || { say 'the password is not locked'; return 1; }
}

no_capabilities() {
    have getcap || return 0
    found=$(getcap /usr/bin/vault)
    [ -z "$found" ] || { say "$found"; return 1; }
}

tls_only_configuration() {
    says "$CONFIG" '"scheme": "https"' '"address": "127.0.0.1:8501"' '"tls_min_version": "tls1[23]"' \
        '"disable_mlock": (true|false)' || return 1
    ! grep -En 'tls_disable|tls_skip_verify|unauthenticated' "$CONFIG"
}

no_secret() {
    ! grep -En '"(token|client_secret|password)"' "$CONFIG"
}

# The files of a step may bring the authority. On a node, the identity may.
seal_configured() {
    case $VB_INPUT_SEAL in
        shamir) ! grep -n '"seal"' "$CONFIG" || return 1 ;;
        *) says "$CONFIG" "\"$VB_INPUT_SEAL\": \{" || return 1 ;;
    esac
    case $VB_INPUT_SEAL_CA_CERT in
        '' | /run/*) ;;
        *) [ -s "$VB_INPUT_SEAL_CA_CERT" ] || { say "input seal_ca_cert: $VB_INPUT_SEAL_CA_CERT is missing or empty"; return 1; } ;;
    esac
}

# Vault refuses a folder that is a link.
plugins_of_root() {
    folder=${VB_INPUT_PLUGIN_DIRECTORY:-/opt/vault/plugins}
    [ ! -L "$folder" ] || { say "$folder is a link"; return 1; }
    owned_as 755 root:root "$folder" || return 1
    found=$(find "$folder" \( ! -user root -o ! -type l -perm /022 \) -print)
    [ -z "$found" ] || { say "$found"; return 1; }
}

as_vault() {
    setpriv --reuid=vault --regid=vault --clear-groups "$@"
}

rotation_of_root() {
    owned_as 644 root:root "$ROTATION" && owned_as 755 root:root /usr/lib/vault-bake/reopen-audit
}

# With --debug, logrotate only reads its configuration.
rotation_valid() {
    as_vault logrotate --debug --state /dev/null "$ROTATION" &&
        systemd-analyze verify --man=no /etc/systemd/system/vault-bake-rotate-audit.service /etc/systemd/system/vault-bake-rotate-audit.timer
}

# Rotates a file that is one MiB too large, without data. A run of the timer may have looked just before.
rotates() {
    large=/var/log/vault/vault-bake-check.log
    before=$(systemctl show vault.service --property=MainPID --value)
    as_vault truncate -s "$((VB_INPUT_AUDIT_LOG_MIB + 1))M" "$large" || return 1
    left=3
    while [ -e "$large" ] && [ "$left" -gt 0 ]; do
        left=$((left - 1))
        systemctl start vault-bake-rotate-audit.service || break
    done
    found=$(ls /var/log/vault)
    [ ! -e "$large" ] && [ -e "$large.1" ]
    rotated=$?
    rm -f "$large" "$large".*
    [ "$rotated" = 0 ] || { systemctl status --no-pager --lines 15 vault-bake-rotate-audit.service; say "/var/log/vault has: $found"; return 1; }
    [ ! -e /var/lib/vault-bake-rotate-audit/rotated ] || { say 'Vault was not reloaded'; return 1; }
    after=$(systemctl show vault.service --property=MainPID --value)
    [ "$before" = "$after" ] || { say "Vault's process was $before and is $after"; return 1; }
}

fails_closed() {
    systemctl show vault.service --property=Requires --value | grep -qw vault-bake-identity.service ||
        { say 'vault.service does not require vault-bake-identity.service'; return 1; }
}

stops_before_agent() {
    systemctl show vault.service --property=After --value | grep -qw consul.service ||
        { say 'vault.service is not ordered after consul.service'; return 1; }
    found=$(systemctl show vault.service --property=TimeoutStopUSec --value)
    [ "$found" = '1min 30s' ] || { say "the stop timeout is $found, expected 90 s"; return 1; }
}

handed_over() {
    owned_as 750 root:vault /run/vault-tls /run/vault-secrets || return 1
    owned_as 640 root:vault /run/vault-tls/tls.key /run/vault-tls/consul-ca.pem /run/vault-secrets/env
}

# Accepts any status that Vault itself sends, as a new node is sealed.
answers_health() {
    left=30
    until answer=$(https_get 8200 /run/vault-tls/ca.pem /v1/sys/health) &&
        printf '%s' "$answer" | grep -Eq '^HTTP/1\.[01] (200|429|472|473|474|501|503) '; do
        [ "$left" -gt 0 ] || { say "$answer"; return 1; }
        left=$((left - 1))
        sleep 1
    done
}

# Succeeds if Consul knows a service vault; prints the response.
registered() {
    token=$(sed -n 's/^CONSUL_HTTP_TOKEN=//p' /run/vault-secrets/env)
    answer=$(https_header="X-Consul-Token: $token" https_get 8501 /run/vault-tls/consul-ca.pem /v1/catalog/service/vault \
        -cert /run/vault-tls/tls.crt -key /run/vault-tls/tls.key)
    printf '%s\n' "$answer" | grep -v '^depth=\|^verify '
    printf '%s' "$answer" | grep -q '"ServiceName":"vault"'
}

uninitialised() {
    https_get 8200 /run/vault-tls/ca.pem /v1/sys/health | grep -Eq '^HTTP/1\.[01] 501 '
}

memory_locked() {
    pid=$(systemctl show vault.service --property=MainPID --value)
    grep -Eq '^Max locked memory +unlimited +unlimited' "/proc/$pid/limits" || { grep locked "/proc/$pid/limits"; return 1; }
    grep -Eq '^CapEff:[[:space:]]*0+$' "/proc/$pid/status" || { grep Cap "/proc/$pid/status"; return 1; }
}

check vault.binary 'the binary belongs to root and has no special bits' owned_as '755' root:root /usr/bin/vault
check vault.no-capabilities 'the binary has no file capabilities' no_capabilities
check vault.user 'its user cannot log in' plain_user
check vault.folders 'it cannot change its configuration' owned_as 750 root:vault /etc/vault.d
check vault.configuration-owner 'its configuration belongs to root' owned_as 640 root:vault "$CONFIG"
check vault.audit-folder 'it can write its audit log' owned_as 750 vault:vault /var/log/vault
check vault.configuration-tls 'its configuration is TLS only' tls_only_configuration
check vault.no-secret 'no secret is in its configuration' no_secret
check vault.seal 'its configuration has the seal of the definition' seal_configured
check vault.plugins 'only root can change its plugins' plugins_of_root
check vault.unit-valid 'its unit is valid' systemd-analyze verify --man=no /etc/systemd/system/vault.service
check vault.unit-sandboxed 'its unit is confined' sandboxed vault.service 16
check vault.rotation-owner 'only root can change how its audit log is rotated' rotation_of_root
check vault.rotation-valid 'the rotation of its audit log is valid' rotation_valid
check vault.rotation-sandboxed 'the rotation is confined' sandboxed vault-bake-rotate-audit.service 10
check vault.rotation-enabled 'its audit log is rotated every minute if it is large' enabled vault-bake-rotate-audit.timer
check vault.unit-enabled 'it starts at boot' enabled vault.service
check vault.fails-closed 'it does not start without an identity' fails_closed
check vault.stops-first 'it has 90 s to stop, before its agent stops' stops_before_agent

if [ "$VB_PHASE" = image ]; then
    check vault.handed-over 'keys are in tmpfs, readable only by Vault' handed_over
    check vault.active 'Vault runs' active vault.service 60
    check vault.health 'it answers over TLS' answers_health
    check vault.refuses-plaintext 'plain HTTP is refused' plaintext_refused 8200
    check vault.refuses-old-tls 'TLS 1.1 is refused' old_tls_refused 8200
    check vault.confined 'it can lock its memory and has no capability' memory_locked
    check vault.rotates 'a large audit log is rotated, and Vault keeps running' rotates
    # Some versions register only after initialization. The health check has shown that storage works.
    if ! registered >/dev/null && uninitialised; then
        skip vault.registered 'Vault is registered in Consul' 'Vault is not initialized yet'
    else
        check vault.registered 'Vault is registered in Consul' registered
    fi
fi

done_testing
