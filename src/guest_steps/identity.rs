//! Gives a machine its identity over SSH, where no disk can bring it at boot.
//!
//! The image is not changed for it: a link appears where it waits for the disk, and the archive behind it is in tmpfs.

use std::time::Duration;

use super::{Guest, ProvisionError};
use crate::ssh::{Archive, Script, Session};

/// Uploads the identity `tar` below the guest's folder for uploads, which is there already, and starts what waits for it. An image that takes no identity is left alone.
pub async fn give_identity(
    guest: &Guest<'_>,
    session: &Session,
    tar: &[u8],
) -> Result<(), ProvisionError> {
    let folder = format!("{}/identity", guest.work);
    let failed = |error| ProvisionError::ssh(session.endpoint(), error);
    let bytes = tar.to_vec();
    let size = bytes.len() as u64;
    let write = move |archive: &mut Archive<'_>| archive.bytes("seed", 0o600, &bytes);
    session
        .upload(&folder, Some(size), write, guest.events, guest.interrupt)
        .await
        .map_err(failed)?;
    let script = Script {
        name: "identity".to_owned(),
        text: START.replace("FOLDER", &folder),
        timeout: Duration::from_secs(180),
    };
    session
        .output(script, guest.interrupt)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Whether a service comes up is for the checks to say.
const START: &str = r#"
set -eu
[ -r /etc/vault-bake/identity.conf ] || exit 0
. /etc/vault-bake/identity.conf
mkdir -p "$(dirname "$seed_device")"
ln -sfn FOLDER/seed "$seed_device"
systemctl reset-failed
systemctl restart vault-bake-identity.service || :
for unit in consul.service vault.service; do
    ! systemctl cat "$unit" >/dev/null 2>&1 || systemctl start "$unit" || :
done
"#;
