//! A Consul server and two Vault nodes, from captured images, on a network of their own.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use semver::Version;
use serde_json::json;
use vault_bake::builder::qemu::Tools;
use vault_bake::changes::CONSUL_INITIAL_MANAGEMENT;

use super::node::{Authority, Node, disk};
use crate::qemu::World;

/// A node's second network card, by its number.
const NETWORK: &str = "
mkdir -p /run/systemd/network
printf '[Match]\nMACAddress=52:54:00:77:00:0NUMBER\n\n[Network]\nAddress=10.77.0.NUMBER/24\n' >/run/systemd/network/05-cluster.network
networkctl reload
left=60
until ip -4 -o addr | grep -q 10.77.0.NUMBER/ || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
ip -4 -o addr | grep -o 10.77.0.NUMBER/
";

/// The agent beside us, asked as one of the cluster.
const CONSUL: &str = "
export CONSUL_HTTP_ADDR=https://127.0.0.1:8501 CONSUL_CACERT=/run/consul-tls/ca.pem CONSUL_CLIENT_CERT=/run/consul-tls/tls.crt
export CONSUL_CLIENT_KEY=/run/consul-tls/tls.key CONSUL_HTTP_TOKEN=TOKEN
";

/// Who is in the cluster, and what an agent says of gossip and of those without a token.
const MEMBERS: &str = r"
left=120
until [ $(consul members 2>/dev/null | grep -c alive) -eq 3 ] || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
consul members | awk 'NR > 1 {print $1, $2, $3, $4}' | sort
consul info | awk '/^serf_lan:/ {lan = 1} lan && /encrypted/ {print $1, $2, $3; exit}'
CONSUL_HTTP_TOKEN= consul kv get vault/core/lock 2>&1 | grep -o 'Permission denied\|403'
";

