//! Damage to the database's file may make the library that reads it panic: that is an error like any other, and ends nobody.

use super::EngineError;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does `act`; a panic in it is an error of `operation`.
pub(crate) fn guarded<T>(operation: &str, act: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    // What was half changed is never looked at again: the library's locks are poisoned, so everything later fails as well.
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|panic| Err(EngineError(format!("{operation}: it is damaged: {}", text(&*panic)))))
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("it cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let pick = |at: usize| guarded("read", || Ok([1, 2, 3][at]));
        assert_eq!(pick(2).unwrap(), 3);
        let error = pick(3).unwrap_err().0;
        assert!(error.starts_with("read: it is damaged: index out of bounds"), "{error}");
    }
}
