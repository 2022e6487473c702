//! Parts of a static glibc that are replaced, because of what they would bring along.
//!
//! A static program gets of the C library what it refers to, and a few functions of glibc that nobody here calls, or that only
//! tell of a mistake in it, refer to half a megabyte: formatted input and output, streams, translated messages, character
//! sets, and a loader for the modules that convert them. A linker takes the first definition that it meets, and ours come
//! first. What a name of these is not known to another version of glibc makes the program larger there, no worse. musl has
//! nothing of the kind and stays as it is.

#![cfg(all(target_env = "gnu", target_feature = "crt-static"))]

use crate::heap::Heap;
use nix::errno::Errno;
use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;

/// What the C library itself allocates: the buffers of directories, little else. Replacing its allocator is a documented
/// interface of glibc ("Replacing malloc"); its own can print statistics.
static HEAP: Heap = Heap::new();
/// free(3) is not told a block's size: it stands before the block, and keeps its alignment.
const HEADER: usize = 16;

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEADER)?, HEADER).ok()
}

/// malloc(3).
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    let Some(layout) = layout(size) else { return null_mut() };
    // SAFETY: the layout is not empty.
    let block = unsafe { HEAP.alloc(layout) };
    if block.is_null() {
        return null_mut();
    }
    // SAFETY: the block begins with room for the header, aligned for a number.
    unsafe {
        block.cast::<usize>().write(size);
        block.add(HEADER).cast()
    }
}

/// calloc(3).
#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(all) = count.checked_mul(size) else { return null_mut() };
    let block = malloc(all);
    if !block.is_null() {
        // SAFETY: malloc gave room for `all` bytes.
        unsafe { block.cast::<u8>().write_bytes(0, all) };
    }
    block
}

/// free(3).
///
/// # Safety
/// `block` is null, or of [`malloc`] and not freed yet.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: malloc left the size before the block.
    let (start, size) = unsafe {
        let start = block.cast::<u8>().sub(HEADER);
        (start, start.cast::<usize>().read())
    };
    if let Some(layout) = layout(size) {
        // SAFETY: it was allocated with this layout.
        unsafe { HEAP.dealloc(start, layout) };
    }
}

/// realloc(3).
///
/// # Safety
/// As for [`free`].
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    let other = malloc(size);
    if !block.is_null() && !other.is_null() {
        // SAFETY: both have room for the smaller size and are disjoint; then the old one is not used any more.
        unsafe {
            let before = block.cast::<u8>().sub(HEADER).cast::<usize>().read();
            std::ptr::copy_nonoverlapping(block.cast::<u8>(), other.cast(), before.min(size));
            free(block);
        }
    }
    other
}

/// fork(2), by which the standard library starts some programs. glibc's own looks after open streams first.
#[unsafe(no_mangle)]
extern "C" fn fork() -> libc::pid_t {
    // SAFETY: without CLONE_VM the child has a copy of everything and goes on from here.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    libc::pid_t::try_from(pid).unwrap_or(-1)
}

/// pthread_getattr_np(3), by which the standard library asks at every start where the stack ends, to name an overflow by its
/// thread. glibc's own reads `/proc/self/maps` with scanf(3). Without an answer, too, an overflow ends the program.
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_thread: libc::pthread_t, _attributes: *mut c_void) -> c_int {
    libc::ENOSYS
}

/// assert(3) of the C library about itself.
///
/// # Safety
/// The texts are null or terminated.
#[unsafe(no_mangle)]
unsafe extern "C" fn __assert_fail(what: *const c_char, file: *const c_char, _: c_uint, function: *const c_char) -> ! {
    for text in [file, c" ".as_ptr(), function, c" ".as_ptr(), what] {
        if !text.is_null() {
            // SAFETY: the caller's texts are terminated.
            let text = unsafe { CStr::from_ptr(text) };
            // SAFETY: write(2) reads as many bytes as the text has. There is nobody to tell that it failed.
            unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.count_bytes()) };
        }
    }
    // SAFETY: abort(3) has no conditions.
    unsafe { libc::abort() }
}

/// dcgettext(3) under the C library's own name: its messages stay in English.
#[unsafe(no_mangle)]
extern "C" fn __dcgettext(_domain: *const c_char, message: *const c_char, _category: c_int) -> *const c_char {
    message
}

/// strerror_r(3) as POSIX has it, under the name that Rust's standard library calls.
///
/// # Safety
/// There is room for `size` bytes at `buffer`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __xpg_strerror_r(errno: c_int, buffer: *mut c_char, size: usize) -> c_int {
    let text = Errno::from_raw(errno).desc();
    let Some(room) = size.checked_sub(1) else { return libc::ERANGE };
    let count = text.len().min(room);
    // SAFETY: `count` bytes and a zero fit in `size`, and the text is a constant, not the caller's.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), count);
        buffer.add(count).write(0);
    }
    if count < text.len() { libc::ERANGE } else { 0 }
}

/// The same as GNU has it, for the C library itself.
///
/// # Safety
/// As for [`__xpg_strerror_r`].
#[unsafe(no_mangle)]
unsafe extern "C" fn __strerror_r(errno: c_int, buffer: *mut c_char, size: usize) -> *mut c_char {
    // SAFETY: the caller's conditions are the same.
    unsafe { __xpg_strerror_r(errno, buffer, size) };
    buffer
}

/// How glibc's "C" locale converts wide characters (`struct gconv_fcts`), which nobody here has.
#[unsafe(no_mangle)]
static __wcsmbs_gconv_fcts_c: [usize; 4] = [0; 4];
