//! The management listener: Consul's configuration, the firewall, and the checks of both, with stubs
//! of `ss`, `nft` and `openssl`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};
use vault_bake::definition::Definition;
use vault_bake::plan::plan_steps;
use vault_bake::product::consul::config::Inputs;
use vault_bake::provisioner::Provisioners;

use super::{folder, rendered_of, skipped};

const CONSUL: &str = "configuration/consul.json";
const FIREWALL: &str = "templates/nftables.conf";

/// Returns the addresses of the API and the firewall's rules for its port.
fn listener(image: &str, subnets: Option<&str>) -> (String, Vec<String>) {
    let given: Vec<_> = subnets
        .map(|subnets| ("management_subnets", subnets))
        .into_iter()
        .collect();
    let consul: Value = serde_json::from_str(&rendered_of(image, CONSUL, &given)).unwrap();
    let rules = rendered_of(image, FIREWALL, &given);
    let rules = rules.lines().filter(|line| line.contains("8501"));
    (
        consul["addresses"]["https"].as_str().unwrap().to_owned(),
        rules.map(|line| line.trim().to_owned()).collect(),
    )
}

#[test]
fn the_api_is_on_loopback_unless_subnets_are_named() {
    for image in ["quickstart", "vault-server", "consul-server"] {
        let closed = ("127.0.0.1".to_owned(), Vec::new());
        assert_eq!(listener(image, None), closed, "{image}");
    }
    let (addresses, rules) = listener("consul-server", Some("10.0.9.0/28,fd00:9::/64"));
    assert_eq!(addresses, "127.0.0.1 {{ GetPrivateIP }}");
    let expected = [
        "ip saddr 10.0.9.0/28 tcp dport 8501 accept",
        "ip6 saddr fd00:9::/64 tcp dport 8501 accept",
    ];
    assert_eq!(rules, expected);
}

/// Certificates and tokens are required at both addresses, as they are in the whole file.
#[test]
fn the_listener_changes_nothing_else_of_the_configuration() {
    let given = [("management_subnets", "10.0.9.0/28")];
    let read = |given: &[(&str, &str)]| -> Value {
        serde_json::from_str(&rendered_of("consul-server", CONSUL, given)).unwrap()
    };
    let (without, mut with) = (read(&[]), read(&given));
    with["addresses"] = without["addresses"].clone();
    assert_eq!(with, without);
    assert_eq!(without["tls"]["defaults"]["verify_incoming"], true);
    assert_eq!(without["acl"]["default_policy"], "deny");
}

/// Returns the refusal of one subnet.
fn refusal(subnet: &Value) -> Option<String> {
    let inputs = BTreeMap::from([
        ("datacenter".to_owned(), json!("dc1")),
        ("log_level".to_owned(), json!("INFO")),
        ("raft_multiplier".to_owned(), json!(1)),
        ("leave_on_terminate".to_owned(), json!(false)),
        (
            "management_subnets".to_owned(),
            json!(["10.0.9.0/28", subnet]),
        ),
    ]);
    let refused = Inputs::read(&inputs).err()?;
    assert_eq!(refused.input, "management_subnets");
    Some(refused.to_string())
}

#[test]
fn subnets_that_name_no_controllers_are_refused() {
    let cases = [
        "0.0.0.0/0",
        "::/0",
        "0.0.0.0/1",
        "10.0.0.0/7",
        "2000::/3",
        "10.0.9.0",
        "10.0.9.0/33",
        "fd00::/129",
        "10.0.9/24",
        "controllers.example/24",
        "10.0.9.0/",
        "",
        "10.0.9.4/28",
        "10.0.9.0/028",
        "fd00:9::1/64",
        "FD00:9::/64",
        "fd00:9:0::/64",
        "127.0.0.0/8",
        "0.0.0.0/8",
        "224.0.0.0/8",
        "255.255.255.255/32",
        "::1/128",
        "::ffff:10.0.9.0/124",
        "ff02::/16",
    ];
    let mut printed = String::new();
    for case in cases {
        let refused = refusal(&json!(case)).unwrap_or_else(|| panic!("{case} was accepted"));
        writeln!(printed, "{refused}").unwrap();
    }
    writeln!(printed, "{}", refusal(&json!(7)).unwrap()).unwrap();
    insta::assert_snapshot!(printed);
}

