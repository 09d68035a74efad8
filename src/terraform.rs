//! Evaluates the images in a Terraform plan.
//! Takes the output of `terraform show -json`, and a store, a pin file, or both; returns a
//! [`Report`] with a line for each image. Runs no program and calls no cloud.

mod catalogue;
mod find;
mod image;
mod check;
mod catalog_fields;
mod plan_file;
mod request;
mod uses;
mod values;

pub use catalogue::Catalog;
pub use check::{CheckMode, FindingKind, PlanFinding, PlanReport, evaluate};
pub use image::PlannedImage;
pub use plan_file::PlanFileError;
pub use uses::{ImageUse, Plan};
