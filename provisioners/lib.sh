# shellcheck shell=sh
# Shared functions of all provisioners. A script reads them with `. "$VB_LIB"`.
# They take the VB_* environment of a step, change files on the disk, and print TAP and messages.

# --- messages

say() {
    printf '%s\n' "$*"
}

# die MESSAGE: prints the message to stderr and fails the step.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# listed WORD LIST: succeeds if the word is a line of the list.
listed() {
    case "
$2
" in
        *"
$1
"*) return 0 ;;
    esac
    return 1
}

# --- installation (install.sh)

# place MODE OWNER:GROUP SOURCE DESTINATION: installs a file and makes its parent folders.
place() {
    install -D -m "$1" -o "${2%%:*}" -g "${2##*:}" "$3" "$4"
}

# service_user NAME ID: makes a system user and group with that number, without home, password or shell.
service_user() {
    if ! getent group "$1" >/dev/null; then
        groupadd --system --gid "$2" "$1" || die "group $1 cannot have the number $2: choose another with the input uid"
    fi
    if ! getent passwd "$1" >/dev/null; then
        useradd --system --uid "$2" --gid "$1" --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$1" ||
            die "user $1 cannot have the number $2: choose another with the input uid"
    fi
    [ "$(id -u "$1"):$(id -g "$1")" = "$2:$2" ] ||
        die "user $1 exists as $(id -u "$1"):$(id -g "$1"), wanted $2:$2: files in the image belong to fixed numbers"
}

# mask_units UNIT…: keeps units from starting, also those not installed yet.
# It makes the link that `systemctl mask` makes. `systemctl mask` refuses missing units, and reloads the
# manager each time, which is slow under emulation.
mask_units() {
    for unit in "$@"; do
        ln -sfn /dev/null "/etc/systemd/system/$unit"
    done
}

# install_release PRODUCT VERSION SHA256: installs the binary; it gets its final name after verification.
# The host verified an unpacked binary of the upload disk. The leak scan verifies it again on the captured disk.
install_release() {
    binary=$VB_RELEASES/$1/$1
    fresh=/usr/bin/.$1.vault-bake
    rm -f "$fresh"
    if [ -f "$binary" ]; then
        copy_direct "$binary" "$fresh"
        # The leak scan reads ext file systems only. On any other, verify here.
        [ "$(stat -f -c %T /usr/bin)" = ext2/ext3 ] || verify_digest "$1" "$fresh" "$3"
    else
        unpack_release "$1" "$binary.gz" "$fresh" "$3"
    fi
    chown root:root "$fresh"
    chmod 0755 "$fresh"
    mv -f "$fresh" "/usr/bin/$1"
    for licence in "$VB_RELEASES/$1"/*; do
        case $licence in
            *.gz | "$binary") ;;
            *) [ ! -f "$licence" ] || place 0644 root:root "$licence" "/usr/share/doc/$1/${licence##*/}" ;;
        esac
    done
    record_version "$1" "$2"
}

# copy_direct FROM TO: copies with direct I/O, as the page cache costs most of the time under emulation.
# Falls back to `cp` if a file system does not support direct I/O.
copy_direct() {
    (umask 077 && dd if="$1" of="$2" bs=4M iflag=direct oflag=direct status=none 2>/dev/null) ||
        (umask 077 && cp "$1" "$2") || {
        rm -f "$2"
        die "cannot copy $1: the disk may be full"
    }
}

# unpack_release PRODUCT ARCHIVE TO SHA256: unpacks and verifies a gzip file.
unpack_release() {
    [ -f "$2" ] || die "cannot install $1: the uploaded release $2 is missing"
    if ! (umask 077 && gzip -dc "$2" >"$3"); then
        rm -f "$3"
        die "cannot unpack release $1: $2 is damaged, or the disk is full"
    fi
    verify_digest "$1" "$3" "$4"
}

# verify_digest PRODUCT FILE SHA256: deletes the file and fails if its digest differs.
verify_digest() {
    found=$(sha256sum "$2" | cut -d ' ' -f 1)
    if [ "$found" != "$3" ]; then
        rm -f "$2"
        die "release $1 has SHA-256 $found, the lock file has $3"
    fi
}

# record_version PRODUCT VERSION: runs `PRODUCT version` as the product's user and records the output.
record_version() {
    output=$(setpriv --reuid="$1" --regid="$1" --clear-groups --no-new-privs "/usr/bin/$1" version 2>&1) ||
        die "cannot run '$1 version': $output"
    # Builds differ in how they spell metadata such as +ent, not in the number before it.
    case $output in
        *"${2%%+*}"*) ;;
        *) die "'$1 version' prints '$output', the lock file has $2" ;;
    esac
    mkdir -p /etc/vault-bake/releases
    printf '%s\n' "$output" | head -n 1 >"/etc/vault-bake/releases/$1"
    say "$(head -n 1 "/etc/vault-bake/releases/$1")"
}

# --- TAP (check.sh); call these in the script itself, not in a pipe: a subshell loses the count

tap_count=0
tap_seen=' '

