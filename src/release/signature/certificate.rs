//! Finds the key of an OpenPGP certificate that made a signature, and checks that it was entitled.
//! Takes the certificate and its pinned primary fingerprint; returns the key with the issuer's
//! fingerprint. Only parts that the primary key signed are trusted, and short key ids are ignored.

use std::io::Cursor;

use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType};
use pgp::types::{Fingerprint, KeyDetails, Tag};

use super::{SignatureError, rfc3339};
use crate::release::armour;

/// A key of the certificate that may sign.
pub(super) enum Signer<'a> {
    /// The primary key.
    Primary(&'a PublicKey),
    /// A subkey that the primary key signed, and that signed the primary key.
    Subkey(&'a PublicSubkey),
}

/// A certificate with the pinned primary key.
pub(super) struct Certificate(SignedPublicKey);

impl Certificate {
    /// Finds the certificate in `bytes` whose primary key has the fingerprint `pin`, 40 hex digits.
    /// Several copies, such as an expired and a renewed one, are merged.
    pub(super) fn pinned(bytes: &[u8], pin: &str) -> Result<Self, SignatureError> {
        let mut pinned: Option<SignedPublicKey> = None;
        let mut others = Vec::new();
        let mut malformed = None;
        for block in armour::blocks(bytes) {
            // An unreadable block may be of another version of OpenPGP, so it is not an error yet.
            let mut read = || -> Result<(), pgp::errors::Error> {
                let (certificates, _) = SignedPublicKey::from_reader_many(Cursor::new(&block))?;
                for certificate in certificates {
                    let certificate = certificate?;
                    let fingerprint = upper_hex(&certificate.fingerprint());
                    if !fingerprint.eq_ignore_ascii_case(pin) {
                        others.push(fingerprint);
                        continue;
                    }
                    match &mut pinned {
                        Some(pinned) => merge(pinned, certificate),
                        None => pinned = Some(certificate),
                    }
                }
                Ok(())
            };
            if let Err(error) = read() {
                malformed.get_or_insert(error.to_string());
            }
        }
        match (pinned, malformed) {
            (Some(certificate), _) => Ok(Self(certificate)),
            (None, Some(reason)) if others.is_empty() => Err(SignatureError::Malformed {
                what: "the certificate",
                reason: armour::describe_other_kind(bytes).map_or(reason, str::to_owned),
            }),
            (None, _) => Err(SignatureError::OtherCertificate {
                expected: pin.to_ascii_uppercase(),
                found: if others.is_empty() {
                    "none".to_owned()
                } else {
                    others.join(", ")
                },
            }),
        }
    }

    /// Returns the primary fingerprint, 40 upper-case hex digits.
    pub(super) fn fingerprint(&self) -> String {
        upper_hex(&self.0.fingerprint())
    }

    /// Returns the first user id that the primary key certifies.
    pub(super) fn user_id(&self) -> String {
        self.0
            .details
            .users
            .iter()
            .find(|user| {
                user.signatures.iter().any(|signature| {
                    signature.typ() != Some(SignatureType::CertRevocation)
                        && signature
                            .verify_certification(&self.0.primary_key, Tag::UserId, &user.id)
                            .is_ok()
                })
            })
            .map(|user| String::from_utf8_lossy(user.id.id()).into_owned())
            .unwrap_or_default()
    }

    /// Returns the key `issuer` if it was entitled to sign at `signed_at`.
    /// Self-signatures after `latest` are ignored. Both times are seconds since 1970.
    pub(super) fn signer(
        &self,
        issuer: &Fingerprint,
        signed_at: u32,
        latest: u32,
    ) -> Result<Signer<'_>, SignatureError> {
        let primary = &self.0.primary_key;
        let revoked = |signature: &Signature| {
            signature.typ() == Some(SignatureType::KeyRevocation)
                && signature.verify_key(primary).is_ok()
        };
        if self.0.details.revocation_signatures.iter().any(revoked) {
            return Err(SignatureError::Revoked {
                fingerprint: self.fingerprint(),
            });
        }
        let newest = self.newest_self_signature(latest).ok_or_else(|| {
            not_entitled(&primary.fingerprint(), "it has no valid self-signature")
        })?;
        check_lifetime(primary, newest, signed_at)?;
        if *issuer == primary.fingerprint() {
            return if newest.key_flags().sign() {
                Ok(Signer::Primary(primary))
            } else {
                Err(not_entitled(issuer, "it is not marked as a signing key"))
            };
        }
        let subkey = self
            .0
            .public_subkeys
            .iter()
            .find(|subkey| subkey.key.fingerprint() == *issuer)
            .ok_or_else(|| SignatureError::UnknownIssuer {
                issuer: upper_hex(issuer),
                primary: self.fingerprint(),
            })?;
        self.check_subkey(subkey, signed_at, latest)?;
        Ok(Signer::Subkey(&subkey.key))
    }

    /// Returns the newest valid signature of the primary key over itself or a user id.
    /// This signature decides when the key expires and what it may be used for.
    fn newest_self_signature(&self, latest: u32) -> Option<&Signature> {
        let primary = &self.0.primary_key;
        let direct = self.0.details.direct_signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::Key) && signature.verify_key(primary).is_ok()
        });
        let certifications = self.0.details.users.iter().flat_map(|user| {
            user.signatures.iter().filter(|signature| {
                signature.typ() != Some(SignatureType::CertRevocation)
                    && signature
                        .verify_certification(primary, Tag::UserId, &user.id)
                        .is_ok()
            })
        });
        newest(direct.chain(certifications), latest)
    }

    fn check_subkey(
        &self,
        subkey: &SignedPublicSubKey,
        signed_at: u32,
        latest: u32,
    ) -> Result<(), SignatureError> {
        let (primary, key) = (&self.0.primary_key, &subkey.key);
        let fingerprint = key.fingerprint();
        let valid = |signature: &&Signature, typ| {
            signature.typ() == Some(typ) && signature.verify_subkey_binding(primary, key).is_ok()
        };
        if subkey
            .signatures
            .iter()
            .any(|signature| valid(&signature, SignatureType::SubkeyRevocation))
        {
            return Err(SignatureError::Revoked {
                fingerprint: upper_hex(&fingerprint),
            });
        }
        let bindings = subkey
            .signatures
            .iter()
            .filter(|signature| valid(signature, SignatureType::SubkeyBinding));
        let binding = newest(bindings, latest).ok_or_else(|| {
            not_entitled(
                &fingerprint,
                "no valid signature binds it to the primary key",
            )
        })?;
        if !binding.key_flags().sign() {
            return Err(not_entitled(
                &fingerprint,
                "it is not marked as a signing key",
            ));
        }
        let cross_certified = binding.embedded_signature().is_some_and(|back| {
            has_strong_digest(back) && back.verify_primary_key_binding(key, primary).is_ok()
        });
        if !cross_certified {
            return Err(not_entitled(
                &fingerprint,
                "it did not sign the primary key in return",
            ));
        }
        check_lifetime(key, binding, signed_at)
    }
}

