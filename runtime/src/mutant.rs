//! Old mistakes, to be made again on purpose: the positive controls of the tests in `tests/escapes`.
//!
//! An attack that fails proves something only if it succeeds where the mistake is. Built with the feature `vulnerable`, the
//! runtime makes the mistake that `SKIFF_VULNERABLE` names; without the feature this is a constant `false`, and a release
//! build with it does not compile.

#[cfg(all(feature = "vulnerable", not(debug_assertions)))]
compile_error!(
    "the feature `vulnerable` makes a runtime that containers escape from: it is for tests of debug builds only"
);

/// Whether to make the mistake known as `id`.
#[cfg(feature = "vulnerable")]
pub(crate) fn has(id: &str) -> bool {
    std::env::var("SKIFF_VULNERABLE").is_ok_and(|asked| asked == id)
}

/// Whether to make the mistake known as `id`: never.
#[cfg(not(feature = "vulnerable"))]
pub(crate) const fn has(_id: &str) -> bool {
    false
}
