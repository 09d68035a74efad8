//! The rules of the log, for writers and readers alike: which event may follow, and who may sign
//! it.

use std::collections::BTreeSet;

use super::{Admission, History, RecordedManifest};
use crate::digest::Digest;
use crate::manifest::{Moment, is_name};
use crate::sign::{KeyId, Role};
use crate::store::event::{Body, ChannelSet, ManifestPut};
use crate::store::{StoreError, TestState};

impl History {
    /// Checks whether an event, signed by `signers` at the time `at`, may be appended now.
    pub fn admits(
        &self,
        body: &Body,
        signers: &BTreeSet<KeyId>,
        at: Moment,
    ) -> Result<Admission, StoreError> {
        self.check_role(body, signers)?;
        match body {
            Body::ManifestPut(put) => self.admits_manifest(put),
            Body::TestPut { manifest, test, .. } => {
                let recorded = self.known(manifest)?;
                let again = recorded.tests.iter().any(|known| known.test == *test);
                Ok(if again {
                    Admission::Unchanged
                } else {
                    Admission::New
                })
            }
            Body::ChannelSet(set) => self.admits_move(set),
            Body::Revoke(revoke) => {
                let what = "revocation".to_owned();
                let check = revoke.rule.check();
                check.map_err(|why| StoreError::refused(what, why))?;
                if let Some(replacement) = &revoke.replacement {
                    self.known(replacement)?;
                }
                Ok(Admission::New)
            }
            Body::Restore {
                revocation: seq, ..
            } => {
                let revocation = self.revocations.iter().find(|one| one.seq == *seq);
                match revocation {
                    None => Err(StoreError::NoRevocation(*seq)),
                    Some(one) if one.restored.is_some() => Ok(Admission::Unchanged),
                    Some(_) => Ok(Admission::New),
                }
            }
            Body::TrustUpdate { trust } => {
                if trust == self.trust() {
                    return Ok(Admission::Unchanged);
                }
                let trust = trust.clone().validated();
                let trust = trust.map_err(|error| StoreError::Policy(error.to_string()))?;
                trust.check_succession(self.trust(), signers)?;
                Ok(Admission::New)
            }
            Body::GcPlan(plan) => self.admits_plan(plan),
            Body::ArtifactDeleted { manifest, plan, .. } => {
                self.admits_removal(manifest, *plan, at)
            }
            Body::RolloutBegin(begin) => self.admits_begin(begin),
            Body::RolloutEnd(end) => self.admits_end(end),
            Body::Approved(approved) => self.admits_approved(approved, signers, at),
        }
    }

    /// Returns the manifest with this digest, or fails if it is not recorded.
    pub(in crate::store) fn known(
        &self,
        manifest: &Digest,
    ) -> Result<&RecordedManifest, StoreError> {
        let found = self.by_digest(manifest);
        found.ok_or_else(|| StoreError::NotFound(manifest.to_string()))
    }

    fn check_role(&self, body: &Body, signers: &BTreeSet<KeyId>) -> Result<(), StoreError> {
        let image_of = |manifest: &Digest| {
            let recorded = self.by_digest(manifest);
            recorded.map_or("", |recorded| recorded.put.image.as_str())
        };
        if let Body::GcPlan(plan) = body {
            let mut images = plan.items.iter().map(|item| image_of(&item.manifest));
            return images
                .try_for_each(|image| self.check_grant(body.role(), signers, image, None));
        }
        let (image, channel) = match body {
            Body::ManifestPut(put) => (put.image.as_str(), None),
            Body::TestPut { manifest, .. } | Body::ArtifactDeleted { manifest, .. } => {
                (image_of(manifest), None)
            }
            Body::ChannelSet(set) => (set.image.as_str(), Some(set.channel.as_str())),
            // A grant of this role has patterns of cluster names in place of image names.
            Body::RolloutBegin(begin) => (begin.name.as_str(), None),
            Body::RolloutEnd(end) => (self.cluster_name(&end.cluster), None),
            Body::Revoke(_) | Body::Restore { .. } | Body::TrustUpdate { .. } | Body::GcPlan(_) => {
                ("", None)
            }
            // The signers of the proposal need the role.
            Body::Approved(_) => return Ok(()),
        };
        self.check_grant(body.role(), signers, image, channel)
    }

    fn check_grant(
        &self,
        role: Role,
        signers: &BTreeSet<KeyId>,
        image: &str,
        channel: Option<&str>,
    ) -> Result<(), StoreError> {
        if self.trust().allows(role, signers, image, channel) {
            return Ok(());
        }
        Err(StoreError::NotAllowed {
            shortage: self.trust().shortage(role, signers, image, channel),
            role,
            of: match (image, channel) {
                ("", _) => "this store".to_owned(),
                (image, None) => image.to_owned(),
                (image, Some(channel)) => format!("{image}:{channel}"),
            },
        })
    }

    fn admits_manifest(&self, put: &ManifestPut) -> Result<Admission, StoreError> {
        let taken = self.by_name(&put.image, put.version);
        // A manifest contains its image and version, so it cannot be recorded under two names.
        let Some(taken) = taken.or_else(|| self.by_digest(&put.manifest)) else {
            return Ok(Admission::New);
        };
        let same = |a: &ManifestPut, b: &ManifestPut| {
            (&a.image, a.version, a.manifest) == (&b.image, b.version, b.manifest)
        };
        if same(&taken.put, put) {
            return Ok(Admission::Unchanged);
        }
        Err(StoreError::VersionTaken {
            name: taken.put.name(),
            digest: taken.put.manifest,
        })
    }

    fn admits_move(&self, set: &ChannelSet) -> Result<Admission, StoreError> {
        let name = format!("{}:{}", set.image, set.channel);
        let refused = |why: String| StoreError::refused(&name, why);
        if !is_name(&set.channel) {
            return Err(refused(format!(
                "`{}` is not a valid channel name",
                set.channel
            )));
        }
        let to = self.known(&set.to)?;
        if to.put.image != set.image {
            return Err(refused(format!(
                "{} is a version of another image",
                to.put.name()
            )));
        }
        match to.state() {
            TestState::Tested => {}
            TestState::Failed => {
                return Err(refused(format!("{} failed its test", to.put.name())));
            }
            TestState::Untested => {
                let tested = to.put.name();
                return Err(StoreError::Refused {
                    what: name,
                    why: format!("{tested} is untested"),
                    hint: Some(format!("Run `vault-bake test {tested}`.")),
                });
            }
        }
        if let Some(why) = &to.deleted {
            return Err(StoreError::Refused {
                what: name,
                why: format!("the artifact of {} was removed {why}", to.put.name()),
                hint: Some("Choose another version, or build one.".to_owned()),
            });
        }
        let now = self.channel(&set.image, &set.channel).last();
        let expected = (set.generation.saturating_sub(1), set.from);
        let found = now.map_or((0, None), |now| (now.generation, Some(now.to)));
        if expected != found {
            return Err(StoreError::ChannelMoved {
                channel: name,
                expected: expected.0,
                found: found.0,
            });
        }
        if found.1 == Some(set.to) {
            return Err(refused(format!("it already points to {}", to.put.name())));
        }
        Ok(Admission::New)
    }
}
