//! Gives a machine its identity over SSH, where no disk can bring it at boot.
//!
//! The image is not changed for it: a link appears where it waits for the disk, and the archive behind it is in tmpfs.

use std::time::Duration;

use super::ProvisionError;
use crate::event::Events;
use crate::ssh::{Script, Session};
use crate::wait::Interrupt;

/// Uploads the identity `tar` and starts what waits for it. An image that takes no identity is left alone.
pub async fn give_identity(
    session: &Session,
    tar: &[u8],
    events: &Events,
    interrupt: &Interrupt,
) -> Result<(), ProvisionError> {
    let failed = |error| ProvisionError::ssh(session.endpoint(), error);
    let bytes = tar.to_vec();
    let size = bytes.len() as u64;
    let write = move |archive: &mut crate::ssh::Archive<'_>| archive.bytes("seed", 0o600, &bytes);
    session
        .upload(FOLDER, Some(size), write, events, interrupt)
        .await
        .map_err(failed)?;
    let script = Script {
        name: "identity".to_owned(),
        text: START.replace("FOLDER", FOLDER),
        timeout: Duration::from_secs(180),
    };
    session.output(script, interrupt).await.map_err(failed)?;
    Ok(())
}

/// In tmpfs.
const FOLDER: &str = "/run/vault-bake/identity";

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
