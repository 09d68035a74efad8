//! A Consul server and two Vault nodes from captured images, on their own network.

use std::path::Path;

use semver::Version;
use serde_json::json;
use vault_bake::product::consul::changes::INITIAL_MANAGEMENT;

use super::node::Authority;
use crate::nodes::{Kind, Network, Nodes};

/// The environment for requests to the agent of a node.
const CONSUL: &str = "
export CONSUL_HTTP_ADDR=https://127.0.0.1:8501 CONSUL_CACERT=/run/consul-tls/ca.pem CONSUL_CLIENT_CERT=/run/consul-tls/tls.crt
export CONSUL_CLIENT_KEY=/run/consul-tls/tls.key CONSUL_HTTP_TOKEN=TOKEN
";

/// Prints whether the node took its identity, and why not.
const IDENTITY: &str = "
systemctl is-active vault-bake-identity.service || journalctl --boot --unit vault-bake-identity.service --output cat | tail -n 3
";

/// Prints the members of the cluster, the gossip encryption, and the response to a request without
/// a token.
const MEMBERS: &str = r"
left=120
until [ $(consul members 2>/dev/null | grep -c alive) -eq 3 ] || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
consul members | awk 'NR > 1 {print $1, $2, $3, $4}' | sort
consul info | awk '/^serf_lan:/ {lan = 1} lan && /encrypted/ {print $1, $2, $3; exit}'
CONSUL_HTTP_TOKEN= consul kv get vault/core/lock 2>&1 | grep -o 'Permission denied\|403'
";

/// Prints the state of Vault on this node.
const VAULT: &str = r#"
api() { curl --silent --max-time 20 --cacert /run/vault-tls/ca.pem "$@"; }
health() { api --output /dev/null --write-out '%{http_code}' https://127.0.0.1:8200/v1/sys/health; }
becomes() {
    left=90
    until [ "$(health)" = "$1" ] || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
    health
}
"#;

/// Prints the node that has Vault's lock, by its session.
const HOLDER: &str = r#"
ask() { curl --silent --cacert $CONSUL_CACERT --cert $CONSUL_CLIENT_CERT --key $CONSUL_CLIENT_KEY --header "X-Consul-Token: $CONSUL_HTTP_TOKEN" "$CONSUL_HTTP_ADDR/v1/$1"; }
session=$(ask kv/vault/core/lock | grep -o '"Session":"[^"]*"' | cut -d '"' -f 4)
ask session/info/$session | grep -o '"Node":"[^"]*"'
"#;

/// Returns a script that prints every open port of these nodes, and the responses of Vaults to
/// clients without proper TLS.
pub fn outside(all: &[&str], vaults: &[&str]) -> String {
    OUTSIDE
        .replace("ALL", &all.join(" "))
        .replace("VAULTS", &vaults.join(" "))
}

const OUTSIDE: &str = r#"
python3 - ALL <<'END'
import concurrent.futures, multiprocessing, resource, select, socket, sys, time
# Each process may have so many connections.
AT_ONCE = 8000
PROCESSES = 4
def answering(wanted):
    answered = []
    poll, open_ones = select.poll(), {}
    for address in wanted:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setblocking(False)
        one.connect_ex(address)
        open_ones[one.fileno()] = (one, address)
        poll.register(one, select.POLLOUT)
    end = time.monotonic() + 4
    while (left := end - time.monotonic()) > 0:
        for number, _ in poll.poll(left * 1000):
            one, address = open_ones[number]
            poll.unregister(one)
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                answered.append(address)
    for one, _ in open_ones.values():
        one.close()
    return answered
resource.setrlimit(resource.RLIMIT_NOFILE, (2 * AT_ONCE, 2 * AT_ONCE))
wanted = [(host, port) for host in sys.argv[1:] for port in range(1, 65536)]
parts = [wanted[start:start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE)]
with concurrent.futures.ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("fork")) as pool:
    answered = [address for part in pool.map(answering, parts) for address in part]
for host, port in sorted(answered):
    print(f"{host} answers on {port}")
END
for vault in VAULTS; do
    printf '%s in clear: %s\n' $vault "$(curl --silent --max-time 20 --output /dev/null --write-out '%{http_code}' http://$vault:8200/v1/sys/health)"
    for version in tls1_1 tls1_2 tls1_3; do
        openssl s_client -$version -cipher DEFAULT@SECLEVEL=0 -CAfile /run/vault-tls/ca.pem -verify_return_error -connect $vault:8200 </dev/null >/dev/null 2>&1 && said=spoken || said=refused
        printf '%s %s: %s\n' $vault $version $said
    done
done
"#;

/// The shared state of all nodes.
struct Cluster {
    authority: Authority,
    token: String,
    gossip_key: String,
    /// The version of Consul.
    version: Version,
    /// Whether Vault can lock its memory.
    locks_memory: bool,
}

