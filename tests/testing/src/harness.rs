//! Runs builds and boot tests with the fake builder: plan, cache and store in one temporary folder.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use vault_bake::bake::{BakeOptions, Baked, Failed, OnError, Tested, bake, test};
use vault_bake::builder::{Builder, Resumed};
use vault_bake::digest::Digest;
use vault_bake::event::{Event, Events, Stage};
use vault_bake::manifest::{ImageVersion, Tool};
use vault_bake::plan::{Plan, PlannedStep};
use vault_bake::release::{Architecture, LockedRelease};
use vault_bake::run_context::{RunContext, runs_folder};
use vault_bake::store::backend::Backend;
use vault_bake::store::{Depth, Dir, Store, VerifyReport};
use vault_bake::teardown::{Cloud, SweptRun, sweep};
use vault_bake::wait::{Interrupt, Poll, Wait};

use crate::fake_builder::{Ending, FakeBuilder};
use crate::plan::{plan, provisioner};
use crate::signing::{signer, trust};

/// Returns the steps of a small image: a step with a check, and a seal with a check.
pub fn steps() -> Vec<PlannedStep> {
    let check = |id: &str| format!("echo 'ok 1 - {id}: it works'\necho 1..1\n");
    vec![
        provisioner("app", "echo installing\n", Some(&check("app.works"))),
        provisioner("seal", "echo sealing\n", Some(&check("seal.works"))),
    ]
}

/// A build with the fake builder, in its own folder.
pub struct FakeBuilderHarness {
    root: PathBuf,
    /// The plan to build.
    pub plan: Plan,
    /// The name of the upload folder. Two concurrent builds need two folders.
    pub upload_folder: String,
    /// The stage that fails.
    pub fails_at: Option<Stage>,
    /// The content of a captured disk, made from the private host key of the VM.
    pub captured: fn(&str) -> String,
    /// Whether builds use the layer cache.
    pub layers: bool,
    /// The VM snapshot that its build VMs report.
    pub resumed: Option<Resumed>,
    /// Whether builds end with a boot test.
    pub test: bool,
    /// The requested version. `None`: the next free one.
    pub version: Option<ImageVersion>,
    /// How VMs end by themselves.
    pub ends: Option<fn(&str, u32) -> Option<Ending>>,
    /// The interrupt of all builds, which hooks may raise.
    pub interrupt: Interrupt,
    heard: Arc<Mutex<Vec<Event>>>,
}

impl FakeBuilderHarness {
    /// Makes a harness below `root` for a plan of `steps`.
    pub fn new(root: &Path, steps: Vec<PlannedStep>) -> Self {
        Self {
            root: root.to_owned(),
            plan: plan(steps),
            upload_folder: "guest".to_owned(),
            fails_at: None,
            captured: |_| "a captured disk".to_owned(),
            layers: false,
            resumed: None,
            test: true,
            version: None,
            ends: None,
            interrupt: Interrupt::default(),
            heard: Arc::default(),
        }
    }

    /// Returns the path of the cache.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Opens the store.
    pub async fn store(&self) -> Store<Dir> {
        let (dir, trust) = (Dir::new(self.root.join("store")), trust());
        let store = Store::open_or_create(dir, &trust, clock()).await;
        let store = store.expect("a store");
        store.with_signers(vec![signer(1)], Interrupt::default())
    }

    /// Makes `stage` fail.
    pub fn fail_at(&mut self, stage: Stage) {
        self.fails_at = Some(stage);
        match stage {
            Stage::Fetch => {
                self.plan.release_source.base = "/nonexistent".to_owned();
                self.plan.releases.push(missing_release());
            }
            Stage::Provision => {
                self.plan.steps[0] = provisioner("app", "echo no >&2; exit 4\n", None);
            }
            Stage::Seal => {
                self.plan.steps[1] = provisioner("seal", "exit 9\n", None);
            }
            Stage::Record => {
                // A file in place of the folder for artifacts.
                fs::write(self.root.join("store/artifacts"), "in the way").expect("a file");
            }
            _ => {}
        }
    }

