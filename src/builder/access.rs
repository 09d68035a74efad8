//! How a machine learns its host key and whom to let in, without either touching its disk.
//!
//! In: the keys of a run. Out: the content of a systemd credential (passed by SMBIOS) or of a NoCloud seed. Both
//! make the same three files: host key and authorized key in `/run/vault-bake` (tmpfs), and one drop-in that points
//! sshd to them. Deliberately returns secrets, never text that could be printed.

use crate::secret::Secret;
use crate::ssh::Keys;

const HOST_KEY: &str = "/run/vault-bake/host_key";
const AUTHORIZED_KEYS: &str = "/run/vault-bake/authorized_keys";
/// sshd takes the first value that it reads; this name sorts first.
const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-vault-bake.conf";
const SSHD: &str = "HostKey /run/vault-bake/host_key\n\
    AuthorizedKeysFile /run/vault-bake/authorized_keys\n\
    PermitRootLogin prohibit-password\n";

/// The three files: path, mode, content.
fn files(keys: &Keys) -> [(&'static str, &'static str, Secret); 3] {
    [
        (HOST_KEY, "0600", keys.host_private.clone()),
        (
            AUTHORIZED_KEYS,
            "0600",
            Secret::new(format!("{}\n", keys.user_public.trim_end())),
        ),
        (DROP_IN, "0644", Secret::new(SSHD)),
    ]
}

/// What a machine is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An image is made in it, on processors that are emulated or not.
    Build {
        /// Whether they are.
        emulated: bool,
    },
    /// It is tried as a node.
    Trial,
}

/// An SMBIOS string (type 11) with a credential for systemd-tmpfiles, which makes the files at boot; and a mark, where an
/// image is being made, for units that must not make the machine a node of its own.
///
/// An emulator keeps what it translated by address: where every program starts at another one, all of it is translated
/// again, which is most of the time that a short program takes. So while an image is made under emulation addresses are
/// not at random. Nodes, and machines that are tried as such, know nothing of it.
pub fn credential(keys: &Keys, purpose: Purpose) -> Secret {
    Secret::new(format!(
        "io.systemd.credential.binary:tmpfiles.extra={}",
        tmpfiles(keys, purpose).expose()
    ))
}

/// What the credential holds: lines for systemd-tmpfiles, in base64.
pub fn tmpfiles(keys: &Keys, purpose: Purpose) -> Secret {
    let mut lines = String::from("d /run/vault-bake 0700 root root -\n");
    if let Purpose::Build { emulated } = purpose {
        lines.push_str("f+ /run/vault-bake/building 0644 root root -\n");
        if emulated {
            lines.push_str("w /proc/sys/kernel/randomize_va_space - - - - 0\n");
        }
    }
    for (path, mode, content) in files(keys) {
        let content = base64(content.expose());
        lines.push_str(&format_line(path, mode, &content));
    }
    Secret::new(base64(&lines))
}

/// `f+` makes or overwrites, `~` says that the content is base64.
fn format_line(path: &str, mode: &str, content: &str) -> String {
    format!("f+~ {path} {mode} root root - {content}\n")
}

/// `user-data` of a NoCloud seed. JSON is YAML, so nothing needs quoting of ours.
pub fn user_data(keys: &Keys) -> Secret {
    let write_files: Vec<_> = files(keys)
        .into_iter()
        .map(|(path, mode, content)| {
            serde_json::json!({
                "path": path,
                "permissions": mode,
                "owner": "root:root",
                "encoding": "b64",
                "content": base64(content.expose()),
            })
        })
        .collect();
    let config = serde_json::json!({
        "write_files": write_files,
        "users": [],
        "disable_root": false,
        "ssh_pwauth": false,
        // No host key is made: none could then be left in the image.
        "ssh_deletekeys": true,
        "ssh_genkeytypes": [],
        "ssh_quiet_keygen": true,
        "no_ssh_fingerprints": true,
        // Making one would change the machine, and fails where the base has none to make.
        "locale": false,
        "package_update": false,
        "package_upgrade": false,
    });
    Secret::new(format!("#cloud-config\n{config}\n"))
}

/// `meta-data` of a NoCloud seed: a new instance for each machine of a run.
pub fn meta_data(instance: &str) -> String {
    let data = serde_json::json!({ "instance-id": instance, "local-hostname": "localhost" });
    format!("{data}\n")
}

fn base64(text: &str) -> String {
    openssl::base64::encode_block(text.as_bytes())
}