tap_line() {
    tap_count=$((tap_count + 1))
    case $tap_seen in
        *" $2 "*) printf 'not ok %s - %s: this id was used before\n' "$tap_count" "$2" ;;
        *) printf '%s %s - %s: %s\n' "$1" "$tap_count" "$2" "$3" ;;
    esac
    tap_seen="$tap_seen$2 "
}

ok() {
    tap_line ok "$1" "$2"
}

not_ok() {
    tap_line 'not ok' "$1" "$2"
}

skip() {
    tap_line ok "$1" "$2 # SKIP $3"
}

# check ID TEXT COMMAND…: passes if the command exits with 0; otherwise prints its output as diagnostics.
check() {
    tap_id=$1
    tap_text=$2
    shift 2
    if tap_output=$("$@" 2>&1); then
        ok "$tap_id" "$tap_text"
    else
        not_ok "$tap_id" "$tap_text"
        [ -z "$tap_output" ] || printf '%s\n' "$tap_output" | tail -n 20 | sed 's/^/# /'
    fi
}

done_testing() {
    printf '1..%s\n' "$tap_count"
}

# --- conditions for checks; each prints what it found if it fails

# owned_as MODE OWNER:GROUP PATH…: every path has this mode, owner and group.
owned_as() {
    wanted="$1 $2"
    shift 2
    wrong=0
    for path in "$@"; do
        found=$(stat -c '%a %U:%G' "$path" 2>/dev/null || echo missing)
        [ "$found" = "$wanted" ] || { say "$path is $found, wanted $wanted"; wrong=1; }
    done
    return "$wrong"
}

# says FILE PATTERN…: the file matches every extended regular expression.
says() {
    file=$1
    shift
    wrong=0
    for pattern in "$@"; do
        grep -Eq -- "$pattern" "$file" || { say "$file lacks: $pattern"; wrong=1; }
    done
    return "$wrong"
}

# enabled UNIT… and masked UNIT…
enabled() {
    unit_state_is enabled "$@"
}

masked() {
    unit_state_is masked "$@"
}

unit_state_is() {
    wanted=$1
    shift
    wrong=0
    for unit in "$@"; do
        found=$(systemctl is-enabled "$unit" 2>/dev/null || :)
        [ "$found" = "$wanted" ] || { say "$unit is ${found:-unknown}, wanted $wanted"; wrong=1; }
    done
    return "$wrong"
}

# active UNIT SECONDS: the unit becomes active within this time.
active() {
    left=$2
    while ! systemctl is-active --quiet "$1"; do
        if [ "$left" -le 0 ]; then
            systemctl status --no-pager --lines 15 "$1"
            return 1
        fi
        left=$((left - 1))
        sleep 1
    done
}

# sandboxed UNIT LIMIT: systemd's exposure score, times ten, is at most the limit.
sandboxed() {
    exposure=$(systemd-analyze security --no-pager --offline=true --threshold="$2" "$1" 2>&1) && return 0
    printf '%s\n' "$exposure" | tail -n 1
    return 1
}

# listening PORT: a process listens on this TCP port, on any address.
listening() {
    ss -Hltn "sport = :$1" | grep -q .
}

not_listening() {
    ! ss -Hlntu "sport = :$1" | grep .
}

# plaintext_refused PORT: a request without TLS gets no answer, or status 400.
# The variable `https_host` replaces 127.0.0.1, here and below; IPv6 addresses are in brackets.
plaintext_refused() {
    plain_host=${https_host:-127.0.0.1}
    plain_host=${plain_host#"["}
    # shellcheck disable=SC2016 # Bash expands this, as /dev/tcp needs bash.
    answer=$(timeout 10 bash -c 'exec 3<>"/dev/tcp/$2/$1" || exit 0
        printf "GET /v1/status/leader HTTP/1.0\r\n\r\n" >&3
        head -c 400 <&3' plaintext "$1" "${plain_host%"]"}" 2>/dev/null | tr -d '\0\r')
    case $answer in
        HTTP/*' 400 '* | '') ;;
        HTTP/*) say "port $1 answers without TLS: $answer"; return 1 ;;
    esac
}

# old_tls_refused PORT: the server refuses TLS 1.1. The options make the client offer it.
old_tls_refused() {
    answer=$(timeout 15 openssl s_client -connect "${https_host:-127.0.0.1}:$1" -tls1_1 -cipher 'DEFAULT@SECLEVEL=0' 2>&1 </dev/null)
    case $answer in
        *'alert protocol version'*) ;;
        *) say "$answer"; return 1 ;;
    esac
}

# https_get PORT CA PATH [s_client option…]: prints the response with its headers.
# The certificate must be valid for the name in `https_name`, or `localhost`. The variable `https_header` adds a header line.
https_get() {
    https_port=$1
    https_ca=$2
    https_path=$3
    shift 3
    printf 'GET %s HTTP/1.0\r\nHost: %s\r\n%s\r\n' "$https_path" "${https_name:-localhost}" "${https_header:+$https_header
}" |
        timeout 15 openssl s_client -quiet -connect "${https_host:-127.0.0.1}:$https_port" -servername "${https_name:-localhost}" \
            -CAfile "$https_ca" -verify_return_error -verify_hostname "${https_name:-localhost}" "$@" 2>&1 | tr -d '\0\r'
}
