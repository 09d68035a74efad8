//! Verifies a pin file by itself, without a store or a network.
//! It proves that keys with the required roles signed its content. It cannot prove that the policy
//! is the right one, or that no later event exists.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::{Pin, PinError, PinFile, pinned_facts};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::sign::{Envelope, KeyId, Role, STATEMENT_PAYLOAD_TYPE, Trust};
use crate::store::event::{Body, ChannelSet, ManifestPut};
use crate::store::proof::LogEntry;

/// What a pin file proves, and what it cannot prove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinFileReport {
    /// The name of the file.
    pub file: String,
    /// The proved facts, in words.
    pub proved: Vec<String>,
    /// The facts that were not checked, in words.
    pub not_proved: Vec<String>,
    /// The pins that must not be deployed according to the store, with the reasons.
    pub refused: Vec<String>,
    /// The number of pins in the file.
    pub pins: usize,
    /// The lines of `not_proved` that a store can prove.
    #[serde(skip)]
    by_store: Vec<String>,
}

impl fmt::Display for PinFileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.refused {
            writeln!(f, "REFUSED     {line}")?;
        }
        for line in &self.proved {
            writeln!(f, "proved      {line}")?;
        }
        for line in &self.not_proved {
            writeln!(f, "NOT PROVED  {line}")?;
        }
        match self.refused.len() {
            0 => write!(f, "{}: valid, within the limits above", self.file),
            refused => write!(
                f,
                "REFUSED: {}: {refused} of {} pins must not be deployed",
                self.file, self.pins
            ),
        }
    }
}

impl PinFileReport {
    /// Records that a store was checked as well: it continues the log in the file, up to entry
    /// `head`. See [`PinFile::check_store_lineage`].
    pub fn confirm_by_store(&mut self, head: u64) {
        self.not_proved.retain(|line| !self.by_store.contains(line));
        self.proved.push(format!(
            "the log of the store contains these entries and continues to entry {head}; revocations were checked"
        ));
    }
}

