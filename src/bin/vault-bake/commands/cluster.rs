//! `cluster`: makes, observes and removes clusters on this computer.

mod down;
mod env;
mod init;
mod node;
mod renew;
mod status;
pub(super) mod up;

use std::path::PathBuf;

use vault_bake::cluster::file::{ClusterFile, FILE, FOLDER, Secrets, check_name};
use vault_bake::cluster::secrets::SecretStore;
use vault_bake::cluster::state::{PlatformKind, StateFolder};
use vault_bake::cluster::{Cluster, Context};
use vault_bake::digest::Digest;
use vault_bake::platform::qemu;

use crate::args::cluster::{ClusterCommand, Named};
use crate::commands::doctor;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, command: &ClusterCommand) -> Result<Exit, Failure> {
    match command {
        ClusterCommand::Init(args) => init::run(invocation, args),
        ClusterCommand::Up(args) => up::run(invocation, args).await,
        ClusterCommand::Status(args) => status::run(invocation, args).await,
        ClusterCommand::Env(args) => env::run(invocation, args).await,
        ClusterCommand::Logs(args) => node::logs(invocation, args).await,
        ClusterCommand::Shell(args) => node::shell(invocation, args).await,
        ClusterCommand::Renew(args) => renew::run(invocation, args).await,
        ClusterCommand::Down(args) => down::run(invocation, args).await,
    }
}

/// A cluster of the project, with its folder and its secrets.
pub(super) struct Opened {
    pub(super) file: ClusterFile,
    pub(super) folder: StateFolder,
    secrets: SecretStore,
}

impl Opened {
    pub(super) fn cluster(&self) -> Cluster<'_> {
        Cluster {
            file: &self.file,
            folder: &self.folder,
            secrets: &self.secrets,
        }
    }
}

/// Reads the definition of a cluster.
pub(super) fn open(invocation: &Invocation, named: &Named) -> Result<Opened, Failure> {
    let name = name(invocation, named)?;
    let definition = invocation.cluster_folder(&name);
    if !definition.join(FILE).exists() {
        return Err(unknown(invocation, &name));
    }
    let file = ClusterFile::load(&definition)?;
    let folder = folder(invocation, named, &name)?;
    let secrets = match &file.identity.secrets {
        Secrets::Folder => SecretStore::folder(folder.path().join("secrets"))?,
        Secrets::Commands { fetch, store } => SecretStore::commands(fetch.clone(), store.clone()),
    };
    Ok(Opened {
        file,
        folder,
        secrets,
    })
}

/// Returns the failure for a cluster without a definition.
pub(super) fn unknown(invocation: &Invocation, name: &str) -> Failure {
    let path = invocation.project.join(FOLDER).join(name).join(FILE);
    let message = format!("cannot find cluster {name}: {} is missing", path.display());
    let add = format!("add it with `vault-bake cluster init {name}`");
    Failure::usage(message).hint(match invocation.clusters().as_slice() {
        [] => format!("Name a project that has it with --project, or {add}."),
        known => format!("Name one of {}, or {add}.", known.join(", ")),
    })
}

/// Returns the name of the command line, or that of the only cluster of the project.
fn name(invocation: &Invocation, named: &Named) -> Result<String, Failure> {
    if let Some(name) = &named.name {
        // A path would become a part of the path of the state.
        check_name(name)?;
        return Ok(name.clone());
    }
    let mut names = invocation.clusters();
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        (None, _) => Err(
            Failure::usage("cannot choose a cluster: the project has none")
                .hint("Run `vault-bake cluster init dev`."),
        ),
        (Some(last), false) => {
            names.push(last);
            let message = format!("cannot choose a cluster: there are {}", names.join(", "));
            Err(Failure::usage(message).hint("Name one of them."))
        }
    }
}

/// Returns the folder of a cluster. Projects may have clusters with the same name, so the digest of
/// the project's path is a part of it.
fn folder(invocation: &Invocation, named: &Named, name: &str) -> Result<StateFolder, Failure> {
    let clusters = clusters(invocation, named.state.as_ref())?;
    let folder = clusters.join(format!("{name}-{}", project_digest(invocation)));
    Ok(StateFolder::new(name, folder))
}

fn project_digest(invocation: &Invocation) -> String {
    let project = std::fs::canonicalize(&invocation.project);
    let project = project.unwrap_or_else(|_| invocation.project.clone());
    let digest = Digest::hash_bytes(project.as_os_str().as_encoded_bytes());
    digest.hex()[..8].to_owned()
}

/// Returns the names of the project's clusters that run on this computer, or have run.
fn running(invocation: &Invocation, named: &Named) -> Result<Vec<String>, Failure> {
    let suffix = format!("-{}", project_digest(invocation));
    let entries = std::fs::read_dir(clusters(invocation, named.state.as_ref())?);
    let entries = entries.into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names = names.filter_map(|name| Some(name.strip_suffix(&suffix)?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// Returns the folder with the folders of all clusters.
pub fn clusters(invocation: &Invocation, state: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    match state {
        Some(folder) => std::path::absolute(folder)
            .map_err(|error| Failure::usage(format!("{}: {error}", folder.display()))),
        None => invocation.cluster_states(),
    }
}

pub(super) fn context(invocation: &Invocation) -> Context<'_> {
    Context {
        events: &invocation.events,
        interrupt: &invocation.interrupt,
        now: &clock,
    }
}

/// Returns the platform of a cluster that leaves the choice: VMs if KVM works, or else containers,
/// which need root. Emulated VMs are the last choice.
fn default_platform() -> PlatformKind {
    if !qemu::kvm_works() && doctor::require_nodes("", PlatformKind::Containers).is_ok() {
        PlatformKind::Containers
    } else {
        PlatformKind::Machines
    }
}
