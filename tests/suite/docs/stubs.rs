//! Stubs of the programs that pages use and that a test cannot run for real.

/// Name and text of each.
pub const PROGRAMS: [(&str, &str); 4] = [
    ("az", AZ),
    ("systemctl", SYSTEMCTL),
    ("terraform", TERRAFORM),
    ("sign", SIGN),
];

/// Knows these commands of azure-cli 2.91.0, with all options that the real one requires of them (`!`), and the values that it
/// accepts (`=`). Another command, option or value is refused.
const AZ: &str = r#"#!/bin/bash
known='account show|--query --output
group create|!--name !--location
provider register|!--namespace
role definition create|!--role-definition
ad app create|!--display-name --query --output
ad app federated-credential create|!--id !--parameters
ad sp create|!--id
role assignment create|!--role !--scope --assignee
sig create|!--resource-group !--gallery-name
sig image-definition create|!--resource-group !--gallery-name !--gallery-image-definition !--publisher !--offer !--sku !--os-type=Linux,Windows --os-state=Generalized,Specialized --hyper-v-generation=V1,V2 --features
feature register|!--namespace !--name
feature show|!--namespace !--name --query
keyvault secret set|!--vault-name !--name --file --encoding=ascii,base64,hex,utf-16be,utf-16le,utf-8'
fail() { echo "az: $*" >&2; exit 2; }
name=
while [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; do name="$name${name:+ }$1"; shift; done
line=$(grep -F "$name|" <<<"$known" | head -n 1)
[ "${line%%|*}" = "$name" ] || fail "unknown command $name"
options=" ${line#*|} "
while [ $# -gt 0 ]; do
    option=$1 value=$2
    case $options in
        *[\ !]"$option"[\ =]*) ;;
        *) fail "$name: unknown option $option" ;;
    esac
    [ -n "$value" ] && [ "${value#--}" = "$value" ] || fail "$name: $option has no value"
    allowed=${options#*$option=}
    if [ "$allowed" != "$options" ]; then
        case ",${allowed%% *}," in
            *",$value,"*) ;;
            *) fail "$name: $option $value" ;;
        esac
    fi
    case $option$value in
        --role-definition@*) jq -e .Actions "${value#@}" >/dev/null || fail "no role in $value" ;;
        --parameters@*) jq -e '.issuer and .subject and .audiences' "${value#@}" >/dev/null || fail "no credential in $value" ;;
        --file*) [ -f "$value" ] || fail "no file $value" ;;
    esac
    options=${options/!$option/$option}
    shift 2
done
case $options in *!*) fail "$name lacks an option: $options" ;; esac
case $name in 'account show' | 'ad app create') echo 00000000-0000-0000-0000-000000000000 ;; esac
"#;

/// Knows the units of the provisioners.
const SYSTEMCTL: &str = r#"#!/bin/bash
case $1 in reload | restart) shift ;; *) echo "systemctl: $*" >&2; exit 2 ;; esac
for unit in "$@"; do
    find "$PROVISIONERS" -name "$unit.service" | grep -q . || { echo "no unit $unit" >&2; exit 5; }
done
"#;

/// Plans what `$PLAN` has.
const TERRAFORM: &str = r#"#!/bin/bash
case "$*" in
    'plan -out=plan.bin') cp "$PLAN" plan.bin ;;
    'show -json plan.bin') cat plan.bin ;;
    *) echo "terraform: $*" >&2; exit 2 ;;
esac
"#;

/// Signs with the key in `signer-key.pem`.
const SIGN: &str = r#"#!/bin/bash
bytes=$(mktemp) && cat >"$bytes" && openssl pkeyutl -sign -rawin -inkey ~/signer-key.pem -in "$bytes"
status=$? && rm -f "$bytes" && exit $status
"#;
