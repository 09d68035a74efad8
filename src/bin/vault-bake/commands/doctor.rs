//! `doctor`: prints what this computer lacks, and how to get it.
//! `build` and `test` check their own requirements with the same texts.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use vault_bake::builder::{LayerCacheUsage, Requirement, SnapshotCacheUsage};
use vault_bake::cluster::state::PlatformKind;
use vault_bake::cluster::{ClusterError, front};
use vault_bake::guest_steps::Lynis;
use vault_bake::nodes::PlatformError;
use vault_bake::nodes::containers::Containers;
use vault_bake::nodes::machines::Machines;
use vault_bake::platform::qemu::{self, QemuOptions, UserIds};
use vault_bake::store::backend::Backend as _;

use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, search_path};
use crate::store_location::StoreLocation;

/// One thing that was checked.
struct Diagnosis {
    what: String,
    found: bool,
    /// What it is used for.
    why: String,
    /// How to get it.
    get: String,
    /// Whether vault-bake works without it, except for `why`.
    optional: bool,
}

pub async fn run(invocation: &Invocation) -> Result<Exit, Failure> {
    let options = QemuOptions::new(&invocation.cache);
    let diagnoses = diagnose(invocation, &options).await?;
    for diagnosis in &diagnoses {
        print_diagnosis(invocation, diagnosis);
    }
    print_kvm(invocation);
    print_cache_use(invocation, &options);
    let is_lacking = |diagnosis: &Diagnosis| !diagnosis.found && !diagnosis.optional;
    Ok(if diagnoses.iter().any(is_lacking) {
        Exit::Failed
    } else {
        Exit::Done
    })
}

async fn diagnose(
    invocation: &Invocation,
    options: &QemuOptions,
) -> Result<Vec<Diagnosis>, Failure> {
    let path = search_path();
    let mut diagnoses: Vec<Diagnosis> = qemu::requirements(options)
        .iter()
        .map(|requirement| diagnose_program(&path, requirement))
        .collect();
    diagnoses.extend(diagnose_user_namespaces());
    diagnoses.push(Diagnosis {
        optional: true,
        ..diagnose_program(&path, &ansible())
    });
    let lynis = Lynis::default().script;
    diagnoses.push(Diagnosis {
        found: is_installed(&path, &lynis),
        what: lynis.display().to_string(),
        why: "audits images for --audit".to_owned(),
        get: "apt-get install lynis".to_owned(),
        optional: true,
    });
    diagnoses.push(Diagnosis {
        optional: true,
        ..diagnose_program(&path, &haproxy())
    });
    diagnoses.extend([PlatformKind::Containers, PlatformKind::Machines].map(diagnose_nodes));
    diagnoses.push(diagnose_folder(&invocation.cache));
    diagnoses.push(match invocation.store_location()? {
        StoreLocation::Folder(folder) => diagnose_folder(&folder),
        container @ StoreLocation::Container(..) => {
            let diagnosis = diagnose_container(&container);
            invocation.interrupt.or(diagnosis).await??
        }
    });
    Ok(diagnoses)
}

fn print_kvm(invocation: &Invocation) {
    let works = qemu::kvm_works();
    if invocation.json {
        print_json(&serde_json::json!({"looked_for": "kvm", "found": works}));
    } else if works {
        print_line("KVM works: VMs run at full speed");
    } else {
        print_line("no KVM: VMs are emulated, which is several times slower");
    }
}

fn print_cache_use(invocation: &Invocation, options: &QemuOptions) {
    let LayerCacheUsage { layers, bytes } = qemu::layer_use(options);
    let max_bytes = options.layers.max_bytes;
    let snapshots: SnapshotCacheUsage = qemu::snapshot_use(options);
    if invocation.json {
        print_json(
            &serde_json::json!({"layer_cache": layers, "bytes": bytes, "at_most_bytes": max_bytes}),
        );
        print_json(&serde_json::json!({
            "vm_snapshots": snapshots.machines, "bytes": snapshots.bytes,
            "at_most_bytes": snapshots.at_most_bytes,
        }));
        return;
    }
    let mib = |bytes: u64| bytes >> 20;
    print_line(&format!(
        "layer cache: {layers} entries, {} of at most {} MiB",
        mib(bytes),
        mib(max_bytes)
    ));
    print_line(&format!(
        "VM snapshots: {}, {} of at most {} MiB",
        snapshots.machines,
        mib(snapshots.bytes),
        mib(snapshots.at_most_bytes)
    ));
}

/// Returns the requirement of `ansible` steps.
pub fn ansible() -> Requirement {
    Requirement {
        program: "ansible-playbook".into(),
        package: "ansible-core",
        why: "runs the `ansible` steps of definitions",
    }
}

fn diagnose_program(path: &[PathBuf], requirement: &Requirement) -> Diagnosis {
    Diagnosis {
        found: is_installed(path, &requirement.program),
        get: format!("apt-get install {}", requirement.package),
        what: requirement.program.display().to_string(),
        why: requirement.why.to_owned(),
        optional: false,
    }
}

