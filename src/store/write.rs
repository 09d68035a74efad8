//! Writes records: first the objects, then the events that refer to them.

use jiff::Timestamp;
use uuid::Uuid;

use super::backend::{Backend, Created};
use super::event::{self, Body, ManifestPut, entry_name};
use super::history::{Admission, History};
use super::{Store, StoreError, log, new_id, object_name};
use crate::digest::Digest;
use crate::manifest::{Manifest, Package, Packages, TestRecord, packages_bytes};
use crate::sign::{self, STATEMENT_PAYLOAD_TYPE};

impl<B: Backend> Store<B> {
    /// Stores a package list, and returns its entry for the manifest.
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

    /// Records a build. Its package list, bill of materials and local artifacts must be in the
    /// store. Recording the same manifest again does nothing. If another manifest has the same
    /// name, fails with [`StoreError::VersionTaken`] and records nothing.
    pub async fn put_manifest(
        &self,
        manifest: &Manifest,
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        let bytes = manifest.to_bytes();
        let digest = Digest::hash_bytes(&bytes);
        Manifest::parse(&bytes).map_err(StoreError::BadManifest)?;
        // Checked before the first write, so that a refusal leaves no objects.
        let history = self.history().await?;
        let unsigned = Body::ManifestPut(ManifestPut::from_manifest(manifest, digest, digest));
        if history.admits(&unsigned, &self.own_keys(), now.into())? == Admission::Unchanged {
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
        let body = Body::ManifestPut(ManifestPut::from_manifest(manifest, digest, envelope));
        self.append_to(history, new_id(now), now, body).await?;
        Ok(digest)
    }

    /// Records a test of a recorded manifest. Recording the same test again does nothing.
    pub async fn put_test(
        &self,
        record: &TestRecord,
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        let bytes = record.to_bytes();
        let manifest = record.manifest;
        TestRecord::parse(&bytes).map_err(|error| StoreError::BadTest { manifest, error })?;
        let (test, passed) = (Digest::hash_bytes(&bytes), record.passed);
        let body = |envelope| Body::TestPut {
            manifest,
            test,
            envelope,
            passed,
        };
        let history = self.history().await?;
        if history.admits(&body(test), &self.own_keys(), now.into())? == Admission::Unchanged {
            return Ok(test);
        }
        self.put_object(&bytes).await?;
        let envelope = self.put_envelope(bytes).await?;
        self.append_to(history, new_id(now), now, body(envelope))
            .await?;
        Ok(test)
    }

    /// Signs a statement, and stores the envelope.
    pub(super) async fn put_envelope(&self, statement: Vec<u8>) -> Result<Digest, StoreError> {
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

    /// Appends one event, and returns once it is durable. Checks the rules again whenever another
    /// writer was faster. An `id` that the log has already makes this a no-op, so a caller may
    /// retry after an unclear failure.
    pub async fn append(&self, id: Uuid, now: Timestamp, body: Body) -> Result<(), StoreError> {
        let history = self.history().await?;
        self.append_to(history, id, now, body).await
    }

    /// Checks whether this store's signers could append or propose the event at the time `now`.
    pub async fn check(&self, body: &Body, now: Timestamp) -> Result<Admission, StoreError> {
        let history = self.history().await?;
        history.admits(body, &self.planned_signers(&history), now.into())
    }

    pub(super) async fn append_to(
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
            if history.contains_event(id)
                || history.admits(&body, &own, now.into())? == Admission::Unchanged
            {
                return Ok(());
            }
            if self.append_next(&history, id, now, &body).await?.is_some() {
                return Ok(());
            }
            self.catch_up(&mut history).await?;
        }
    }

    /// Appends directly after `history`, and returns the number of the new entry, or `None` if
    /// another writer was faster. The caller has checked the rules.
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
                why: format!("{} bytes, the limit is {}", payload.len(), event::MAX_BYTES),
                hint: Some("Split it into several events, or use fewer words.".to_owned()),
            });
        }
        let signed = sign::sign(event::PAYLOAD_TYPE, payload, &self.signers, &self.interrupt);
        let bytes = signed.await?.to_bytes();
        Ok(match self.backend.create(&entry_name(seq), &bytes).await? {
            Created::New => Some(seq),
            Created::Exists => None,
        })
    }

    /// Appends the entries of another writer to `history`.
    pub(super) async fn catch_up(&self, history: &mut History) -> Result<(), StoreError> {
        let head = history.head();
        log::advance(history, &self.backend).await?;
        if history.head() == head {
            let name = entry_name(head + 1);
            return Err(StoreError::integrity(
                name,
                "the entry exists but cannot be read",
            ));
        }
        Ok(())
    }
}