/// A defect: the field, and the reason.
type Defect = (&'static str, String);

/// The policies of a store, each with the number of the entry after which it is in force.
struct Policies {
    /// The digest of `store.json`.
    origin: Digest,
    all: Vec<(u64, Trust)>,
}

impl Policies {
    fn at(&self, seq: u64) -> &Trust {
        let before = self.all.iter().rev().find(|(from, _)| *from < seq);
        &before.unwrap_or(&self.all[0]).1
    }

    fn present(&self) -> &Trust {
        &self.all[self.all.len() - 1].1
    }

    /// Returns the signers of an entry, under the policy in force at it.
    fn signers(&self, entry: &LogEntry) -> Result<BTreeSet<KeyId>, String> {
        entry.signers(self.origin, self.at(entry.seq))
    }
}

impl PinFile {
    /// Checks every proof, and every field against its proof. `given` is the caller's copy of the
    /// trust policy: then it must be one of the store's policies. Roots of both policies sign each
    /// change, so one known policy proves the others.
    pub fn verify(&self, given: Option<&Trust>) -> Result<PinFileReport, PinError> {
        let of_store = |(field, why): Defect| self.broken("store".to_owned(), field, why);
        let policies = self.policies().map_err(of_store)?;
        self.check_ends(&policies).map_err(of_store)?;
        if let Some(given) = given
            && !policies.all.iter().any(|(_, policy)| policy == given)
        {
            return Err(PinError::UntrustedPolicy {
                file: self.name.clone(),
                version: given.version(),
                known: policies.all.len(),
            });
        }
        let mut proved = vec![match given {
            Some(given) => format!(
                "the trust policy is the given one (version {})",
                given.version()
            ),
            None => "each change of the trust policy is signed by its roots".to_owned(),
        }];
        let mut under_old_policy = Vec::new();
        for (name, pin) in &self.pins {
            let broken = |(field, why): Defect| self.broken(format!("pin {name}"), field, why);
            self.check_pin(pin, &policies).map_err(broken)?;
            if policies.all.len() > 1 && !is_allowed_by(pin, policies.present()) {
                under_old_policy.push(name.clone());
            }
            proved.push(format!(
                "pin {name} is {} ({}), generation {} of {}:{}: signed by a builder and by a promoter; versions and outputs are \
                 those of the manifest",
                pin.label(),
                pin.manifest,
                pin.generation,
                pin.image,
                pin.channel
            ));
        }
        let mut not_proved = Vec::new();
        if given.is_none() {
            not_proved.push(
                "that the trust policy is the right one: pass your own copy with --trust"
                    .to_owned(),
            );
        }
        let by_store = self.store_questions(&under_old_policy);
        not_proved.extend(by_store.clone());
        not_proved.push("that the artifacts still exist and have the recorded content".to_owned());
        Ok(PinFileReport {
            file: self.name.clone(),
            proved,
            not_proved,
            refused: Vec::new(),
            pins: self.pins.len(),
            by_store,
        })
    }

    /// Returns the facts that only a store can prove.
    fn store_questions(&self, under_old_policy: &[String]) -> Vec<String> {
        let seq = self.store.head.seq;
        let mut open = vec![format!(
            "that the log of the store has these entries and no other policy change, and that nothing was revoked since entry {seq}: pass --store"
        )];
        if !under_old_policy.is_empty() {
            open.push(format!(
                "that {} was signed before the policy changed: the present policy does not allow these signatures",
                under_old_policy.join(", ")
            ));
        }
        open
    }

    fn broken(&self, of: String, field: &str, why: String) -> PinError {
        PinError::InvalidProof {
            file: self.name.clone(),
            of,
            field: field.to_owned(),
            why,
        }
    }

    /// Returns the policies of the store, each proved by the one before.
    fn policies(&self) -> Result<Policies, Defect> {
        let identity = &self.store.identity;
        let mut policies = Policies {
            origin: identity.origin(),
            all: vec![(0, identity.trust().clone())],
        };
        for update in &self.store.trust_updates {
            let field = "trust_updates";
            let entry = read(update, field)?;
            let signers = policies.signers(&entry).map_err(|why| (field, why))?;
            let Some(Body::TrustUpdate { trust }) = entry.effective().cloned() else {
                return Err((field, format!("entry {} is not a trust.update", entry.seq)));
            };
            let (last, present) = &policies.all[policies.all.len() - 1];
            if entry.seq <= *last {
                return Err((field, format!("entry {} comes after {last}", entry.seq)));
            }
            let trust = trust
                .validated()
                .map_err(|error| (field, error.to_string()))?;
            let followed = trust.check_succession(present, &signers);
            followed.map_err(|why| (field, why.to_string()))?;
            policies.all.push((entry.seq, trust));
        }
        Ok(policies)
    }

    /// Checks that the log begins with the identity of the store and ends at the recorded head.
    fn check_ends(&self, policies: &Policies) -> Result<(), Defect> {
        let store = &self.store;
        let origin = store.identity.origin();
        if store.origin != origin {
            let why = format!(
                "the file says {}, `identity` has the digest {origin}",
                store.origin
            );
            return Err(("origin", why));
        }
        let first = read(&store.first, "first")?;
        policies.signers(&first).map_err(|why| ("first", why))?;
        if (first.seq, first.prev) != (1, origin) {
            let why = format!("entry {} does not follow {origin}", first.seq);
            return Err(("first", why));
        }
        let head = read(&store.head.entry, "head")?;
        policies.signers(&head).map_err(|why| ("head", why))?;
        if (head.seq, head.digest()) != (store.head.seq, store.head.digest) {
            let why = format!(
                "the file says entry {}, {}; the signed one is {}, {}",
                store.head.seq,
                store.head.digest,
                head.seq,
                head.digest()
            );
            return Err(("head", why));
        }
        let (last, _) = &policies.all[policies.all.len() - 1];
        if matches!(head.effective(), Some(Body::TrustUpdate { .. })) && *last != head.seq {
            let why = format!("entry {} changes the policy, but is missing", head.seq);
            return Err(("trust_updates", why));
        }
        if *last > head.seq {
            let why = format!("entry {last} comes after the last one, {}", head.seq);
            return Err(("trust_updates", why));
        }
        Ok(())
    }

    fn check_pin(&self, pin: &Pin, policies: &Policies) -> Result<(), Defect> {
        let differs = |field, claimed: &dyn fmt::Display, signed: &dyn fmt::Display| {
            Err((
                field,
                format!("the file says {claimed}, but {signed} is signed"),
            ))
        };
        let proof = &pin.proof;
        let digest = Digest::hash_bytes(&proof.manifest.payload);
        if digest != pin.manifest {
            return differs("manifest", &pin.manifest, &digest);
        }
        let manifest = pin
            .manifest()
            .map_err(|error| ("proof.manifest", error.to_string()))?;
        if manifest.image != pin.image {
            return differs("image", &pin.image, &manifest.image);
        }
        if manifest.version != pin.version {
            return differs("version", &pin.version, &manifest.version);
        }
        let (releases, outputs) = pinned_facts(&manifest);
        if releases != pin.releases {
            return Err(("releases", "they differ from the manifest".to_owned()));
        }
        if outputs != pin.outputs {
            return Err(("outputs", "they differ from the manifest".to_owned()));
        }
        let set = self.check_set(pin, policies)?;
        check_recorded(pin, &manifest, set.seq, policies)
    }

    /// Checks that a promoter moved exactly this channel to exactly this manifest.
    fn check_set(&self, pin: &Pin, policies: &Policies) -> Result<LogEntry, Defect> {
        let field = "proof.set";
        let set = read(&pin.proof.set, field)?;
        let Some(Body::ChannelSet(event)) = set.effective() else {
            return Err((field, format!("entry {} is not a channel.set", set.seq)));
        };
        let ChannelSet {
            image,
            channel,
            generation,
            to,
            ..
        } = event;
        for (field, same, signed) in [
            ("image", *image == pin.image, image.clone()),
            ("channel", *channel == pin.channel, channel.clone()),
            (
                "generation",
                *generation == pin.generation,
                generation.to_string(),
            ),
            ("manifest", *to == pin.manifest, to.to_string()),
        ] {
            if !same {
                let why = format!(
                    "the file differs from the signed move of the channel, which says {signed}"
                );
                return Err((field, why));
            }
        }
        let head = self.store.head.seq;
        if set.seq > head {
            let why = format!("entry {} comes after the last one, {head}", set.seq);
            return Err((field, why));
        }
        let signers = policies.signers(&set).map_err(|why| (field, why))?;
        let policy = policies.at(set.seq);
        if !policy.allows(Role::Promoter, &signers, &pin.image, Some(&pin.channel)) {
            let why = format!(
                "not signed by keys that may move {}:{}",
                pin.image, pin.channel
            );
            return Err((field, why));
        }
        Ok(set)
    }
}

/// Checks that a builder signed exactly this manifest, and recorded it before the channel moved.
fn check_recorded(
    pin: &Pin,
    manifest: &Manifest,
    set_seq: u64,
    policies: &Policies,
) -> Result<(), Defect> {
    let field = "proof.recorded";
    let recorded = read(&pin.proof.recorded, field)?;
    let envelope = &pin.proof.manifest;
    let expected = ManifestPut::from_manifest(
        manifest,
        pin.manifest,
        Digest::hash_bytes(envelope.to_bytes()),
    );
    if recorded.body != Some(Body::ManifestPut(expected)) {
        let why = format!("entry {} does not record this manifest", recorded.seq);
        return Err((field, why));
    }
    if recorded.seq >= set_seq {
        let why = format!(
            "entry {} comes after entry {set_seq}, which moved the channel",
            recorded.seq
        );
        return Err((field, why));
    }
    if envelope.payload_type != STATEMENT_PAYLOAD_TYPE {
        let why = format!(
            "its payload is `{}`, not a statement",
            envelope.payload_type
        );
        return Err(("proof.manifest", why));
    }
    let policy = policies.at(recorded.seq);
    for (field, envelope) in [(field, &recorded.envelope), ("proof.manifest", envelope)] {
        let signers = envelope.signers(policy);
        let signers = signers.map_err(|error| (field, error.to_string()))?;
        if !policy.allows(Role::Builder, &signers, &pin.image, None) {
            let why = format!("not signed by keys that may record {}", pin.image);
            return Err((field, why));
        }
    }
    Ok(())
}

/// Whether the present policy also allows the signatures.
fn is_allowed_by(pin: &Pin, policy: &Trust) -> bool {
    let proof = &pin.proof;
    let builds = [&proof.manifest, &proof.recorded].into_iter().all(|one| {
        let signers = one.signers(policy);
        signers.is_ok_and(|signers| policy.allows(Role::Builder, &signers, &pin.image, None))
    });
    let set = LogEntry::parse(proof.set.clone());
    let signers = match set.map(|set| set.body) {
        Ok(Some(Body::Approved(approved))) => approved.signers(policy),
        _ => proof.set.signers(policy),
    };
    let channel = Some(pin.channel.as_str());
    builds
        && signers.is_ok_and(|signers| policy.allows(Role::Promoter, &signers, &pin.image, channel))
}

fn read(envelope: &Envelope, field: &'static str) -> Result<LogEntry, Defect> {
    LogEntry::parse(envelope.clone()).map_err(|error| (field, error.to_string()))
}
