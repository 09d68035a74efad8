//! `cluster.toml`: defaults, addresses, errors with their lines, and the JSON Schema for editors.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};
use vault_bake::cluster::file::{
    ClusterFile, ClusterFileError, EnvValue, FrontKind, ImageRef, PlatformKind, Subnet, TierName,
    UnsealKind, check_name,
};
use vault_bake::definition::Problems;

use crate::problems::problems_text;

/// The tiers with the least keys.
const TIERS: &str =
    "consul.image = \"consul-server:stable\"\nvault.image = \"vault-server:stable\"\n";

/// A file with all keys of a local platform.
const WHOLE: &str = r#"schema = 1
datacenter = "fra1"
[consul]
image = "consul-server@2026.1128.0"
nodes = 5
[vault]
image = { pins = "../../vault-bake.pins.json", name = "vault-server:prod" }
nodes = 2
[platform]
kind = "containers"
subnet = "192.168.7.0/26"
[identity]
authority = { certificate = "ca.pem", command = ["sign-csr", "--ttl", "720h"] }
valid_h = 48
secrets = { fetch = ["pass", "show"], store = ["pass", "insert"] }
[unseal]
kind = "transit"
shares = 2
threshold = 2
pgp_keys = ["anna.asc", "ben.asc"]
[unseal.env]
VAULT_ADDR = "https://keys.example:8200"
VAULT_TOKEN = "secret:transit-token"
VAULT_TRANSIT_SEAL_KEY_NAME = "unseal"
VAULT_TRANSIT_SEAL_MOUNT_PATH = "transit/"
[front]
kind = "haproxy"
port = 8300
"#;

/// A file for Azure.
const AZURE: &str = r#"schema = 1
consul.image = "consul-server:stable"
vault.image = "vault-server:stable"
[platform]
kind = "azure"
subnet = "10.1.2.0/27"
resource_group = "vault"
location = "westeurope"
subnet_id = "/subscriptions/0/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/vault"
zones = ["1", "2", "3"]
[unseal]
kind = "azurekeyvault"
[unseal.env]
VAULT_AZUREKEYVAULT_VAULT_NAME = "unseal"
VAULT_AZUREKEYVAULT_KEY_NAME = "vault"
AZURE_TENANT_ID = "00000000-0000-0000-0000-000000000000"
"#;

/// A folder `dev` with the files that definitions name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cluster = folder.path().join("dev");
    fs::create_dir(&cluster).unwrap();
    for name in ["ca.pem", "anna.asc", "ben.asc"] {
        fs::write(cluster.join(name), "").unwrap();
    }
    folder
}

fn parse_in(folder: &Path, text: &str) -> Result<ClusterFile, Problems> {
    ClusterFile::parse(&folder.join("dev/cluster.toml"), text)
}

fn parse(text: &str) -> Result<ClusterFile, Problems> {
    parse_in(folder().path(), text)
}

/// Returns the problems of a file, with their hints and without the folder of the test.
fn problems(text: &str) -> Option<String> {
    let folder = folder();
    let error = parse_in(folder.path(), text).err()?;
    let shown = problems_text(&error);
    Some(shown.replace(&format!("{}/", folder.path().display()), ""))
}

#[test]
fn a_cluster_has_defaults_for_all_but_schema_and_images() {
    let least = parse(&format!("schema = 1\n{TIERS}")).unwrap();
    insta::assert_debug_snapshot!(least);
}

#[test]
fn every_key_is_read_and_paths_start_at_the_folder() {
    let folder = folder();
    let whole = parse_in(folder.path(), WHOLE).unwrap();
    let text = format!("{whole:#?}").replace(&format!("{}/", folder.path().display()), "");
    insta::assert_snapshot!(text);
}

