# The rules of a node's identity: the allowed content of node.json, consul/node.json and vault/env.
# Takes the events of `jq --stream` over both JSON files, and their values in $node, $fragment (null if the image has no
# Consul) and $env (text; null if the image has no Vault).
# Prints `refused` and the reasons, or `taken`, node, datacenter, whether it is a server, the fragment on one line, and the
# lines of vault/env. Consul and Vault get only this output.

# --- messages

# Text of the archive, safe to print on a console.
def hex($digits): . as $n | [range($digits) | . as $i | ($n / pow(16; $digits - 1 - $i) | floor) % 16 | "0123456789abcdef"[.:. + 1]] | join("");
def shown:
    [explode[:60][] | if . >= 32 and . < 127 then [.] | implode elif . < 65536 then "\\u" + hex(4) else "\\U" + hex(8) end]
    | "'" + join("") + "'";
def kind: {null: "null", boolean: "true or false", number: "a number", string: "text", array: "a list", object: "an object"}[type];
# A key without case, `_` and `-`: Consul ignores case, and node_name and nodeName count as alike.
def plain: ascii_downcase | gsub("[_-]"; "");

# --- addresses

def number16: reduce (ascii_downcase | explode[]) as $c (0; . * 16 + $c - (if $c > 57 then 87 else 48 end));
def ipv4:
    if test("\\A(0|[1-9][0-9]{0,2})(\\.(0|[1-9][0-9]{0,2})){3}\\z") then split(".") | map(tonumber) | if all(. < 256) then . else null end
    else null end;
def groups:
    if . == "" then []
    else [split(":")[] | if test("\\A[0-9A-Fa-f]{1,4}\\z") then number16 else ipv4 as [$a, $b, $c, $d] | $a * 256 + $b, $c * 256 + $d end] end;
# Eight numbers, or null.
def ipv6:
    if test("\\A[0-9A-Fa-f:]*:([0-9.]*\\.[0-9.]*)?[0-9A-Fa-f]{0,4}\\z") | not then null
    elif test("\\.") and (test(":[0-9.]+\\z") and (gsub(".*:"; "") | ipv4) != null | not) then null
    else
        [splits("::")] as $parts
        | if ($parts | any(test("\\A:|:\\z|::")) or length > 2) then null
          else
            ($parts | map(groups)) as $halves
            | (8 - ($halves | add | length)) as $zeros
            | if ($parts | length) == 1 then $halves[0] elif $zeros < 1 then null else $halves[0] + [range($zeros) | 0] + $halves[1] end
            | if length == 8 then . else null end
          end
    end;
# Whether another machine can use this address to reach a single node: no wildcard, loopback or multicast.
def elsewhere4: .[0] > 0 and .[0] != 127 and .[0] < 224;
def elsewhere6:
    if .[:5] == [0, 0, 0, 0, 0] and (.[5] == 0 or .[5] == 65535) then [.[6] / 256 | floor, 0, 0, 0] | elsewhere4
    else .[0] < 65280 end;
def is_address: (ipv4 | . != null and elsewhere4) or (ipv6 | . != null and elsewhere6);
# A go-sockaddr template, which Consul evaluates on the node; no free text.
def is_template:
    test("\\A\\{\\{ *Get[A-Za-z0-9]+( +\"[^\"\\\\{}|]*\")*( *\\| *(include|exclude|sort|limit|offset|unique|attr|join)( +(\"[^\"\\\\{}|]*\"|[0-9]+))*)* *\\}\\}\\z");
def is_own_name: test("\\A(.*\\.)?(localhost[46]?|ip6-localhost|ip6-loopback)(\\.localdomain[46]?)?\\.?\\z"; "i");
def is_name:
    test("\\A[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\\.?\\z"; "i") and length <= 254
    and (test("(\\A|\\.)([0-9]+|0x[0-9a-f]*)\\.?\\z"; "i") | not);
# The host of a plain https address, or null.
def https_host:
    if test("\\Ahttps://(\\[[0-9a-f:.]+\\]|[a-z0-9.-]+)(:[0-9]{1,5})?/?\\z"; "i") then
        sub("\\A[^/]*//"; "") | sub("/\\z"; "")
        | if test(":[0-9]+\\z") and (test("\\]\\z") | not) and (sub(".*:"; "") | tonumber | . < 1 or . > 65535) then null
          else sub("(?<host>[^:]|\\]):[0-9]+\\z"; .host) end
    else null end;
