//! Tells `gc` about pinned images, which must not be removed.

use super::{PinError, PinFile};
use crate::sign::Trust;
use crate::store::Store;
use crate::store::backend::Backend;
use crate::store::gc::ExternalUses;
use crate::store::history::History;

impl PinFile {
    /// Verifies the file by itself and against the store, and adds its images to `outside`. An
    /// invalid file, or one of another store, is an error, since its pins are unknown.
    pub async fn add_to_uses<B: Backend>(
        &self,
        outside: &mut ExternalUses,
        trust: Option<&Trust>,
        store: &Store<B>,
        history: &History,
    ) -> Result<(), PinError> {
        self.verify(trust)?;
        self.check_store_lineage(store, history).await?;
        let pins = self.pins.iter();
        outside
            .add_pins(pins.map(|(name, pin)| (pin.manifest, format!("{name} in {}", self.name))));
        Ok(())
    }
}
