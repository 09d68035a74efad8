//! Reads the blocks that are no commands: definitions, settings, records, scripts.

use std::fs;
use std::path::Path;

use serde_json::Value;
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

/// A `vault-bake.toml`, whole or in part.
pub fn project_file(_: &Project, text: &str) -> Checked {
    let read = ProjectFile::parse(Path::new("vault-bake.toml"), text);
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
