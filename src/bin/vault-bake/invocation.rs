//! One call of the program: folders, keys, store, events, clock and signals.
//! Takes the global options, finds everything else, and opens definitions and stores for commands.

#![expect(
    clippy::disallowed_methods,
    reason = "only this file reads the environment and the clock for the commands"
)]

use std::env;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use vault_bake::definition::{Definition, fingerprint};
use vault_bake::digest::Digest;
use vault_bake::event::Events;
use vault_bake::manifest::{Reference, Tool};
use vault_bake::plan;
use vault_bake::platform;
use vault_bake::provisioner::Provisioners;
use vault_bake::run_context::{RunContext, runs_folder};
use vault_bake::sign::Trust;
use vault_bake::ssh::GUEST_WORK;
use vault_bake::store::{AnyBackend, Store, StoreError};
use vault_bake::wait::Interrupt;

use crate::args::{Global, Image, Releases, Vars};
pub use crate::clock::clock;
use crate::exit::Failure;
use crate::keys::KeyRing;
use crate::report::Report;
use crate::store_location::{StoreLocation, unusable_store};

/// The folder with the processes of this computer.
pub const PROC: &str = "/proc";

/// One call of the program.
pub struct Invocation {
    /// Whether output is for programs.
    pub json: bool,
    /// Folder with `images/`.
    pub project: PathBuf,
    /// Whether the command line or the environment names the project.
    pub is_project_named: bool,
    current_dir: PathBuf,
    /// Store of the command line or the environment.
    store: Option<PathBuf>,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Signing key and trust policy.
    pub keys: KeyRing,
    /// Printer of events.
    pub report: Report,
    /// Sender of events to `report`, for the library.
    pub events: Events,
    /// Raised by SIGINT and SIGTERM.
    pub interrupt: Interrupt,
}

impl Invocation {
    /// Finds the folders that the global options do not name.
    pub fn new(global: Global) -> Result<Self, Failure> {
        let current_dir = env::current_dir().map_err(|error| {
            Failure::usage(format!("cannot determine the current folder: {error}"))
        })?;
        let is_project_named = global.project.is_some();
        let project = global.project.unwrap_or_else(|| find_project(&current_dir));
        let cache = match global.cache {
            Some(cache) => cache,
            None => user_folder("XDG_CACHE_HOME", ".cache")?,
        };
        let cache = current_dir.join(cache);
        let keys = KeyRing::new(global.keys, &user_folder("XDG_CONFIG_HOME", ".config")?);
        let report = Report::new(global.json, &cache.join("logs"));
        let events = Events::new(report.clone());
        Ok(Self {
            json: global.json,
            project,
            is_project_named,
            store: global.store,
            current_dir,
            cache,
            keys,
            report,
            events,
            interrupt: Interrupt::default(),
        })
    }

    /// Returns whether the command line or the environment names a store. Commands that can work
    /// without a store read none otherwise.
    pub fn is_store_named(&self) -> bool {
        self.store.is_some()
    }

    /// Returns the folder with the state and the secrets of clusters.
    pub fn cluster_states(&self) -> Result<PathBuf, Failure> {
        Ok(user_folder("XDG_STATE_HOME", ".local/state")?.join("clusters"))
    }

    /// Returns the folder with journals and work folders of runs.
    pub fn runs(&self) -> PathBuf {
        runs_folder(&self.cache)
    }

    /// Returns the folder with the state of a cluster, outside its project. `folder` has its file.
    pub fn cluster_state(&self, folder: &Path) -> Result<PathBuf, Failure> {
        let folder = std::fs::canonicalize(folder).map_err(|error| {
            Failure::usage(format!("cannot read {}: {error}", folder.display()))
        })?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        // Two projects may have clusters with the same name.
        let project = folder.ancestors().nth(2).unwrap_or(&folder);
        let digest = Digest::hash_bytes(project.as_os_str().as_bytes()).hex();
        let state = user_folder("XDG_STATE_HOME", ".local/state")?.join("clusters");
        Ok(state.join(format!("{name}-{}", &digest[..8])))
    }

    /// Returns the folder of a definition. `image` is a name in `images/`, or a folder.
    pub fn definition_folder(&self, image: &str) -> PathBuf {
        let named = self.project.join("images").join(image);
        if named.is_dir() && !image.contains('/') {
            named
        } else {
            PathBuf::from(image)
        }
    }

