//! The verbs, one file each. A verb takes its arguments and prints its result.
//! It returns an exit code or a failure.

pub mod build;
pub mod channel;
pub mod check_plan;
pub mod cluster;
pub mod complete;
pub mod completions;
pub mod diff;
pub mod doctor;
pub mod fetch;
pub mod gc;
mod gc_report;
mod gc_sources;
pub mod identity;
pub mod images;
pub mod init;
pub mod lint;
pub mod lock;
pub mod man;
pub mod pin;
pub mod plan;
pub mod promote;
pub mod proposals;
pub mod resolve;
pub mod restore;
pub mod revoke;
pub mod rollback;
pub mod rollout;
pub mod sbom;
pub mod show;
pub mod sign;
pub mod store;
pub mod sweep;
pub mod test;
pub mod trust;
pub mod validate;
pub mod verify;

pub use crate::output::{
    print_file, print_header, print_json, print_line, print_text, print_warning,
};
