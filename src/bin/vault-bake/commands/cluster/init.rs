//! `cluster init`: adds the definition of a cluster to the project.

use vault_bake::cluster::file::ClusterFile;

use crate::args::cluster::InitCluster;
use crate::clusters::NewCluster;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;
use crate::new_files::write_all;
use crate::shipped::{CONSUL_IMAGE, MANAGEMENT_SUBNETS};

pub fn run(invocation: &Invocation, args: &InitCluster) -> Result<Exit, Failure> {
    let project = &invocation.project;
    if !project.join("images").is_dir() {
        let message = format!(
            "cannot add the cluster {}: {} is no project, it has no images/",
            args.name,
            project.display()
        );
        return Err(Failure::usage(message)
            .hint("Make a project with `vault-bake init`, or name one with --project."));
    }
    let names = invocation.clusters();
    let others = names
        .iter()
        .map(|name| ClusterFile::load(&invocation.cluster_folder(name)));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    let cluster = NewCluster::new(&args.name, &others)?;
    let mut files = Vec::from(cluster.files());
    // The first cluster brings the schema.
    files.retain(|file| file.path == cluster.path() || !project.join(&file.path).exists());
    write_all(&format!("add the cluster {}", args.name), project, &files)?;
    print_added(invocation, &cluster);
    Ok(Exit::Done)
}

fn print_added(invocation: &Invocation, cluster: &NewCluster) {
    let (path, subnet) = (cluster.path(), cluster.subnet.to_string());
    let is_closed = is_closed_to(invocation, &subnet);
    if invocation.json {
        print_json(&serde_json::json!({
            "cluster": cluster.name, "file": path, "subnet": subnet, "in_management_subnets": !is_closed,
        }));
        return;
    }
    print_line(&format!("wrote {path} with the subnet {subnet}"));
    if is_closed {
        print_line(&format!(
            "next: add \"{subnet}\" to `{MANAGEMENT_SUBNETS}` in images/{CONSUL_IMAGE}/image.toml, and build it"
        ));
    }
}

/// Returns whether the project's image of Consul servers has a list of subnets without this one.
fn is_closed_to(invocation: &Invocation, subnet: &str) -> bool {
    let definition = invocation
        .definition_folder(CONSUL_IMAGE)
        .join("image.toml");
    let text = std::fs::read_to_string(definition).unwrap_or_default();
    text.contains(MANAGEMENT_SUBNETS) && !text.contains(&format!("\"{subnet}\""))
}