impl Cluster {
    /// Returns the identity archive of node `number`: the first one is the server, the others have
    /// a Vault.
    fn identity(&self, number: u8) -> Vec<u8> {
        let (address, is_server) = (format!("10.77.0.{number}"), number == 1);
        let node = format!("node-{number}");
        let mut fragment = json!({
            "node_name": node, "datacenter": "dc1", "server": is_server, "bind_addr": address, "encrypt": self.gossip_key,
            "acl": { "tokens": { "agent": self.token } },
        });
        if is_server {
            fragment["bootstrap_expect"] = 1.into();
            let operator = match INITIAL_MANAGEMENT.is_in(&self.version) {
                true => "initial_management",
                false => "master",
            };
            fragment["acl"]["tokens"][operator] = self.token.as_str().into();
        } else {
            fragment["retry_join"] = json!(["10.77.0.1"]);
        }
        let node = json!({ "schema": 1, "node": node, "datacenter": "dc1" });
        let consul = ["server.dc1.consul", "localhost", "127.0.0.1"];
        let consul = self.authority.issue(&consul[usize::from(!is_server)..]);
        let mut files = vec![
            ("node.json", node.to_string()),
            ("consul/ca.pem", self.authority.pem()),
            ("consul/tls.crt", consul.0),
            ("consul/tls.key", consul.1),
            ("consul/node.json", fragment.to_string()),
        ];
        if !is_server {
            let names = ["vault.service.consul", "localhost", "127.0.0.1", &address];
            let vault = self.authority.issue(&names);
            let mut environment = format!(
                "CONSUL_HTTP_TOKEN={}\nVAULT_API_ADDR=https://{address}:8200\nVAULT_CLUSTER_ADDR=https://{address}:8201\n",
                self.token
            );
            if !self.locks_memory {
                environment.push_str("VAULT_DISABLE_MLOCK=true\n");
            }
            files.extend([
                ("vault/ca.pem", self.authority.pem()),
                ("vault/tls.crt", vault.0),
                ("vault/tls.key", vault.1),
                ("vault/env", environment),
            ]);
        }
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            let content = content.as_bytes();
            tar.append_data(&mut header, name, content).expect("a file");
        }
        tar.into_inner().expect("an archive")
    }

    fn consul(&self, script: &str) -> String {
        format!(
            "{}{script}",
            CONSUL.replace("TOKEN=TOKEN", &format!("TOKEN={}", self.token))
        )
    }
}

/// Starts one node of the first image and two of the second.
pub async fn check(consul: &Path, vault: &Path, version: Version, kind: Kind) {
    let Some(mut nodes) = Nodes::begin("cluster", Network::Shared, kind).await else {
        return;
    };
    let cluster = Cluster {
        authority: Authority::new(),
        token: "5e3a0c5e-7c5c-4b1e-9d7a-1f3f6f1d2b90".to_owned(),
        gossip_key: openssl::base64::encode_block(&[7; 32]),
        version,
        locks_memory: nodes.may_lock_memory(),
    };
    let (consul, vault) = (nodes.image(consul).await, nodes.image(vault).await);
    let mut server = nodes.start(&consul, 1, Some(cluster.identity(1))).await;
    let mut first = nodes.start(&vault, 2, Some(cluster.identity(2))).await;
    let mut second = nodes.start(&vault, 3, Some(cluster.identity(3))).await;
    for node in [&mut server, &mut first, &mut second] {
        node.booted().await;
        assert_eq!(node.says(IDENTITY).await, "active");
    }
    insta::assert_snapshot!("members", first.says(&cluster.consul(MEMBERS)).await);

    let init = format!(
        "{VAULT}becomes 501\napi --request PUT --data '{{\"secret_shares\":1,\"secret_threshold\":1}}' https://127.0.0.1:8200/v1/sys/init\n"
    );
    let made = first.says(&init).await;
    let made = made.strip_prefix("501\n").or(made.strip_prefix("501"));
    let made: serde_json::Value = serde_json::from_str(made.unwrap_or_default()).expect("keys");
    let key = made["keys"][0].as_str().expect("a key");
    let unseal = |health: u16| {
        format!(
            "{VAULT}becomes 503 >&2\napi --request PUT --data '{{\"key\":\"{key}\"}}' https://127.0.0.1:8200/v1/sys/unseal >&2\nbecomes {health}\n"
        )
    };
    assert_eq!(first.says(&unseal(200)).await, "200", "it is active");
    assert_eq!(second.says(&unseal(429)).await, "429", "it is a standby");
    let holder = cluster.consul(HOLDER);
    assert_eq!(second.says(&holder).await, r#""Node":"node-2""#);

    // Consul's management listener has the address of the network with the default route, which is
    // that of ssh in these VMs. The nodes of `cluster up` have one network, and show it.
    let mut outside = second
        .says(&outside(&["10.77.0.1", "10.77.0.2"], &["10.77.0.2"]))
        .await;
    if nodes.are_reached_by_ssh() {
        // The image of the server has no ssh; a key in the memory of a VM starts it.
        outside = outside.replacen("10.77.0.1 answers on 22\n", "", 1);
    }
    insta::assert_snapshot!("outside", outside);

    first.says("systemctl stop vault.service\n").await;
    let takes_over = format!("{VAULT}becomes 200\n");
    assert_eq!(second.says(&takes_over).await, "200", "it took over");
    assert_eq!(second.says(&holder).await, r#""Node":"node-3""#);
    drop((server, first, second));
    nodes.finish().await;
}