def is_https: https_host | . != null
    and (if startswith("[") then .[1:-1] | ipv6 != null else is_name or ipv4 != null end);
def is_reachable: https_host | . != null
    and (if startswith("[") then .[1:-1] | ipv6 | . != null and elsewhere6
         else (is_name and (is_own_name | not)) or (ipv4 | . != null and elsewhere4) end);

# --- allowed values

def fits($kind):
    def text($pattern): type == "string" and test($pattern);
    def whole($least; $most): type == "number" and . >= $least and . <= $most and . == floor;
    def each(f): type == "array" and all(.[]; f);
    if $kind == "label" then text("\\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\z")
    elif $kind == "uuid" then text("\\A[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\\z")
    elif $kind == "key" then text("\\A[A-Za-z0-9+/]{43}=\\z")
    elif $kind == "token" then text("\\A[!-~]{1,512}\\z")
    elif $kind == "tag" then text("\\A[A-Za-z0-9_-]{1,128}\\z")
    elif $kind == "level" then type == "string" and (ascii_downcase | . as $level | ["trace", "debug", "info", "warn", "error", "err"] | index($level) != null)
    elif $kind == "duration" then text("\\A([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h))+\\z")
    elif $kind == "address" then type == "string" and (is_address or is_template)
    elif $kind == "flag" then type == "boolean"
    elif $kind == "servers" then whole(1; 99)
    elif $kind == "count" then whole(0; 1000000)
    elif $kind == "peers" then each(text("\\A[!-~]([ -~]{0,1022}[!-~])?\\z"))
    elif $kind == "meta" then type == "object" and length <= 64 and all(to_entries[];
        (.key | test("\\A[A-Za-z0-9_-]{1,128}\\z") and (test("\\Aconsul-"; "i") | not)) and (.value | text("\\A[ -~]{0,512}\\z")))
    elif $kind == "providers" then each(type == "object" and keys == ["accessor_id", "secret_id"] and all(.[]; text("\\A[!-~]{1,512}\\z")))
    else error("no kind \($kind)") end;

def kinds: {
    label: "1 to 63 lower-case letters, digits and '-', not at an end",
    uuid: "a UUID, as in 3f2a8c1e-5b7d-4e90-a1c2-d3e4f5061728",
    key: "the base64 of 32 bytes, as `consul keygen` prints it",
    token: "the token as text",
    tag: "letters, digits, '_' and '-'",
    level: "trace, debug, info, warn or error",
    duration: "a duration as text, as in \"5s\"",
    address: "this node's IP address, neither loopback nor a wildcard, or a template of its network cards as in {{ GetInterfaceIP \"eth0\" }}",
    flag: "true or false",
    servers: "a whole number from 1",
    count: "a whole number from 0",
    peers: "a list of addresses as text",
    meta: "an object of at most 64 texts, whose keys are letters, digits, '_' and '-' and do not begin with 'consul-'",
    providers: "a list of objects with `accessor_id` and `secret_id`",
    object: "an object"
};

# --- consul/node.json

# Keys that an identity may set, as <https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file> spells it.
def own: {
    node_name: "label", node_id: "uuid", node_meta: "meta", datacenter: "label", primary_datacenter: "label", partition: "label", segment: "label",
    encrypt: "key", server: "flag", bootstrap_expect: "servers", read_replica: "flag",
    bind_addr: "address", serf_lan: "address", serf_wan: "address",
    advertise_addr: "address", advertise_addr_ipv4: "address", advertise_addr_ipv6: "address",
    advertise_addr_wan: "address", advertise_addr_wan_ipv4: "address", advertise_addr_wan_ipv6: "address", translate_wan_addrs: "flag",
    retry_join: "peers", retry_interval: "duration", retry_max: "count",
    retry_join_wan: "peers", retry_interval_wan: "duration", retry_max_wan: "count",
    rejoin_after_leave: "flag", leave_on_terminate: "flag", skip_leave_on_interrupt: "flag", log_level: "level",
    acl: {tokens: {
        agent: "token", default: "token", initial_management: "token", master: "token", replication: "token", dns: "token",
        agent_recovery: "token", agent_master: "token", config_file_service_registration: "token", managed_service_provider: "providers"
    }},
    autopilot: {
        cleanup_dead_servers: "flag", last_contact_threshold: "duration", max_trailing_logs: "count", min_quorum: "count",
        server_stabilization_time: "duration", redundancy_zone_tag: "tag", disable_upgrade_migration: "flag", upgrade_version_tag: "tag"
    }
};

