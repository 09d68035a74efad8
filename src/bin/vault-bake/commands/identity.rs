//! `identity`: makes, checks and renews identity archives, one file for each action.

mod check;
mod make;
mod renew;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use vault_bake::cluster::file::{ClusterFile, FILE, Secrets, TierName};
use vault_bake::cluster::identities::NodeArchive;
use vault_bake::cluster::secrets::{SecretStore, private_folder, replace_private_file};
use vault_bake::cluster::state::{State, StateFolder};
use vault_bake::identity::{CheckedIdentity, Products};

use crate::args::identity::{Identity, IdentityVerb, MakeIdentities};
use crate::commands::cluster::unknown;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &Identity) -> Result<Exit, Failure> {
    match &args.verb {
        IdentityVerb::Make(args) => make::run(invocation, args).await,
        IdentityVerb::Check(args) => check::run(invocation, args).await,
        IdentityVerb::Renew(args) => renew::run(invocation, args).await,
    }
}

/// The largest archive, in bytes. A node reads no larger one.
const LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// A cluster with its secrets.
struct Cluster {
    file: ClusterFile,
    secrets: SecretStore,
    /// The cluster with these secrets that runs on this computer.
    state: Option<State>,
}

impl Cluster {
    fn open(invocation: &Invocation, args: &MakeIdentities) -> Result<Self, Failure> {
        let folder = invocation.cluster_folder(&args.cluster);
        if !args.cluster.contains('/') && !folder.join(FILE).exists() {
            return Err(unknown(invocation, &args.cluster));
        }
        let file = ClusterFile::load(&folder)?;
        let state = invocation.cluster_state(&folder)?;
        let secrets = match (&file.identity.secrets, &args.secrets) {
            (Secrets::Folder, None) => SecretStore::folder(state.join("secrets"))?,
            (Secrets::Folder, Some(named)) => SecretStore::folder(named)?,
            (Secrets::Commands { fetch, store }, None) => {
                SecretStore::commands(fetch.clone(), store.clone())
            }
            (Secrets::Commands { .. }, Some(_)) => {
                let name = &file.name;
                let message = format!(
                    "cannot use --secrets: commands keep the secrets of the cluster {name}"
                );
                return Err(Failure::usage(message).hint("Leave the option out."));
            }
        };
        let state = match &args.secrets {
            Some(_) => None,
            None => StateFolder::new(&file.name, state).read()?,
        };
        Ok(Self {
            file,
            secrets,
            state,
        })
    }
}

/// A checked archive.
struct Checked {
    archive: NodeArchive,
    identity: CheckedIdentity,
}

/// Checks an archive as its node will.
async fn check_archive(invocation: &Invocation, archive: NodeArchive) -> Result<Checked, Failure> {
    let bytes = archive.archive.expose().as_bytes();
    let products = Products::of_archive(bytes)?;
    let identity = vault_bake::identity::check(bytes, products, &invocation.interrupt).await?;
    Ok(Checked { archive, identity })
}

/// Writes checked archives, and prints them. `verb` says what was done.
fn write_all(
    invocation: &Invocation,
    verb: &str,
    to: &Path,
    archives: &[Checked],
) -> Result<Exit, Failure> {
    private_folder(to)?;
    let mut rows = Vec::new();
    for Checked { archive, identity } in archives {
        let path = to.join(format!("{}.tar", archive.node));
        replace_private_file(&path, &archive.archive)?;
        let not_after = identity.not_after;
        if !invocation.json {
            let left = left(not_after);
            let path = path.display();
            print_line(&format!("{verb} {path}: valid until {not_after}, {left}"));
        }
        rows.push(serde_json::json!({
            "node": archive.node, "file": path, "not_after": not_after,
        }));
    }
    if invocation.json {
        print_json(&serde_json::json!({ verb: rows }));
    }
    Ok(Exit::Done)
}

/// Returns the time until `end`, in days or hours.
fn left(end: Timestamp) -> String {
    let hours = end.duration_since(clock()).as_hours();
    match hours {
        ..0 => "expired".to_owned(),
        0..72 => format!("{hours} hours"),
        _ => format!("{} days", SignedDuration::from_hours(hours).as_hours() / 24),
    }
}

/// Reads an archive.
fn read_archive(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(bytes)
}

/// Returns the archives of a cluster in a folder, sorted.
fn archives_of(cluster: &str, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", folder.display())))?;
    let is_archive = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| is_node(cluster, name.strip_suffix(".tar").unwrap_or_default()))
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_archive)
        .collect();
    paths.sort();
    Ok(paths)
}

/// Whether `name` is a node of this cluster, as in `dev-vault-1-3`.
fn is_node(cluster: &str, name: &str) -> bool {
    let tiers = [TierName::Consul, TierName::Vault];
    let numbers = tiers.into_iter().find_map(|tier| {
        name.strip_prefix(&format!("{cluster}-{tier}-"))?
            .split_once('-')
    });
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(generation, number)| is_number(generation) && is_number(number))
}
