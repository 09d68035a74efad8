//! What may be asked about pins, and of what deploys by them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Pinning.
#[derive(Args)]
pub struct Pin {
    /// The channel to pin, `name:channel`; with --update the names of pins [default: all]
    #[arg(value_name = "IMAGE:CHANNEL|NAME", required_unless_present = "update")]
    pub names: Vec<String>,
    /// What to call the pin [default: `name:channel`]
    #[arg(long = "as", value_name = "NAME", conflicts_with = "update")]
    pub name: Option<String>,
    /// Move pins to what their channels hold now, and print what changes
    #[arg(long)]
    pub update: bool,
    /// The pin file
    #[arg(long, value_name = "FILE", default_value = "vault-bake.pins.json")]
    pub file: PathBuf,
    /// Say what would be written and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Resolving.
#[derive(Args)]
pub struct Resolve {
    /// With --pins the name of a pin; else `name:channel`, `name@version`, `sha256:…` or a name (the newest that
    /// may be deployed)
    #[arg(value_name = "REF|NAME")]
    pub reference: Option<String>,
    /// Ask this pin file alone, no store and no network: what deployments do
    #[arg(long, value_name = "FILE")]
    pub pins: Option<PathBuf>,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t = Form::Json)]
    pub format: Form,
    /// Which output, where an image has several: `local` or `azure/REGION`
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// The variable in a tfvars file
    #[arg(long, value_name = "VARIABLE", default_value = "vault_image")]
    pub name: String,
    /// A field, and the parameter of the Bicep file that gets it, as in image_id=vmImageId; may be repeated
    #[arg(long, value_name = "FIELD=PARAMETER")]
    pub map: Vec<String>,
    /// Accept an image that is revoked
    #[arg(long, conflicts_with = "pins")]
    pub allow_revoked: bool,
    /// Accept an image that was not tested, or that failed its test
    #[arg(long, conflicts_with = "pins")]
    pub allow_untested: bool,
}

/// Forms of an answer.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One JSON object on one line
    Json,
    /// The image's id alone
    Plain,
    /// A Terraform variables file: *.auto.tfvars.json
    Tfvars,
    /// What Terraform's data source `external` reads; its query on standard input may name pin, pins_file, ref, target
    TerraformExternal,
    /// A parameter file for Bicep, with what --map asks for
    Bicep,
    /// VAULT_BAKE_IMAGE_ID='…' and so on
    Env,
    /// Lines to append to $GITHUB_OUTPUT
    Github,
}

/// Checking a plan.
#[derive(Args)]
pub struct CheckPlan {
    /// What `terraform show -json PLANFILE` printed
    #[arg(value_name = "PLAN.json")]
    pub plan: PathBuf,
    /// Only what this pin file pins is tracked; without --store, the file alone is asked
    #[arg(long, value_name = "FILE")]
    pub pins: Option<PathBuf>,
    /// Refuse images that no record has, or that cannot be checked: the default
    #[arg(long, conflicts_with = "lenient")]
    pub strict: bool,
    /// List images that are not known instead of refusing them
    #[arg(long)]
    pub lenient: bool,
    /// Accept images that are revoked
    #[arg(long)]
    pub allow_revoked: bool,
    /// Accept images that were not tested, or that failed their test
    #[arg(long)]
    pub allow_untested: bool,
}
