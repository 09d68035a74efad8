//! The provisioners and images that the program contains.
//! Provisioners are unpacked into the cache, once for each content, and searched after the
//! project's own. Images are copied into new projects.

use std::path::PathBuf;

use include_dir::include_dir;
use vault_bake::cluster::file::Subnet;
use vault_bake::digest::Digest;

use crate::exit::Failure;
use crate::invocation::Invocation;
use crate::new_files::NewFile;

/// The shipped provisioners: the program works without a checkout of this repository.
static SHIPPED: include_dir::Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/provisioners");

/// The image of Consul servers.
pub const CONSUL_IMAGE: &str = "consul-server";

/// The image of Vault nodes.
pub const VAULT_IMAGE: &str = "vault-server";

/// The variable of the image of Consul servers that lists the subnets which may manage them.
pub const MANAGEMENT_SUBNETS: &str = "management_subnets";

const CONSUL_DEFINITION: &str = include_str!("../../../images/consul-server/image.toml");
const VAULT_DEFINITION: &str = include_str!("../../../images/vault-server/image.toml");

/// Returns the definitions of a new project, for nodes that are managed from `subnet`.
pub fn shipped_images(subnet: Subnet) -> [NewFile; 2] {
    let consul = with_default(CONSUL_DEFINITION, MANAGEMENT_SUBNETS, &subnet.to_string());
    let consul = consul.expect("the shipped definition has the variable");
    let file = |image: &str, text: String| NewFile::new(format!("images/{image}/image.toml"), text);
    [
        file(CONSUL_IMAGE, consul),
        file(VAULT_IMAGE, VAULT_DEFINITION.to_owned()),
    ]
}

/// Replaces the empty default of a list variable with a list of one value. Returns `None` if the
/// definition has no such variable.
fn with_default(definition: &str, variable: &str, value: &str) -> Option<String> {
    let header = format!("[variables.{variable}]\n");
    let (before, after) = definition.split_once(&header)?;
    let end = after.find("\n[").unwrap_or(after.len());
    let (table, rest) = after.split_at(end);
    let replaced = table.replacen("default = []", &format!("default = [\"{value}\"]"), 1);
    (replaced != table).then(|| [before, &header, &replaced, rest].concat())
}

impl Invocation {
    /// Returns the folders with provisioners; those of the project come first.
    pub fn provisioners(&self) -> Result<Vec<PathBuf>, Failure> {
        Ok(vec![
            self.project.join("provisioners"),
            self.shipped_provisioners()?,
        ])
    }

    /// Returns the folder of the shipped provisioners. Unpacks them into the cache if needed.
    fn shipped_provisioners(&self) -> Result<PathBuf, Failure> {
        let failed = |error: std::io::Error| self.unusable_cache(&error);
        let folder = self
            .cache
            .join("provisioners")
            .join(digest_of(&SHIPPED).short());
        if folder.is_dir() {
            return Ok(folder);
        }
        let parent = self.cache.join("provisioners");
        std::fs::create_dir_all(&parent).map_err(failed)?;
        let temporary = tempfile::tempdir_in(&parent).map_err(failed)?;
        SHIPPED.extract(temporary.path()).map_err(failed)?;
        match std::fs::rename(temporary.keep(), &folder) {
            Err(error) if !folder.is_dir() => Err(failed(error)),
            _ => Ok(folder),
        }
    }
}

/// Returns a digest over paths and contents of all files in a folder.
fn digest_of(folder: &include_dir::Dir<'_>) -> Digest {
    fn add_files(folder: &include_dir::Dir<'_>, files: &mut Vec<(String, String)>) {
        for file in folder.files() {
            let path = file.path().to_string_lossy().into_owned();
            files.push((path, Digest::hash_bytes(file.contents()).to_string()));
        }
        folder.dirs().for_each(|inner| add_files(inner, files));
    }
    let mut files = Vec::new();
    add_files(folder, &mut files);
    files.sort();
    Digest::hash_value(&files)
}
