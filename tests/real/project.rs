//! A project, a store and a cache in a temporary folder, and the binary that uses them.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start the binary, as users do"
)]

mod shared;
mod watch;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use semver::Version;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use vault_bake::platform::qemu::{QemuOptions, requirements};
use vault_bake::release::ReleaseMirror;

use crate::fixture_vault::lab;
use crate::qemu::{cache, found};
pub use shared::Shared;
use watch::command_lines;
pub use watch::watch_arguments;

/// The packages of the small image and of the quickstart, which share a base.
const PACKAGES: &str =
    r#"["jq", "logrotate", "nftables", "openssl", "python3", "systemd-timesyncd"]"#;

/// Returns whether the user requested the longest test.
pub fn audits() -> bool {
    std::env::var_os("VAULT_BAKE_TEST_AUDIT").is_some()
}

/// A project in its own folder.
pub struct TestProject {
    folder: TempDir,
    mirror: PathBuf,
    releases: Releases,
    /// The store: a folder, or a container.
    pub store: String,
}

/// The source of releases, and its key.
pub struct Releases {
    /// A folder with the layout of HashiCorp's server.
    mirror: PathBuf,
    /// `None`: HashiCorp's key, from HashiCorp.
    key_file: Option<PathBuf>,
    fingerprint: Option<String>,
    vault: String,
    /// A newer version of Vault, if there is one.
    newer_vault: Option<String>,
    consul: String,
}

impl Releases {
    /// The fixture mirror: a real Consul, and a stub Vault.
    async fn fixture() -> Option<Self> {
        let mirror = lab::mirror().await?;
        let fingerprint = fs::read_to_string(mirror.join("fingerprint")).expect("a fingerprint");
        Some(Self {
            key_file: Some(mirror.join("key.asc")),
            fingerprint: Some(fingerprint.trim().to_owned()),
            mirror,
            vault: "1.15.6+fixture".to_owned(),
            newer_vault: Some("1.15.7+fixture".to_owned()),
            consul: "1.8.7".to_owned(),
        })
    }

    /// The releases that the user configured; `None` without a configuration. Of Vault the last but
    /// one is used, if there are two, and the last one for rollouts.
    pub fn given() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let mirror = PathBuf::from(variable("VAULT_BAKE_RELEASES")?);
        let newest = |product: &str| {
            let versions = Self::versions(&mirror, product).into_iter().rev();
            versions.map(|version| version.to_string())
        };
        let mut vault = newest("vault").take(2);
        let (last, before) = (vault.next().expect("a release"), vault.next());
        let newer_vault = before.is_some().then(|| last.clone());
        Some(Self {
            key_file: variable("VAULT_BAKE_RELEASE_KEY_FILE").map(PathBuf::from),
            fingerprint: variable("VAULT_BAKE_RELEASE_FINGERPRINT"),
            vault: before.unwrap_or(last),
            newer_vault,
            consul: newest("consul").next().expect("a release"),
            mirror,
        })
    }

    /// Returns the versions of a product in a mirror, the newest last.
    pub fn versions(mirror: &Path, product: &str) -> Vec<Version> {
        let folders = fs::read_dir(mirror.join(product)).expect("a folder with releases");
        let names = folders.map(|entry| entry.expect("an entry").file_name());
        let versions = names.filter_map(|name| Version::parse(name.to_str()?).ok());
        let mut versions: Vec<Version> = versions.collect();
        versions.sort();
        versions
    }

    /// Puts the binary of Vault into `folder`.
    pub async fn unpack_vault(&self, folder: &Path) {
        let official = ReleaseMirror::official();
        let source = ReleaseMirror {
            base: self.mirror.display().to_string(),
            key_file: self.key_file.clone(),
            fingerprint: self.fingerprint.clone().unwrap_or(official.fingerprint),
        };
        lab::unpack_from(&source, "vault", &self.vault, folder).await;
    }
}

impl TestProject {
    /// Opens a project with fixture releases. Prints the reason and returns `None` if a requirement
    /// is missing.
    pub async fn open(also: &[&str]) -> Option<Self> {
        Self::open_with(Releases::fixture().await?, also)
    }

