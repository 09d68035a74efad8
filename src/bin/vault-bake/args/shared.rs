//! The options that every verb has.

use std::path::PathBuf;

use clap::Args;

/// The heading of options that every verb has.
const SHARED: &str = "Shared options";

/// Options of every verb.
#[derive(Args)]
pub struct Global {
    /// Print one JSON object a line on standard output, and nothing else there
    #[arg(long, global = true, help_heading = SHARED, hide_short_help = true)]
    pub json: bool,
    /// Folder with `images/` and perhaps `provisioners/` [default: the nearest one upwards from here]
    #[arg(long, global = true, help_heading = SHARED, hide_short_help = true, value_name = "DIR", env = "VAULT_BAKE_PROJECT")]
    pub project: Option<PathBuf>,
    /// Store of manifests, test records, images: a folder, or https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]
    /// [default: what `vault-bake.toml` says, or ~/.local/share/vault-bake/store]
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "PLACE",
        env = "VAULT_BAKE_STORE",
        hide_env_values = true
    )]
    pub store: Option<PathBuf>,
    /// Folder for what can be made again: bases, releases, logs, work in progress [default: ~/.cache/vault-bake]
    #[arg(long, global = true, help_heading = SHARED, hide_short_help = true, value_name = "DIR", env = "VAULT_BAKE_CACHE")]
    pub cache: Option<PathBuf>,
    /// Who signs records, and whose signatures are believed
    #[command(flatten)]
    pub keys: Keys,
}

/// Keys of records.
#[derive(Args)]
pub struct Keys {
    /// File with the private key that signs records [default: ~/.config/vault-bake/signing-key.pem, made when first needed]
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "FILE",
        env = "VAULT_BAKE_SIGNING_KEY"
    )]
    pub signing_key: Option<PathBuf>,
    /// Program that signs instead, with arguments: bytes on its standard input, signature on its standard output
    #[arg(
        long,
        global = true,
        help_heading = SHARED, hide_short_help = true,
        value_name = "COMMAND",
        env = "VAULT_BAKE_SIGNER",
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
    /// Your copy of the store's trust policy: a store that never had it is refused
    #[arg(long, global = true, help_heading = SHARED, hide_short_help = true, value_name = "FILE", env = "VAULT_BAKE_TRUST")]
    pub trust: Option<PathBuf>,
}