# Keys that only the image may set. Some are allowed to a node under another parent.
def image: [
    "acl", "addresses", "audit", "auto_config", "auto_encrypt", "auto_reload_config", "ca_file", "ca_path", "cert_file", "check", "checks", "client_addr",
    "config_entries", "connect", "data_dir", "default_policy", "defaults", "disable_anonymous_signature", "disable_http_unprintable_char_filter", "disable_keyring_file",
    "disable_remote_exec", "disable_update_check", "dns", "dns_config", "domain", "down_policy", "enable_debug", "enable_local_script_checks",
    "enable_remote_script_checks", "enable_script_checks", "enable_token_persistence", "enabled", "encrypt_verify_incoming", "encrypt_verify_outgoing",
    "expose_max_port", "expose_min_port", "grpc", "grpc_tls", "http", "http_config", "https", "internal_rpc", "key_file", "peering",
    "performance", "ports", "raft_multiplier", "read_timeout", "recursors", "serf_wan", "service", "services", "sidecar_max_port", "sidecar_min_port",
    "telemetry", "tls", "tls_cipher_suites", "tls_min_version", "tls_prefer_server_cipher_suites", "ui", "ui_config", "ui_dir", "unix_sockets",
    "verify_incoming", "verify_incoming_https", "verify_incoming_rpc", "verify_outgoing", "verify_server_hostname", "watches", "write_timeout"
];

def instead: {
    acl_agent_master_token: "acl.tokens.agent_recovery", acl_agent_token: "acl.tokens.agent", acl_datacenter: "primary_datacenter",
    acl_master_token: "acl.tokens.initial_management", acl_replication_token: "acl.tokens.replication", acl_token: "acl.tokens.default",
    bootstrap: "bootstrap_expect", non_voting_server: "read_replica", serf_lan_bind: "serf_lan", serf_wan_bind: "serf_wan",
    start_join: "retry_join", start_join_wan: "retry_join_wan"
};

# unknown_key($rules; $path): why the key $path, which is not in $rules, is refused.
def unknown_key($rules; $path):
    ($path | last) as $key | ($path | join(".") | shown) as $name
    | ($rules | keys | map(select(plain == ($key | plain)))) as $like
    | if $like != [] then "gives \($name): write it '\($path[:-1] + $like | join("."))'"
      elif ($path | length) == 1 and instead[$key] != null then "gives \($name): write it as '\(instead[$key])'"
      elif (image | any(plain == ($key | plain))) or ($key | plain | test("\\A(acl|disable|enable|encryptverify|tls|verify)")) then "gives \($name), which belongs to the image alone"
      else "gives \($name), which is no key of a node's own; \(if $path | length == 1 then "docs/identity.md lists them" else "there it may give only: " + ($rules | keys | join(", ")) end)" end;

# wrong($rules; $path): the problems of an object, one text each. Values may be secret and are not printed.
def wrong($rules; $path):
    to_entries[] | .key as $key | ($path + [$key]) as $at
    | if $rules | has($key) | not then unknown_key($rules; $at)
      elif $rules[$key] | type == "object" then
        .value | if type == "object" then wrong($rules[$key]; $at) else "gives '\($at | join("."))' as \(kind), expected \(kinds.object)" end
      else
        .value | if fits($rules[$key]) then empty else "gives '\($at | join("."))' as \(kind), expected \(kinds[$rules[$key]])" end
      end;

# --- vault/env