    /// Opens a project with the releases that the user configured, or with fixture releases.
    pub async fn open_with_given(also: &[&str]) -> Option<Self> {
        match Releases::given() {
            Some(given) => Self::open_with(given, also),
            None => Self::open(also).await,
        }
    }

    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    fn open_with(releases: Releases, also: &[&str]) -> Option<Self> {
        let needs = requirements(&QemuOptions::new(cache()));
        let needs = needs
            .into_iter()
            .map(|need| need.program)
            .chain(also.iter().map(PathBuf::from));
        for program in needs {
            if !found(&program) {
                eprintln!("SKIPPED: {} is missing", program.display());
                return None;
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mirror = folder.path().join("mirror");
        copy(&releases.mirror, &mirror);
        // All tests share the bases and their VM snapshots.
        fs::create_dir_all(folder.path().join("cache")).expect("a cache");
        for shared in ["bases", "suspended"] {
            fs::create_dir_all(cache().join(shared)).expect("a shared cache");
            let here = folder.path().join("cache").join(shared);
            std::os::unix::fs::symlink(cache().join(shared), here).expect("a link");
        }
        Some(Self {
            store: folder.path().join("store").display().to_string(),
            folder,
            mirror,
            releases,
        })
    }

    /// Adds the shipped definition.
    pub fn quickstart(&self) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/quickstart/image.toml");
        let text = fs::read_to_string(path).expect("the quickstart's definition");
        assert!(
            text.contains(PACKAGES),
            "the tests share the quickstart's base"
        );
        text
    }

    /// Adds the shipped definition `name`, with the packages of the stub Vault.
    pub fn server(&self, name: &str) -> String {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
        let text = fs::read_to_string(images.join(name).join("image.toml"));
        let text = text.expect("the definition");
        let (shipped, here) = ("\"openssl\"]", "\"openssl\", \"python3\"]");
        assert!(text.contains(shipped), "it has no {shipped} any more");
        text.replace(shipped, here)
    }

    /// Adds a definition with `steps` and the seal. Its build VM has the shape of the quickstart's,
    /// so both share a
    /// VM snapshot.
    pub fn small(&self, steps: &str) -> String {
        format!(
            "schema = 1\ndescription = \"small\"\n\n[base.qemu]\nkind = \"packages\"\npackages = {PACKAGES}\n\n\
             [machine.qemu]\nmemory_mib = 2048\nnetwork = \"none\"\n\n{steps}\n[[step]]\nprovisioner = \"seal\"\n"
        )
    }

    /// Adds an image to the project.
    pub fn define(&self, name: &str, definition: &str) {
        let folder = self.folder.path().join("images").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("image.toml"), definition).expect("a definition");
    }

