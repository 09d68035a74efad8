//! The cached form of a recorded manifest: fields in order, without names.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::manifest::Moment;
use crate::store::event::ManifestPut;
use crate::store::history::{RecordedManifest, RecordedTest, Removal};

#[derive(Serialize, Deserialize)]
pub(super) struct Row<'a> {
    seq: u64,
    /// In seconds since 1970, like all times in this struct.
    at: i64,
    manifest: [u8; 32],
    envelope: [u8; 32],
    image: &'a str,
    #[serde(borrow)]
    version: Cow<'a, str>,
    created_at: i64,
    artifact: [u8; 32],
    size: u64,
    releases: Vec<(&'a str, &'a str)>,
    fixture: bool,
    base: [u8; 32],
    tests: Vec<Test>,
    planned: Cow<'a, [u64]>,
    deleted: Option<(u64, &'a str)>,
}

#[derive(Serialize, Deserialize)]
struct Test {
    seq: u64,
    test: [u8; 32],
    envelope: [u8; 32],
    passed: bool,
}

impl<'a> Row<'a> {
    pub fn new(recorded: &'a RecordedManifest) -> Self {
        let RecordedManifest {
            seq,
            at,
            put,
            tests,
            planned,
            deleted,
        } = recorded;
        let ManifestPut {
            manifest,
            envelope,
            image,
            version,
            created_at,
            artifact,
            size,
            releases,
            fixture,
            base,
        } = put;
        let tests = tests.iter().map(|tested| Test {
            seq: tested.seq,
            test: *tested.test.bytes(),
            envelope: *tested.envelope.bytes(),
            passed: tested.passed,
        });
        let releases = releases.iter();
        Self {
            seq: *seq,
            at: at.timestamp().as_second(),
            manifest: *manifest.bytes(),
            envelope: *envelope.bytes(),
            image,
            version: version.to_string().into(),
            created_at: created_at.timestamp().as_second(),
            artifact: *artifact.bytes(),
            size: *size,
            releases: releases
                .map(|(name, version)| (&**name, &**version))
                .collect(),
            fixture: *fixture,
            base: *base.bytes(),
            tests: tests.collect(),
            planned: planned.as_slice().into(),
            deleted: deleted.as_ref().map(|one| (one.seq, one.why.as_str())),
        }
    }

    pub fn recorded(&self) -> Option<RecordedManifest> {
        let releases = self.releases.iter();
        let tests = self.tests.iter().map(|test| RecordedTest {
            seq: test.seq,
            test: test.test.into(),
            envelope: test.envelope.into(),
            passed: test.passed,
        });
        Some(RecordedManifest {
            seq: self.seq,
            at: moment(self.at)?,
            put: ManifestPut {
                manifest: self.manifest.into(),
                envelope: self.envelope.into(),
                image: self.image.to_owned(),
                version: self.version.parse().ok()?,
                created_at: moment(self.created_at)?,
                artifact: self.artifact.into(),
                size: self.size,
                releases: Arc::new(
                    releases
                        .map(|(name, version)| ((*name).into(), (*version).into()))
                        .collect(),
                ),
                fixture: self.fixture,
                base: self.base.into(),
            },
            tests: tests.collect(),
            planned: self.planned.to_vec(),
            deleted: self.deleted.map(|(seq, why)| Removal {
                seq,
                why: why.to_owned(),
            }),
        })
    }
}

fn moment(second: i64) -> Option<Moment> {
    Timestamp::from_second(second).ok().map(Moment::from)
}
