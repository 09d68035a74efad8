//! Writing: records into objects, and the events that name them into the log.

use jiff::Timestamp;
use uuid::Uuid;

use super::backend::{Backend, Created};
use super::event::{self, Body, ManifestPut};
use super::history::{Admission, History};
use super::{Store, StoreError, log, new_id, object_name};
use crate::digest::Digest;
use crate::manifest::{Manifest, Package, Packages, TestRecord, packages_bytes};
use crate::sign::{self, STATEMENT_PAYLOAD_TYPE};

impl<B: Backend> Store<B> {
    /// Stores a package list, and returns what a manifest says of it.
    pub async fn put_packages(
        &self,
        packages: &[Package],
        manager: &str,
    ) -> Result<Packages, StoreError> {
        Ok(Packages {
            digest: self.put_object(&packages_bytes(packages)).await?,
            count: packages.len() as u64,
            manager: manager.to_owned(),
        })
    }

    /// Records a bake. What the manifest names, its package list, its bill of materials and its local artifacts, has to be there already.
    /// Doing it again is no error. Where another manifest has the same name: [`StoreError::VersionTaken`], and
    /// nothing is recorded; the caller takes [`Self::next_version`] and tries again.
    pub async fn put_manifest(
        &self,
        manifest: &Manifest,
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        let bytes = manifest.to_bytes();
        let digest = Digest::of(&bytes);
        Manifest::parse(&bytes).map_err(StoreError::BadManifest)?;
        // Looked at before anything is written, so that a refusal leaves nothing behind.
        let history = self.history().await?;
        let wanted = Body::ManifestPut(ManifestPut::of(manifest, digest, digest));
        if history.admits(&wanted, &self.own_keys(), now.into())? == Admission::Already {
            return Ok(digest);
        }
        let outputs = manifest.outputs.iter();
        let local = outputs.filter(|output| output.target == "local");
        let list = [manifest.packages.digest].into_iter();
        let attached = list.chain(manifest.sbom.iter().map(|sbom| sbom.digest));
        let objects = attached.map(|digest| object_name(&digest));
        for what in local.map(|output| output.id.clone()).chain(objects) {
            if !self.backend.exists(&what).await? {
                return Err(StoreError::NotYetStored { what });
            }
        }
        self.put_object(&bytes).await?;
        let envelope = self.put_envelope(bytes).await?;
        let body = Body::ManifestPut(ManifestPut::of(manifest, digest, envelope));
        self.append_to(history, new_id(now), now, body).await?;
        Ok(digest)
    }

    /// Records a test of a recorded manifest. Doing it again is no error.
    pub async fn put_test(
        &self,
        record: &TestRecord,
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        let bytes = record.to_bytes();
        let manifest = record.manifest;
        TestRecord::parse(&bytes).map_err(|error| StoreError::BadTest { manifest, error })?;
        let (test, passed) = (Digest::of(&bytes), record.passed);
        let body = |envelope| Body::TestPut {
            manifest,
            test,
            envelope,
            passed,
        };
        let history = self.history().await?;
        if history.admits(&body(test), &self.own_keys(), now.into())? == Admission::Already {
            return Ok(test);
        }
        self.put_object(&bytes).await?;
        let envelope = self.put_envelope(bytes).await?;
        self.append_to(history, new_id(now), now, body(envelope))
            .await?;
        Ok(test)
    }

    /// Signs a statement, and stores the envelope.
    async fn put_envelope(&self, statement: Vec<u8>) -> Result<Digest, StoreError> {
        if self.signers.is_empty() {
            return Err(StoreError::NoSigner);
        }
        let signed = sign::sign(
            STATEMENT_PAYLOAD_TYPE,
            statement,
            &self.signers,
            &self.interrupt,
        );
        self.put_object(&signed.await?.to_bytes()).await
    }

    /// Appends one event, and returns once it is durable. The rules are looked at again whenever another writer was
    /// faster. With an `id` that the log has already nothing happens, so a caller who does not know whether the last
    /// try succeeded may try again.
    pub async fn append(&self, id: Uuid, now: Timestamp, body: Body) -> Result<(), StoreError> {
        let history = self.history().await?;
        self.append_to(history, id, now, body).await
    }

    /// Whether an event could be appended at the time `now`, by our keys.
    pub async fn check(&self, body: &Body, now: Timestamp) -> Result<Admission, StoreError> {
        let history = self.history().await?;
        history.admits(body, &self.own_keys(), now.into())
    }

    async fn append_to(
        &self,
        mut history: History,
        id: Uuid,
        now: Timestamp,
        body: Body,
    ) -> Result<(), StoreError> {
        let own = self.own_keys();
        if own.is_empty() {
            return Err(StoreError::NoSigner);
        }
        loop {
            if history.has(id) || history.admits(&body, &own, now.into())? == Admission::Already {
                return Ok(());
            }
            if self.append_next(&history, id, now, &body).await?.is_some() {
                return Ok(());
            }
            self.catch_up(&mut history).await?;
        }
    }

    /// Appends right behind `history`, and returns the number of the new entry; nothing where another writer was faster.
    /// Whether it may be appended is for the caller to know.
    pub(super) async fn append_next(
        &self,
        history: &History,
        id: Uuid,
        now: Timestamp,
        body: &Body,
    ) -> Result<Option<u64>, StoreError> {
        let seq = history.head() + 1;
        let payload = event::payload(seq, history.last(), id, now.into(), body);
        if payload.len() > event::MAX_BYTES {
            return Err(StoreError::Refused {
                what: "event".to_owned(),
                why: format!(
                    "{} bytes, and the log takes {} at most; say it in several, or with fewer words",
                    payload.len(),
                    event::MAX_BYTES
                ),
            });
        }
        let signed = sign::sign(event::PAYLOAD_TYPE, payload, &self.signers, &self.interrupt);
        let bytes = signed.await?.to_bytes();
        Ok(
            match self.backend.create(&log::entry_name(seq), &bytes).await? {
                Created::New => Some(seq),
                Created::Exists => None,
            },
        )
    }

    /// Reads what another writer, who was faster, has appended.
    pub(super) async fn catch_up(&self, history: &mut History) -> Result<(), StoreError> {
        let head = history.head();
        log::advance(history, &self.backend).await?;
        if history.head() == head {
            let name = log::entry_name(head + 1);
            return Err(StoreError::integrity(name, "is there and cannot be read"));
        }
        Ok(())
    }
}