    /// Adds a cluster to the project.
    pub fn define_cluster(&self, name: &str, definition: &str) {
        let folder = self.folder.path().join("clusters").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("cluster.toml"), definition).expect("a definition");
    }

    /// Writes `vault-bake.toml`.
    pub fn configure(&self, text: &str) {
        fs::write(self.folder.path().join("vault-bake.toml"), text).expect("a file");
    }

    /// Locks an image.
    pub async fn lock(&self, name: &str) {
        self.lock_with(name, &[("VB_VAR_token", "not-looked-at")])
            .await;
    }

    /// Locks an image with these variables.
    pub async fn lock_with(&self, name: &str, variables: &[(&str, &str)]) {
        let lock = ["lock", name, "--builder", "qemu"];
        let locked = self.run(&lock, variables).await;
        assert!(locked.status.success(), "{}", output_text(&locked));
    }

    /// Returns the images with this name, as `name@version`.
    pub async fn images(&self, name: &str) -> Vec<String> {
        let listed = self.run(&["images", name, "--json"], &[]).await.stdout;
        let listed = String::from_utf8_lossy(&listed);
        let image = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            format!("{name}@{}", row["version"].as_str().expect("a version"))
        };
        listed.lines().map(image).collect()
    }

    /// Runs the binary to its end.
    pub async fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments, environment);
        command.output().await.expect("the binary runs")
    }

    /// Starts the binary, with `tools` first in the search path. Returns once an event contains
    /// `event`,
    /// which must happen before its end.
    pub async fn run_until(&self, arguments: &[&str], tools: Option<&Path>, event: &str) -> Child {
        let mut command = self.command(arguments, &[]);
        if let Some(tools) = tools {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", tools.display()));
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        loop {
            let line = lines.next_line().await.expect("a line");
            let line = line.unwrap_or_else(|| panic!("it ended before `{event}`"));
            if line.contains(event) {
                break;
            }
        }
        // If nothing reads on, the binary blocks.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        child
    }

    /// The folder of the project.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the command line of the binary in this project.
    pub fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let root = self.root();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vault-bake"));
        command
            .args(arguments)
            .arg("--project")
            .arg(root)
            .arg("--store")
            .arg(&self.store)
            .arg("--cache")
            .arg(root.join("cache"))
            .env("XDG_CONFIG_HOME", root.join("config"))
            .env("XDG_STATE_HOME", root.join("state"))
            .env("VAULT_BAKE_RELEASES", &self.mirror)
            .env("VB_VAR_vault_version", &self.releases.vault)
            .env("VB_VAR_consul_version", &self.releases.consul)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for (name, value) in [
            (
                "VAULT_BAKE_RELEASE_KEY_FILE",
                self.releases
                    .key_file
                    .as_ref()
                    .map(|path| path.display().to_string()),
            ),
            (
                "VAULT_BAKE_RELEASE_FINGERPRINT",
                self.releases.fingerprint.clone(),
            ),
        ] {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Returns a newer version of Vault in the releases.
    pub fn newer_vault(&self) -> Option<&str> {
        self.releases.newer_vault.as_deref()
    }

    /// Returns the version of Consul in the releases.
    pub fn consul(&self) -> Version {
        self.releases.consul.parse().expect("a version")
    }

    /// Flips a byte in the mirror's archive of Vault.
    pub fn spoil_release(&self) {
        let folder = self.mirror.join("vault/1.15.6+fixture");
        let archive = folder.join("vault_1.15.6+fixture_linux_amd64.zip");
        let mut bytes = fs::read(&archive).expect("an archive");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&archive, bytes).expect("a spoilt archive");
    }

    /// Asserts that no process and no file of a run is left.
    pub async fn assert_nothing_left(&self) {
        let marker = self.root().join("cache/runs").display().to_string();
        let left = command_lines()
            .lines()
            .filter(|line| line.contains(&marker))
            .map(str::to_owned)
            .collect::<Vec<_>>();
        assert!(left.is_empty(), "processes: {left:#?}");
        let runs = fs::read_dir(self.root().join("cache/runs")).expect("the runs");
        let names = runs
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| name != ".gate");
        assert_eq!(names.collect::<Vec<_>>(), Vec::<std::ffi::OsString>::new());
        let allowed = [
            "cache",
            "store",
            "config",
            "state",
            "clusters",
            "images",
            "mirror",
            "vault-bake.toml",
        ];
        for entry in fs::read_dir(self.root()).expect("the folder") {
            let name = entry.expect("an entry").file_name();
            assert!(allowed.iter().any(|allowed| name == *allowed), "{name:?}");
        }
    }

    /// Returns files of the store, the logs and the rest of the cache that contain `text`.
    pub fn files_with(&self, text: &str) -> Vec<String> {
        // Cache entries have hundreds of MiB, so this needs a fast search.
        let found = std::process::Command::new("grep")
            .args(["-rlaF", "--exclude-dir=bases", "--", text])
            .arg(self.root())
            .output()
            .expect("grep");
        let found = String::from_utf8_lossy(&found.stdout);
        found.lines().map(str::to_owned).collect()
    }

    /// Returns the only artifact of the store.
    pub fn artifact(&self) -> PathBuf {
        let artifacts = self.root().join("store/artifacts/sha256");
        let first = fs::read_dir(artifacts).expect("artifacts").next();
        first.expect("one").expect("an entry").path()
    }

    /// Returns the artifact of an image.
    pub async fn artifact_of(&self, image: &str) -> PathBuf {
        let printed = self.run(&["show", image, "--json"], &[]).await.stdout;
        let printed = String::from_utf8_lossy(&printed);
        let printed: serde_json::Value = serde_json::from_str(&printed).expect("a statement");
        let id = &printed["predicate"]["outputs"][0]["id"];
        let id = id.as_str().unwrap_or_else(|| panic!("{printed:#}"));
        self.root().join("store").join(id)
    }

    /// Returns whether the captured disk contains `text`, free blocks included.
    pub async fn raw_disk_has(&self, text: &str) -> bool {
        let artifact = self.artifact();
        let raw = tempfile::NamedTempFile::new().expect("a file");
        let converted = Command::new("qemu-img")
            .args(["convert", "-O", "raw"])
            .args([&artifact, raw.path()])
            .status()
            .await
            .expect("qemu-img");
        assert!(converted.success());
        let found = Command::new("grep")
            .args(["-aqF", text])
            .arg(raw.path())
            .status()
            .await
            .expect("grep");
        found.success()
    }
}

/// Returns all output of the binary.
pub fn output_text(output: &Output) -> String {
    let signal = output.status.signal();
    format!(
        "{}{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        signal.map_or_else(String::new, |signal| format!("killed by signal {signal}")),
    )
}

/// Copies a folder to a place where nothing is.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .args(["--archive", "--reflink=auto"])
        .args([from, to])
        .status();
    assert!(copied.expect("cp").success());
}
