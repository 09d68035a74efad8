//! Reads the blocks that are no commands: definitions, settings, records, scripts.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::Value;
use vault_bake::cluster::file::ClusterFile;
use vault_bake::guest_steps::parse_tap;
use vault_bake::hcl1::parse_hcl;
use vault_bake::project_file::ProjectFile;
use vault_bake::provisioner::Provisioner;

use super::output::{Digests, Numbers, compare};
use super::project::Project;

pub type Checked = Result<(), String>;

/// A whole `image.toml`: `vault-bake validate` accepts it.
pub fn definition(project: &Project, text: &str) -> Checked {
    project.write("images/web/image.toml", text);
    project.write("images/web/scripts/agent.sh", "true\n");
    match project.run("vault-bake validate web", "") {
        0 => Ok(()),
        _ => Err(project.printed()),
    }
}

/// Tables of an `image.toml`: accepted in a definition with a base and the seal.
pub fn part(project: &Project, text: &str) -> Checked {
    let base = if text.contains("[base.azure]") {
        ""
    } else {
        "base.qemu.kind = \"packages\"\n"
    };
    let team = if text.contains("var.team") {
        "[variables.team]\ntype = \"string\"\ndefault = \"core\"\n"
    } else {
        ""
    };
    project.set("VB_VAR_token", "a-value");
    let seal = "[[step]]\nprovisioner = \"seal\"\n";
    definition(
        project,
        &format!("schema = 1\ndescription = \"d\"\n{base}{team}{text}{seal}"),
    )
}

/// A step with a provisioner that comes after those of the shipped ones.
pub fn motd_step(project: &Project, text: &str) -> Checked {
    let steps = "[[step]]\nprovisioner = \"base\"\n[[step]]\nprovisioner = \"harden\"\n";
    part(project, &format!("{steps}{text}"))
}

/// A step with the provisioner `vault`, which comes after `base` and `consul`.
pub fn vault_step(project: &Project, text: &str) -> Checked {
    let steps = "[[step]]\nprovisioner = \"base\"\n[[step]]\nprovisioner = \"consul\"\n";
    let releases = "[releases]\nconsul = \"2.1.0\"\nvault = \"2.2.2\"\n";
    part(project, &format!("{releases}{steps}{text}"))
}

/// A `vault-bake.toml`, whole or in part.
pub fn project_file(_: &Project, text: &str) -> Checked {
    let read = ProjectFile::parse(Path::new("vault-bake.toml"), text);
    read.map(drop).map_err(|error| error.to_string())
}

/// A whole `cluster.toml`.
pub fn cluster_file(_: &Project, text: &str) -> Checked {
    let read = ClusterFile::parse(Path::new("clusters/dev/cluster.toml"), text);
    read.map(drop).map_err(|error| error.to_string())
}

/// A whole `provisioner.toml`.
pub fn provisioner(project: &Project, text: &str) -> Checked {
    project.write("provisioners/own/provisioner.toml", text);
    project.write("provisioners/own/install.sh", "true\n");
    let read = Provisioner::load(&project.path("provisioners/own"));
    read.map(drop).map_err(|error| error.to_string())
}

/// Tables of a `provisioner.toml`.
pub fn provisioner_part(project: &Project, text: &str) -> Checked {
    provisioner(project, &format!("schema = 1\ndescription = \"d\"\n{text}"))
}

/// JSON.
pub fn json(_: &Project, text: &str) -> Checked {
    let read: Result<Value, _> = serde_json::from_str(text);
    read.map(drop).map_err(|error| error.to_string())
}

/// HCL.
pub fn hcl(_: &Project, text: &str) -> Checked {
    parse_hcl(text).map(drop).map_err(|error| error.to_string())
}

/// The arguments of `azurerm` 5 for the resources of the pages. `!` marks those that it requires.
const AZURERM: [(&str, &str); 6] = [
    (
        "azurerm_lb",
        "!name !location !resource_group_name sku sku_tier edge_zone tags \
         frontend_ip_configuration",
    ),
    (
        "azurerm_lb_backend_address_pool",
        "!name !loadbalancer_id virtual_network_id synchronous_mode tunnel_interface",
    ),
    (
        "azurerm_lb_probe",
        "!name !loadbalancer_id !port protocol request_path interval_in_seconds probe_threshold \
         number_of_probes no_healthy_backends_behavior",
    ),
    (
        "azurerm_lb_rule",
        "!name !loadbalancer_id !frontend_ip_configuration_name !protocol !frontend_port \
         !backend_port backend_address_pool_ids probe_id floating_ip_enabled tcp_reset_enabled \
         disable_outbound_snat idle_timeout_in_minutes load_distribution",
    ),
    (
        "azurerm_network_interface_backend_address_pool_association",
        "!network_interface_id !ip_configuration_name !backend_address_pool_id for_each",
    ),
    (
        "azurerm_network_security_rule",
        "!name !resource_group_name !network_security_group_name !priority !direction !access \
         !protocol description source_address_prefix source_address_prefixes source_port_range \
         source_port_ranges destination_address_prefix destination_address_prefixes \
         destination_port_range destination_port_ranges",
    ),
];

