//! Encodes the SSH keys of a run for a VM, so that neither key is written to its disk.
//! Takes the keys; returns a systemd credential (passed by SMBIOS) or a NoCloud seed.
//! Both create two key files in `/run/vault-bake` (tmpfs) and a drop-in that points sshd to them.

use crate::secret::Secret;
use crate::ssh::Keys;

const HOST_KEY: &str = "/run/vault-bake/host_key";
const AUTHORIZED_KEYS: &str = "/run/vault-bake/authorized_keys";
/// sshd uses the first value of an option, so this name must sort first.
const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-vault-bake.conf";
const SSHD: &str = "HostKey /run/vault-bake/host_key\n\
    AuthorizedKeysFile /run/vault-bake/authorized_keys\n\
    PermitRootLogin prohibit-password\n";

/// A file in the VM.
pub(crate) struct GuestFile {
    pub path: &'static str,
    pub mode: &'static str,
    pub content: Secret,
}

fn files(keys: &Keys) -> [GuestFile; 3] {
    [
        GuestFile {
            path: HOST_KEY,
            mode: "0600",
            content: keys.host_private.clone(),
        },
        GuestFile {
            path: AUTHORIZED_KEYS,
            mode: "0600",
            content: Secret::new(format!("{}\n", keys.user_public.trim_end())),
        },
        GuestFile {
            path: DROP_IN,
            mode: "0644",
            content: Secret::new(SSHD),
        },
    ]
}

/// The purpose of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A build.
    Build {
        /// Further lines for systemd-tmpfiles.
        lines: &'static str,
    },
    /// A boot test, as a node.
    BootTest,
}

/// Returns an SMBIOS string (type 11) with a credential for systemd-tmpfiles, which creates the
/// files at boot.
///
/// In a build VM it also creates a flag file, for units that must not set up a node during a build.
pub fn credential(keys: &Keys, purpose: Purpose) -> Secret {
    smbios_string(&tmpfiles(keys, purpose))
}

/// Returns the SMBIOS string for a value of the credential.
pub(crate) fn smbios_string(tmpfiles: &Secret) -> Secret {
    Secret::new(format!(
        "io.systemd.credential.binary:tmpfiles.extra={}",
        tmpfiles.expose()
    ))
}

/// Returns the value of the credential: lines for systemd-tmpfiles, in base64.
pub fn tmpfiles(keys: &Keys, purpose: Purpose) -> Secret {
    let mut lines = String::from("d /run/vault-bake 0700 root root -\n");
    if let Purpose::Build { lines: further } = purpose {
        lines.push_str("f+ /run/vault-bake/building 0644 root root -\n");
        lines.push_str(further);
    }
    encode(lines, &files(keys))
}

/// Returns the value of a credential: lines for systemd-tmpfiles, and one more for each file.
pub(crate) fn encode(mut lines: String, files: &[GuestFile]) -> Secret {
    for file in files {
        lines.push_str(&format_line(file));
    }
    Secret::new(base64(&lines))
}

/// Formats one line for systemd-tmpfiles: `f+` creates or overwrites a file, `~` means that the
/// content is base64.
fn format_line(file: &GuestFile) -> String {
    let content = base64(file.content.expose());
    format!("f+~ {} {} root root - {content}\n", file.path, file.mode)
}

/// Returns the `user-data` of a NoCloud seed. It is JSON, which is valid YAML, so no YAML quoting
/// is needed.
pub fn user_data(keys: &Keys) -> Secret {
    let write_files: Vec<_> = files(keys)
        .into_iter()
        .map(|file| {
            serde_json::json!({
                "path": file.path,
                "permissions": file.mode,
                "owner": "root:root",
                "encoding": "b64",
                "content": base64(file.content.expose()),
            })
        })
        .collect();
    let config = serde_json::json!({
        "write_files": write_files,
        "users": [],
        "disable_root": false,
        "ssh_pwauth": false,
        // No host keys are generated, so the image cannot contain one.
        "ssh_deletekeys": true,
        "ssh_genkeytypes": [],
        "ssh_quiet_keygen": true,
        "no_ssh_fingerprints": true,
        // Generating a locale would change the image, and fails if the base has no locales package.
        "locale": false,
        "package_update": false,
        "package_upgrade": false,
    });
    Secret::new(format!("#cloud-config\n{config}\n"))
}

/// Returns the `meta-data` of a NoCloud seed. Each VM of a run is a new instance.
pub fn meta_data(instance: &str) -> String {
    let data = serde_json::json!({ "instance-id": instance, "local-hostname": "localhost" });
    format!("{data}\n")
}

fn base64(text: &str) -> String {
    openssl::base64::encode_block(text.as_bytes())
}