    /// Fails if the cache is not writable.
    pub fn check_cache(&self) -> Result<(), Failure> {
        let usable = std::fs::create_dir_all(&self.cache)
            .and_then(|()| tempfile::tempfile_in(&self.cache).map(drop));
        usable.map_err(|error| self.unusable_cache(&error))
    }

    /// Returns the failure for a cache that is not writable.
    pub fn unusable_cache(&self, error: &std::io::Error) -> Failure {
        let reason = if self.cache.exists() && !self.cache.is_dir() {
            "not a folder".to_owned()
        } else {
            error.to_string()
        };
        let message = format!("cannot use {} as the cache: {reason}", self.cache.display());
        Failure::usage(message).hint("Name another folder with --cache, or make this one writable.")
    }

    /// Returns the names of the project's images, sorted.
    pub fn images(&self) -> Result<Vec<String>, Failure> {
        let folder = self.project.join("images");
        let entries = std::fs::read_dir(&folder).map_err(|error| {
            Failure::usage(format!("cannot read {}: {error}", folder.display()))
                .hint("Name the folder of an image, or the project with --project.")
        })?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join("image.toml").is_file())
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Reads the definition of an image.
    pub fn load(&self, image: &str, vars: &Vars) -> Result<Definition, Failure> {
        let path = self.definition_folder(image);
        Ok(Definition::load(
            &path,
            &self.variables(&path, vars)?,
            &platform::all(None),
        )?)
    }

    /// Reads and checks the definition of an image and its provisioners.
    pub fn check(&self, image: &str, vars: &Vars) -> Result<(Definition, Provisioners), Failure> {
        let path = self.definition_folder(image);
        let draft = Definition::draft(&path, &self.variables(&path, vars)?, &platform::all(None))?;
        Ok(plan::check_draft(draft, &self.provisioners()?)?)
    }

    /// Reads and checks a definition and its provisioners. Releases come from the command line's
    /// source, if it names one. Warns about unknown variables of the environment.
    pub fn check_with_releases(
        &self,
        image: &Image,
        releases: &Releases,
    ) -> Result<(Definition, Provisioners), Failure> {
        self.warn_about_variables(std::slice::from_ref(&image.image));
        let (mut definition, provisioners) = self.check(&image.image, &image.vars)?;
        let source = &mut definition.release_source;
        if let Some(mirror) = &releases.releases {
            source.mirror = if mirror.contains("://") {
                mirror.clone()
            } else {
                absolute(Path::new(mirror))?
            };
        }
        if let Some(key_file) = &releases.release_key_file {
            if !key_file.is_file() {
                let message = format!("--release-key-file {}: no such file", key_file.display());
                return Err(Failure::usage(message));
            }
            source.key_file = Some(PathBuf::from(absolute(key_file)?));
        }
        if let Some(text) = &releases.release_fingerprint {
            source.fingerprint = fingerprint(text)
                .map_err(|reason| Failure::usage(format!("--release-fingerprint: {reason}")))?;
        }
        Ok((definition, provisioners))
    }

    /// Chooses the location of the store.
    pub fn store_location(&self) -> Result<StoreLocation, Failure> {
        let fallback = || Ok(user_folder("XDG_DATA_HOME", ".local/share")?.join("store"));
        StoreLocation::choose(
            self.store.clone(),
            &self.current_dir,
            &self.project,
            fallback,
        )
    }

    /// Opens the store for reading. Returns `None` if it does not exist.
    pub async fn existing_store(&self) -> Result<Option<Store<AnyBackend>>, Failure> {
        let opening = Store::open(self.store_location()?.open()?);
        match self.interrupt.or(opening).await? {
            Err(StoreError::NoStore(_)) => Ok(None),
            opened => self.with_trust(opened?).map(Some),
        }
    }

    /// Opens the store for reading.
    pub async fn open_store(&self) -> Result<Store<AnyBackend>, Failure> {
        let opening = Store::open(self.store_location()?.open()?);
        self.with_trust(self.interrupt.or(opening).await??)
    }

    /// Opens the store for writing.
    pub async fn open_signing_store(&self) -> Result<Store<AnyBackend>, Failure> {
        let store = self.open_store().await?;
        let signer = self.keys.signer(&self.events)?;
        Ok(store.with_signers(vec![signer], self.interrupt.clone()))
    }

    /// Opens the store for writing, or for a plan that other keys sign too.
    pub async fn open_planning_store(&self, propose: bool) -> Result<Store<AnyBackend>, Failure> {
        let store = self.open_signing_store().await?;
        Ok(if propose {
            store.for_proposals()
        } else {
            store
        })
    }

