//! Locks whose holders cannot leave half a change behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose value is consistent between any two statements, so that a panic elsewhere does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
