//! `cluster up`: makes a cluster, or starts what does not run of it.

use std::path::PathBuf;
use std::time::Instant;

use vault_bake::cluster::file::{self, Secrets, UnsealKind};
use vault_bake::cluster::state::PlatformKind;
use vault_bake::cluster::{Images, UpOptions, up};
use vault_bake::secret::Secret;
use vault_bake::store::Allow;
use vault_bake::terminal::counted;

use super::{Opened, context, default_platform, open};
use crate::args::cluster::Up;
use crate::commands::{doctor, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Up) -> Result<Exit, Failure> {
    let opened = open(invocation, &args.named)?;
    check_others(invocation, &opened.file.name)?;
    let auto = default_platform();
    let platform = match opened.file.platform.kind {
        file::PlatformKind::Containers => PlatformKind::Containers,
        file::PlatformKind::Machines => PlatformKind::Machines,
        file::PlatformKind::Auto | file::PlatformKind::Azure(_) => auto,
    };
    doctor::require_nodes(&format!("run cluster {}", opened.file.name), platform)?;
    let store = invocation.open_store().await?;
    let trust = invocation.keys.trust()?;
    let images = Images {
        store: &store,
        trust: trust.as_ref(),
        allow: Allow {
            revoked: args.allow_revoked,
            untested: args.allow_untested,
        },
    };
    let options = UpOptions {
        unseal_shares: read_shares(args.unseal_keys.as_ref())?,
        keep_root_token: args.keep_root_token,
        auto,
    };
    let began = Instant::now();
    let done = up(&opened.cluster(), &images, &options, &context(invocation)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let name = &opened.file.name;
    if invocation.json {
        print_json(&serde_json::json!({
            "cluster": name, "new": done.is_new, "addresses": done.addresses,
            "elapsed_ms": began.elapsed().as_millis(),
        }));
        return Ok(Exit::Done);
    }
    print_line(&format!(
        "cluster {name} serves after {seconds:.1} s: {}, {}",
        counted(opened.file.consul.nodes, "Consul server"),
        counted(opened.file.vault.nodes, "Vault node")
    ));
    for address in &done.addresses {
        print_line(&format!("  {address}"));
    }
    if done.is_new {
        print_line(&place_of_shares(&opened));
    }
    print_line(&format!("Next: eval \"$(vault-bake cluster env {name})\""));
    Ok(Exit::Done)
}

/// Fails if the cluster shares a subnet or a port with another one of the project.
fn check_others(invocation: &Invocation, name: &str) -> Result<(), Failure> {
    let all = invocation.project_clusters();
    let (own, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.file.name == name);
    let checked = own.iter().try_for_each(|own| own.check(&others, &all));
    Ok(checked?)
}

/// Returns where the shares of a new cluster are.
fn place_of_shares(opened: &Opened) -> String {
    let kind = match opened.file.unseal.kind {
        UnsealKind::Shares => "Key shares",
        UnsealKind::Transit(_) | UnsealKind::AzureKeyVault(_) => "Shares of the recovery key",
    };
    match &opened.file.identity.secrets {
        Secrets::Folder => {
            let path = opened.folder.path().join("secrets").join("vault-init");
            format!("{kind}: {}. Move a copy to a safe place.", path.display())
        }
        Secrets::Commands { .. } => {
            format!("{kind}: the secret `vault-init` of your store of secrets.")
        }
    }
}

/// Reads the shares of the file that the user names, one a line.
pub(in crate::commands) fn read_shares(path: Option<&PathBuf>) -> Result<Vec<Secret>, Failure> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(Secret::new).collect())
}
