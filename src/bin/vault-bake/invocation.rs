//! The world as the binary finds it: folders, environment, clock, signals. The only place that asks for them.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the one door to environment and clock"
)]

use std::env;
use std::path::{Path, PathBuf};

use include_dir::include_dir;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use vault_bake::definition::{Definition, fingerprint};
use vault_bake::digest::Digest;
use vault_bake::event::Events;
use vault_bake::manifest::{InvalidReference, Reference, Tool};
use vault_bake::plan;
use vault_bake::provisioner::Provisioners;
use vault_bake::run_context::{RunContext, runs};
use vault_bake::sign::Trust;
use vault_bake::ssh::GUEST_WORK;
use vault_bake::store::{AnyBackend, Store, StoreError};
use vault_bake::wait::Interrupt;

use crate::args::{Global, Releases, Vars};
use crate::exit::{Exit, Failure};
use crate::keys::KeyRing;
use crate::report::Report;
use crate::store_location::{StoreLocation, unusable_store};

/// The shipped provisioners travel in the binary, so that it works without a checkout.
static SHIPPED: include_dir::Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/provisioners");

/// The processes of this machine.
pub const PROC: &str = "/proc";

/// One call of the binary.
pub struct Invocation {
    /// Whether programs read us.
    pub json: bool,
    /// The folder with `images/`.
    pub project: PathBuf,
    /// The folder that we were called in.
    here: PathBuf,
    /// The store's place, where the command line or the environment names one.
    store: Option<PathBuf>,
    /// The cache's folder.
    pub cache: PathBuf,
    /// Who signs, and whose word counts.
    pub keys: KeyRing,
    /// What tells people and programs.
    pub report: Report,
    /// The same, as the library wants it.
    pub events: Events,
    /// Raised by SIGINT and SIGTERM.
    pub interrupt: Interrupt,
}

impl Invocation {
    /// Finds the folders.
    pub fn new(global: Global) -> Result<Self, Failure> {
        let here = env::current_dir()
            .map_err(|error| Failure::usage(format!("no current folder: {error}")))?;
        let project = global.project.unwrap_or_else(|| project_from(&here));
        let cache = match global.cache {
            Some(cache) => cache,
            None => home("XDG_CACHE_HOME", ".cache")?,
        };
        let cache = here.join(cache);
        let keys = KeyRing::new(global.keys, &home("XDG_CONFIG_HOME", ".config")?);
        let report = Report::new(global.json, &cache.join("logs"));
        let events = Events::new(report.clone());
        Ok(Self {
            json: global.json,
            project,
            store: global.store,
            here,
            cache,
            keys,
            report,
            events,
            interrupt: Interrupt::default(),
        })
    }

    /// Whether somebody named the store on the command line or in the environment; where nobody did, it is not asked for
    /// what can do without it.
    pub fn store_named(&self) -> bool {
        self.store.is_some()
    }

    /// Where runs keep their journals and work folders.
    pub fn runs(&self) -> PathBuf {
        runs(&self.cache)
    }

    /// The folder of an image's definition: a name of the project's `images/`, or a folder.
    pub fn definition(&self, image: &str) -> PathBuf {
        let named = self.project.join("images").join(image);
        if named.is_dir() && !image.contains('/') {
            named
        } else {
            PathBuf::from(image)
        }
    }

    /// The folders in which provisioners are looked for, first the project's own.
    pub fn provisioners(&self) -> Result<Vec<PathBuf>, Failure> {
        Ok(vec![
            self.project.join("provisioners"),
            self.shipped_provisioners()?,
        ])
    }

    /// Refuses a cache that nothing can be written to. Asked before anything is done that needs it.
    pub fn check_cache(&self) -> Result<(), Failure> {
        let usable = std::fs::create_dir_all(&self.cache)
            .and_then(|()| tempfile::tempfile_in(&self.cache).map(drop));
        usable.map_err(|error| self.unusable_cache(&error))
    }

    fn unusable_cache(&self, error: &std::io::Error) -> Failure {
        let why = match self.cache.exists() && !self.cache.is_dir() {
            true => "it is no folder".to_owned(),
            false => error.to_string(),
        };
        let message = format!("cannot use {} as the cache: {why}", self.cache.display());
        Failure::usage(message)
            .hint("name another folder with `--cache`, or make this one writable")
    }

