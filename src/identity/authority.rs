//! Issues certificates: with a key in memory, or by a command that signs requests.
//! Each new certificate is checked as a node checks it.

use jiff::{SignedDuration, Timestamp};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509PurposeId, X509VerifyResult};

use super::{IdentityError, Leaf, Request, certificate, request, verify};
use crate::process::Program;
use crate::secret::Secret;
use crate::wait::Interrupt;

/// A certificate authority, which issues the certificates of nodes.
pub struct Authority {
    /// The issuing certificate, then its issuers up to a root.
    certificates: Vec<X509>,
    pem: String,
    signer: CertificateSigner,
    expires_at: Timestamp,
}

enum CertificateSigner {
    Key {
        key: PKey<Private>,
        pem: Secret,
    },
    Command {
        program: String,
        arguments: Vec<String>,
    },
}

impl Authority {
    /// Generates a CA that may sign leaf certificates only.
    pub fn generate(
        name: &str,
        now: Timestamp,
        valid: SignedDuration,
    ) -> Result<Self, IdentityError> {
        Self::with_key(name, Self::generate_key()?, now, valid)
    }

    /// Generates a key, PKCS #8 PEM.
    pub fn generate_key() -> Result<Secret, IdentityError> {
        let pem = certificate::new_key().and_then(|key| certificate::key_pem(&key));
        pem.map_err(IdentityError::crypto("a key"))
    }

    /// Makes the certificate of a CA that may sign leaf certificates only, for this key.
    pub fn with_key(
        name: &str,
        key_pem: Secret,
        now: Timestamp,
        valid: SignedDuration,
    ) -> Result<Self, IdentityError> {
        let key = read_key(&key_pem)?;
        let failed = IdentityError::crypto("a certificate authority");
        let until = now.saturating_add(valid).unwrap_or(Timestamp::MAX);
        let root = self_signed(name, &key, now, until).map_err(&failed)?;
        Ok(Self {
            expires_at: certificate::end(&root).map_err(&failed)?,
            pem: certificate::pem([&root]).map_err(&failed)?,
            certificates: vec![root],
            signer: CertificateSigner::Key { key, pem: key_pem },
        })
    }

    /// Takes the certificate and the key of an existing CA.
    ///
    /// The first certificate issues. Its issuers follow, up to a root that signed itself.
    pub fn from_files(
        certificate_pem: &str,
        key_pem: Secret,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let invalid = |reason: &str| IdentityError::Authority(reason.to_owned());
        let (certificates, expires_at) = read_certificates(certificate_pem, now)?;
        let key = read_key(&key_pem)?;
        let issuer = certificates.first().and_then(|ca| ca.public_key().ok());
        if !issuer.is_some_and(|public| public.public_eq(&key)) {
            return Err(invalid("its key belongs to another certificate"));
        }
        Ok(Self {
            pem: written(&certificates)?,
            certificates,
            signer: CertificateSigner::Key { key, pem: key_pem },
            expires_at,
        })
    }

    /// Takes the certificate of a CA, and a command that signs in its name.
    ///
    /// The command reads a signing request, PEM, from standard input. It writes the certificate,
    /// then its chain, PEM, to standard output.
    pub fn external(
        certificate_pem: &str,
        command: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let (certificates, expires_at) = read_certificates(certificate_pem, now)?;
        let mut words = command.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        let program =
            program.ok_or_else(|| IdentityError::Authority("its command is empty".to_owned()))?;
        Ok(Self {
            pem: written(&certificates)?,
            certificates,
            signer: CertificateSigner::Command {
                program,
                arguments: words.collect(),
            },
            expires_at,
        })
    }

    /// Returns the certificate of the CA, PEM, with its issuers.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// Whether `pem` has the certificates of this CA, in any spelling.
    pub(super) fn has_certificates(&self, pem: &str) -> bool {
        certificate::parse(pem).is_ok_and(|other| {
            let own = self.certificates.iter();
            let pairs = own.zip(&other);
            other.len() == self.certificates.len()
                && pairs.into_iter().all(|(own, other)| own == other)
        })
    }

    /// Returns the key, PKCS #8 PEM. A CA with a command has none.
    pub fn key_pem(&self) -> Option<&Secret> {
        match &self.signer {
            CertificateSigner::Key { pem, .. } => Some(pem),
            CertificateSigner::Command { .. } => None,
        }
    }

    /// Returns the earliest end of the CA's certificates.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Issues a certificate for servers and clients. It ends with the CA at the latest.
    pub async fn issue(
        &self,
        request: &Request,
        now: Timestamp,
        interrupt: &Interrupt,
    ) -> Result<Leaf, IdentityError> {
        let CertificateSigner::Command { program, arguments } = &self.signer else {
            return self.sign(request, now);
        };
        let failed = IdentityError::crypto("a signing request");
        let key = certificate::new_key().map_err(&failed)?;
        let csr = request.to_pem(&key).map_err(&failed)?;
        let command = Program::new(program).args(arguments).input(csr);
        let output = command.run(interrupt).await;
        let output = output.map_err(|error| IdentityError::Command {
            subject: request.subject().to_owned(),
            error,
        })?;
        let text = String::from_utf8_lossy(&output);
        self.checked(&text, &key, request, now, program)
    }