    /// Runs a build. `hook` gets every event first.
    pub async fn bake(
        &self,
        hook: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Baked, Failed> {
        self.bake_into(&self.store().await, hook).await
    }

    /// Runs a build with another store.
    pub async fn bake_into<S: Backend>(
        &self,
        store: &Store<S>,
        hook: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Baked, Failed> {
        self.bake_with(&self.builder(), store, hook).await
    }

    /// Runs a build with another builder and store.
    pub async fn bake_with<B: Builder, S: Backend>(
        &self,
        builder: &B,
        store: &Store<S>,
        hook: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Baked, Failed> {
        let order = BakeOptions {
            audit: None,
            plan: &self.plan,
            version: self.version,
            revision: None,
            test: self.test,
            on_error: &|_| OnError::Clean,
        };
        self.with_context(hook, async |context| {
            bake(builder, store, &order, context).await
        })
        .await
    }

    /// Returns a builder with this configuration.
    pub fn builder(&self) -> FakeBuilder {
        FakeBuilder {
            cache: self.cache(),
            captured: self.captured,
            layers: self.layers,
            resumed: self.resumed.clone(),
            fails_at: self.fails_at,
            ends: self.ends,
            starts: Mutex::default(),
        }
    }

    /// Runs the boot test of a recorded image.
    pub async fn test_image<S: Backend>(
        &self,
        store: &Store<S>,
        manifest: Digest,
    ) -> Result<Tested, Failed> {
        self.test_image_with(&self.builder(), store, manifest).await
    }

    /// Runs the boot test of a recorded image with another builder.
    pub async fn test_image_with<B: Builder, S: Backend>(
        &self,
        builder: &B,
        store: &Store<S>,
        manifest: Digest,
    ) -> Result<Tested, Failed> {
        self.with_context(
            |_| {},
            async |context| test(builder, store, manifest, None, context).await,
        )
        .await
    }

    async fn with_context<T>(
        &self,
        hook: impl Fn(&Event) + Send + Sync + 'static,
        work: impl AsyncFnOnce(&RunContext<'_>) -> T,
    ) -> T {
        let heard = Arc::clone(&self.heard);
        let events = Events::new(move |event: &Event| {
            hook(event);
            heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(event.clone());
        });
        // The upload fails, as a folder cannot be made below a file.
        let uploads = if self.fails_at == Some(Stage::Upload) {
            "/dev/null/work"
        } else {
            &self.upload_folder
        };
        let tool = Tool {
            version: "0.0.0".to_owned(),
            binary_sha256: None,
        };
        let guest_work = self.root.join(uploads);
        let context = RunContext {
            cache: &self.cache(),
            guest_work: guest_work.to_str().expect("a path in UTF-8"),
            events: &events,
            interrupt: &self.interrupt,
            now: &clock,
            tool: &tool,
        };
        work(&context).await
    }

    /// Returns the events so far.
    pub fn recorded_events(&self) -> Vec<Event> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Removes leftovers of dead runs.
    pub async fn sweep(&self) -> Vec<SweptRun> {
        self.sweep_in(None).await
    }

    /// Removes leftovers of dead runs, in a cloud too.
    pub async fn sweep_in(&self, cloud: Option<&dyn Cloud>) -> Vec<SweptRun> {
        let swept = sweep(
            &runs_folder(&self.cache()),
            false,
            cloud,
            &Events::silent(),
            &Interrupt::default(),
        )
        .await;
        swept.expect("a sweep")
    }

    /// Verifies the store with its artifacts.
    pub async fn verify(&self) -> VerifyReport {
        self.store()
            .await
            .verify(Depth::Artifacts)
            .await
            .expect("a report")
    }

    /// Returns leftovers: processes, and files outside of the base, the store and the fake VMs.
    /// Waits for processes of fake VMs, which end after their connection; in a real VM they end
    /// with it.
    pub async fn leftovers(&self) -> Vec<String> {
        let guests = self.root.join("guest").display().to_string();
        let _ = Wait::new("the end of processes in fake VMs", Duration::from_secs(10))
            .until(&Events::silent(), &Interrupt::default(), || async {
                match processes(&guests) {
                    left if left.is_empty() => Poll::Ready(()),
                    left => Poll::<(), Infallible>::NotYet(left.join("\n")),
                }
            })
            .await;
        let mut left = processes(&self.root.display().to_string());
        let expected = ["cache/base.raw", "cache/runs/.gate"];
        for path in files(&self.root) {
            let inside = path
                .strip_prefix(&self.root)
                .expect("below the root")
                .display()
                .to_string();
            let allowed = inside.starts_with("store/") || inside.starts_with("guest");
            if !allowed && !expected.contains(&inside.as_str()) {
                left.push(inside);
            }
        }
        left
    }
}

/// Returns the real time: every run needs its own id, which contains the time.
pub fn clock() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "runs of one test must not share an id"
    )]
    Timestamp::now()
}

/// Returns a release that does not exist.
pub fn missing_release() -> LockedRelease {
    let nothing = Digest::hash_bytes("");
    LockedRelease {
        product: "vault".to_owned(),
        version: "1.2.3".to_owned(),
        arch: Architecture::X86_64,
        file: "vault_1.2.3_linux_amd64.zip".to_owned(),
        url: "/nonexistent/vault_1.2.3_linux_amd64.zip".to_owned(),
        sha256: nothing,
        sums_sha256: nothing,
        signature_sha256: nothing,
        primary_fingerprint: "0".repeat(40),
        signing_fingerprint: "0".repeat(40),
        signed_at: "2026-01-01T00:00:00Z".to_owned(),
        signer: "unknown".to_owned(),
        official: false,
    }
}

/// Returns the processes with `marker` in their arguments.
fn processes(marker: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("a proc file system");
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            path.file_name()?.to_str()?.parse::<u32>().ok()?;
            let line = fs::read(path.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(marker).then(|| format!("process {line}"))
        })
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
