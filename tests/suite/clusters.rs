//! Clusters whose files or secrets are lost or damaged, before any node starts.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start the binary, as users do"
)]

mod begin;
mod lost;
mod print;
mod project;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use testing::recorded_store::{RecordedStore, now};
use vault_bake::cluster::file::{ClusterFile, TierName};
use vault_bake::cluster::identities::{common_secrets, make_secrets, node_secrets};
use vault_bake::cluster::secrets::{SecretName, SecretStore};
use vault_bake::cluster::state::{NodeState, Phase, PlatformKind, State, StateFolder};
use vault_bake::cluster::{Cluster, ClusterError, Context, Images, UpOptions, up};
use vault_bake::definition::Firmware;
use vault_bake::digest::Digest;
use vault_bake::event::Events;
use vault_bake::store::{Allow, Dir, Store};
use vault_bake::wait::Interrupt;

/// A server and a Vault, without a load balancer.
const DEFINITION: &str = r#"schema = 1
[consul]
image = "quickstart:prod"
nodes = 1
[vault]
image = "quickstart:prod"
nodes = 1
[platform]
kind = "machines"
[front]
kind = "none"
"#;

/// A project with the cluster `dev`, and the folder of its state. No node ever runs.
struct TestCluster {
    recorded: RecordedStore,
    file: ClusterFile,
    folder: StateFolder,
    secrets: SecretStore,
}

impl TestCluster {
    fn new(definition: &str) -> Self {
        let recorded = RecordedStore::new(crate::VAULT_BAKE);
        let clusters = recorded.path("clusters/dev");
        fs::create_dir_all(&clusters).unwrap();
        fs::create_dir_all(recorded.path("images")).unwrap();
        fs::write(clusters.join("cluster.toml"), definition).unwrap();
        let project = fs::canonicalize(recorded.path("")).unwrap();
        let digest = Digest::hash_bytes(project.as_os_str().as_encoded_bytes());
        let name = format!("dev-{}", &digest.hex()[..8]);
        let state = recorded.path(".local/state/vault-bake/clusters").join(name);
        Self {
            file: ClusterFile::load(&clusters).unwrap(),
            secrets: SecretStore::folder(state.join("secrets")).unwrap(),
            folder: StateFolder::new("dev", state),
            recorded,
        }
    }

    fn cluster(&self) -> Cluster<'_> {
        Cluster {
            file: &self.file,
            folder: &self.folder,
            secrets: &self.secrets,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the state of a complete cluster, and makes its secrets.
    async fn found(&self) {
        let nodes = [(TierName::Consul, 11), (TierName::Vault, 31)];
        let mut needed = common_secrets(&self.file);
        needed.push(SecretName::ConsulOperator);
        let mut state = state(self.id());
        for (tier, last) in nodes {
            let name = format!("dev-{tier}-1-1");
            needed.extend(node_secrets(tier, &name));
            state.nodes.insert(name, node(tier, last));
        }
        let interrupt = Interrupt::default();
        let making = make_secrets(
            &self.file,
            &needed,
            |_| false,
            &self.secrets,
            now(),
            &interrupt,
        );
        making.await.unwrap();
        state
            .secrets
            .extend(needed.iter().map(SecretName::to_string));
        let _lock = self.folder.lock().unwrap();
        self.folder.write(&state).unwrap();
    }

    async fn up(&self, store: &Store<Dir>) -> ClusterError {
        let images = images(store);
        let options = UpOptions {
            unseal_shares: Vec::new(),
            keep_root_token: false,
            auto: PlatformKind::Machines,
        };
        let (events, interrupt) = (Events::silent(), Interrupt::default());
        let (cluster, context) = (self.cluster(), context(&events, &interrupt));
        let done = up(&cluster, &images, &options, &context).await;
        done.unwrap_err()
    }

    /// Returns the id of the cluster. Tests that run at the same time have different ones.
    fn id(&self) -> String {
        let digest = Digest::hash_bytes(self.folder.path().as_os_str().as_encoded_bytes());
        format!("dev-{}", &digest.hex()[..8])
    }

    /// Returns an error with its hint, without the paths of this run.
    fn text(&self, error: &ClusterError) -> String {
        let hint = error.hint().unwrap_or_default();
        self.plain(&format!("{error}\n  {hint}\n"))
    }

    fn plain(&self, text: &str) -> String {
        let project = self.recorded.path("");
        let state = self.folder.path().strip_prefix(&project).unwrap();
        let project = project.display().to_string();
        text.replace(&self.id(), "dev-ID")
            .replace(project.trim_end_matches('/'), "FOLDER")
            .replace(&format!("FOLDER/{}", state.display()), "STATE")
    }

    /// Runs the binary. Returns the command, its output and its exit status.
    fn run(&self, arguments: &[&str]) -> String {
        self.plain(&self.recorded.transcript(arguments))
    }
}

fn images(store: &Store<Dir>) -> Images<'_, Dir> {
    Images {
        store,
        trust: None,
        allow: Allow::default(),
    }
}

fn context<'a>(events: &'a Events, interrupt: &'a Interrupt) -> Context<'a> {
    Context {
        events,
        interrupt,
        now: &now,
    }
}

fn state(id: String) -> State {
    State {
        schema: 1,
        id,
        name: "dev".to_owned(),
        created_at: now(),
        phase: Phase::Created,
        platform: PlatformKind::Machines,
        subnet: "10.77.0.0/24".parse().unwrap(),
        nodes: BTreeMap::new(),
        generation: 1,
        highest: BTreeMap::new(),
        secrets: [].into(),
        epoch: 0,
        rollout: None,
    }
}

fn node(tier: TierName, last: u8) -> NodeState {
    NodeState {
        tier,
        generation: 1,
        number: 1,
        address: Ipv4Addr::new(10, 77, 0, last),
        reference: "quickstart:prod".to_owned(),
        image: "quickstart".to_owned(),
        version: "1.0.0".parse().unwrap(),
        manifest: Digest::hash_bytes("a manifest"),
        artifact: Digest::hash_bytes("a disk"),
        firmware: Firmware::Bios,
        releases: [("consul", "1.8.7"), ("vault", "1.20.0")]
            .map(|(product, version)| (product.to_owned(), version.to_owned()))
            .into(),
        stage: vault_bake::cluster::state::NodeStage::Serving,
    }
}

/// Returns the content of all files below a folder, by path.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}
