//! Keys, names and certificates as OpenSSL handles them.

use jiff::{SignedDuration, Timestamp};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private};
use openssl::x509::{
    X509, X509Builder, X509KeyUsage, X509Name, X509NameBuilder, X509NameRef, X509Ref,
};

use super::{BACKDATED_H, IdentityError};
use crate::secret::Secret;

/// Generates an EC P-256 key.
pub(super) fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

/// Returns the key as PKCS #8 PEM.
pub(super) fn key_pem(key: &PKey<Private>) -> Result<Secret, ErrorStack> {
    let pem = key.private_key_to_pem_pkcs8()?;
    Ok(Secret::new(String::from_utf8_lossy(&pem)))
}

pub(super) fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(name.build())
}

/// Starts a certificate with a random serial number, names, key, and its end.
pub(super) fn start<K: HasPublic>(
    subject: &X509NameRef,
    issuer: &X509NameRef,
    key: &PKeyRef<K>,
    now: Timestamp,
    until: Timestamp,
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
    let from = now - SignedDuration::from_hours(BACKDATED_H);
    let from = Asn1Time::from_unix(from.as_second())?;
    builder.set_not_before(&from)?;
    let until = Asn1Time::from_unix(until.as_second())?;
    builder.set_not_after(&until)?;
    Ok(builder)
}

/// Returns the digest that signatures by `key` use.
pub(super) fn signature_digest(key: &PKeyRef<Private>) -> MessageDigest {
    match key.id() {
        Id::ED25519 | Id::ED448 => MessageDigest::null(),
        _ => MessageDigest::sha256(),
    }
}

pub(super) fn pem<'a>(
    certificates: impl IntoIterator<Item = &'a X509>,
) -> Result<String, ErrorStack> {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str(&String::from_utf8_lossy(&certificate.to_pem()?));
    }
    Ok(text)
}

/// Returns the certificates of a text, one at least.
pub(super) fn parse(text: &str) -> Result<Vec<X509>, String> {
    match X509::stack_from_pem(text.as_bytes()) {
        Ok(certificates) if certificates.is_empty() => {
            Err("it contains no certificate in PEM".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => {
            let errors = error.errors().iter();
            let reason = errors.filter_map(openssl::error::Error::reason).next();
            let reason = reason.unwrap_or("damaged");
            Err(format!("it is no certificate in PEM: {reason}"))
        }
    }
}

/// Whether a certificate may sign others.
pub(super) fn is_authority(certificate: &X509Ref) -> bool {
    // The binding of OpenSSL does not have this extension, but prints it.
    let text = certificate.to_text().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    lines.any(|line| line.starts_with("X509v3 Basic Constraints:"))
        && lines.next().is_some_and(|line| line.starts_with("CA:TRUE"))
        && certificate
            .key_usage()
            .is_none_or(|usage| usage.contains(X509KeyUsage::KEY_CERT_SIGN))
}

/// Whether a certificate names itself as its issuer.
pub(super) fn is_self_issued(certificate: &X509Ref) -> bool {
    let (subject, issuer) = (certificate.subject_name(), certificate.issuer_name());
    matches!(subject.try_cmp(issuer), Ok(std::cmp::Ordering::Equal))
}

/// Returns the earliest end of all certificates in `pem`.
pub fn not_after(pem: &str) -> Result<Timestamp, IdentityError> {
    let certificates = parse(pem).map_err(IdentityError::Pem)?;
    earliest_end(&certificates).map_err(IdentityError::Pem)
}

pub(super) fn earliest_end(certificates: &[X509]) -> Result<Timestamp, String> {
    let mut earliest = Timestamp::MAX;
    for certificate in certificates {
        let end = end(certificate).map_err(|error| error.to_string())?;
        earliest = earliest.min(end);
    }
    Ok(earliest)
}

/// Returns the end of a certificate, in whole seconds as it has it.
pub(super) fn end(certificate: &X509Ref) -> Result<Timestamp, ErrorStack> {
    timestamp(certificate.not_after())
}

/// Returns the begin of a certificate, in whole seconds as it has it.
pub(super) fn begin(certificate: &X509Ref) -> Result<Timestamp, ErrorStack> {
    timestamp(certificate.not_before())
}

fn timestamp(time: &Asn1TimeRef) -> Result<Timestamp, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    // A certificate without an end has the last second of the year 9999.
    let last = Timestamp::MAX.as_second();
    Ok(Timestamp::from_second(seconds.min(last)).unwrap_or(Timestamp::MAX))
}
