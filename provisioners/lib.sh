# shellcheck shell=sh
# Functions that the scripts of every provisioner share; a script reads them with `. "$VB_LIB"`.
# Comes in: the VB_* environment of a step. Goes out: files on the machine's disk, TAP and words on stdout.

# --- saying and refusing

say() {
    printf '%s\n' "$*"
}

# Ends the script: words go to stderr, the step fails.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# listed WORD LIST: the word is one line of the list.
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

# --- putting things in place (install.sh)

# place MODE OWNER:GROUP SOURCE DESTINATION: a file, with the folders above it.
place() {
    install -D -m "$1" -o "${2%%:*}" -g "${2##*:}" "$3" "$4"
}

# service_user NAME ID: a system user and group of that number, without home, password or shell.
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

# mask_units UNIT…: none of them ever starts, whether it is there or not. The link is all that `systemctl mask` makes; it also
# reloads the manager each time, which is slow under emulation, and it refuses units that are not there yet.
mask_units() {
    for unit in "$@"; do
        ln -sfn /dev/null "/etc/systemd/system/$unit"
    done
}

# install_release PRODUCT VERSION SHA256: the binary gets its name only after its digest was found right. One that lies unpacked on the
# read-only disk of the uploads was found right by who made that disk, and is looked at again on the captured disk.
install_release() {
    binary=$VB_RELEASES/$1/$1
    fresh=/usr/bin/.$1.vault-bake
    rm -f "$fresh"
    if [ -f "$binary" ]; then
        copy_as_it_is "$binary" "$fresh"
        # The captured disk can be looked into where the file system is of this kind.
        [ "$(stat -f -c %T /usr/bin)" = ext2/ext3 ] || right "$1" "$fresh" "$3"
    else
        unpack "$1" "$binary.gz" "$fresh" "$3"
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

# copy_as_it_is FROM TO: past the cache of the kernel, whose copies take most of the time under emulation; where a file system does
# not know that, through it.
copy_as_it_is() {
    (umask 077 && dd if="$1" of="$2" bs=4M iflag=direct oflag=direct status=none 2>/dev/null) ||
        (umask 077 && cp "$1" "$2") || {
        rm -f "$2"
        die "$1 cannot be copied: is the disk full?"
    }
}

# unpack PRODUCT ARCHIVE TO SHA256: a gzip file.
unpack() {
    [ -f "$2" ] || die "release $1 was not uploaded: $2 is missing"
    if ! (umask 077 && gzip -dc "$2" >"$3"); then
        rm -f "$3"
        die "release $1 cannot be unpacked: $2 is damaged, or the disk is full"
    fi
    right "$1" "$3" "$4"
}

# right PRODUCT FILE SHA256: else the file goes.
right() {
    found=$(sha256sum "$2" | cut -d ' ' -f 1)
    if [ "$found" != "$3" ]; then
        rm -f "$2"
        die "release $1 has SHA-256 $found, the lock says $3"
    fi
}

# record_version PRODUCT VERSION: runs the binary as its own user and keeps what it says of itself.
record_version() {
    said=$(setpriv --reuid="$1" --regid="$1" --clear-groups --no-new-privs "/usr/bin/$1" version 2>&1) ||
        die "$1 version fails: $said"
    # Metadata such as +ent is spelt differently by some builds; the number before it is not.
    case $said in
        *"${2%%+*}"*) ;;
        *) die "$1 says '$said', the lock says $2" ;;
    esac
    mkdir -p /etc/vault-bake/releases
    printf '%s\n' "$said" | head -n 1 >"/etc/vault-bake/releases/$1"
    say "$(head -n 1 "/etc/vault-bake/releases/$1")"
}

# --- TAP (check.sh); call these in the script's own shell, never in a pipe

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

# check ID WORDS COMMAND…: holds if the command ends with 0; else what it printed follows as diagnostics.
check() {
    tap_id=$1
    tap_words=$2
    shift 2
    if tap_output=$("$@" 2>&1); then
        ok "$tap_id" "$tap_words"
    else
        not_ok "$tap_id" "$tap_words"
        [ -z "$tap_output" ] || printf '%s\n' "$tap_output" | tail -n 20 | sed 's/^/# /'
    fi
}

done_testing() {
    printf '1..%s\n' "$tap_count"
}

# --- questions that several checks ask; each prints what it found where the answer is no

# owned_as MODE OWNER:GROUP PATH…
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

# says FILE PATTERN…: every extended pattern is found in the file.
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

# active UNIT SECONDS: waits so long for it to be up.
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

# sandboxed UNIT LIMIT: systemd's own exposure score, times ten, is at most the limit.
sandboxed() {
    exposure=$(systemd-analyze security --no-pager --offline=true --threshold="$2" "$1" 2>&1) && return 0
    printf '%s\n' "$exposure" | tail -n 1
    return 1
}

# listening PORT: something listens on it with TCP, on any address.
listening() {
    ss -Hltn "sport = :$1" | grep -q .
}

not_listening() {
    ! ss -Hlntu "sport = :$1" | grep .
}

# plaintext_refused PORT: a request without TLS never gets an answer of success.
plaintext_refused() {
    # shellcheck disable=SC2016 # The inner shell, which knows /dev/tcp, is to expand this.
    answer=$(timeout 10 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 0
        printf "GET /v1/status/leader HTTP/1.0\r\n\r\n" >&3
        head -c 400 <&3' plaintext "$1" 2>/dev/null | tr -d '\0\r')
    case $answer in
        HTTP/*' 400 '* | '') ;;
        HTTP/*) say "port $1 answers without TLS: $answer"; return 1 ;;
    esac
}

# old_tls_refused PORT: the server itself turns TLS 1.1 away. The client is told to offer it, which it does not by default.
old_tls_refused() {
    answer=$(timeout 15 openssl s_client -connect "127.0.0.1:$1" -tls1_1 -cipher 'DEFAULT@SECLEVEL=0' 2>&1 </dev/null)
    case $answer in
        *'alert protocol version'*) ;;
        *) say "$answer"; return 1 ;;
    esac
}

# https_get PORT CA PATH [s_client option…]: prints the answer with its headers; the certificate must be good for `localhost`.
# A variable `https_header` adds one header line.
https_get() {
    https_port=$1
    https_ca=$2
    https_path=$3
    shift 3
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n%s\r\n' "$https_path" "${https_header:+$https_header
}" |
        timeout 15 openssl s_client -quiet -connect "127.0.0.1:$https_port" -servername localhost -CAfile "$https_ca" \
            -verify_return_error -verify_hostname localhost "$@" 2>&1 | tr -d '\0\r'
}
