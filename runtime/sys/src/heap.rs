//! Memory for programs that live for a few milliseconds, and for one that lives long with little.
//!
//! The C library that we link statically asks the kernel for nearly every page by itself: some 300 calls for one container,
//! each with a page fault of its own afterwards. Here memory comes in chunks, blocks have one of few sizes, and a freed block
//! waits in a list for the next one of its size. Nothing small goes back to the kernel; what is large is the kernel's own
//! mapping, and goes back at once.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// Blocks are multiples of this.
const STEP: usize = 16;
/// Sizes grow by a quarter of the power of two below them: at most a fifth of a block is unused.
const CLASSES: usize = 32;
/// The largest size that shares chunks. What is larger is held briefly, as the text of a configuration is: pages of its own go back
/// before the program needs the most.
const SMALL_MAX: usize = 8 * 1024;
/// A container's configuration and plan take some 130 KiB.
const CHUNK: usize = 64 * 1024;

/// The allocator; there is one for the program: `#[global_allocator] static HEAP: Heap = Heap::new();`.
#[derive(Debug)]
pub struct Heap {
    is_held: AtomicBool,
    state: UnsafeCell<State>,
}

#[derive(Debug)]
struct State {
    /// First free block of each size; a free block begins with the address of the next.
    free: [*mut u8; CLASSES],
    /// The rest of the newest chunk.
    next: *mut u8,
    left: usize,
}

// SAFETY: the state is only reached by `with`, which lets one thread in at a time.
unsafe impl Sync for Heap {}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl Heap {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        let state = State { free: [null_mut(); CLASSES], next: null_mut(), left: 0 };
        Self { is_held: AtomicBool::new(false), state: UnsafeCell::new(state) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        while self.is_held.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: whoever set the flag is alone here until it clears it.
        let result = act(unsafe { &mut *self.state.get() });
        self.is_held.store(false, Ordering::Release);
        result
    }
}

/// The class whose blocks have room for `size`, and the room.
const fn class(size: usize) -> (usize, usize) {
    let steps = if size == 0 { 1 } else { size.div_ceil(STEP) };
    if steps <= 8 {
        return (steps - 1, steps * STEP);
    }
    // Between two powers of two there are four sizes.
    let power = usize::BITS as usize - 1 - (steps - 1).leading_zeros() as usize;
    let quarter = 1 << (power - 2);
    let quarters = (steps - 1 - (1 << power)) / quarter + 1;
    (8 + (power - 3) * 4 + quarters - 1, ((1 << power) + quarters * quarter) * STEP)
}

const fn is_small(layout: &Layout) -> bool {
    layout.size() <= SMALL_MAX && layout.align() <= STEP
}

impl State {
    fn take(&mut self, size: usize) -> *mut u8 {
        let (class, room) = class(size);
        let block = self.free[class];
        if !block.is_null() {
            // SAFETY: a block in the list is ours, at least 16 bytes long and aligned, and begins with the next one's address.
            self.free[class] = unsafe { block.cast::<*mut u8>().read() };
            return block;
        }
        if self.left < room {
            let chunk = map(CHUNK);
            if chunk.is_null() {
                return chunk;
            }
            (self.next, self.left) = (chunk, CHUNK);
        }
        let block = self.next;
        // SAFETY: `room` is at most `left`, so this stays within the chunk or at its end.
        self.next = unsafe { block.add(room) };
        self.left -= room;
        block
    }

    fn give(&mut self, block: *mut u8, size: usize) {
        let (class, _) = class(size);
        // SAFETY: the caller owns the block no longer; it has at least 16 bytes and is aligned.
        unsafe { block.cast::<*mut u8>().write(self.free[class]) };
        self.free[class] = block;
    }
}

fn map(size: usize) -> *mut u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
    let mapped = unsafe { libc::mmap(null_mut(), size, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED { null_mut() } else { mapped.cast() }
}

// SAFETY: blocks are disjoint, have room for their class (at least the layout's size), and are aligned to 16 bytes, mappings
// to a page; what needs more alignment is mapped, and no layout asks for more than a page here.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_small(&layout) {
            return self.with(|state| state.take(layout.size()));
        }
        if layout.align() > 4096 { null_mut() } else { map(layout.size()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_small(&layout) {
            self.with(|state| state.give(block, layout.size()));
        } else {
            // SAFETY: it was mapped with this size by `alloc`, and the caller has no more use for it.
            unsafe { libc::munmap(block.cast(), layout.size()) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_small(&layout) && size <= SMALL_MAX && class(layout.size()) == class(size) {
            return block;
        }
        // SAFETY: the caller promises that `size` with this alignment is a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `wanted` is not empty, as the caller promises.
        let other = unsafe { self.alloc(wanted) };
        if !other.is_null() {
            // SAFETY: both have room for the smaller size and are disjoint; then the old one is given back as it was taken.
            unsafe {
                std::ptr::copy_nonoverlapping(block, other, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_class_with_room_and_little_waste() {
        let mut last = (0, STEP);
        for size in 1..=SMALL_MAX {
            let (class, room) = class(size);
            assert!(class < CLASSES && room >= size && room.is_multiple_of(STEP), "{size}: {class} {room}");
            assert!(room - size < STEP || (room - size) * 5 <= room + STEP * 5, "{size} wastes {}", room - size);
            assert!((class, room) == last || (class == last.0 + 1 && room > last.1), "{size}");
            last = (class, room);
        }
    }

    #[test]
    fn blocks_are_disjoint_and_keep_what_is_written() {
        let heap = Heap::new();
        let mut blocks = Vec::new();
        for round in 0..2_000_usize {
            let size = 1 + (round * 7919) % 40_000;
            let layout = Layout::from_size_align(size, if round % 3 == 0 { 16 } else { 1 }).unwrap();
            // SAFETY: the layout is not empty; the block is written within its size, read, and freed with its layout.
            unsafe {
                let block = heap.alloc(layout);
                assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()));
                let mark = u8::try_from(round % 251).unwrap();
                block.write_bytes(mark, size);
                blocks.push((block, layout, mark));
                if round % 2 == 1 {
                    let (block, layout, mark) = blocks.swap_remove((round * 31) % blocks.len());
                    let grown = heap.realloc(block, layout, layout.size() * 2);
                    assert!((0..layout.size()).all(|at| grown.add(at).read() == mark));
                    heap.dealloc(grown, Layout::from_size_align(layout.size() * 2, layout.align()).unwrap());
                }
            }
        }
        for (block, layout, mark) in blocks {
            // SAFETY: the block is still allocated with this layout, and freed once.
            unsafe {
                assert!((0..layout.size()).all(|at| block.add(at).read() == mark));
                heap.dealloc(block, layout);
            }
        }
    }
}