/// Fails if this computer cannot run the nodes of a cluster.
pub fn require_nodes(action: &str, platform: PlatformKind) -> Result<(), Failure> {
    require(action, &[haproxy()])?;
    let obstacle = obstacle_to_nodes(platform);
    obstacle.map_or(Ok(()), |obstacle| Err(ClusterError::from(obstacle).into()))
}

fn haproxy() -> Requirement {
    Requirement {
        program: front::HAPROXY.into(),
        package: "haproxy",
        why: "is the load balancer of clusters",
    }
}

/// Returns why this computer cannot run nodes of a kind, if it cannot.
fn obstacle_to_nodes(platform: PlatformKind) -> Option<PlatformError> {
    let path = search_path();
    let is_there = |program: &str| is_installed(&path, Path::new(program));
    match platform {
        PlatformKind::Containers => Containers::obstacle(is_there),
        PlatformKind::Machines => Machines::obstacle(is_there),
    }
}

fn diagnose_nodes(platform: PlatformKind) -> Diagnosis {
    let obstacle = obstacle_to_nodes(platform);
    Diagnosis {
        found: obstacle.is_none(),
        what: format!("nodes as {}", platform.name()),
        why: "run clusters on this computer".to_owned(),
        get: obstacle
            .and_then(|obstacle| obstacle.hint())
            .unwrap_or_default(),
        optional: true,
    }
}

/// Fails if this computer lacks a requirement. `action` is for the message, such as `build web`.
pub fn require(action: &str, requirements: &[Requirement]) -> Result<(), Failure> {
    let path = search_path();
    let mut lines = Vec::new();
    let mut packages = BTreeSet::new();
    for requirement in requirements {
        let diagnosis = diagnose_program(&path, requirement);
        if !diagnosis.found {
            packages.insert(requirement.package);
            lines.push(diagnosis.missing());
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let message = format!(
        "cannot {action}: this computer lacks required programs\n{}",
        lines.join("\n")
    );
    let packages = Vec::from_iter(packages).join(" ");
    Err(Failure::new(Exit::Failed, message).hint(format!(
        "Run `apt-get install {packages}`. Run `vault-bake doctor` to check all other requirements."
    )))
}

impl Diagnosis {
    /// Returns the text for something that is missing.
    fn missing(&self) -> String {
        let Self { what, why, get, .. } = self;
        format!("missing  {what}: {why}\n         get it: {get}")
    }
}

/// Checks what users other than root need to make bases: one diagnosis for each defect.
fn diagnose_user_namespaces() -> Vec<Diagnosis> {
    let ids = UserIds::of_this_user();
    if ids.uid == 0 {
        return Vec::new();
    }
    let diagnosis = |found: bool, get: String| Diagnosis {
        what: "user namespaces with ids of /etc/subuid and /etc/subgid".to_owned(),
        found,
        why: "makes bases without root".to_owned(),
        get,
        optional: false,
    };
    let lacks = ids.missing_settings();
    if lacks.is_empty() {
        return vec![diagnosis(true, String::new())];
    }
    lacks
        .into_iter()
        .map(|lack| diagnosis(false, lack))
        .collect()
}

fn print_diagnosis(invocation: &Invocation, diagnosis: &Diagnosis) {
    let Diagnosis {
        what,
        found,
        why,
        get,
        ..
    } = diagnosis;
    if invocation.json {
        print_json(
            &serde_json::json!({"looked_for": what, "found": found, "why": why, "get": get}),
        );
    } else if *found {
        print_line(&format!("ok       {what}"));
    } else {
        print_line(&diagnosis.missing());
    }
}

fn is_installed(path: &[PathBuf], program: &Path) -> bool {
    if program.is_absolute() {
        return program.exists();
    }
    let is_program = |path: PathBuf| {
        let metadata = path.metadata();
        metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    path.iter().any(|folder| is_program(folder.join(program)))
}

async fn diagnose_container(location: &StoreLocation) -> Result<Diagnosis, Failure> {
    let backend = location.open()?;
    let answer = backend.exists("store.json").await;
    Ok(Diagnosis {
        what: format!("{} (reachable)", backend.location()),
        found: answer.is_ok(),
        why: "has manifests, test records and images".to_owned(),
        get: answer.map_or_else(|error| error.to_string(), |_| String::new()),
        optional: false,
    })
}

fn diagnose_folder(folder: &Path) -> Diagnosis {
    let found = std::fs::create_dir_all(folder).is_ok() && tempfile::tempfile_in(folder).is_ok();
    Diagnosis {
        what: format!("{} (writable)", folder.display()),
        found,
        why: "has results and temporary files".to_owned(),
        get: "name another folder with --cache or --store".to_owned(),
        optional: false,
    }
}