    /// Unpacks the shipped provisioners into the cache, once for each content.
    fn shipped_provisioners(&self) -> Result<PathBuf, Failure> {
        let failed = |error: std::io::Error| self.unusable_cache(&error);
        let folder = self
            .cache
            .join("provisioners")
            .join(content_of(&SHIPPED).short());
        if folder.is_dir() {
            return Ok(folder);
        }
        let parent = self.cache.join("provisioners");
        std::fs::create_dir_all(&parent).map_err(failed)?;
        let temporary = tempfile::tempdir_in(&parent).map_err(failed)?;
        SHIPPED.extract(temporary.path()).map_err(failed)?;
        match std::fs::rename(temporary.keep(), &folder) {
            Err(error) if !folder.is_dir() => Err(failed(error)),
            _ => Ok(folder),
        }
    }

    /// The images of the project, by name.
    pub fn images(&self) -> Result<Vec<String>, Failure> {
        let folder = self.project.join("images");
        let entries = std::fs::read_dir(&folder).map_err(|error| {
            Failure::usage(format!("{}: {error}", folder.display()))
                .hint("name an image's folder, or the project's with --project")
        })?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join("image.toml").is_file())
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Reads the definition of an image, with releases from where the definition says.
    pub fn load(&self, image: &str, vars: &Vars) -> Result<Definition, Failure> {
        let path = self.definition(image);
        Ok(Definition::load(&path, &self.variables(&path, vars)?)?)
    }

    /// Reads and judges the definition of an image and the provisioners that it names; or fails with all that is wrong.
    pub fn check(&self, image: &str, vars: &Vars) -> Result<(Definition, Provisioners), Failure> {
        let path = self.definition(image);
        let draft = Definition::draft(&path, &self.variables(&path, vars)?)?;
        Ok(plan::check(draft, &self.provisioners()?)?)
    }

    /// The same, with releases from where the command line says.
    pub fn check_from(
        &self,
        image: &str,
        vars: &Vars,
        releases: &Releases,
    ) -> Result<(Definition, Provisioners), Failure> {
        self.warn_about_variables(&[image.to_owned()]);
        let (mut definition, provisioners) = self.check(image, vars)?;
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
                .map_err(|why| Failure::usage(format!("--release-fingerprint: {why}")))?;
        }
        Ok((definition, provisioners))
    }

    /// Where the store is. Read when it is needed: most verbs need none.
    pub fn place(&self) -> Result<StoreLocation, Failure> {
        let fallback = || Ok(home("XDG_DATA_HOME", ".local/share")?.join("store"));
        StoreLocation::choose(self.store.clone(), &self.here, &self.project, fallback)
    }

    /// The store to read, where there is one.
    pub async fn existing_store(&self) -> Result<Option<Store<AnyBackend>>, Failure> {
        let opening = Store::open(self.place()?.open()?);
        match self.interrupt.or(opening).await? {
            Err(StoreError::NoStore(_)) => Ok(None),
            opened => self.with_trust(opened?).map(Some),
        }
    }

    /// The store, which must be there, to read.
    pub async fn open_store(&self) -> Result<Store<AnyBackend>, Failure> {
        let opening = Store::open(self.place()?.open()?);
        self.with_trust(self.interrupt.or(opening).await??)
    }

    /// The store, which must be there, to write.
    pub async fn open_signing_store(&self) -> Result<Store<AnyBackend>, Failure> {
        let store = self.open_store().await?;
        let signer = self.keys.signer(&self.events)?;
        Ok(store.signing(vec![signer], self.interrupt.clone()))
    }

    /// The store to write, made where there is none: then its policy is the given one, or trusts our key alone.
    pub async fn open_or_create_store(&self) -> Result<Store<AnyBackend>, Failure> {
        let signer = self.keys.signer(&self.events)?;
        let trust = match self.keys.trust()? {
            Some(trust) => trust,
            None => Trust::only(signer.public()),
        };
        let place = self.place()?;
        if let StoreLocation::Folder(folder) = &place {
            std::fs::create_dir_all(folder).map_err(|error| unusable_store(folder, error))?;
        }
        let opening = Store::open_or_create(place.open()?, &trust, clock());
        let store = self.with_trust(self.interrupt.or(opening).await??)?;
        Ok(store.signing(vec![signer], self.interrupt.clone()))
    }

    fn with_trust(&self, store: Store<AnyBackend>) -> Result<Store<AnyBackend>, Failure> {
        let store = store.with_cache(self.cache.join("stores"));
        Ok(match self.keys.trust()? {
            Some(trust) => store.trusting(trust),
            None => store,
        })
    }

    /// The store, and the manifest that somebody means.
    pub async fn find(&self, reference: &str) -> Result<(Store<AnyBackend>, Digest), Failure> {
        let store = self.open_store().await?;
        let digest = self.interrupt.or(resolve(&store, reference)).await??;
        Ok((store, digest))
    }

    /// Does `work` that only reads, so that an interrupt may drop it anywhere.
    pub async fn reading(
        &self,
        work: impl Future<Output = Result<Exit, Failure>>,
    ) -> Result<Exit, Failure> {
        self.interrupt.or(work).await?
    }

    /// What a run needs of the world.
    pub fn world<'a>(
        &'a self,
        now: &'a (dyn Fn() -> Timestamp + Sync),
        tool: &'a Tool,
    ) -> RunContext<'a> {
        let (cache, events, interrupt) = (self.cache.as_path(), &self.events, &self.interrupt);
        RunContext {
            cache,
            guest_work: GUEST_WORK,
            events,
            interrupt,
            now,
            tool,
        }
    }

    /// What this binary is. Its digest is left out where it cannot read itself.
    pub fn tool(&self) -> Tool {
        let own = env::current_exe()
            .ok()
            .and_then(|path| Digest::of_file(&path).ok());
        Tool {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            binary_sha256: own.map(|(digest, _)| digest),
        }
    }

    /// Raises the interrupt on SIGINT and SIGTERM, as often as they come.
    pub fn listen_for_interrupts(&self) {
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let (interrupt, events) = (self.interrupt.clone(), self.events.clone());
            if let Ok(mut signals) = signal(kind) {
                tokio::spawn(async move {
                    while signals.recv().await.is_some() {
                        interrupt.raise();
                        events.note("interrupted: cleaning up (once more: leave at once)");
                    }
                });
            }
        }
    }
}

