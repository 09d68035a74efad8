//! `identity make`: makes the archives of all nodes of a cluster.

use std::collections::BTreeMap;

use semver::Version;
use vault_bake::cluster::file::{ClusterFile, ImageRef};
use vault_bake::cluster::identities::{Identities, common_secrets, make_secrets, node_secrets};
use vault_bake::cluster::secrets::SecretName;
use vault_bake::resolve::Resolved;
use vault_bake::store::Allow;

use super::{Cluster, check_archive, write_all};
use crate::args::identity::MakeIdentities;
use crate::commands::pin;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &MakeIdentities) -> Result<Exit, Failure> {
    let cluster = Cluster::open(invocation, args)?;
    let consul = consul_version(invocation, &cluster.file).await?;
    let Cluster { file, secrets, .. } = &cluster;
    let mut needed = common_secrets(file);
    for node in Identities::first_nodes(file) {
        let name = file.node_name(node.tier, node.generation, node.number);
        needed.extend(node_secrets(node.tier, &name));
    }
    let interrupt = &invocation.interrupt;
    // A cluster that runs here remembers which ones were made.
    let was_made = |name: &SecretName| cluster.state.iter().any(|state| state.has_made(name));
    make_secrets(file, &needed, was_made, secrets, clock(), interrupt).await?;
    let identities = Identities::open(file, secrets, &consul, clock(), interrupt).await?;
    let mut archives = Vec::new();
    for node in Identities::first_nodes(&cluster.file) {
        let archive = identities.make(&node, &BTreeMap::new()).await?;
        archives.push(check_archive(invocation, archive).await?);
    }
    write_all(invocation, "made", &args.to, &archives)
}

/// Returns the version of Consul in the image of the servers.
async fn consul_version(invocation: &Invocation, file: &ClusterFile) -> Result<Version, Failure> {
    let (name, releases) = releases(invocation, &file.consul.image).await?;
    let consul = releases.get("consul");
    let version = consul.and_then(|version| Version::parse(version).ok());
    version.ok_or_else(|| {
        let message = format!(
            "cannot make identities of {}: {name} has no Consul",
            file.name
        );
        Failure::usage(message).hint("Name an image with Consul in `consul.image`.")
    })
}

/// Returns the name of an image, and the versions of its releases by product.
async fn releases(
    invocation: &Invocation,
    image: &ImageRef,
) -> Result<(String, BTreeMap<String, String>), Failure> {
    match image {
        ImageRef::Store(reference) => {
            let store = invocation.open_store().await?;
            // Whether the image may be deployed is decided when it is.
            let allow = Allow {
                revoked: true,
                untested: true,
            };
            let resolving = Resolved::from_store(&store, reference, None, allow, clock());
            let resolved = invocation.interrupt.or(resolving).await??;
            Ok((reference.to_string(), resolved.releases))
        }
        ImageRef::Pin { pins, name } => {
            let file = pin::parse(pins)?;
            let trust = invocation.keys.trust()?;
            let resolved = Resolved::from_pins(&file, name, None, trust.as_ref())?;
            Ok((name.clone(), resolved.releases))
        }
    }
}
