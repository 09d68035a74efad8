//! Whether a Terraform plan may be applied, as far as images are concerned.
//!
//! In: what `terraform show -json` prints of a plan, and what is known of images: a store, a pin file, or both. Out: a
//! [`Report`] with a line for every image that the plan uses. Runs nothing and asks no cloud: an id that no record has is
//! untracked.

mod catalogue;
mod find;
mod check;
mod catalog_fields;
mod plan_file;
mod request;
mod uses;

pub use catalogue::Catalogue;
pub use check::{Kind, Mode, PlanFinding, Report, evaluate};
pub use plan_file::PlanFileError;
pub use uses::{Plan, Planned, Use};