/// Adds the signatures of another copy of a certificate: a revocation in either copy counts.
fn merge(one: &mut SignedPublicKey, other: SignedPublicKey) {
    let (into, from) = (&mut one.details, other.details);
    into.revocation_signatures
        .extend(from.revocation_signatures);
    into.direct_signatures.extend(from.direct_signatures);
    into.users.extend(from.users);
    for subkey in other.public_subkeys {
        let fingerprint = subkey.key.fingerprint();
        let known = one.public_subkeys.iter_mut();
        match known
            .into_iter()
            .find(|known| known.key.fingerprint() == fingerprint)
        {
            Some(known) => known.signatures.extend(subkey.signatures),
            None => one.public_subkeys.push(subkey),
        }
    }
}

/// Whether a signature uses a digest without known collisions.
pub(super) fn has_strong_digest(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
    )
}

pub(super) fn upper_hex(fingerprint: &Fingerprint) -> String {
    format!("{fingerprint:X}")
}

fn newest<'a>(
    signatures: impl Iterator<Item = &'a Signature>,
    latest: u32,
) -> Option<&'a Signature> {
    signatures
        .filter(|signature| has_strong_digest(signature))
        .filter_map(|signature| Some((signature.created()?.as_secs(), signature)))
        .filter(|(created, _)| *created <= latest)
        .max_by_key(|(created, _)| *created)
        .map(|(_, signature)| signature)
}

/// Checks that the key signed between its creation and its expiry.
/// A release stays valid if the key expired after it signed.
fn check_lifetime(
    key: &impl KeyDetails,
    self_signature: &Signature,
    signed_at: u32,
) -> Result<(), SignatureError> {
    let fingerprint = key.fingerprint();
    let created = key.created_at().as_secs();
    if signed_at < created {
        return Err(not_entitled(
            &fingerprint,
            "the signature is older than the key",
        ));
    }
    let lifetime = self_signature
        .key_expiration_time()
        .map_or(0, pgp::types::Duration::as_secs);
    let expired = u64::from(created) + u64::from(lifetime);
    if lifetime != 0 && u64::from(signed_at) >= expired {
        return Err(SignatureError::Expired {
            fingerprint: upper_hex(&fingerprint),
            expired_at: rfc3339(expired),
            signed_at: rfc3339(signed_at.into()),
        });
    }
    Ok(())
}

fn not_entitled(fingerprint: &Fingerprint, reason: &'static str) -> SignatureError {
    SignatureError::NotEntitled {
        fingerprint: upper_hex(fingerprint),
        reason,
    }
}
