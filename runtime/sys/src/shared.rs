//! One number that two processes see, for a process that may make no system calls.

use nix::errno::Errno;
use std::sync::atomic::{AtomicI32, Ordering};

/// A number on a page of its own that a clone of this process shares.
#[derive(Debug)]
pub struct Word(std::ptr::NonNull<AtomicI32>);

impl Word {
    /// Makes one that is 0.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory that is in use.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<AtomicI32>(), protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        std::ptr::NonNull::new(page.cast()).map(Self).ok_or(Errno::ENOMEM)
    }

    fn atomic(&self) -> &AtomicI32 {
        // SAFETY: the mapping is page aligned, zeroed (a valid AtomicI32), writable, and never unmapped.
        unsafe { self.0.as_ref() }
    }

    /// Its value now.
    #[must_use]
    pub fn get(&self) -> i32 {
        self.atomic().load(Ordering::Acquire)
    }

    /// Changes it for both.
    pub fn set(&self, value: i32) {
        self.atomic().store(value, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::Word;

    #[test]
    fn a_word_keeps_what_was_said() {
        let word = Word::new().unwrap();
        assert_eq!(word.get(), 0);
        word.set(-7);
        assert_eq!(word.get(), -7);
    }
}