def variables:
    def https: ["VAULT_ADDR", "AWS_KMS_ENDPOINT"];
    def reachable: ["VAULT_API_ADDR", "VAULT_CLUSTER_ADDR", "VAULT_REDIRECT_ADDR"];
    def words: [
        "CONSUL_HTTP_TOKEN", "VAULT_DISABLE_MLOCK", "VAULT_LICENSE", "VAULT_LOG_FORMAT", "VAULT_LOG_LEVEL",
        # Auto-unseal: <https://developer.hashicorp.com/vault/docs/configuration/seal>.
        "VAULT_SEAL_TYPE", "VAULT_AWSKMS_SEAL_KEY_ID", "VAULT_AZUREKEYVAULT_KEY_NAME", "VAULT_AZUREKEYVAULT_VAULT_NAME",
        "VAULT_GCPCKMS_SEAL_CRYPTO_KEY", "VAULT_GCPCKMS_SEAL_KEY_RING", "VAULT_OCIKMS_CRYPTO_ENDPOINT", "VAULT_OCIKMS_MANAGEMENT_ENDPOINT",
        "VAULT_OCIKMS_SEAL_KEY_ID", "VAULT_ALICLOUDKMS_SEAL_KEY_ID", "VAULT_TRANSIT_SEAL_DISABLE_RENEWAL", "VAULT_TRANSIT_SEAL_KEY_NAME",
        "VAULT_TRANSIT_SEAL_MOUNT_PATH", "VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY",
        "VAULT_TLS_SERVER_NAME", "VAULT_HSM_DEFAULT_KEY_LABEL", "VAULT_HSM_HMAC_DEFAULT_KEY_LABEL", "VAULT_HSM_HMAC_KEY_ID",
        "VAULT_HSM_HMAC_KEY_LABEL", "VAULT_HSM_HMAC_MECHANISM", "VAULT_HSM_KEY_ID", "VAULT_HSM_KEY_LABEL", "VAULT_HSM_LIB",
        "VAULT_HSM_MECHANISM", "VAULT_HSM_PIN", "VAULT_HSM_RSA_OAEP_HASH", "VAULT_HSM_SLOT", "VAULT_HSM_TOKEN_LABEL",
        "ALICLOUD_ACCESS_KEY", "ALICLOUD_REGION", "ALICLOUD_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN", "AZURE_AD_RESOURCE", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_ENVIRONMENT", "AZURE_TENANT_ID",
        "GOOGLE_PROJECT", "GOOGLE_REGION"
    ];
    (https | map({key: ., value: "https"})) + (reachable | map({key: ., value: "reachable"})) + (words | map({key: ., value: "text"})) | from_entries;

def belongs: test("\\A(CONSUL_|VAULT_SKIP_VERIFY\\z|VAULT_UI\\z|VAULT_RAFT_|VAULT_RAW_|VAULT_DEV|VAULT_CONFIG|VAULT_LICENSE_PATH\\z|VAULT_ALLOW_PENDING_REMOVAL|VAULT_(HTTP_)?PROXY|VAULT_PLUGIN_|LD_)"; "i");

# bad_line: the problem of the line in `.text`, if it has one.
def bad_line:
    .number as $line | .text
    | if test("\\A[A-Z][A-Z0-9_]*=") | not then
        if test("\\A[ \\t]*[A-Za-z0-9_ ]+=") then
            "gives \(sub("=.*"; "") | shown) in line \($line), which is no variable's name: write NAME=value, with nothing before it"
        elif test("\\A#") then "has a comment in line \($line) with a backslash, which may continue it: leave the backslash out"
        else "has no NAME=value in line \($line)" end
      else
        capture("\\A(?<name>[^=]*)=(?<value>.*)\\z") as {$name, $value}
        | variables[$name] as $kind
        | if $name == "VAULT_SKIP_VERIFY" then "gives \($name), which belongs to the image alone: certificates are always checked"
          elif $kind == null and ($name | belongs) then "gives \($name | shown), which belongs to the image alone"
          elif $kind == null then "gives \($name | shown), which is no variable of a node's own: docs/identity.md lists them"
          elif $value == "" then "gives \($name) without a value"
          elif $value | test("[\"'\\\\`]|\\A | \\z") then
            "gives \($name) in a form that is not plain: write NAME=value without quotes, backslashes and blanks around the value"
          elif $kind == "https" and ($value | is_https | not) then "gives \($name), which must be https://HOST:PORT"
          elif $kind == "reachable" and ($value | is_reachable | not) then
            "gives \($name), which must be https:// and this node's own address as others reach it, neither loopback nor a wildcard: as in https://10.0.0.4:8200"
          else empty end
      end;

