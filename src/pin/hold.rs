//! What pins hold: the images of a pin file are never removed.

use super::{PinError, PinFile};
use crate::sign::Trust;
use crate::store::Store;
use crate::store::backend::Backend;
use crate::store::gc::ExternalUses;
use crate::store::history::History;

impl PinFile {
    /// Proves the file, by itself and against the store, and lets its images be held. A file that does not prove itself, or is
    /// another store's, is an error: nobody knows what it would hold.
    pub async fn hold<B: Backend>(
        &self,
        outside: &mut ExternalUses,
        trust: Option<&Trust>,
        store: &Store<B>,
        history: &History,
    ) -> Result<(), PinError> {
        self.verify(trust)?;
        self.check_store_lineage(store, history).await?;
        let pins = self.pins.iter();
        outside.pinned(pins.map(|(name, pin)| (pin.manifest, format!("{name} in {}", self.name))));
        Ok(())
    }
}
