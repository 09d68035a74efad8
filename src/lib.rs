//! Builds hardened Vault and Consul images, records every input, and boots each image to test it.
//!
//! An image takes this way from its definition to a deployment:
//!
//! ```text
//! image.toml
//!   │  Definition::load         parse and validate
//!   ▼
//! Definition
//!   │  lock::resolve            pin each input to a version and a digest
//!   ▼
//! Lock                          images/NAME/image.lock
//!   │  plan::plan               resolve every step, file and value
//!   ▼
//! Plan
//!   │  bake::bake               boot, upload, provision, seal, capture, scan for leaks, record
//!   ▼
//! Manifest ──► Store            signed, append-only
//!   │  bake::test               boot the artifact and run its checks
//!   ▼
//! TestRecord ──► Store
//!   │  Store::move_channel      promote: point a channel to a version
//!   ▼
//! Channel
//!   │  PinFile::add             pin the version with its proof, for one deployment
//!   ▼
//! PinFile ──► resolve           the image id that Terraform deploys
//! ```
//!
//! A running cluster takes this way to new images:
//!
//! ```text
//! Cluster + Manifests
//!   │  rollout::plan            choose images, ask the guards, plan and check every step
//!   ▼
//! rollout::Plan ──► Store       named by its digest, never changed
//!   │  rollout::start           obey the plan; measure what clients feel
//!   ▼
//! Cluster
//!   │  Store::put_rollout       record images, controllers, steps and figures
//!   ▼
//! RolloutRecord ──► Store
//! ```
//!
//! [`bake::bake`] runs the stages from `Plan` to `TestRecord`, [`rollout::start`] those of a
//! rollout. In the list below, a module imports only modules above it.
//!
//! The library does not print, and reads neither the environment nor the clock. The caller passes
//! folders and the clock in a [`run_context::RunContext`] and receives [`event::Event`]s.
//!
//! # Example
//!
//! Builds a small image with QEMU, without a test, and reads its manifest back:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::path::PathBuf;
//! use std::sync::{Arc, Mutex};
//!
//! use jiff::Timestamp;
//! use vault_bake::bake::{BakeOptions, OnError, bake};
//! use vault_bake::platform::qemu::{Qemu, QemuOptions, requirements};
//! use vault_bake::definition::Definition;
//! use vault_bake::definition::platform::LockContext;
//! use vault_bake::event::{Event, Events};
//! use vault_bake::lock::{self, Bases, ReleaseServer};
//! use vault_bake::manifest::Tool;
//! use vault_bake::plan::plan;
//! use vault_bake::platform;
//! use vault_bake::provisioner::Provisioners;
//! use vault_bake::run_context::RunContext;
//! use vault_bake::sign::{Signer, SigningKey, Trust};
//! use vault_bake::ssh::GUEST_WORK;
//! use vault_bake::store::{Dir, Store};
//! use vault_bake::wait::Interrupt;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let missing = |need: &vault_bake::builder::Requirement| {
//! #     let path = std::env::var_os("PATH").unwrap_or_default();
//! #     !need.program.exists()
//! #         && !std::env::split_paths(&path).any(|folder| folder.join(&need.program).exists())
//! # };
//! # if let Some(need) = requirements(&QemuOptions::new("")).iter().find(|need| missing(need)) {
//! #     eprintln!("SKIPPED: {} is missing (package {})", need.program.display(), need.package);
//! #     return Ok(());
//! # }
//! let folder = tempfile::tempdir()?;
//! let image = folder.path().join("tiny");
//! std::fs::create_dir(&image)?;
//! std::fs::write(image.join("image.toml"), r#"
//!     schema = 1
//!     description = "a minimal image"
//!     [base.qemu]
//!     kind = "packages"
//!     packages = ["jq", "nftables", "openssl", "python3", "systemd-timesyncd"]
//!     [[step]]
//!     inline = "echo hello >/etc/motd"
//!     [[step]]
//!     provisioner = "seal"
//! "#)?;
//!
//! // 1. Events: collect the name of each finished stage.
//! let finished = Arc::new(Mutex::new(Vec::new()));
//! let sink = Arc::clone(&finished);
//! let events = Events::new(move |event: &Event| {
//!     if let Event::StageFinished { stage, ok: true, .. } = event {
//!         sink.lock().unwrap().push(stage.to_string());
//!     }
//! });
//! let interrupt = Interrupt::default();
//!
//! // 2. Definition, lock, plan.
//! let platforms = platform::all(None);
//! let definition = Definition::load(&image, &BTreeMap::new(), &platforms)?;
//! let locking = LockContext { now: Timestamp::now(), events: &events, interrupt: &interrupt };
//! let lock = lock::resolve(&definition, &platforms, Bases::All, &ReleaseServer, locking).await?;
//! let provisioners = Provisioners::load(&[PathBuf::from("provisioners")], &definition)?;
//! let plan = plan(&definition, &lock, &provisioners, &platforms, "qemu")?;
//!
//! // 3. A builder, and a store that accepts records of one signing key.
//! let cache = std::path::absolute("target/real-cache")?;
//! let builder = Qemu::new(QemuOptions::new(&cache));
//! let (key, _pem) = SigningKey::generate()?;
//! let trust = Trust::single_key(key.public());
//! let backend = Dir::new(folder.path().join("store"));
//! let store = Store::open_or_create(backend, &trust, Timestamp::now()).await?;
//! let store = store.with_signers(vec![Signer::Key(key)], interrupt.clone());
//!
//! // 4. Build and record.
//! let tool = Tool { version: "1.0.0".to_owned(), binary_sha256: None };
//! let context = RunContext {
//!     cache: &cache,
//!     guest_work: GUEST_WORK,
//!     events: &events,
//!     interrupt: &interrupt,
//!     now: &Timestamp::now,
//!     tool: &tool,
//! };
//! let options = BakeOptions {
//!     plan: &plan,
//!     version: None,
//!     revision: None,
//!     test: false,
//!     audit: None,
//!     on_error: &|_| OnError::Clean,
//! };
//! let baked = bake(&builder, &store, &options, &context).await?;
//!
//! assert_eq!(store.manifest(&baked.digest).await?.image, "tiny");
//! assert!(finished.lock().unwrap().contains(&"capture".to_owned()));
//! # Ok(())
//! # }
//! ```

// foundation
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
pub mod network;

// product
pub mod version_changes;
pub mod lint;
pub mod product;

// image
pub mod release;
pub mod definition;
pub mod lock;
pub mod provisioner;
pub mod plan;

// build
pub mod ssh;
pub mod identity;
pub mod builder;
pub mod platform;
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

// cluster
pub mod nodes;
pub mod cluster;
pub mod rollout;
