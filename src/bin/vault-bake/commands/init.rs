//! `init`: writes a project with two images, a cluster and a CI workflow.

use std::path::{Path, PathBuf};

use crate::args::build::Init;
use crate::clusters::NewCluster;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;
use crate::new_files::{NewFile, write_all};
use crate::shipped::{CONSUL_IMAGE, VAULT_IMAGE, shipped_images};

/// Name of the first cluster.
const CLUSTER: &str = "dev";

/// Files that Git must not record.
const GITIGNORE: &str = include_str!("../project/gitignore");

/// The workflow of GitHub Actions.
const WORKFLOW: &str = include_str!("../project/images.yml");

pub fn run(invocation: &Invocation, args: &Init) -> Result<Exit, Failure> {
    let named = invocation.is_project_named.then_some(&invocation.project);
    let named = args.folder.as_ref().or(named);
    let folder = named.map_or(Path::new("."), PathBuf::as_path);
    let cluster = NewCluster::new(CLUSTER, &[])?;
    let mut files = vec![
        NewFile::new(".github/workflows/images.yml", WORKFLOW),
        NewFile::new(".gitignore", GITIGNORE),
    ];
    files.extend(cluster.files());
    files.extend(shipped_images(cluster.subnet));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let purpose = format!("make a project in {}", folder.display());
    write_all(&purpose, folder, &files)?;
    let next = next_commands(folder);
    if invocation.json {
        let files: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        print_json(&serde_json::json!({ "project": folder, "files": files, "next": next }));
        return Ok(Exit::Done);
    }
    for file in &files {
        let path = named.map(|folder| folder.join(&file.path));
        let path = path.unwrap_or_else(|| PathBuf::from(&file.path));
        print_line(&format!("wrote {}", path.display()));
    }
    print_line("next:");
    for command in &next {
        print_line(&format!("  {command}"));
    }
    Ok(Exit::Done)
}

/// Returns the commands from a new project to a running cluster.
fn next_commands(folder: &Path) -> Vec<String> {
    let mut commands = Vec::new();
    if folder != Path::new(".") {
        commands.push(format!("cd {}", folder.display()));
    }
    for image in [CONSUL_IMAGE, VAULT_IMAGE] {
        commands.extend([
            format!("vault-bake lock {image} --builder qemu"),
            format!("vault-bake build {image}"),
            format!("vault-bake promote {image} stable"),
        ]);
    }
    commands.push(format!("vault-bake cluster up {CLUSTER}"));
    commands
}