    /// Opens the store for writing, and creates it if it does not exist. A new store gets the trust
    /// policy of --trust, or one that trusts only the signing key.
    pub async fn open_or_create_store(&self) -> Result<Store<AnyBackend>, Failure> {
        let signer = self.keys.signer(&self.events)?;
        let trust = match self.keys.trust()? {
            Some(trust) => trust,
            None => Trust::single_key(signer.public()),
        };
        let store = self.open_or_create_with(&trust).await?;
        Ok(store.with_signers(vec![signer], self.interrupt.clone()))
    }

    /// Opens the store, and creates it with this trust policy if it does not exist.
    pub async fn open_or_create_with(&self, trust: &Trust) -> Result<Store<AnyBackend>, Failure> {
        let location = self.store_location()?;
        if let StoreLocation::Folder(folder) = &location {
            std::fs::create_dir_all(folder).map_err(|error| unusable_store(folder, error))?;
        }
        let opening = Store::open_or_create(location.open()?, trust, clock());
        self.with_trust(self.interrupt.or(opening).await??)
    }

    fn with_trust(&self, store: Store<AnyBackend>) -> Result<Store<AnyBackend>, Failure> {
        let store = store.with_cache(self.cache.join("stores"));
        Ok(match self.keys.trust()? {
            Some(trust) => store.with_trust(trust),
            None => store,
        })
    }

    /// Opens the store, for writing unless `dry_run`.
    pub async fn open_store_unless(&self, dry_run: bool) -> Result<Store<AnyBackend>, Failure> {
        if dry_run {
            self.open_store().await
        } else {
            self.open_signing_store().await
        }
    }

    /// Opens the store and finds the manifest of an image.
    pub async fn find(&self, reference: &str) -> Result<(Store<AnyBackend>, Digest), Failure> {
        let store = self.open_store().await?;
        let digest = self.interrupt.or(resolve(&store, reference)).await??;
        Ok((store, digest))
    }

    /// Returns the context of a run.
    pub fn run_context<'a>(
        &'a self,
        now: &'a (dyn Fn() -> Timestamp + Sync),
        tool: &'a Tool,
    ) -> RunContext<'a> {
        RunContext {
            cache: &self.cache,
            guest_work: GUEST_WORK,
            events: &self.events,
            interrupt: &self.interrupt,
            now,
            tool,
        }
    }

    /// Returns version and digest of this program. An unreadable program has no digest.
    pub fn tool(&self) -> Tool {
        let program = env::current_exe()
            .ok()
            .and_then(|path| Digest::hash_file(&path).ok());
        Tool {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            binary_sha256: program.map(|(digest, _)| digest),
        }
    }

    /// Raises the interrupt on each SIGINT and SIGTERM.
    pub fn listen_for_interrupts(&self) {
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let (interrupt, events) = (self.interrupt.clone(), self.events.clone());
            if let Ok(mut signals) = signal(kind) {
                tokio::spawn(async move {
                    while signals.recv().await.is_some() {
                        interrupt.raise();
                        events.note(
                            "interrupted: ending the work in order; interrupt again to leave at once",
                        );
                    }
                });
            }
        }
    }
}

/// Finds the manifest of an image.
pub async fn resolve(store: &Store<AnyBackend>, reference: &str) -> Result<Digest, Failure> {
    let reference: Reference = reference.parse()?;
    Ok(store.resolve(&reference).await?)
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path);
    let absolute =
        absolute.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| Failure::usage(format!("{path:?}: expected UTF-8")))
}

/// Returns an id for a new event of the log.
pub fn new_id() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}

/// Returns the nearest parent of `folder` with `images/`, or `folder`.
fn find_project(folder: &Path) -> PathBuf {
    folder
        .ancestors()
        .find(|parent| parent.join("images").is_dir())
        .unwrap_or(folder)
        .to_owned()
}

/// Returns the folder of vault-bake in one of the user's base folders.
fn user_folder(variable: &str, fallback: &str) -> Result<PathBuf, Failure> {
    let absolute_path = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute_path(variable).or_else(|| Some(absolute_path("HOME")?.join(fallback)));
    let base = base.ok_or_else(|| {
        let message = format!("neither {variable} nor HOME is an absolute path");
        Failure::usage(message).hint("Set HOME.")
    })?;
    Ok(base.join("vault-bake"))
}

/// Returns the folders with programs.
pub fn search_path() -> Vec<PathBuf> {
    // Some programs are only in the path of root.
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .collect()
}
