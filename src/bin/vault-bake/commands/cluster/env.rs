//! `cluster env`: prints what a Vault client needs. No secret is printed: the shell reads it.

use vault_bake::cluster::file::{FrontKind, Secrets, TierName};
use vault_bake::cluster::secrets::SecretName;
use vault_bake::cluster::state::Phase;
use vault_bake::product::vault::{API_PORT as VAULT_PORT, SERVER_NAME as VAULT_NAME};

use super::open;
use crate::args::cluster::Env;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

#[expect(clippy::unused_async, reason = "all verbs of `cluster` have one form")]
pub async fn run(invocation: &Invocation, args: &Env) -> Result<Exit, Failure> {
    let opened = open(invocation, &args.named)?;
    let state = opened.folder.require()?;
    if state.phase == Phase::Creating {
        let name = &opened.file.name;
        let message = format!("cannot print how to reach cluster {name}: it is not complete");
        let hint = format!("Run `vault-bake cluster up {name}`.");
        return Err(Failure::new(Exit::Conflict, message).hint(hint));
    }
    let address = match opened.file.front.kind {
        FrontKind::Haproxy => format!("https://127.0.0.1:{}", opened.file.front.port),
        FrontKind::None | FrontKind::Azure => {
            let address = state.addresses(TierName::Vault).into_iter().next();
            let name = &opened.file.name;
            let address = address.ok_or_else(|| {
                let message = format!("cannot find the address of cluster {name}: it has no Vault");
                Failure::usage(message).hint(format!("Run `vault-bake cluster up {name}`."))
            })?;
            format!("https://{address}:{VAULT_PORT}")
        }
    };
    let authority = opened.folder.path().join("ca.pem");
    let secret = SecretName::VaultOperator.to_string();
    let reading = match &opened.file.identity.secrets {
        Secrets::Folder => {
            let path = opened.folder.path().join("secrets").join(&secret);
            format!("cat {}", quote(&path.display().to_string()))
        }
        Secrets::Commands { fetch, .. } => {
            let words = fetch.iter().chain([&secret]).map(|word| quote(word));
            words.collect::<Vec<_>>().join(" ")
        }
    };
    if invocation.json {
        print_json(&serde_json::json!({
            "VAULT_ADDR": address, "VAULT_CACERT": authority, "VAULT_TLS_SERVER_NAME": VAULT_NAME,
            "VAULT_TOKEN_COMMAND": reading,
        }));
        return Ok(Exit::Done);
    }
    print_line(&format!("export VAULT_ADDR={}", quote(&address)));
    let authority = authority.display().to_string();
    print_line(&format!("export VAULT_CACERT={}", quote(&authority)));
    print_line(&format!("export VAULT_TLS_SERVER_NAME={VAULT_NAME}"));
    print_line(&format!("VAULT_TOKEN=\"$({reading})\""));
    print_line("export VAULT_TOKEN");
    Ok(Exit::Done)
}

/// Quotes a word for a shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
