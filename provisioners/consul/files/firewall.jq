# Takes the table `inet vault_bake` as `nft --json` lists it. Prints the sources that may open a connection to Consul's API
# (TCP port 8501) from outside, sorted: subnets, or `any` if a rule names none.

def covers($port):
    if type == "number" then . == $port
    elif type == "object" and has("set") then any(.set[]; covers($port))
    elif type == "object" and has("range") then .range[0] <= $port and $port <= .range[1]
    else true end;

def may_accept: has("accept") or has("vmap") or has("jump") or has("goto");

# Whether no new connection to the API matches. Unknown matches exclude nothing.
def excludes_the_api:
    .left.payload.protocol as $protocol
    | if .op == "in" then .left.ct.key == "state" and ([.right] | flatten | index("new") == null)
      elif .op != "==" then false
      elif .left.meta.key == "iif" then .right == "lo"
      elif .left.meta.key == "l4proto" then .right | type != "object" and . != "tcp" and . != 6
      elif ["udp", "icmp", "icmpv6"] | index($protocol) != null then true
      elif $protocol == "tcp" and .left.payload.field == "dport" then .right | covers(8501) | not
      else false end;

# A single address has the longest prefix.
def subnet:
    if type == "string" then . + (if test(":") then "/128" else "/32" end)
    elif type == "object" and has("prefix") then "\(.prefix.addr)/\(.prefix.len)"
    else tojson end;

[
    .nftables[].rule? | select(.chain == "input") | .expr | select(any(.[]; may_accept))
    | [.[].match? | select(. != null)] | select(any(.[]; excludes_the_api) | not)
    | [.[] | select(.op == "==" and .left.payload.field == "saddr") | .right | subnet]
    | if . == [] then "any" else .[] end
] | sort[]
