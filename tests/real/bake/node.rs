//! A node that a captured image became, and certificates for it.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use vault_bake::builder::{AccessBy, Content, Disk, DiskFile, Machine};
use vault_bake::definition::Firmware;
use vault_bake::digest::Digest;
use vault_bake::secret::Scrubber;
use vault_bake::ssh::{Archive, Script, Session};

use crate::qemu::{BOOT_DEADLINE, World};

/// The captured disk at `artifact`.
pub fn disk(artifact: &Path) -> Disk {
    let file = DiskFile {
        path: artifact.to_owned(),
        format: "qcow2".to_owned(),
        sha256: Digest::of_file(artifact).expect("an artifact").0,
    };
    Disk {
        content: Content::File(file),
        firmware: Firmware::Bios,
        access: AccessBy::Credentials,
        kernel: None,
    }
}

/// A node of the image.
pub struct Node {
    pub session: Session,
}

impl Node {
    pub async fn of(world: &World, machine: &mut impl Machine) -> Self {
        let endpoint = machine.endpoint();
        let died = async || machine.died().map(|end| end.to_string());
        let session = Session::connect(
            &endpoint,
            &world.keys,
            BOOT_DEADLINE,
            died,
            Scrubber::default(),
            &world.events,
            &world.interrupt,
        );
        let session = session.await.expect("it answers");
        Self { session }
    }

    pub async fn says(&self, world: &World, text: &str) -> String {
        let script = Script {
            name: "node".to_owned(),
            text: text.to_owned(),
            timeout: Duration::from_secs(300),
        };
        let said = self.session.capture(script, &world.interrupt).await;
        said.expect("it runs").text.trim().to_owned()
    }

    /// Puts an identity where the node looks for it.
    pub async fn put(&self, world: &World, tar: Vec<u8>) {
        let folder = "/run/other-identity";
        let write = move |archive: &mut Archive<'_>| archive.bytes("seed", 0o600, &tar);
        let uploading = self
            .session
            .upload(folder, None, write, &world.events, &world.interrupt);
        uploading.await.expect("it is uploaded");
        let link = "mkdir -p /dev/disk/by-id; ln -sfn /run/other-identity/seed /dev/disk/by-id/virtio-vault-bake-seed\n";
        self.says(world, link).await;
    }
}

/// An authority that can issue certificates more than once.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name of its own: by the same name a leaf would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, "CA");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for these names and addresses.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}