def wrong_environment:
    [splits("\n")] as $all
    | [range($all | length) | {number: (. + 1), text: $all[.]}] as $lines
    | [$lines[] | select(.text | test("[^ -~]"))] as $odd
    | if $odd != [] then
        "has a character in line \($odd[0].number) that is not plain: "
        + (if $odd[0].text | endswith("\r") then "end lines with a line feed alone, without a carriage return" else "only printable ASCII is taken" end)
      else
        [$lines[] | select(.text | test("\\A([ ]*\\z|#[^\\\\]*\\z)") | not)] as $set
        | [$set[] | .text | sub("=.*"; "")] as $names
        | ($set[] | bad_line),
          ($names | group_by(.)[] | select(length > 1 and variables[.[0]] != null) | "gives \(.[0]) more than once"),
          (if $names | index("CONSUL_HTTP_TOKEN") then empty else "gives no CONSUL_HTTP_TOKEN" end)
      end;

# --- the archive

# Keys that are given twice, which `jq` accepts: the stream then completes the same path twice.
def repeated($events):
    [foreach $events[] as $event ({of: 0, next: 0};
        (if $event | length == 2 then $event[0] else $event[0][:-1] end) as $path
        | .of = .next | .path = $path | if $path == [] then .next += 1 else . end;
        {of, path})]
    | group_by(.)[] | select(length > 1) | .[0]
    | "\(["node.json", "consul/node.json"][.of]) gives \(.path | map(tostring) | join(".") | shown) more than once";

def wrong_node($node):
    if $node | type != "object" then "is \($node | kind), expected an object"
    elif $node.schema != 1 then "has schema \($node.schema | tojson | shown), this image reads 1"
    else
        ($node | keys - ["schema", "node", "datacenter"] | .[] | "gives \(shown), which is unknown; expected schema, node and datacenter"),
        ("node", "datacenter" | . as $key | if $node[$key] | fits("label") then empty
            else "names the \($key) \($node[$key] | if type == "string" then shown else kind end); expected \(kinds.label)" end)
    end;

def wrong_fragment($node; $fragment):
    if $fragment | type != "object" then "is \($fragment | kind), expected an object"
    else
        ($fragment | wrong(own; [])),
        (if $fragment | has("encrypt") then empty else "gives no gossip key: 'encrypt' must be \(kinds.key)" end),
        ({node_name: $node.node, datacenter: $node.datacenter} | to_entries[] | .value as $value | .key as $key
            | if $fragment[$key] == $value or ($value | fits("label") | not) then empty
              else "gives '\($key)' as \($fragment[$key] | if type == "string" then shown else kind end), node.json has \($value | shown)" end),
        (if $fragment.bootstrap_expect != null and $fragment.server != true then "gives 'bootstrap_expect' without 'server': true" else empty end)
    end;

# alone(NAME): the problem of a file that does not contain exactly one JSON value.
def alone($name): if length == 0 then "\($name) is empty" elif length > 1 then "\($name) has more than one value" else empty end;

[inputs] as $events
| [ ($node | alone("node.json")),
    (if $fragment == null then empty else $fragment | alone("consul/node.json") end)
  ] as $numbers
| [ $numbers[],
    (if $numbers != [] then empty
     else
        (wrong_node($node[0]) | "node.json \(.)"),
        (if $fragment == null or ($node[0] | type) != "object" then empty else wrong_fragment($node[0]; $fragment[0]) | "consul/node.json \(.)" end),
        repeated($events)
     end),
    (if $env == null then empty else $env | wrong_environment | "vault/env \(.)" end)
  ] as $reasons
| if $reasons != [] then "refused", ($reasons | join("; "))
  else
    "taken", $node[0].node, $node[0].datacenter, ($fragment | if . == null then false else .[0].server == true end), ($fragment | if . == null then . else .[0] end | tojson),
    (if $env == null then empty else $env | splits("\n") | select(test("\\A[A-Z]")) end)
  end