#[test]
fn a_cluster_on_azure_has_its_load_balancer_by_default() {
    let cluster = parse(AZURE).unwrap();
    assert_eq!(cluster.front.kind, FrontKind::Azure);
    let PlatformKind::Azure(azure) = &cluster.platform.kind else {
        panic!("{:?}", cluster.platform)
    };
    assert_eq!(azure.vm_size, "Standard_D2s_v5");
    assert_eq!(azure.subnet_id.name(), "vault");
    let UnsealKind::AzureKeyVault(env) = &cluster.unseal.kind else {
        panic!("{:?}", cluster.unseal)
    };
    let key = EnvValue::Text("vault".to_owned());
    assert_eq!(env["VAULT_AZUREKEYVAULT_KEY_NAME"], key);
}

#[test]
fn an_image_is_a_channel_a_version_or_a_pin() {
    let image = |text: &str| {
        let cluster = parse(&format!(
            "schema = 1\nvault.image = \"v:stable\"\nconsul.image = {text}\n"
        ));
        cluster.unwrap().consul.image
    };
    for text in ["web:stable", "web@2026.1128.0"] {
        let ImageRef::Store(reference) = image(&format!("\"{text}\"")) else {
            panic!("{text}")
        };
        assert_eq!(reference.to_string(), text);
    }
    let ImageRef::Pin { pins, name } = image("{ pins = \"pins.json\", name = \"web:prod\" }")
    else {
        panic!("a pin")
    };
    assert!(pins.ends_with("dev/pins.json"), "{}", pins.display());
    assert_eq!(name, "web:prod");
}

#[test]
fn nodes_have_addresses_and_names_by_their_number() {
    let cluster = |subnet: &str| {
        let text = format!("schema = 1\n{TIERS}platform.subnet = \"{subnet}\"\n");
        parse(&text).unwrap()
    };
    let mut table = Vec::new();
    for prefix in 24..=28 {
        let cluster = cluster(&format!("10.77.3.0/{prefix}"));
        let last = u32::from(Ipv4Addr::new(10, 77, 3, 0)) + (1 << (32 - prefix)) - 1;
        let consul = [1, cluster.consul.nodes + 1].map(|n| cluster.consul_address(n));
        let vault = [1, cluster.vault.nodes * 2].map(|n| cluster.vault_address(n));
        table.push(format!(
            "/{prefix}: gateway {}, Consul {} to {}, Vault {} to {}",
            cluster.gateway(),
            consul[0],
            consul[1],
            vault[0],
            vault[1]
        ));
        // Azure reserves the first four addresses; the last one is for broadcasts.
        let servers = (1..=cluster.consul.nodes + 1).map(|n| cluster.consul_address(n));
        let nodes = (1..=cluster.vault.nodes * 2).map(|n| cluster.vault_address(n));
        let all: BTreeSet<u32> = servers.chain(nodes).map(u32::from).collect();
        assert_eq!(all.len(), 10, "two nodes have one address in /{prefix}");
        assert!(
            all.iter()
                .all(|address| *address >= last - (1 << (32 - prefix)) + 5)
        );
        assert!(all.iter().all(|address| *address < last), "/{prefix}");
    }
    insta::assert_snapshot!(table.join("\n"), @"
    /24: gateway 10.77.3.1, Consul 10.77.3.11 to 10.77.3.14, Vault 10.77.3.31 to 10.77.3.36
    /25: gateway 10.77.3.1, Consul 10.77.3.11 to 10.77.3.14, Vault 10.77.3.31 to 10.77.3.36
    /26: gateway 10.77.3.1, Consul 10.77.3.11 to 10.77.3.14, Vault 10.77.3.31 to 10.77.3.36
    /27: gateway 10.77.3.1, Consul 10.77.3.4 to 10.77.3.7, Vault 10.77.3.12 to 10.77.3.17
    /28: gateway 10.77.3.1, Consul 10.77.3.4 to 10.77.3.7, Vault 10.77.3.9 to 10.77.3.14
    ");
    let cluster = cluster("10.77.0.0/24");
    assert_eq!(cluster.node_name(TierName::Consul, 1, 3), "dev-consul-1-3");
    assert_eq!(cluster.node_name(TierName::Vault, 12, 1), "dev-vault-12-1");
    assert_eq!(cluster.tier(TierName::Vault), &cluster.vault);
}

#[test]
fn the_largest_cluster_has_addresses_in_a_27() {
    let nodes = "consul.nodes = 7\nvault.nodes = 9\n";
    let of = |prefix: u32| {
        format!("schema = 1\n{TIERS}{nodes}platform.subnet = \"10.0.0.0/{prefix}\"\n")
    };
    for prefix in 24..=27 {
        let cluster = parse(&of(prefix)).unwrap();
        let servers = (1..=8).map(|n| cluster.consul_address(n));
        let vaults = (1..=18).map(|n| cluster.vault_address(n));
        let all: BTreeSet<Ipv4Addr> = servers.chain(vaults).collect();
        assert_eq!(all.len(), 26);
        let end = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + (1 << (32 - prefix)) - 1);
        assert!(all.iter().all(|address| *address < end), "/{prefix}");
    }
    assert!(problems(&of(28)).unwrap().contains("too small"));
}

