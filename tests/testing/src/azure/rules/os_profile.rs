//! `osProfile`: the login and the first-boot data of a VM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::answer::Refusal;
use super::super::world::{CloudState, list, text};
use super::source::Facts;

const LARGEST_CUSTOM_DATA_BYTES: usize = 65_535;
const KEPT_BACK: &[&str] = &[
    "administrator",
    "admin",
    "user",
    "user1",
    "test",
    "user2",
    "test1",
    "user3",
    "admin1",
    "1",
    "123",
    "a",
    "actuser",
    "adm",
    "admin2",
    "aspnet",
    "backup",
    "console",
    "david",
    "guest",
    "john",
    "owner",
    "root",
    "server",
    "sql",
    "support",
    "support_388945a0",
    "sys",
    "test2",
    "test3",
    "user4",
    "user5",
];

/// Checks `osProfile` against the image.
pub fn check(cloud: &CloudState, body: &Value, facts: &Facts) -> Result<(), Refusal> {
    let profile = &body["properties"]["osProfile"];
    if !facts.generalized {
        if profile.is_object() {
            return Err(Refusal::parameter(
                "osProfile",
                "Parameter 'osProfile' is not allowed for a specialized image.",
            ));
        }
        return Ok(());
    }
    let computer = text(profile, "/computerName");
    if computer.is_empty()
        || computer.len() > 64
        || computer.ends_with(['.', '-'])
        || computer.contains('_')
    {
        return Err(Refusal::parameter(
            "computerName",
            "Linux host name cannot exceed 64 characters in length or contain certain characters, and it is required.",
        ));
    }
    let user = text(profile, "/adminUsername");
    let own = cloud.config.machines.own_user();
    let kept_back =
        KEPT_BACK.contains(&user.to_lowercase().as_str()) && own.as_deref() != Some(user);
    if user.is_empty() || user.len() > 64 || kept_back {
        return Err(Refusal::parameter(
            "adminUsername",
            "The Admin Username specified is not allowed.",
        ));
    }
    let without_password = profile["linuxConfiguration"]["disablePasswordAuthentication"] == true;
    let keys = list(profile, "/linuxConfiguration/ssh/publicKeys");
    if without_password && (keys.is_empty() || !text(profile, "/adminPassword").is_empty()) {
        return Err(Refusal::parameter(
            "linuxConfiguration",
            "Authentication using SSH needs a public key and no password.",
        ));
    }
    if !without_password && text(profile, "/adminPassword").is_empty() {
        return Err(Refusal::parameter(
            "adminPassword",
            "Required parameter 'adminPassword' is missing (null).",
        ));
    }
    for key in keys {
        if text(key, "/path") != format!("/home/{user}/.ssh/authorized_keys") {
            let text = format!(
                "Destination path for SSH public keys is currently limited to its default value /home/{user}/.ssh/authorized_keys due to a known issue in Linux provisioning agent."
            );
            return Err(Refusal::parameter(
                "linuxConfiguration.ssh.publicKeys.path",
                text,
            ));
        }
        let data = text(key, "/keyData");
        let mut words = data.split_whitespace();
        let known = matches!(words.next(), Some("ssh-rsa" | "ssh-ed25519"));
        if !known
            || words
                .next()
                .is_none_or(|blob| STANDARD.decode(blob).is_err())
        {
            return Err(Refusal::parameter(
                "linuxConfiguration.ssh.publicKeys.keyData",
                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.",
            ));
        }
    }
    let custom = text(profile, "/customData");
    match STANDARD.decode(custom) {
        Ok(data) if data.len() <= LARGEST_CUSTOM_DATA_BYTES => Ok(()),
        _ => Err(Refusal::parameter(
            "customData",
            "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.",
        )),
    }
}
