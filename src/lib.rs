//! Bakes hardened, verified and recorded Vault and Consul images.

// ground
pub mod digest;
pub mod secret;
pub mod event;
pub mod wait;
pub mod process;
pub mod http;
pub mod teardown;

// image
pub mod definition;
pub mod release;
pub mod lock;
pub mod provisioner;
pub mod plan;

// bake
pub mod ssh;
pub mod identity;
pub mod builder;
pub mod provision;
pub mod manifest;
pub mod store;
pub mod world;
pub mod record;
pub mod trial;
pub mod bake;