/// What the configuration accepts, the pattern of the firewall's input accepts too.
#[test]
fn a_subnet_that_names_controllers_reaches_configuration_and_firewall() {
    for subnet in [
        "10.0.0.0/8",
        "10.0.9.0/28",
        "203.0.113.7/32",
        "192.168.7.0/31",
        "fd00:9::/64",
        "2001:2000::/19",
        "2001:db8:0:0:1::/80",
        "fe80::/16",
        "2001:db8::7/128",
        "2001:db8::/119",
    ] {
        assert_eq!(refusal(&json!(subnet)), None);
        let (addresses, rules) = listener("consul-server", Some(subnet));
        assert_eq!(addresses, "127.0.0.1 {{ GetPrivateIP }}");
        assert_eq!(rules.len(), 1, "{subnet}");
    }
}

#[test]
fn the_firewall_alone_refuses_a_subnet_of_everything() {
    let image = folder().with_file_name("images").join("quickstart");
    let text = fs::read_to_string(image.join("image.toml")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let image = place.path().join("quickstart");
    fs::create_dir(&image).unwrap();
    for subnet in ["0.0.0.0/0", "10.0.0.0/7", "::/0", "2000::/3", "0/0", "any"] {
        let step = format!(
            "provisioner = \"harden\"\ninputs = {{ management_subnets = [\"{subnet}\"] }}\n"
        );
        let changed = text.replace("provisioner = \"harden\"\n", &step);
        fs::write(image.join("image.toml"), changed).unwrap();
        let definition =
            Definition::load(&image, &BTreeMap::new(), &vault_bake::platform::all(None)).unwrap();
        let provisioners = Provisioners::load(&[folder()], &definition).unwrap();
        assert!(plan_steps(&definition, &provisioners).is_err(), "{subnet}");
    }
}

/// Returns a rule of a chain as `nft --json` lists it.
fn rule(chain: &str, matches: &[Value], verdict: &str) -> Value {
    let matches = matches.iter().map(|one| json!({ "match": one }));
    let expr: Vec<Value> = matches.chain([json!({ verdict: null })]).collect();
    json!({ "rule": { "family": "inet", "table": "vault_bake", "chain": chain, "handle": 4, "expr": expr } })
}

fn payload(protocol: &str, field: &str, right: &Value) -> Value {
    let payload = json!({ "protocol": protocol, "field": field });
    json!({ "op": "==", "left": { "payload": payload }, "right": right })
}

fn dport(right: &Value) -> Value {
    payload("tcp", "dport", right)
}

fn prefix(address: &str, length: u8) -> Value {
    let protocol = if address.contains(':') { "ip6" } else { "ip" };
    let prefix = json!({ "prefix": { "addr": address, "len": length } });
    payload(protocol, "saddr", &prefix)
}

/// Returns the table of the shipped firewall with more rules, as nft 1.0.6 lists it.
fn table(more: &[Value]) -> Value {
    let ports = json!({ "set": [22, 8300, 8301] });
    let meta = |key: &str, right: Value| {
        let left = json!({ "meta": { "key": key } });
        json!({ "op": "==", "left": left, "right": right })
    };
    let states = json!({ "op": "in", "left": { "ct": { "key": "state" } }, "right": ["established", "related"] });
    let types = json!({ "set": ["destination-unreachable", "echo-request"] });
    let dhcp = [
        payload("udp", "sport", &json!(67)),
        payload("udp", "dport", &json!(68)),
    ];
    let mut items = vec![
        json!({ "metainfo": { "version": "1.0.6", "json_schema_version": 1 } }),
        json!({ "chain": { "name": "input", "hook": "input", "prio": 0, "policy": "drop" } }),
        rule("input", &[meta("iif", json!("lo"))], "accept"),
        rule("input", &[states], "accept"),
        rule("input", &[payload("icmp", "type", &types)], "accept"),
        rule("input", &[meta("l4proto", json!("ipv6-icmp"))], "accept"),
        rule("input", &dhcp, "accept"),
        rule("input", &[dport(&ports)], "accept"),
        rule(
            "input",
            &[payload("udp", "dport", &json!({ "range": [8000, 9000] }))],
            "accept",
        ),
        rule("output", &[dport(&json!(8501))], "accept"),
    ];
    items.extend_from_slice(more);
    json!({ "nftables": items })
}

/// Runs the program of the check. Returns the sources, or `None` without `jq`.
fn sources(table: &Value) -> Option<String> {
    let place = tempfile::tempdir().unwrap();
    let listed = place.path().join("listed.json");
    fs::write(&listed, table.to_string()).unwrap();
    let program = folder().join("consul/files/firewall.jq");
    let arguments = ["-r", "-f"].map(std::path::Path::new);
    let output = super::run("jq", &[arguments[0], arguments[1], &program, &listed])?;
    super::assert_accepted(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().collect::<Vec<_>>().join(" "))
}

#[test]
fn the_check_sees_who_may_reach_the_api() {
    let input = |matches: &[Value]| rule("input", matches, "accept");
    let api = || dport(&json!(8501));
    let other = |op: &str, mut one: Value| {
        one["op"] = op.into();
        one
    };
    let udp = json!({ "op": "==", "left": { "meta": { "key": "l4proto" } }, "right": "udp" });
    let interface = json!({ "op": "==", "left": { "meta": { "key": "iif" } }, "right": "eth0" });
    let new = json!({ "op": "in", "left": { "ct": { "key": "state" } }, "right": "new" });
    let address = payload("ip", "saddr", &json!("192.0.2.7"));
    let two = json!({ "set": [{ "prefix": { "addr": "10.0.0.0", "len": 9 } }] });
    let vmap =
        json!({ "rule": { "chain": "input", "expr": [{ "vmap": { "key": 1, "data": {} } }] } });
    let cases = [
        (vec![], ""),
        (vec![input(&[dport(&json!(8500))])], ""),
        (vec![rule("input", &[api()], "drop")], ""),
        (vec![input(&[udp])], ""),
        (
            vec![
                input(&[prefix("fd00:9::", 64), api()]),
                input(&[prefix("10.0.9.0", 28), api()]),
                input(&[address, api()]),
            ],
            "10.0.9.0/28 192.0.2.7/32 fd00:9::/64",
        ),
        (vec![input(&[prefix("10.0.0.0", 8)])], "10.0.0.0/8"),
        (vec![input(&[api()])], "any"),
        (vec![input(&[dport(&json!({ "set": [22, 8501] }))])], "any"),
        (
            vec![input(&[dport(
                &json!({ "set": [22, { "range": [8300, 8600] }] }),
            )])],
            "any",
        ),
        (
            vec![input(&[dport(&json!({ "range": [8000, 9000] }))])],
            "any",
        ),
        (vec![input(&[other("!=", dport(&json!(22)))])], "any"),
        (vec![input(&[])], "any"),
        (vec![input(&[interface])], "any"),
        (vec![input(&[new, api()])], "any"),
        (
            vec![input(&[other("!=", prefix("10.0.0.0", 8)), api()])],
            "any",
        ),
        (
            vec![input(&[payload("ip", "saddr", &two), api()])],
            r#"{"set":[{"prefix":{"addr":"10.0.0.0","len":9}}]}"#,
        ),
        (vec![vmap], "any"),
    ];
    for (more, expected) in cases {
        let Some(found) = sources(&table(&more)) else {
            return;
        };
        assert_eq!(found, expected, "{more:?}");
    }
}

/// Replacements of the programs that `check.sh` starts. `$WEAK` says what is wrong at 10.77.0.1.
const STUBS: &[(&str, &str)] = &[
    (
        "ss",
        r#"case $* in *8501*) list=$API ;; *8301*) list=$GOSSIP ;; *) exit 0 ;; esac
for one in $list; do printf 'LISTEN 0 4096 %s:%s 0.0.0.0:*\n' "$one" "${2##*:}"; done
"#,
    ),
    ("nft", "cat \"${0%/*}/table.json\"\n"),
    (
        "jq",
        "[ \"$2\" != .datacenter ] || { echo dc9; exit 0; }\nexec /usr/bin/jq \"$@\"\n",
    ),
    ("systemctl", "exit 0\n"),
    ("sleep", "exit 0\n"),
    ("timeout", "shift\nexec \"$@\"\n"),
    (
        "bash",
        "[ \"$WEAK-$5\" = plaintext-10.77.0.1 ] && printf 'HTTP/1.1 200 OK\\n'\nexit 0\n",
    ),
    (
        "openssl",
        r#"host=${*#*-connect }; host=${host%%:*}; weak=$WEAK-$host-
case $* in
    *-tls1_1*) [ "$weak" = tls-10.77.0.1- ] && echo CONNECTED || echo 'tlsv1 alert protocol version'; exit ;;
esac
name=localhost
[ "$host" = 127.0.0.1 ] || name=server.dc9.consul
case $* in
    *"-verify_hostname $name"*) ;;
    *) echo 'verify error:num=62:hostname mismatch'; exit 1 ;;
