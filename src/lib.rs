//! Bakes hardened, verified and recorded Vault and Consul images.
//!
//! The flow, in the order of the modules below:
//!
//! ```text
//! image.toml ─parse→ Definition ─lock→ Lock ─plan→ Plan
//! Plan ─boot→ Machine ─ssh→ Session ─provision→ StepRecords ─seal→ ─capture→ Artifact ─record→ Manifest ─put→ Store
//! Manifest ─test (boot the artifact, check it)→ TestRecord ─put→ Store
//! Store ─promote→ Channel ─pin→ PinFile ─resolve→ what a deployment reads
//! ```
//!
//! [`bake::bake`] is this flow. A module imports only modules that stand above it here.
//!
//! The library prints nothing, and asks neither the environment nor the clock: whoever calls it says where things go, what time it
//! is, and listens to its events.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::path::PathBuf;
//!
//! use jiff::Timestamp;
//! use vault_bake::bake::{OnError, Order, bake};
//! use vault_bake::builder::qemu::{Qemu, QemuSettings, requirements};
//! use vault_bake::definition::{BuilderKind, Definition};
//! use vault_bake::event::{Event, Events};
//! use vault_bake::lock::{self, Bases, DEBIAN_KEYRING, Network};
//! use vault_bake::manifest::Tool;
//! use vault_bake::plan::{plan};
//! use vault_bake::provisioner::Provisioners;
//! use vault_bake::sign::{Signer, SigningKey, Trust};
//! use vault_bake::ssh::GUEST_WORK;
//! use vault_bake::store::{Dir, Store};
//! use vault_bake::wait::Interrupt;
//! use vault_bake::world::World;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let missing = |need: &vault_bake::builder::Requirement| {
//! #     let path = std::env::var_os("PATH").unwrap_or_default();
//! #     !need.program.exists() && !std::env::split_paths(&path).any(|folder| folder.join(&need.program).exists())
//! # };
//! # if let Some(need) = requirements(&QemuSettings::new("")).iter().find(|need| missing(need)) {
//! #     eprintln!("SKIPPED: {} is missing (package {})", need.program.display(), need.package);
//! #     return Ok(());
//! # }
//! let folder = tempfile::tempdir()?;
//! let image = folder.path().join("tiny");
//! std::fs::create_dir(&image)?;
//! std::fs::write(image.join("image.toml"), r#"
//!     schema = 1
//!     description = "as small as an image can be"
//!     [base.qemu]
//!     kind = "packages"
//!     packages = ["jq", "nftables", "openssl", "python3", "systemd-timesyncd"]
//!     [[step]]
//!     inline = "echo hello >/etc/motd"
//!     [[step]]
//!     provisioner = "seal"
//! "#)?;
//!
//! // A sink of our own: it keeps the names of the stages that ended.
//! let (tell, told) = std::sync::mpsc::channel();
//! let tell = std::sync::Mutex::new(tell);
//! let events = Events::new(move |event: &Event| {
//!     if let (Event::StageFinished { stage, ok: true, .. }, Ok(tell)) = (event, tell.lock()) {
//!         let _ = tell.send(stage.to_string());
//!     }
//! });
//! let interrupt = Interrupt::default();
//!
//! let definition = Definition::load(&image, &BTreeMap::new())?;
//! let network = Network { keyring: PathBuf::from(DEBIAN_KEYRING), now: Timestamp::now(), azure: None };
//! let lock = lock::resolve(&definition, Bases::All, &network, &events, &interrupt).await?;
//! let provisioners = Provisioners::load(&[PathBuf::from("provisioners")], &definition)?;
//! let plan = plan(&definition, &lock, &provisioners, BuilderKind::Qemu)?;
//!
//! let cache = std::path::absolute("target/real-cache")?;
//! let builder = Qemu::new(QemuSettings::new(&cache));
//! let (key, _pem) = SigningKey::generate()?;
//! let trust = Trust::only(key.public());
//! let store = Store::open_or_create(Dir::new(folder.path().join("store")), &trust, Timestamp::now()).await?;
//! let store = store.signing(vec![Signer::Key(key)], interrupt.clone());
//! let tool = Tool { version: "1.0.0".to_owned(), binary_sha256: None };
//! let world = World {
//!     cache: &cache,
//!     guest_work: GUEST_WORK,
//!     events: &events,
//!     interrupt: &interrupt,
//!     now: &Timestamp::now,
//!     tool: &tool,
//! };
//! let order = Order { plan: &plan, version: None, revision: None, test: false, audit: None, on_error: &|_| OnError::Clean };
//! let baked = bake(&builder, &store, &order, &world).await?;
//!
//! assert!(baked.leaks.is_empty());
//! assert_eq!(store.manifest(&baked.digest).await?.image, "tiny");
//! assert!(told.try_iter().any(|stage| stage == "capture"));
//! # Ok(())
//! # }
//! ```

// ground
pub mod digest;
pub mod canonical;
pub mod hcl1;
pub mod secret;
pub mod terminal;
pub mod event;
pub mod wait;
pub mod process;
pub mod http;
pub mod teardown;
pub mod sign;
pub mod azure;

// image
pub mod version_changes;
pub mod product_config;
pub mod definition;
pub mod release;
pub mod lock;
pub mod provisioner;
pub mod plan;
pub mod lint;

// bake
pub mod ssh;
pub mod identity;
pub mod builder;
pub mod guest_steps;
pub mod leak_scan;
pub mod manifest;
pub mod store;
pub mod project_file;
pub mod run_context;
pub mod build_record;
pub mod boot_test;
pub mod bake;

// deployment
pub mod pin;
pub mod resolve;
pub mod terraform;
