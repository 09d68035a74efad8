//! Arguments of the verbs that deployments use: `pin`, `resolve`, `fetch` and `check-plan`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::groups::example;

/// Write the current image of a channel, with its proof, to a pin file
///
/// A channel moves; a deployment must not move with it. Commit the pin file to the repository of
/// the deployment: it contains the signed records that prove the image.
#[derive(Args)]
#[command(after_help = example("pin web:prod"))]
pub struct Pin {
    /// Channels to pin, `name:channel`; with --update, names of pins [default: all pins]
    #[arg(value_name = "IMAGE:CHANNEL|NAME", required_unless_present = "update")]
    pub names: Vec<String>,
    /// Name of the pin [default: `name:channel`]
    #[arg(long = "as", value_name = "NAME", conflicts_with = "update")]
    pub name: Option<String>,
    /// Move pins to the current images of their channels, and print the differences
    #[arg(long)]
    pub update: bool,
    /// Pin file
    #[arg(long, value_name = "FILE", default_value = "vault-bake.pins.json")]
    pub file: PathBuf,
    /// Print the changes without writing the file
    #[arg(long)]
    pub dry_run: bool,
}

/// Print the id of an image in the format that a deployment reads
///
/// Terraform, Bicep, shells and GitHub Actions are supported. With --pins, only the pin file is
/// read. Without it, the store is asked, and an image that is not deployable is refused.
#[derive(Args)]
#[command(after_help = example("resolve --pins vault-bake.pins.json web:prod --format tfvars"))]
pub struct Resolve {
    /// With --pins, the name of a pin; otherwise `name:channel`, `name@version`, `sha256:…`, or a
    /// name for its newest deployable version
    #[arg(value_name = "REF|NAME")]
    pub reference: Option<String>,
    /// Read this pin file only, without store and network
    #[arg(long, value_name = "FILE")]
    pub pins: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = ResolveFormat::Json)]
    pub format: ResolveFormat,
    /// Output of an image that has several: `local` or `azure/REGION`
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Name of the variable, for `--format tfvars`
    #[arg(long, value_name = "VARIABLE", default_value = "vault_image")]
    pub name: String,
    /// Parameter that gets a field, for `--format bicep`; repeat it for more fields, for example
    /// image_id=vmImageId
    #[arg(long, value_name = "FIELD=PARAMETER")]
    pub map: Vec<String>,
    /// Accept a revoked image
    #[arg(long, conflicts_with = "pins")]
    pub allow_revoked: bool,
    /// Accept an image that is untested or failed its test
    #[arg(long, conflicts_with = "pins")]
    pub allow_untested: bool,
}

/// Copy the artifact of an image to a file, and check its digest
///
/// A hypervisor needs the file itself, on its own disk. An image that is not deployable is refused.
#[derive(Args)]
#[command(after_help = example("fetch web:prod --to web.qcow2"))]
pub struct Fetch {
    /// With --pins, the name of a pin; otherwise `name:channel`, `name@version`, `sha256:…`, or a
    /// name for its newest deployable version
    #[arg(value_name = "REF|NAME")]
    pub reference: String,
    /// The file to create
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Fetch the image that this pin file names
    #[arg(long, value_name = "FILE")]
    pub pins: Option<PathBuf>,
    /// Accept a revoked image
    #[arg(long)]
    pub allow_revoked: bool,
    /// Accept an image that is untested or failed its test
    #[arg(long)]
    pub allow_untested: bool,
}

/// The output format of `resolve`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ResolveFormat {
    /// One JSON object on one line
    Json,
    /// The id of the image alone
    Plain,
    /// Terraform variables file, *.auto.tfvars.json
    Tfvars,
    /// For Terraform's data source `external`; reads pin, pins_file, ref and target from standard
    /// input
    TerraformExternal,
    /// Parameter file for Bicep, with the fields of --map
    Bicep,
    /// Shell variables, such as VAULT_BAKE_IMAGE_ID='…'
    Env,
    /// Lines for $GITHUB_OUTPUT
    Github,
}

/// Check that a Terraform plan deploys only allowed images
///
/// Reads the output of `terraform show -json`. Exit code 6 means that an image is revoked,
/// untested or unknown.
#[derive(Args)]
#[command(after_help = example("check-plan plan.json --pins vault-bake.pins.json"))]
pub struct CheckPlan {
    /// Output of `terraform show -json PLANFILE`
    #[arg(value_name = "PLAN.json")]
    pub plan: PathBuf,
    /// Accept only images of this pin file; without --store, the store is not read
    #[arg(long, value_name = "FILE")]
    pub pins: Option<PathBuf>,
    /// Refuse images that are unknown or cannot be checked; this is the default
    #[arg(long, conflicts_with = "lenient")]
    pub strict: bool,
    /// List unknown images instead of refusing them
    #[arg(long)]
    pub lenient: bool,
    /// Accept revoked images
    #[arg(long)]
    pub allow_revoked: bool,
    /// Accept images that are untested or failed their test
    #[arg(long)]
    pub allow_untested: bool,
}
