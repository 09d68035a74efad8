//! Arguments that several verbs share: global options, images, variables and releases.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

/// The heading of the global options.
const SHARED: &str = "Shared options";

/// Options of every verb.
#[derive(Args)]
pub struct Global {
    /// Print one JSON object a line on standard output, and nothing else there
    #[arg(long, global = true, help_heading = SHARED, hide_short_help = true)]
    pub json: bool,
    /// Project folder with `images/`, and `provisioners/` if it has its own
    /// [default: the nearest parent folder with `images/`]
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "DIR",
        env = "VAULT_BAKE_PROJECT"
    )]
    pub project: Option<PathBuf>,
    /// Store of manifests, test records and artifacts: a folder, or
    /// https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]
    /// [default: `at` of `[store]` in vault-bake.toml, or ~/.local/share/vault-bake/store]
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "PLACE",
        env = "VAULT_BAKE_STORE",
        hide_env_values = true
    )]
    pub store: Option<PathBuf>,
    /// Cache folder for bases, releases, layers, logs and running builds
    /// [default: ~/.cache/vault-bake]
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "DIR",
        env = "VAULT_BAKE_CACHE"
    )]
    pub cache: Option<PathBuf>,
    /// The signing key and the trust policy.
    #[command(flatten)]
    pub keys: Keys,
}

/// The keys of records.
#[derive(Args)]
pub struct Keys {
    /// File with the private key that signs records
    /// [default: ~/.config/vault-bake/signing-key.pem, created when first needed]
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "FILE",
        env = "VAULT_BAKE_SIGNING_KEY"
    )]
    pub signing_key: Option<PathBuf>,
    /// Program with arguments that signs instead of a key file: it reads bytes from standard input
    /// and writes the signature to standard output
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "COMMAND",
        env = "VAULT_BAKE_SIGNER",
        value_parser = NonEmptyStringValueParser::new(),
        requires = "signer_public_key",
        conflicts_with = "signing_key"
    )]
    pub signer: Option<String>,
    /// File with the public key of that program
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "FILE",
        env = "VAULT_BAKE_SIGNER_PUBLIC_KEY"
    )]
    pub signer_public_key: Option<PathBuf>,
    /// Your copy of the store's trust policy; a store that never had this policy is refused
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "FILE",
        env = "VAULT_BAKE_TRUST"
    )]
    pub trust: Option<PathBuf>,
}

/// The definition of an image.
#[derive(Args)]
pub struct Image {
    /// Name of the image in `images/`, or a folder with an `image.toml`
    pub image: String,
    /// Values of its variables.
    #[command(flatten)]
    pub vars: Vars,
    /// Lock file to read or write [default: `image.lock` next to `image.toml`]
    #[arg(long, value_name = "FILE")]
    pub lock_file: Option<PathBuf>,
}

/// Values of variables.
#[derive(Args)]
pub struct Vars {
    /// Value of a variable; a list is `a,b` or `["a","b"]`. Pass sensitive values in the
    /// environment instead, as VB_VAR_name
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
}

/// The source of releases, if it differs from the one of the definition.
#[derive(Args)]
pub struct Releases {
    /// Mirror of the releases: a URL, or a folder with the layout of HashiCorp's server
    #[arg(long, value_name = "URL", env = "VAULT_BAKE_RELEASES",
        value_parser = NonEmptyStringValueParser::new())]
    pub releases: Option<String>,
    /// File with the OpenPGP certificate that signs the releases
    #[arg(long, value_name = "FILE", env = "VAULT_BAKE_RELEASE_KEY_FILE")]
    pub release_key_file: Option<PathBuf>,
    /// Primary fingerprint of that certificate [default: HashiCorp's]
    #[arg(long, value_name = "HEX", env = "VAULT_BAKE_RELEASE_FINGERPRINT",
        value_parser = NonEmptyStringValueParser::new())]
    pub release_fingerprint: Option<String>,
}

/// A recorded image.
#[derive(Args)]
pub struct ImageReference {
    /// Image: `name@version`, `sha256:…`, `name:channel`, or a name for its newest version
    pub reference: String,
}

/// Whether other keys sign too.
#[derive(Args)]
pub struct Propose {
    /// Propose it for other keys to sign, if the trust policy requires several
    #[arg(long)]
    pub propose: bool,
}
