//! Images that several tests need: one test builds them, the others get a copy of its project.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use vault_bake::digest::Digest;

use super::TestProject;

/// What a copy has: the store, its key, the definitions, and the releases that are named in them.
const COPIED: [&str; 4] = ["store", "config", "images", "mirror"];

/// The place for one project that tests share. Another test that asks for it waits meanwhile.
pub struct Shared {
    folder: PathBuf,
    _lock: File,
}

impl Shared {
    /// Waits until no other test has the place.
    pub async fn wait(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let lock = File::create(folder.with_extension("lock")).expect("a lock file");
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
        Self {
            folder,
            _lock: lock.expect("it ends").expect("a lock"),
        }
    }

    /// Copies what this binary built from these definitions to `project`. Returns false if there
    /// is no such project.
    pub fn copy_to(&self, project: &TestProject, definitions: &str) -> bool {
        let key = fs::read_to_string(self.folder.join("key")).unwrap_or_default();
        let is_ours = key == self::key(project, definitions);
        if is_ours {
            copy(&self.folder, project.root());
        }
        is_ours
    }

    /// Puts a copy of `project` here.
    pub fn publish(&self, project: &TestProject, definitions: &str) {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).expect("the old copy is deleted");
        }
        fs::create_dir_all(&self.folder).expect("a folder");
        copy(project.root(), &self.folder);
        // Last: a copy without it is not complete.
        fs::write(self.folder.join("key"), key(project, definitions)).expect("a file");
    }
}

/// Returns a text that differs if the binary, the definitions or the releases differ.
fn key(project: &TestProject, definitions: &str) -> String {
    let binary = Digest::hash_file(Path::new(env!("CARGO_BIN_EXE_vault-bake")));
    let (binary, _) = binary.expect("the binary");
    let definitions = Digest::hash_bytes(definitions.as_bytes());
    let (vault, consul) = (&project.releases.vault, &project.releases.consul);
    let signer = project.releases.fingerprint.as_deref().unwrap_or_default();
    format!("{binary} {definitions} {vault} {consul} {signer}")
}

fn copy(from: &Path, to: &Path) {
    for name in COPIED {
        let target = to.join(name);
        if target.exists() {
            fs::remove_dir_all(&target).expect("the old folder is deleted");
        }
        super::copy(&from.join(name), &target);
    }
}
