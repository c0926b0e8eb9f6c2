//! The options of a store in use: shown, and changed for all who have it open.

use super::state::Sole;
use super::{Store, flusher, sync};
use crate::error::Result;
use crate::options::{Config, ConfigChange, Sync};

impl Store {
    /// The options in force now, which are the same for all who have the store open.
    pub fn config(&self) -> Result<Config> {
        Ok(self.arena()?.config())
    }

    /// Changes options while the store is in use; gives all options after the change. It is
    /// durable when this returns, and every process obeys at once (a thread that syncs sees a new
    /// interval within a second). Other `max_bytes` and `max_processes` need the store to
    /// themselves: they wait, in the pending fields of what is given, for the next opener who
    /// finds it open nowhere, and who rebuilds the index then.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// let change = ConfigChange {
    ///     sync: Some(Sync::Always),
    ///     max_bytes: Some(16 << 20),
    ///     ..ConfigChange::default()
    /// };
    /// let config = store.set_config(&change)?;
    /// assert_eq!(config.sync, Sync::Always);
    /// assert_eq!((config.max_bytes, config.pending_max_bytes), (8 << 20, 16 << 20));
    /// # drop(store);
    /// # let store = Store::open(dir.path(), &options)?;
    /// // ... closed by all and opened again:
    /// assert_eq!(store.config()?.max_bytes, 16 << 20);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_config(&self, change: &ConfigChange) -> Result<Config> {
        let arena = self.arena()?;
        arena.check_sync()?;
        let mut sole = Sole::latch(arena)?;
        let new = sole.now().config.changed(change)?;
        sole.change(|it| it.config = new)?;
        drop(sole);
        if new.sync != Sync::None {
            // What was acknowledged under the old mode is as safe as the new one says.
            sync::wait_durable(arena)?;
            flusher::changed(&self.attached.arena, &self.attached.flusher)?;
        }
        Ok(new)
    }
}
