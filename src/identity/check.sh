# Runs the image's program `identity` on this computer, in a private folder in memory.
# Takes the program, its rules, the products of the image, and the archive on standard input.
set -u
umask 077
vb_program=$1
vb_rules=$2
vb_products=$3
vb_missing=
for vb_name in jq openssl tar; do
    command -v "$vb_name" >/dev/null || vb_missing="$vb_missing $vb_name"
done
[ -z "$vb_missing" ] || { printf 'missing programs:%s\n' "$vb_missing" >&2; exit 3; }
vb_folder=
# A signal must not end the shell before the folder is removed. PIPE: vault-bake was killed.
trap 'trap "" HUP INT TERM PIPE; [ -z "$vb_folder" ] || rm -rf "$vb_folder"' EXIT
trap 'exit 143' HUP INT TERM PIPE
# The name of a folder must arrive here, so mktemp is not interrupted.
vb_folder=$(trap '' HUP INT TERM PIPE; mktemp -d /dev/shm/vault-bake-identity.XXXXXXXX) || exit 4
mkdir "$vb_folder/run" || exit 4
{ cat >"$vb_folder/seed" && printf '%s' "$vb_rules" >"$vb_folder/identity.jq"; } || exit 4
for vb_name in $vb_products; do : >"$vb_folder/$vb_name.service"; done
printf "seed_device='%s/seed'\nwait_s=0\n" "$vb_folder" >"$vb_folder/identity.conf"
VB_IDENTITY_CONFIG=$vb_folder/identity.conf
VB_IDENTITY_RUN=$vb_folder/run
VB_IDENTITY_UNITS=$vb_folder
VB_IDENTITY_RULES=$vb_folder/identity.jq

# The groups of the services exist only in the image, and checked files are not kept.
install() {
    for vb_name; do :; done
    case $1 in
        -d) mkdir -p "$vb_name" ;;
        *) : >"$vb_name" ;;
    esac
}

set --
eval "$vb_program"
