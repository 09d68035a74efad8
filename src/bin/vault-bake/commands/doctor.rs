//! `doctor`: what this machine lacks, and how to get it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use vault_bake::builder::qemu::{self, QemuOptions, UserIds};
use vault_bake::builder::{LayerUse, Requirement, SnapshotUse};
use vault_bake::guest_steps::Lynis;
use vault_bake::store::backend::Backend as _;

use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, search_path};
use crate::store_location::StoreLocation;

/// One thing that was looked for.
struct Diagnosis {
    what: String,
    found: bool,
    why: String,
    get: String,
    /// Whether nothing but what it is for is missing without it.
    optional: bool,
}

pub async fn run(session: &Invocation) -> Result<Exit, Failure> {
    let path = search_path();
    let mut findings: Vec<Diagnosis> = qemu::requirements(&QemuOptions::new(&session.cache))
        .iter()
        .map(|need| required(&path, need))
        .collect();
    findings.extend(user_namespaces());
    findings.push(Diagnosis {
        optional: true,
        ..required(&path, &ansible())
    });
    let lynis = Lynis::default().script;
    findings.push(Diagnosis {
        found: found(&path, &lynis),
        what: lynis.display().to_string(),
        why: "measures images for `--audit`".to_owned(),
        get: "apt-get install lynis".to_owned(),
        optional: true,
    });
    findings.push(writable(&session.cache));
    findings.push(match session.place()? {
        StoreLocation::Folder(folder) => writable(&folder),
        place @ StoreLocation::Container(..) => session.interrupt.or(reachable(&place)).await??,
    });
    let settings = QemuOptions::new(&session.cache);
    let (layers, most) = (qemu::layer_use(&settings), settings.layers.max_bytes);
    let suspended = qemu::snapshot_use(&settings);
    let accelerated = qemu::kvm_works();
    for finding in &findings {
        show(session, finding);
    }
    let speed = if accelerated {
        "KVM: machines run at full speed"
    } else {
        "no KVM: machines run under software emulation, slower but sound"
    };
    let mib = |bytes: u64| bytes >> 20;
    if session.json {
        print_json(&serde_json::json!({"looked_for": "kvm", "found": accelerated}));
        let LayerUse { layers, bytes } = layers;
        print_json(&serde_json::json!({"layers": layers, "bytes": bytes, "at_most_bytes": most}));
        let SnapshotUse {
            machines,
            bytes,
            at_most_bytes,
        } = suspended;
        print_json(
            &serde_json::json!({"suspended": machines, "bytes": bytes, "at_most_bytes": at_most_bytes}),
        );
    } else {
        print_line(speed);
        print_line(&format!(
            "{} layers of earlier bakes take {} MiB of at most {}",
            layers.layers,
            mib(layers.bytes),
            mib(most)
        ));
        print_line(&format!(
            "{} suspended machines to resume from take {} MiB of at most {}",
            suspended.machines,
            mib(suspended.bytes),
            mib(suspended.at_most_bytes)
        ));
    }
    let lacking = findings
        .iter()
        .any(|finding| !finding.found && !finding.optional);
    Ok(if lacking { Exit::Failed } else { Exit::Done })
}

/// What `ansible` steps need.
pub fn ansible() -> Requirement {
    Requirement {
        program: "ansible-playbook".into(),
        package: "ansible-core",
        why: "runs the `ansible` steps of definitions that have some",
    }
}

fn required(path: &[PathBuf], need: &Requirement) -> Diagnosis {
    Diagnosis {
        found: found(path, &need.program),
        get: format!("apt-get install {}", need.package),
        what: need.program.display().to_string(),
        why: need.why.to_owned(),
        optional: false,
    }
}

/// Refuses what is about to begin, in a word or two, if this computer lacks something that it needs.
pub fn guard(what: &str, needs: &[Requirement]) -> Result<(), Failure> {
    let path = search_path();
    let mut lines = Vec::new();
    let mut packages = BTreeSet::new();
    for need in needs {
        let finding = required(&path, need);
        if !finding.found {
            packages.insert(need.package);
            lines.push(finding.missing());
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let message = format!(
        "cannot {what}: this computer lacks what it needs\n{}",
        lines.join("\n")
    );
    let packages = Vec::from_iter(packages).join(" ");
    Err(Failure::new(Exit::Failed, message).hint(format!(
        "Run `apt-get install {packages}`. `vault-bake doctor` lists everything that vault-bake needs"
    )))
}

impl Diagnosis {
    /// That it is missing, and how to get it.
    fn missing(&self) -> String {
        let Self { what, why, get, .. } = self;
        format!("missing  {what}: {why}\n         get it: {get}")
    }
}

/// What a user other than root needs of the system in addition to programs: a finding for each thing that is lacking.
fn user_namespaces() -> Vec<Diagnosis> {
    let ids = UserIds::of_this_user();
    if ids.uid == 0 {
        return Vec::new();
    }
    let finding = |found: bool, get: String| Diagnosis {
        what: "user namespaces with ids of /etc/subuid and /etc/subgid".to_owned(),
        found,
        why: "makes native bases as a user other than root".to_owned(),
        get,
        optional: false,
    };
    let lacks = ids.lacks();
    if lacks.is_empty() {
        return vec![finding(true, String::new())];
    }
    lacks.into_iter().map(|lack| finding(false, lack)).collect()
}

fn show(session: &Invocation, finding: &Diagnosis) {
    let Diagnosis {
        what,
        found,
        why,
        get,
        ..
    } = finding;
    if session.json {
        print_json(
            &serde_json::json!({"looked_for": what, "found": found, "why": why, "get": get}),
        );
    } else if *found {
        print_line(&format!("ok       {what}"));
    } else {
        print_line(&finding.missing());
    }
}

fn found(path: &[PathBuf], program: &Path) -> bool {
    if program.is_absolute() {
        return program.exists();
    }
    let can_run = |path: PathBuf| {
        let metadata = path.metadata();
        metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    path.iter().any(|folder| can_run(folder.join(program)))
}

async fn reachable(place: &StoreLocation) -> Result<Diagnosis, Failure> {
    let backend = place.open()?;
    let asked = backend.exists("store.json").await;
    Ok(Diagnosis {
        what: format!("{} (reachable)", backend.place()),
        found: asked.is_ok(),
        why: "manifests, test records and images are kept there".to_owned(),
        get: asked.map_or_else(|error| error.to_string(), |_| String::new()),
        optional: false,
    })
}

fn writable(folder: &Path) -> Diagnosis {
    let found = std::fs::create_dir_all(folder).is_ok() && tempfile::tempfile_in(folder).is_ok();
    Diagnosis {
        what: format!("{} (writable)", folder.display()),
        found,
        why: "results and what can be made again are kept there".to_owned(),
        get: "give another folder with --cache or --store".to_owned(),
        optional: false,
    }
}