    /// Issues a certificate with the key in memory.
    pub(super) fn sign(&self, request: &Request, now: Timestamp) -> Result<Leaf, IdentityError> {
        let CertificateSigner::Key { key: ca_key, .. } = &self.signer else {
            return Err(IdentityError::Authority("it has no key here".to_owned()));
        };
        let make = || {
            let key = certificate::new_key()?;
            let leaf = self.new_leaf(request, &key, ca_key, now)?;
            let above = self.certificates.iter();
            let chain = above.filter(|above| !certificate::is_self_issued(above));
            let pem = certificate::pem(std::iter::once(&leaf).chain(chain))?;
            Ok((pem, key))
        };
        let what = format!("a certificate for {}", request.subject());
        let (pem, key) = make().map_err(IdentityError::crypto(&what))?;
        self.checked(&pem, &key, request, now, "the certificate authority")
    }

    fn new_leaf(
        &self,
        request: &Request,
        key: &PKey<Private>,
        ca_key: &PKey<Private>,
        now: Timestamp,
    ) -> Result<X509, ErrorStack> {
        let until = now.saturating_add(SignedDuration::from_hours(request.valid_h));
        let until = until.unwrap_or(Timestamp::MAX).min(self.expires_at);
        let issuer = &self.certificates[0];
        let subject = request.subject_name()?;
        let mut builder = certificate::start(&subject, issuer.subject_name(), key, now, until)?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(request::usage()?)?;
        builder.append_extension(request::extended_usage()?)?;
        let context = builder.x509v3_context(Some(issuer), None);
        let mut extensions = vec![SubjectKeyIdentifier::new().build(&context)?];
        if issuer.subject_key_id().is_some() {
            extensions.push(AuthorityKeyIdentifier::new().keyid(true).build(&context)?);
        }
        extensions.push(request.alternative_names(&context)?);
        for extension in extensions {
            builder.append_extension(extension)?;
        }
        builder.sign(ca_key, certificate::signature_digest(ca_key))?;
        Ok(builder.build())
    }

    fn checked(
        &self,
        pem: &str,
        key: &PKey<Private>,
        request: &Request,
        now: Timestamp,
        issuer: &str,
    ) -> Result<Leaf, IdentityError> {
        let refused = |reason: String| IdentityError::Certificate {
            issuer: issuer.to_owned(),
            reason,
        };
        let certificates = verify::check_leaf(pem, key, request, &self.certificates, now);
        let written = certificate::pem(&certificates.map_err(&refused)?);
        let key_pem = certificate::key_pem(key);
        Ok(Leaf {
            certificate_pem: written.map_err(|error| refused(error.to_string()))?,
            key_pem: key_pem.map_err(|error| refused(error.to_string()))?,
        })
    }
}

fn self_signed(
    name: &str,
    key: &PKey<Private>,
    now: Timestamp,
    until: Timestamp,
) -> Result<X509, ErrorStack> {
    let name = certificate::name(name)?;
    let mut builder = certificate::start(&name, &name, key, now, until)?;
    let limits = BasicConstraints::new().critical().ca().pathlen(0).build()?;
    builder.append_extension(limits)?;
    let usage = KeyUsage::new()
        .critical()
        .key_cert_sign()
        .crl_sign()
        .build()?;
    builder.append_extension(usage)?;
    let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(id)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// Reads the certificates of a CA, and their earliest end. Each must lead to a root among them.
fn read_certificates(pem: &str, now: Timestamp) -> Result<(Vec<X509>, Timestamp), IdentityError> {
    let certificates = certificate::parse(pem).map_err(IdentityError::Authority)?;
    for certificate in &certificates {
        let subject = subject(certificate);
        let invalid = |reason: &str| IdentityError::Authority(format!("{subject} {reason}"));
        if !certificate::is_authority(certificate) {
            return Err(invalid("is no certificate of a CA that may sign others"));
        }
        let verified = verify::verify(certificate, &[], &certificates, X509PurposeId::ANY, now);
        match verified.map_err(|error| invalid(&format!("cannot be verified: {error}")))? {
            X509VerifyResult::OK => {}
            defect => return Err(invalid(&format!("is not valid: {}", defect.error_string()))),
        }
    }
    let expires_at = certificate::earliest_end(&certificates).map_err(IdentityError::Authority)?;
    Ok((certificates, expires_at))
}

fn read_key(pem: &Secret) -> Result<PKey<Private>, IdentityError> {
    // Without a passphrase here, OpenSSL would ask for one at the terminal.
    let key = PKey::private_key_from_pem_passphrase(pem.expose().as_bytes(), b"");
    key.map_err(|_| {
        let reason = "its key is no private key in PEM without a passphrase";
        IdentityError::Authority(reason.to_owned())
    })
}

/// Returns the certificates in one spelling, so that nodes can compare them.
fn written(certificates: &[X509]) -> Result<String, IdentityError> {
    certificate::pem(certificates).map_err(|error| IdentityError::Authority(error.to_string()))
}

/// Returns the subject of a certificate for messages.
fn subject(certificate: &X509) -> String {
    let entries = certificate.subject_name().entries();
    let parts = entries.filter_map(|entry| {
        let key = entry.object().nid().short_name().ok()?;
        let value = entry.data().to_string().ok()?;
        Some(format!("{key}={value}"))
    });
    let parts: Vec<String> = parts.collect();
    format!("`{}`", parts.join(", "))
}
