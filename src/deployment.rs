//! Whether a Terraform plan may be applied, as far as images are concerned.
//!
//! In: what `terraform show -json` prints of a plan, and what is known of images: a store, a pin file, or both. Out: a
//! [`Report`] with a line for every image that the plan uses. Deliberately runs nothing and asks no cloud: an id that no
//! record has is untracked, whatever may be behind it.

mod catalogue;
mod judge;
mod uses;

pub use catalogue::Catalogue;
pub use judge::{Finding, Kind, Report, judge};
pub use uses::{PlanError, Use, uses};
