//! Authentication with an application's certificate in place of a password.
//!
//! Takes a PEM or PKCS#12 file with an RSA key; returns a signed assertion for each token request.
//! It sends the digest of the certificate and never the key.

use std::fmt;
use std::path::Path;

use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer};
use openssl::x509::X509;
use serde_json::json;

use crate::azure::cloud::Cloud;
use crate::azure::transport::Clock;
use crate::secret::Secret;

/// A certificate with its private key, and the claims that it signs.
pub(super) struct Certificate {
    key: PKey<Private>,
    digest: String,
    client: String,
    audience: String,
    now: Clock,
}

impl Certificate {
    pub(super) fn read(
        path: &Path,
        password: Option<&Secret>,
        (tenant, client): (&str, &str),
        cloud: &Cloud,
        now: Clock,
    ) -> Result<Self, String> {
        let shown_path = path.display();
        let bytes = std::fs::read(path).map_err(|error| format!("{shown_path}: {error}"))?;
        let (certificate, key) = parse(&bytes, password.map_or("", Secret::expose))
            .map_err(|why| format!("{shown_path}: {why}"))?;
        if key.id() != Id::RSA {
            return Err(format!(
                "{shown_path}: expected an RSA key, found another kind"
            ));
        }
        let public = certificate.public_key();
        if !public.is_ok_and(|public| public.public_eq(&key)) {
            return Err(format!(
                "{shown_path}: the key does not belong to the certificate"
            ));
        }
        let digest = certificate.digest(MessageDigest::sha256());
        let digest = digest.map_err(|error| format!("{shown_path}: {error}"))?;
        Ok(Self {
            key,
            digest: URL_SAFE_NO_PAD.encode(digest),
            client: client.to_owned(),
            audience: format!("{}{tenant}/oauth2/v2.0/token", cloud.authority()),
            now,
        })
    }

    fn assertion(&self) -> Result<String, openssl::error::ErrorStack> {
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.digest });
        let now = (self.now)().as_second();
        let claims = json!({
            "aud": self.audience,
            "iss": self.client,
            "sub": self.client,
            "jti": azure_core::Uuid::new_v4().to_string(),
            // The authority's clock may be behind.
            "nbf": now - 60,
            "exp": now + ASSERTION_LIFETIME_S,
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key)?;
        signer.set_rsa_padding(Padding::PKCS1_PSS)?;
        signer.set_rsa_mgf1_md(MessageDigest::sha256())?;
        signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn parse(bytes: &[u8], password: &str) -> Result<(X509, PKey<Private>), String> {
    if bytes.windows(BEGIN.len()).any(|window| window == BEGIN) {
        let certificate = X509::from_pem(bytes).map_err(|_| "the file contains no certificate")?;
        let key = PKey::private_key_from_pem_passphrase(bytes, password.as_bytes());
        let key = key.map_err(|_| "the file contains no private key that the password opens")?;
        return Ok((certificate, key));
    }
    let archive = Pkcs12::from_der(bytes).map_err(|_| "the file is neither PEM nor PKCS#12")?;
    let parsed = archive.parse2(password);
    let parsed =
        parsed.map_err(|_| "the password is wrong, or the file uses an obsolete cipher")?;
    match (parsed.cert, parsed.pkey) {
        (Some(certificate), Some(key)) => Ok((certificate, key)),
        (None, _) => Err(String::from("the file contains no certificate")),
        (_, None) => Err(String::from("the file contains no private key")),
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Certificate {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.assertion().map_err(|error| {
            azure_core::Error::with_message(
                azure_core::error::ErrorKind::Credential,
                format!("cannot sign with the key of the certificate: {error}"),
            )
        })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate {}", self.digest)
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
/// The lifetime of an assertion, in seconds; it is used at once.
const ASSERTION_LIFETIME_S: i64 = 600;