/// Resources of Azure in Terraform's language: formatted as Terraform does, if it is installed, and
/// with arguments that the provider has.
pub fn azurerm(_: &Project, text: &str) -> Checked {
    let mut terraform = Command::new("terraform");
    terraform.args(["fmt", "-"]).stdin(Stdio::piped());
    match terraform
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(mut child) => {
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(text.as_bytes()).unwrap();
            drop(stdin);
            let output = child.wait_with_output().unwrap();
            if !output.status.success() || output.stdout != text.as_bytes() {
                let formatted = String::from_utf8_lossy(&output.stdout);
                return Err(format!("terraform fmt: {}\n{formatted}", output.status));
            }
        }
        Err(error) => println!("SKIPPED: terraform did not format the page: {error}"),
    }
    let head = Regex::new(r#"^resource "(\w+)" "\w+" \{$"#).unwrap();
    let argument = Regex::new(r"^  (\w+) +[={]").unwrap();
    let mut count = 0;
    for resource in text.split_inclusive("\n}\n") {
        let mut lines = resource.trim_start().lines();
        let kind = lines.next().and_then(|line| head.captures(line));
        let kind = kind.ok_or_else(|| format!("no resource: {resource}"))?[1].to_owned();
        let known = AZURERM.iter().find(|(name, _)| *name == kind);
        let known = known.ok_or_else(|| format!("unknown resource {kind}"))?.1;
        let given: Vec<&str> = lines
            .filter_map(|line| Some(argument.captures(line)?.get(1)?.as_str()))
            .collect();
        let is_known = |name: &&&str| {
            !known
                .split(' ')
                .any(|k| k.trim_start_matches('!') == **name)
        };
        if let Some(unknown) = given.iter().find(is_known) {
            return Err(format!("{kind} has no argument {unknown}"));
        }
        let required = known.split(' ').filter_map(|name| name.strip_prefix('!'));
        for name in required {
            if !given.contains(&name) {
                return Err(format!("{kind} lacks {name}"));
            }
        }
        count += 1;
    }
    assert!(count > 1, "only {count} resources were read");
    Ok(())
}

/// The output of a check script.
pub fn tap(_: &Project, text: &str) -> Checked {
    parse_tap(text).map(drop)
}

/// What the command before it printed.
pub fn printed(project: &Project, text: &str) -> Checked {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let printed = project.printed();
    compare(&lines, &printed, Numbers::Exact, &mut Digests::default())
        .map_err(|why| format!("{why}\n{printed}"))
}

/// A template of the provisioner `motd`, with what a build would give it.
pub fn template(project: &Project, text: &str) -> Checked {
    let rendered = text
        .replace("{{ inputs.text }}", "managed")
        .replace("{{ image }}", "web");
    project.write("templates/motd", &rendered);
    if rendered.contains("{{") {
        return Err(format!("this test renders no other names: {rendered}"));
    }
    Ok(())
}

/// A script of the provisioner `motd`: it runs, with a file of this test in place of `/etc/motd`, and its user in place of root.
pub fn script(project: &Project, text: &str) -> Checked {
    let motd = project.path("etc/motd").display().to_string();
    let text = text.replace("/etc/motd", &motd);
    let text = text.replace("root:root", "\"$(id -un):$(id -gn)\"");
    let library = super::pages::root().join("provisioners/lib.sh");
    project.set("VB_LIB", &library.display().to_string());
    project.set("VB_INPUT_TEXT", "managed");
    project.write("script.sh", &text);
    let status = project.run("sh -e script.sh", "");
    let printed = project.printed();
    if status != 0 || printed.contains("not ok") {
        return Err(printed);
    }
    let text = fs::read_to_string(motd).unwrap();
    assert_eq!(text, "managed (web)\n");
    if printed.is_empty() {
        Ok(())
    } else {
        tap(project, &printed)
    }
}
