//! `vault-bake.toml`: what it may say, and where it is wrong.

use std::path::Path;

use vault_bake::project::{Azure, NoSignature, Project, Source};
use vault_bake::secret::Secret;
use vault_bake::store::blob::Credential;

fn parse(text: &str) -> Result<Project, String> {
    Project::parse(Path::new("vault-bake.toml"), text).map_err(|problem| problem.to_string())
}

#[test]
fn everything_may_be_left_out() {
    assert_eq!(parse("").unwrap(), Project::default());
    assert_eq!(parse("[store]\n").unwrap(), Project::default());
    let text = "[store]\nat = \"https://acme.blob.core.windows.net/images\"\n\n[store.azure]\n\
        credential = \"managed-identity\"\nclient_id = \"11111111-2222\"\n";
    let project = parse(text).unwrap();
    assert_eq!(
        project.store.as_deref(),
        Some("https://acme.blob.core.windows.net/images")
    );
    assert_eq!(project.azure.source, Some(Source::ManagedIdentity));
    assert_eq!(project.azure.client_id.as_deref(), Some("11111111-2222"));
}

#[test]
fn problems_name_file_line_and_way_out() {
    let mut table = Vec::new();
    for text in [
        "store = \"here\"",
        "[stor]\nat = \"here\"",
        "[store]\n\nath = \"here\"",
        "[store]\nat = 7",
        "[store]\nat = \"here",
        "[store.azure]\ncredential = \"managed\"",
        "[store.azure]\ncredential = \"SAS\"",
        "[store.azure]\nsas = \"sv=2025\"",
        "[store.azure]\nclient_id = \"1\"",
        "[store.azure]\ncredential = \"developer-tools\"\nclient_id = \"1\"",
        "[store.azure]\ncredential = \"workload-identity\"\nclient_id = 1",
    ] {
        table.push(format!(
            "{}\n{}",
            text.replace('\n', "\\n"),
            parse(text).unwrap_err()
        ));
    }
    insta::assert_snapshot!(table.join("\n\n"));
}

#[test]
fn a_configured_source_never_falls_through_to_another() {
    let chosen = |source: Option<Source>, signed: bool| {
        let azure = Azure {
            source,
            client_id: None,
        };
        azure.credential(signed.then(|| Secret::new("sv=2025&sig=x")))
    };
    let is = |credential: Result<Credential, NoSignature>, wanted: &Credential| {
        assert!(credential.is_ok_and(|credential| credential == *wanted));
    };
    let signature = Credential::Sas(Secret::new("sv=2025&sig=x"));
    is(chosen(None, false), &Credential::DeveloperTools);
    is(chosen(None, true), &signature);
    is(chosen(Some(Source::Sas), true), &signature);
    assert!(chosen(Some(Source::Sas), false).is_err());
    for signed in [false, true] {
        let (client_id, workload) = (None, Credential::WorkloadIdentity { client_id: None });
        is(
            chosen(Some(Source::DeveloperTools), signed),
            &Credential::DeveloperTools,
        );
        is(
            chosen(Some(Source::ManagedIdentity), signed),
            &Credential::ManagedIdentity { client_id },
        );
        is(chosen(Some(Source::WorkloadIdentity), signed), &workload);
    }
}
