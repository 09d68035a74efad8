//! Issues certificates from a CA whose key exists only in memory. All keys are EC P-256.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

use super::{BACKDATED_H, Leaf, VALID_H};
use crate::secret::Secret;

/// A CA with its key.
pub(super) struct Authority {
    certificate: X509,
    key: PKey<Private>,
    now: Timestamp,
}

impl Authority {
    /// Generates a CA that may sign leaf certificates only.
    pub(super) fn new(now: Timestamp) -> Result<Self, ErrorStack> {
        let key = new_key()?;
        let name = name("vault-bake throw-away CA")?;
        let mut builder = new_certificate(&name, &name, &key, now)?;
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
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self {
            certificate: builder.build(),
            key,
            now,
        })
    }

    /// Returns the certificate of the CA, PEM.
    pub(super) fn certificate_pem(&self) -> Result<String, ErrorStack> {
        pem(&self.certificate)
    }

    /// Issues a certificate for servers and clients, for `names` and `address`.
    pub(super) fn issue(&self, names: &[&str], address: IpAddr) -> Result<Leaf, ErrorStack> {
        let key = new_key()?;
        let subject = name(names.first().copied().unwrap_or_default())?;
        let issuer = self.certificate.subject_name();
        let mut builder = new_certificate(&subject, issuer, &key, self.now)?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        let usage = KeyUsage::new().critical().digital_signature().build()?;
        builder.append_extension(usage)?;
        let ends = ExtendedKeyUsage::new()
            .server_auth()
            .client_auth()
            .build()?;
        builder.append_extension(ends)?;
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let id = SubjectKeyIdentifier::new().build(&context)?;
        let by = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            alternatives.dns(name);
        }
        let alternatives = alternatives.ip(&address.to_string()).build(&context)?;
        for extension in [id, by, alternatives] {
            builder.append_extension(extension)?;
        }
        builder.sign(&self.key, MessageDigest::sha256())?;
        let key_pem = key.private_key_to_pem_pkcs8()?;
        Ok(Leaf {
            certificate_pem: pem(&builder.build())?,
            key_pem: Secret::new(String::from_utf8_lossy(&key_pem)),
        })
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(name.build())
}

/// Starts a certificate with a random serial number, names, validity and key.
fn new_certificate(
    subject: &X509Name,
    issuer: &openssl::x509::X509NameRef,
    key: &PKey<Private>,
    now: Timestamp,
) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    // The value 2 means version 3.
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(159, MsbOption::MAYBE_ZERO, false)?;
    let serial = serial.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    let hours = |hours| (now + SignedDuration::from_hours(hours)).as_second();
    let from = Asn1Time::from_unix(hours(-BACKDATED_H))?;
    builder.set_not_before(&from)?;
    let until = Asn1Time::from_unix(hours(VALID_H))?;
    builder.set_not_after(&until)?;
    Ok(builder)
}

fn pem(certificate: &X509) -> Result<String, ErrorStack> {
    Ok(String::from_utf8_lossy(&certificate.to_pem()?).into_owned())
}