/// Vault on this node.
const VAULT: &str = r#"
api() { curl --silent --max-time 20 --cacert /run/vault-tls/ca.pem "$@"; }
health() { api --output /dev/null --write-out '%{http_code}' https://127.0.0.1:8200/v1/sys/health; }
becomes() {
    left=90
    until [ "$(health)" = "$1" ] || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
    health
}
"#;

/// Who holds Vault's lock, by the node of its session.
const HOLDER: &str = r#"
ask() { curl --silent --cacert $CONSUL_CACERT --cert $CONSUL_CLIENT_CERT --key $CONSUL_CLIENT_KEY --header "X-Consul-Token: $CONSUL_HTTP_TOKEN" "$CONSUL_HTTP_ADDR/v1/$1"; }
session=$(ask kv/vault/core/lock | grep -o '"Session":"[^"]*"' | cut -d '"' -f 4)
ask session/info/$session | grep -o '"Node":"[^"]*"'
"#;

/// What others see of two nodes: every port that answers, and what it says to who does not speak TLS as it should.
const OUTSIDE: &str = r#"
python3 - 10.77.0.1 10.77.0.2 <<'END'
import resource, select, socket, sys, time
AT_ONCE = 8000
resource.setrlimit(resource.RLIMIT_NOFILE, (2 * AT_ONCE, 2 * AT_ONCE))
wanted = [(host, port) for host in sys.argv[1:] for port in range(1, 65536)]
answered = []
for start in range(0, len(wanted), AT_ONCE):
    poll, open_ones = select.poll(), {}
    for address in wanted[start:start + AT_ONCE]:
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
for host, port in sorted(answered):
    print(f"{host} answers on {port}")
END
printf 'in clear: %s\n' "$(curl --silent --max-time 20 --output /dev/null --write-out '%{http_code}' http://10.77.0.2:8200/v1/sys/health)"
for version in tls1_1 tls1_2 tls1_3; do
    openssl s_client -$version -cipher DEFAULT@SECLEVEL=0 -CAfile /run/vault-tls/ca.pem -verify_return_error -connect 10.77.0.2:8200 </dev/null >/dev/null 2>&1 && said=spoken || said=refused
    printf '%s: %s\n' $version $said
done
"#;

/// What starts machines whose second network cards see each other, and nobody else: packets go through one group on the loopback
/// device.
fn on_one_network(folder: &Path) -> PathBuf {
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = port.expect("a free port").port();
    let script = format!(
        r#"#!/bin/sh
[ "$1" = -name ] || exec qemu-system-x86_64 "$@"
exec qemu-system-x86_64 "$@" -netdev socket,id=cluster,mcast=230.77.0.1:{port},localaddr=127.0.0.1 \
    -device "virtio-net-pci,netdev=cluster,romfile=,mac=52:54:00:77:00:0${{2##*-}}"
"#
    );
    let program = folder.join("qemu");
    fs::write(&program, script).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it may run");
    program
}

/// What all nodes share.
struct Cluster {
    authority: Authority,
    token: String,
    gossip_key: String,
    /// Of Consul.
    version: Version,
}

impl Cluster {
    /// The archive with the identity of node `number`: the first one is the server, the others have a Vault.
    fn identity(&self, number: u8) -> Vec<u8> {
        let (address, is_server) = (format!("10.77.0.{number}"), number == 1);
        let node = format!("node-{number}");
        let mut fragment = json!({
            "node_name": node, "datacenter": "dc1", "server": is_server, "bind_addr": address, "encrypt": self.gossip_key,
            "acl": { "tokens": { "agent": self.token } },
        });
        if is_server {
            fragment["bootstrap_expect"] = 1.into();
            let operator = match CONSUL_INITIAL_MANAGEMENT.is_in(&self.version) {
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
            let environment = format!(
                "CONSUL_HTTP_TOKEN={}\nVAULT_API_ADDR=https://{address}:8200\nVAULT_CLUSTER_ADDR=https://{address}:8201\n",
                self.token
            );
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

/// Starts one machine of the first image and two of the second.
pub async fn judge(consul: &Path, vault: &Path, version: Version) {
    let folder = tempfile::tempdir().expect("a folder");
    let tools = Tools {
        qemu_system: on_one_network(folder.path()),
        ..Tools::default()
    };
    let Some(mut world) = World::begin_with("cluster", tools) else {
        return;
    };
    let (consul, vault) = (disk(consul), disk(vault));
    let mut machines = Vec::new();
    for (number, disk) in [(1, &consul), (2, &vault), (3, &vault)] {
        let role = format!("node-{number}");
        machines.push(world.boot_with(disk, &role, None).await);
    }
    let mut nodes = Vec::new();
    for machine in &mut machines {
        nodes.push(Node::of(&world, machine).await);
    }
    let cluster = Cluster {
        authority: Authority::new(),
        token: "5e3a0c5e-7c5c-4b1e-9d7a-1f3f6f1d2b90".to_owned(),
        gossip_key: openssl::base64::encode_block(&[7; 32]),
        version,
    };
    for (number, node) in (1_u8..).zip(&nodes) {
        let script = NETWORK.replace("NUMBER", &number.to_string());
        assert_ne!(
            node.says(&world, &script).await,
            "",
            "node {number} has its address"
        );
        node.put(&world, cluster.identity(number)).await;
        let start = "systemctl reset-failed\nsystemctl restart vault-bake-identity.service\nsystemctl start --no-block consul.service vault.service || systemctl start --no-block consul.service\n";
        node.says(&world, start).await;
    }
    let [_, first, second] = &nodes[..] else {
        unreachable!("three were started");
    };
    insta::assert_snapshot!(
        "members",
        first.says(&world, &cluster.consul(MEMBERS)).await
    );

    let init = format!(
        "{VAULT}becomes 501\napi --request PUT --data '{{\"secret_shares\":1,\"secret_threshold\":1}}' https://127.0.0.1:8200/v1/sys/init\n"
    );
    let made = first.says(&world, &init).await;
    let made = made.strip_prefix("501\n").or(made.strip_prefix("501"));
    let made: serde_json::Value = serde_json::from_str(made.unwrap_or_default()).expect("keys");
    let key = made["keys"][0].as_str().expect("a key");
    let unseal = |health: u16| {
        format!(
            "{VAULT}becomes 503 >&2\napi --request PUT --data '{{\"key\":\"{key}\"}}' https://127.0.0.1:8200/v1/sys/unseal >&2\nbecomes {health}\n"
        )
    };
    assert_eq!(
        first.says(&world, &unseal(200)).await,
        "200",
        "it is active"
    );
    assert_eq!(
        second.says(&world, &unseal(429)).await,
        "429",
        "it stands by"
    );
    let holder = cluster.consul(HOLDER);
    assert_eq!(second.says(&world, &holder).await, r#""Node":"node-2""#);

    insta::assert_snapshot!("outside", second.says(&world, OUTSIDE).await);

    first.says(&world, "systemctl stop vault.service\n").await;
    let takes_over = format!("{VAULT}becomes 200\n");
    assert_eq!(
        second.says(&world, &takes_over).await,
        "200",
        "it took over"
    );
    assert_eq!(second.says(&world, &holder).await, r#""Node":"node-3""#);
    drop((nodes, machines));
    world.finish().await;
}
