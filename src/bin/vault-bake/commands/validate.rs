//! `validate`: checks definitions of images, with their provisioners, and of clusters.
//! It uses no network and has no side effects.

use vault_bake::cluster::file::{self, ClusterFile, ProjectCluster, check_folders};
use vault_bake::definition::Definition;
use vault_bake::plan::lint;
use vault_bake::terminal::counted;

use crate::args::Vars;
use crate::args::build::Validate;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub fn run(invocation: &Invocation, args: &Validate) -> Result<Exit, Failure> {
    let names = args.names.iter();
    let (images, clusters) = if args.names.is_empty() {
        (invocation.images()?, invocation.clusters())
    } else {
        // An image and a cluster may have the same name.
        let clusters: Vec<String> = names
            .filter(|name| is_cluster(invocation, name))
            .cloned()
            .collect();
        let is_image = |name: &&String| !clusters.contains(name) || is_image(invocation, name);
        let images = args.names.iter().filter(is_image).cloned().collect();
        (images, clusters)
    };
    invocation.warn_about_variables(&images);
    let mut exit = Exit::Done;
    for image in &images {
        let vars = invocation.shared_vars(image, &images, &args.vars)?;
        match check(invocation, image, &vars) {
            Ok(definition) => print_valid(invocation, &definition),
            Err(failure) => exit = failure.print(invocation.json, None),
        }
    }
    let all = invocation.project_clusters();
    for cluster in &clusters {
        match check_cluster(invocation, cluster, &clusters, &all) {
            Ok(cluster) => print_valid_cluster(invocation, &cluster),
            Err(failure) => exit = failure.print(invocation.json, None),
        }
    }
    if args.names.is_empty()
        && let Err(problems) = check_folders(&invocation.project.join(file::FOLDER))
    {
        exit = Failure::from(problems).print(invocation.json, None);
    }
    Ok(exit)
}

/// Checks a cluster, also against all others of the project. Of two that are `checked`, the second
/// has the problem.
fn check_cluster(
    invocation: &Invocation,
    name: &str,
    checked: &[String],
    all: &[ProjectCluster],
) -> Result<ClusterFile, Failure> {
    let folder = invocation.cluster_folder(name);
    let file = ClusterFile::load(&folder)?;
    let cluster = ProjectCluster { folder, file };
    let name = &cluster.file.name;
    let is_other = |other: &&ProjectCluster| {
        let other = &other.file.name;
        other < name || (other != name && !checked.contains(other))
    };
    let others: Vec<_> = all.iter().filter(is_other).collect();
    cluster.check(&others, all)?;
    Ok(cluster.file)
}

fn is_cluster(invocation: &Invocation, name: &str) -> bool {
    // A folder with this name is refused by the reader.
    invocation.cluster_folder(name).join(file::FILE).exists()
}

fn is_image(invocation: &Invocation, name: &str) -> bool {
    invocation
        .definition_folder(name)
        .join("image.toml")
        .is_file()
}

fn check(invocation: &Invocation, image: &str, vars: &Vars) -> Result<Definition, Failure> {
    let (definition, _) = invocation.check(image, vars)?;
    lint::check_allowed(&definition.allowed)?;
    Ok(definition)
}

fn print_valid(invocation: &Invocation, definition: &Definition) {
    let (name, steps) = (&definition.name, definition.steps.len());
    if invocation.json {
        let digest = &definition.digest;
        print_json(&serde_json::json!({"image": name, "valid": true, "digest": digest}));
    } else {
        let steps = counted(steps, "step");
        print_line(&format!("{name}: valid, {steps}"));
    }
}

fn print_valid_cluster(invocation: &Invocation, cluster: &ClusterFile) {
    let (name, consul, vault) = (&cluster.name, cluster.consul.nodes, cluster.vault.nodes);
    if invocation.json {
        print_json(&serde_json::json!({"cluster": name, "valid": true}));
    } else {
        print_line(&format!(
            "{name}: valid, {consul} Consul and {}",
            counted(vault, "Vault node")
        ));
    }
}
