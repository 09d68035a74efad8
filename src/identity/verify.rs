//! Checks a new certificate as the node will: key, names, chain, time, use.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509PurposeId, X509Ref, X509StoreContext, X509VerifyResult};

use super::{Request, certificate};

/// How late after the request a certificate may begin.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(1);

/// Checks that `pem` is a certificate for `request` and `key`, issued by `authority`.
/// Returns the certificate and its chain, or the first defect.
pub(super) fn check_leaf(
    pem: &str,
    key: &PKey<Private>,
    request: &Request,
    authority: &[X509],
    now: Timestamp,
) -> Result<Vec<X509>, String> {
    let certificates = certificate::parse(pem)?;
    let Some((leaf, chain)) = certificates.split_first() else {
        return Err("it contains no certificate in PEM".to_owned());
    };
    let is_own = leaf.public_key().is_ok_and(|public| public.public_eq(key));
    if !is_own {
        return Err("the first certificate has another public key than the request".to_owned());
    }
    if certificate::is_authority(leaf) {
        return Err("it is a CA: a node must not issue certificates".to_owned());
    }
    if let Some(missing) = missing_name(leaf, request) {
        return Err(format!("it is not valid for the requested name {missing}"));
    }
    // The command has worked since `now`, and its clock may be fast.
    let latest = now.saturating_add(CLOCK_TOLERANCE).unwrap_or(now);
    let begin = certificate::begin(leaf).map_err(|error| error.to_string())?;
    let at = now.max(begin.min(latest));
    for (purpose, role) in [
        (X509PurposeId::SSL_SERVER, "a server"),
        (X509PurposeId::SSL_CLIENT, "a client"),
    ] {
        let verified = verify(leaf, chain, authority, purpose, at);
        match verified.map_err(|error| error.to_string())? {
            X509VerifyResult::OK => {}
            defect => {
                let defect = defect.error_string();
                return Err(format!("it is not valid for {role}: {defect}"));
            }
        }
    }
    Ok(certificates)
}

/// Verifies a certificate at `now` with `authority` as the only trusted certificates.
pub(super) fn verify(
    leaf: &X509Ref,
    chain: &[X509],
    authority: &[X509],
    purpose: X509PurposeId,
    now: Timestamp,
) -> Result<X509VerifyResult, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for certificate in authority {
        store.add_cert(certificate.clone())?;
    }
    let mut param = X509VerifyParam::new()?;
    param.set_purpose(purpose)?;
    param.set_time(now.as_second());
    store.set_param(&param)?;
    let mut untrusted = Stack::new()?;
    for certificate in chain {
        untrusted.push(certificate.clone())?;
    }
    let mut context = X509StoreContext::new()?;
    context.init(&store.build(), leaf, &untrusted, |context| {
        Ok(if context.verify_cert()? {
            X509VerifyResult::OK
        } else {
            context.error()
        })
    })
}

/// Returns a requested name or address that the certificate lacks.
fn missing_name(leaf: &X509Ref, request: &Request) -> Option<String> {
    let (names, addresses) = names(leaf);
    let name = request.names.iter().find(|name| !names.contains(name));
    let mut wanted = request.addresses.iter();
    let address = wanted.find(|address| !addresses.contains(address));
    name.cloned().or_else(|| address.map(ToString::to_string))
}

/// Returns the DNS names and IP addresses of a certificate.
pub(super) fn names(certificate: &X509Ref) -> (Vec<String>, Vec<IpAddr>) {
    let alternatives = certificate.subject_alt_names();
    let alternatives: Vec<_> = alternatives.iter().flatten().collect();
    let names = alternatives.iter().filter_map(|name| name.dnsname());
    let addresses = alternatives.iter().filter_map(|name| {
        let bytes = name.ipaddress()?;
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
            .ok()
    });
    (names.map(str::to_owned).collect(), addresses.collect())
}