/// The manifest that somebody means.
pub async fn resolve(store: &Store<AnyBackend>, reference: &str) -> Result<Digest, Failure> {
    let reference: Reference = reference
        .parse()
        .map_err(|error: InvalidReference| Failure::usage(error.to_string()))?;
    Ok(store.resolve(&reference).await?)
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(path);
    let whole = whole.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    whole
        .into_os_string()
        .into_string()
        .map_err(|path| Failure::usage(format!("{path:?}: expected UTF-8")))
}

/// The clock.
pub fn clock() -> Timestamp {
    Timestamp::now()
}

/// The id of a new event.
pub fn new_id() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}

fn content_of(dir: &include_dir::Dir<'_>) -> vault_bake::digest::Digest {
    fn list(dir: &include_dir::Dir<'_>, into: &mut Vec<(String, String)>) {
        for file in dir.files() {
            let digest = vault_bake::digest::Digest::of(file.contents());
            into.push((
                file.path().to_string_lossy().into_owned(),
                digest.to_string(),
            ));
        }
        dir.dirs().for_each(|inner| list(inner, into));
    }
    let mut files = Vec::new();
    list(dir, &mut files);
    files.sort();
    vault_bake::digest::Digest::of_value(&files)
}

/// The nearest folder upwards that has `images/`; this one where there is none.
fn project_from(here: &Path) -> PathBuf {
    here.ancestors()
        .find(|folder| folder.join("images").is_dir())
        .unwrap_or(here)
        .to_owned()
}

/// Our folder below one of the user's base folders.
fn home(variable: &str, fallback: &str) -> Result<PathBuf, Failure> {
    let set = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = set(variable).or_else(|| Some(set("HOME")?.join(fallback)));
    let base = base.ok_or_else(|| {
        Failure::usage(format!(
            "neither {variable} nor HOME is set; give --store and --cache"
        ))
    })?;
    Ok(base.join("vault-bake"))
}

/// The folders in which programs are found.
pub fn search_path() -> Vec<PathBuf> {
    // As root, and for programs that only root's path has, the `sbin` folders count as well.
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .collect()
}