#[test]
fn subnets_of_development_do_not_overlap() {
    let subnets: Vec<Subnet> = (0..=255).map(Subnet::development).collect();
    for (index, subnet) in subnets.iter().enumerate() {
        assert_eq!(subnet.to_string().parse::<Subnet>().unwrap(), *subnet);
        let overlapping = subnets.iter().filter(|other| subnet.overlaps(**other));
        assert_eq!(overlapping.count(), 1, "{index}");
    }
    let part: Subnet = "10.77.4.32/28".parse().unwrap();
    assert!(part.overlaps(subnets[4]) && subnets[4].overlaps(part));
    assert!(!part.overlaps(subnets[5]) && !part.overlaps("10.77.4.48/28".parse().unwrap()));
}

#[test]
fn a_name_is_a_part_of_host_names() {
    for good in ["d", "dev", "eu-1", "a2345678901234567890"] {
        assert!(check_name(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "Dev",
        "1dev",
        "-dev",
        "dev-",
        "de_v",
        "a23456789012345678901",
        "dév",
        "a/b",
        "..",
    ] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("My_Cluster/cluster.toml");
    let error = ClusterFile::parse(&file, &format!("schema = 1\n{TIERS}")).unwrap_err();
    let text = problems_text(&error).replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(text, @"
    FOLDER/My_Cluster/cluster.toml:1: folder `My_Cluster` is no name of a cluster; expected 1 to 20 lower-case letters, digits and `-`, from a letter to a letter or digit
    hint: Choose a short name such as `dev`: it is a part of the nodes' host names.
    ");
}

#[test]
fn a_folder_without_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = ClusterFile::load(&folder.path().join("dev")).unwrap_err();
    assert!(matches!(error, ClusterFileError::Read { .. }), "{error}");
    assert!(error.hint().unwrap().contains("vault-bake cluster init"));
}

/// Invalid files. `%` is the tiers with the least keys, before other tables.
const INVALID: &[&str] = &[
    // The file.
    "schema = ",
    "%",
    "schema = 2\n%",
    "schema = \"1\"\n%",
    "schema = 1",
    "schema = 1\nconsul.image = \"c:stable\"",
    "schema = 1\nconsul.image = \"c:stable\"\n[vault]\nnodes = 1",
    "schema = 1\n%\n[plattform]\nkind = \"auto\"",
    "schema = 1\n%\nfrontend = { port = 9000 }",
    "schema = 1\n%\nfront = 8200",
    "schema = 1\ndatacenter = \"DC 1\"\n%",
    "schema = 1\ndatacenter = 1\n%",
    // Tiers.
    "schema = 1\nvault.image = \"v:stable\"\n[consul]\nimage = \"c:stable\"\nnodes = 4",
    "schema = 1\nvault.image = \"v:stable\"\n[consul]\nimage = \"c:stable\"\nnodes = 9",
    "schema = 1\nvault.image = \"v:stable\"\n[consul]\nimage = \"c:stable\"\nnodes = 3.0",
    "schema = 1\nconsul.image = \"c:stable\"\n[vault]\nimage = \"v:stable\"\nnodes = 0",
    "schema = 1\nconsul.image = \"c:stable\"\n[vault]\nimage = \"v:stable\"\nreplicas = 3",
    "schema = 1\nconsul.image = \"c:stable\"\n[vault]\nimmage = \"v:stable\"",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = \"vault-server\"",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = \"sha256:0123456789ab\"",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = \"vault server:stable\"",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = \"v@1.2\"",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = 3",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = [\"v:stable\"]",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = { pins = \"p.json\" }",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = { file = \"p.json\", name = \"v\" }",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = { pins = \"p.json\", name = \"a b\" }",
    "schema = 1\nconsul.image = \"c:stable\"\nvault.image = { pins = \"\", name = \"v\" }",
    // Platform.
    "schema = 1\n%\n[platform]\nkind = \"docker\"",
    "schema = 1\n%\n[platform]\nkind = \"machine\"",
    "schema = 1\n%\n[platform]\nkind = 1",
    "schema = 1\n%\n[platform]\nsubnet = \"10.77.0.0\"",
    "schema = 1\n%\n[platform]\nsubnet = \"10.77.0.0/16\"",
    "schema = 1\n%\n[platform]\nsubnet = \"10.77.0.9/24\"",
    "schema = 1\n%\n[platform]\nsubnet = \"100.64.0.0/24\"",
    "schema = 1\n%\n[platform]\nsubnet = \"fd00::/64\"",
    "schema = 1\n%\nconsul.nodes = 5\n[platform]\nsubnet = \"10.77.0.16/28\"",
    "schema = 1\n%\n[platform]\nlocation = \"westeurope\"\nzones = [\"1\"]",
    "schema = 1\n%\n[platform]\nkind = \"azure\"",
    "schema = 1\n%\n[platform]\nkind = \"azure\"\nresource_group = \" \"\nlocation = \"w\"\nsubnet_id = \"vault\"\n\
        zones = [\"1\",\n\"4\", \"1\"]",
    "schema = 1\n%\n[platform]\nkind = \"azure\"\nresource_group = \"g\"\nregion = \"w\"\nzones = [1, 2]",
    // Identity.
    "schema = 1\n%\n[identity]\nauthority = \"own\"",
    "schema = 1\n%\n[identity]\nauthority = { certificate = \"ca.pem\" }",
    "schema = 1\n%\n[identity]\nauthority = { certificate = \"ca.pem\", key = \"ca.key\", command = [\"sign\"] }",
    "schema = 1\n%\n[identity]\nauthority = { cert = \"ca.pem\", key = \"ca.key\" }",
    "schema = 1\n%\n[identity]\nauthority = { certificate = \"none.pem\", command = [] }",
    "schema = 1\n%\n[identity]\nauthority = { certificate = \"ca.pem\", command = \"sign-csr\" }",
    "schema = 1\n%\n[identity]\nvalid_h = 12",
    "schema = 1\n%\n[identity]\nvalid_h = \"720h\"",
    "schema = 1\n%\n[identity]\nsecrets = \"vault\"",
    "schema = 1\n%\n[identity]\nsecrets = { fetch = [\"pass\"] }",
    "schema = 1\n%\n[identity]\nsecrets = { fetch = [\"pass\"], store = [\" \"] }",
    // Unseal.
    "schema = 1\n%\n[unseal]\nkind = \"keyvault\"",
    "schema = 1\n%\n[unseal]\nthreshold = 6",
    "schema = 1\n%\n[unseal]\nthreshold = 1",
    "schema = 1\n%\n[unseal]\nshares = 300\nthreshold = 0",
    "schema = 1\n%\n[unseal]\npgp_keys = [\"anna.asc\", \"carla.asc\"]",
    "schema = 1\n%\n[unseal]\nshares = 2\nthreshold = 2\npgp_keys = [\"anna.asc\",\n1]",
    "schema = 1\n%\n[unseal]\nenv = { VAULT_ADDR = \"https://a:8200\" }",
    "schema = 1\n%\n[unseal]\nkind = \"transit\"",
    "schema = 1\n%\n[unseal]\nkind = \"transit\"\n[unseal.env]\nVAULT_ADDR = \"http://a:8200\"\nVAULT_TOKEN = \"hvs.canary\"\n\
        VAULT_TRANSIT_SEAL_KEY_NAMES = \"k\"\nVAULT_TRANSIT_SEAL_MOUNT_PATH = \"tran'sit\"",
    "schema = 1\n%\n[unseal]\nkind = \"azurekeyvault\"\n[unseal.env]\nAZURE_TENANT_ID = 7\nAZURE_CLIENT_SECRET = \"secret:\"\n\
        VAULT_AZUREKEYVAULT_VAULT_NAME = \"v\"\nVAULT_AZUREKEYVAULT_KEY_NAME = \" k\"\nVAULT_SKIP_VERIFY = \"1\"",
    // Front.
    "schema = 1\n%\n[front]\nkind = \"nginx\"",
    "schema = 1\n%\n[front]\nkind = \"azure\"",
    "schema = 1\n%\n[front]\nkind = \"none\"\nport = 8200",
    "schema = 1\n%\n[front]\nport = 443",
    "schema = 1\n%\n[front]\nport = 70000",
    "schema = 1\n%\n[front]\nport = 99999999999999999999",
    // Several at once, and what follows from a refused value is not reported.
    "schema = 1\n%\nvault.nodes = 12\n[platform]\nsubnet = 7\ncolour = \"red\"\n[unseal]\nshares = \"5\"\nthreshold = 9\n\
        [front]\nport = 80",
];

fn invalid() -> impl Iterator<Item = String> {
    INVALID
        .iter()
        .map(|text| text.replace('%', TIERS.trim_end()))
}

#[test]
fn problems_of_a_cluster_name_file_line_key_and_way_out() {
    let mut table = Vec::new();
    for text in invalid() {
        let problems = problems(&text).unwrap_or_else(|| panic!("accepted:\n{text}"));
        assert!(!problems.contains("canary"), "{problems}");
        for line in problems.lines().filter(|line| !line.starts_with("hint: ")) {
            assert!(line.starts_with("dev/cluster.toml:"), "{line}");
        }
        let hints = problems
            .lines()
            .filter(|line| line.starts_with("hint: "))
            .count();
        assert_eq!(hints * 2, problems.lines().count(), "{problems}");
        let shown = text.replace(TIERS.trim_end(), "%").replace('\n', "\\n");
        table.push(format!("{shown}\n{problems}"));
    }
    assert!(table.len() > 50);
    insta::assert_snapshot!(table.join("\n\n"));
}

#[test]
fn a_way_out_solves_its_problem() {
    let bad = format!("schema = 1\n{TIERS}[platform]\nsubnet = \"10.77.0.9/24\"\n");
    let hint = problems(&bad).unwrap();
    let subnet = hint.rsplit('`').nth(1).unwrap();
    assert!(
        parse(&bad.replace("10.77.0.9/24", subnet)).is_ok(),
        "{hint}"
    );
}

/// Returns the committed schema.
fn schema() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/cluster.schema.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn as_json(text: &str) -> Option<Value> {
    toml::from_str(text).ok()
}

#[test]
fn the_published_schema_is_the_derived_one() {
    let derived = ClusterFile::json_schema();
    let text = serde_json::to_string_pretty(&derived).unwrap() + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/cluster.schema.json");
    let committed = fs::read_to_string(&file).unwrap_or_default();
    if committed != text {
        let derived = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.schema.json");
        fs::write(&derived, text).unwrap();
        panic!("copy {} to {}", derived.display(), file.display());
    }
    assert!(jsonschema::meta::is_valid(&derived));
    let text = derived.to_string();
    assert!(!text.contains("null"), "TOML has no null");
}

/// A schema has no comparisons of values and no files. The snapshot has those problems that only
/// the reader finds.
#[test]
fn the_schema_accepts_good_files_and_refuses_bad_ones() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let least = format!("schema = 1\n{TIERS}");
    for text in [WHOLE, AZURE, &least] {
        let value = as_json(text).unwrap();
        let error = validator.validate(&value).err();
        assert!(error.is_none(), "{text}\n{error:?}");
        assert!(parse(text).is_ok(), "{text}");
    }
    let (mut only_reader, mut both) = (Vec::new(), 0);
    for text in invalid() {
        let Some(value) = as_json(&text) else {
            continue;
        };
        if validator.is_valid(&value) {
            only_reader.push(text.replace(TIERS.trim_end(), "%").replace('\n', "\\n"));
        } else {
            both += 1;
        }
    }
    assert!(both > 35, "the schema refuses {both} files only");
    insta::assert_snapshot!(only_reader.join("\n"));
}

#[test]
fn every_key_of_the_schema_has_a_description() {
    fn undescribed(part: &Value, at: &str, silent: &mut Vec<String>) {
        for (name, field) in part["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            if field["description"].is_null() && field["$ref"].is_null() {
                silent.push(at.clone());
            }
            undescribed(field, &at, silent);
        }
        for (name, definition) in part["$defs"].as_object().into_iter().flatten() {
            undescribed(definition, &format!("{at}/{name}"), silent);
        }
    }
    let mut silent = Vec::new();
    undescribed(&schema(), "", &mut silent);
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn every_key_is_documented() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clusters.md");
    let page = fs::read_to_string(page).unwrap();
    let schema = schema();
    let tables = schema["$defs"]
        .as_object()
        .unwrap()
        .values()
        .chain([&schema]);
    let mut missing = Vec::new();
    let mut count = 0;
    for (key, field) in tables
        .filter_map(|table| table["properties"].as_object())
        .flatten()
    {
        count += 1;
        let is_table = page.contains(&format!("`[{key}]`"));
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{key}` | ")));
        let is_shown = page.contains(&format!("{key} = "));
        if row.is_none() && !is_table && !is_shown {
            missing.push(key.clone());
        }
        // A table row ends with the default.
        let default = &field["default"];
        if let (Some(row), false) = (row, default.is_null()) {
            let shown = format!("`{default}`");
            let ambiguous = key == "kind";
            if !ambiguous && !row.contains(&shown) {
                missing.push(format!("default of {key}: {shown}"));
            }
        }
    }
    assert!(count > 30, "{count} keys");
    assert!(missing.is_empty(), "{missing:?}");
}

/// Returns all positions in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => (0..)
            .map(|index: usize| index.to_string())
            .zip(items)
            .collect(),
        _ => Vec::new(),
    };
    for (key, value) in inner {
        let at = format!("{at}/{key}");
        found.push(at.clone());
        places(value, &at, found);
    }
}

/// Replaces each value of good files by others, and removes it.
#[test]
fn the_schema_accepts_what_the_reader_accepts_and_nothing_ends_the_reader() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let folder = folder();
    let others = [
        None,
        Some(json!(true)),
        Some(json!(1)),
        Some(json!(-1)),
        Some(json!(2.5)),
        Some(json!("x")),
        Some(json!("")),
        Some(json!([])),
        Some(json!(["1"])),
        Some(json!({})),
        Some(json!({ "x": "1" })),
    ];
    let (mut accepted, mut refused) = (0, 0);
    for whole in [WHOLE, AZURE] {
        let whole = as_json(whole).unwrap();
        let mut found = Vec::new();
        places(&whole, "", &mut found);
        for (at, other) in found
            .iter()
            .flat_map(|at| others.iter().map(move |other| (at, other)))
        {
            let mut value = whole.clone();
            let (parent, last) = at.rsplit_once('/').unwrap();
            match (other, value.pointer_mut(parent).unwrap()) {
                (Some(other), _) => *value.pointer_mut(at).unwrap() = other.clone(),
                (None, Value::Object(fields)) => drop(fields.remove(last)),
                (None, Value::Array(items)) => drop(items.remove(last.parse().unwrap())),
                (None, _) => unreachable!("a place is in an object or an array"),
            }
            let text = toml::to_string(&value).unwrap();
            if parse_in(folder.path(), &text).is_ok() {
                accepted += 1;
                let error = validator.validate(&value).err();
                assert!(
                    error.is_none(),
                    "the schema refuses what is read:\n{text}\n{error:?}"
                );
            } else {
                refused += 1;
            }
        }
    }
    assert!(
        accepted > 40 && refused > 300,
        "{accepted} accepted, {refused} refused"
    );
}
