//! `vault-bake.toml`: allowed content, and errors with their lines.

use std::collections::BTreeMap;
use std::path::Path;

use vault_bake::azure::{Cloud, CredentialKind, CredentialSource};
use vault_bake::project_file::{Azure, ProjectFile, StoreCredential, StoreCredentialError};
use vault_bake::secret::Secret;
use vault_bake::store::blob::Credential;

use crate::problems::problems_text;

fn parse(text: &str) -> Result<ProjectFile, String> {
    ProjectFile::parse(Path::new("vault-bake.toml"), text)
        .map_err(|problem| problems_text(&problem))
}

#[test]
fn everything_may_be_left_out() {
    assert_eq!(parse("").unwrap(), ProjectFile::default());
    assert_eq!(parse("[store]\n").unwrap(), ProjectFile::default());
    let text = "[store]\nat = \"https://acme.blob.core.windows.net/images\"\n\n[store.azure]\n\
        credential = \"managed-identity\"\nclient_id = \"11111111-2222\"\n";
    let project = parse(text).unwrap();
    assert_eq!(
        project.store.as_deref(),
        Some("https://acme.blob.core.windows.net/images")
    );
    assert_eq!(
        project.azure.credential,
        Some(StoreCredential::Identity(CredentialKind::ManagedIdentity))
    );
    assert_eq!(project.azure.client_id.as_deref(), Some("11111111-2222"));
}

#[test]
fn the_subscription_of_bakes_is_read_whole() {
    let text = "[azure]\nsubscription = \"1\"\ncredential = \"github\"\ntenant_id = \"2\"\nclient_id = \"3\"\n\n\
        [azure.endpoints]\nmanagement = \"https://arm.example\"\nauthority = \"https://login.example\"\n\
        blob_suffix = \"blob.example\"\naudience = \"https://audience.example\"\n";
    let read = parse(text).unwrap().subscription;
    assert_eq!(read.id.as_deref(), Some("1"));
    assert_eq!(read.credential.kind, Some(CredentialKind::GitHub));
    assert_eq!(read.credential.tenant.as_deref(), Some("2"));
    assert_eq!(read.credential.client.as_deref(), Some("3"));
    let cloud = read.cloud.cloud().unwrap();
    assert_eq!(cloud.arm().as_str(), "https://arm.example/");
    assert_eq!(cloud.scope(), "https://audience.example/.default");
    let china = parse("[azure]\ncloud = \"china\"").unwrap().subscription;
    assert_eq!(china.cloud.cloud().unwrap().name(), "china");
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
        "[store.azure]\ncredential = \"managed-identity\"\ntenant_id = \"1\"",
        "[store.azure]\ncredential = \"sas\"\ntenant_id = \"1\"",
        "[azure]\ncredential = \"sas\"",
        "[azure]\nsecret = \"s\"",
        "[azure]\ncloud = \"germany\"",
        "[azure]\ncloud = \"china\"\nendpoints = { management = \"https://a\" }",
        "[azure.endpoints]\nmanagement = \"http://a\"\nauthority = \"https://b\"\nblob_suffix = \"c\"",
        "[azure.endpoints]\nmanagement = \"https://a\"\nauthority = \"https://b\"",
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
    let cloud = Cloud::named("public").unwrap();
    let secret = BTreeMap::from([
        ("AZURE_TENANT_ID".to_owned(), "t".to_owned()),
        ("AZURE_CLIENT_ID".to_owned(), "c".to_owned()),
        ("AZURE_CLIENT_SECRET".to_owned(), "hush".to_owned()),
    ]);
    let chosen = |credential: Option<StoreCredential>,
                  signed: bool,
                  environment: &BTreeMap<String, String>| {
        let azure = Azure {
            credential,
            ..Azure::default()
        };
        let signature = signed.then(|| Secret::new("sv=2025&sig=x"));
        match azure.credential(signature, environment, &cloud) {
            Ok(Credential::Sas(signature)) => {
                assert!(signature == Secret::new("sv=2025&sig=x"));
                String::from("sas")
            }
            Ok(Credential::Identity { source, .. }) => source.kind().name().to_owned(),
            Err(StoreCredentialError::Signature) => String::from("no signature"),
            Err(StoreCredentialError::Source(error)) => error.to_string(),
        }
    };
    let kinds = CredentialKind::ALL.map(|kind| Some(StoreCredential::Identity(kind)));
    let mut table = Vec::new();
    for credential in [None, Some(StoreCredential::Sas)].into_iter().chain(kinds) {
        let name = match credential {
            None => "nothing",
            Some(StoreCredential::Sas) => "sas",
            Some(StoreCredential::Identity(kind)) => kind.name(),
        };
        for (signed, environment) in [
            (false, &BTreeMap::new()),
            (true, &BTreeMap::new()),
            (false, &secret),
            (true, &secret),
        ] {
            let given = format!(
                "signature {signed}, application {}",
                !environment.is_empty()
            );
            table.push(format!(
                "{name}, {given}: {}",
                chosen(credential, signed, environment)
            ));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn the_ids_of_the_file_go_before_the_environments() {
    let text =
        "[store.azure]\ncredential = \"github\"\nclient_id = \"mine\"\ntenant_id = \"ours\"\n";
    let environment = [
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    ]
    .map(|name| (name.to_owned(), String::from("https://x")));
    let cloud = Cloud::from_blob_host("acme.blob.core.chinacloudapi.cn").unwrap();
    let azure = parse(text).unwrap().azure;
    let credential = azure.credential(None, &environment.into(), &cloud);
    assert!(credential.is_ok_and(|credential| credential
        == Credential::Identity {
            source: CredentialSource::GitHub {
                tenant: String::from("ours"),
                client: String::from("mine"),
                url: String::from("https://x"),
                token: Secret::new("https://x"),
            },
            cloud: Box::new(Cloud::named("china").unwrap()),
        }));
}
