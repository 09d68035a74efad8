//! Addresses of containers: accepted ones, and credentials in them, which are never printed.

use vault_bake::azure::{AzureTransport, CredentialSource};
use vault_bake::secret::Secret;
use vault_bake::store::backend::Backend as _;
use vault_bake::store::blob::{Blob, BlobAddress, Credential};

#[test]
fn addresses() {
    let mut table = Vec::new();
    for text in [
        "https://acme.blob.core.windows.net/images",
        "https://acme.blob.core.windows.net/images/",
        "https://acme.blob.core.windows.net/images/team-a/store",
        "https://acme.blob.core.usgovcloudapi.net/images",
        "http://127.0.0.1:10000/devstoreaccount1/images",
        "http://[::1]:10000/devstoreaccount1/images/below",
        "https://localhost/devstoreaccount1/images",
        "http://acme.blob.core.windows.net/images",
        "http://127.0.0.1.example.com/account/images",
        "http://10.0.0.1/account/images",
        "ftp://acme.blob.core.windows.net/images",
        "https://acme.blob.core.windows.net",
        "https://acme.blob.core.windows.net/",
        "https://acme.blob.core.windows.net/No",
        "https://acme.blob.core.windows.net/images/a//b",
        "https://acme.blob.core.windows.net/images/a%20b",
        "https://127.0.0.1/devstoreaccount1",
        "https://acme.blob.core.windows.net/images?sv=2025&sig=canary",
        "https://user:canary@acme.blob.core.windows.net/images",
        "https://acme.blob.core.windows.net/images#canary",
        "https://",
        "images",
    ] {
        let parsed = text.parse::<BlobAddress>();
        let message = parsed.map_or_else(|error| error.to_string(), |address| address.location());
        assert!(!message.contains("canary"), "{message}");
        table.push(format!("{text}\n  {message}"));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn a_token_goes_over_nothing_but_tls() {
    let address: BlobAddress = "http://127.0.0.1:1/devstoreaccount1/images"
        .parse()
        .unwrap();
    let wire = AzureTransport::real(jiff::Timestamp::default);
    let tools = Credential::Identity {
        source: CredentialSource::DeveloperTools,
        cloud: Box::new(address.cloud().unwrap()),
    };
    let error = Blob::new(address.clone(), &tools, &wire).err().unwrap();
    assert!(error.to_string().contains("must use https"), "{error}");
    let token = Secret::new("?sv=2025-11-05&sr=c&sig=canary%2Bcanary");
    let blob = Blob::new(address.clone(), &Credential::Sas(token), &wire).unwrap();
    assert_eq!(blob.location(), address.location());
    for name in ["../x", "a//b", "", "a?b"] {
        assert!(blob.get(name).await.is_err(), "{name}");
    }
}
