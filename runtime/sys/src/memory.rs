//! The allocator's memory.

/// Gives memory that the allocator holds and nobody uses back to the kernel (malloc_trim(3)). Takes milliseconds, in which
/// other threads may wait for memory. Does nothing with C libraries that keep none.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number, and locks what it works on (attributes(7): MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}