esac
read -r request
case $request in
    *agent/self*) answer='HTTP/1.0 403 Forbidden' && [ "$weak" != tokenless-10.77.0.1- ] || answer='HTTP/1.0 200 OK' ;;
    *) answer='"10.77.0.1:8300"' && [ "$weak" != leader-10.77.0.1- ] || answer='""' ;;
esac
case $* in
    *-cert*) printf '%s\n' "$answer" ;;
    *) [ "$weak" = strangers-10.77.0.1- ] && echo 'HTTP/1.0 200 OK' || echo 'tlsv13 alert certificate required' ;;
esac
"#,
    ),
];

/// Runs `check.sh` on a booted image with stubs. Returns the failed checks of the API.
#[expect(clippy::disallowed_methods, reason = "a test runs the shipped program")]
fn failed(subnets: &str, api: &str, weak: &str, table: &Value) -> String {
    let stubs = tempfile::tempdir().unwrap();
    for (name, text) in STUBS {
        let path = stubs.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(stubs.path().join("table.json"), table.to_string()).unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", stubs.path().display());
    let output = Command::new("sh")
        .arg("check.sh")
        .current_dir(folder().join("consul"))
        .env("PATH", path)
        .env("VB_LIB", folder().join("lib.sh"))
        .env("VB_PHASE", "image")
        .env("VB_INPUT_MANAGEMENT_SUBNETS", subnets)
        .env("API", api)
        .env("GOSSIP", "10.77.0.1")
        .env("WEAK", weak)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let ids = [
        "leader",
        "addresses",
        "refuses-tokenless",
        "refuses-strangers",
        "refuses-plaintext",
        "refuses-old-tls",
        "firewall",
    ];
    let mut failed = Vec::new();
    for id in ids {
        let line = format!("consul.{id}: ");
        let line = text.lines().find(|found| found.contains(&line));
        let line = line.unwrap_or_else(|| panic!("{id} is missing:\n{text}"));
        if line.starts_with("not ok ") {
            failed.push(id);
        }
    }
    failed.join(" ")
}

#[test]
fn every_address_of_the_api_is_checked() {
    if !std::path::Path::new("/usr/bin/jq").exists() {
        return skipped("jq is not installed");
    }
    let named = |address: &str| {
        let matches = [prefix(address, 28), dport(&json!(8501))];
        table(&[rule("input", &matches, "accept")])
    };
    let (shut, open) = (table(&[]), named("10.0.9.0"));
    let (subnet, both) = ("10.0.9.0/28", "127.0.0.1 10.77.0.1");
    let cases = [
        // The named subnets, the listeners, the weakness, the firewall, and what fails.
        (subnet, both, "", &open, ""),
        (subnet, both, "leader", &open, "leader"),
        (subnet, both, "tokenless", &open, "refuses-tokenless"),
        (subnet, both, "strangers", &open, "refuses-strangers"),
        (subnet, both, "plaintext", &open, "refuses-plaintext"),
        (subnet, both, "tls", &open, "refuses-old-tls"),
        (subnet, both, "", &shut, "firewall"),
        (subnet, both, "", &named("10.0.8.0"), "firewall"),
        (subnet, "127.0.0.1", "", &open, "addresses"),
        (subnet, "127.0.0.1 10.77.0.2", "", &open, "addresses"),
        (
            subnet,
            "127.0.0.1 10.77.0.1 10.77.0.2",
            "",
            &open,
            "addresses",
        ),
        (
            subnet,
            "",
            "",
            &open,
            "leader addresses refuses-tokenless refuses-strangers refuses-plaintext refuses-old-tls",
        ),
        ("10.0.9.0/28\n10.1.0.0/16", both, "", &open, "firewall"),
    ];
    for (subnets, api, weak, table, expected) in cases {
        let found = failed(subnets, api, weak, table);
        assert_eq!(found, expected, "{subnets:?}, {api}, {weak:?}");
    }
}

/// Without named subnets, the API is on loopback. The firewall is looked at if the image has it.
#[test]
fn an_api_on_more_than_loopback_is_noticed() {
    if !std::path::Path::new("/usr/bin/jq").exists() {
        return skipped("jq is not installed");
    }
    let shut = table(&[]);
    assert_eq!(failed("", "127.0.0.1", "", &shut), "");
    for api in ["127.0.0.1 10.77.0.1", "0.0.0.0", "10.77.0.1", "[::1]"] {
        let found = failed("", api, "", &shut);
        assert!(found.contains("addresses"), "{api}: {found}");
    }
}
