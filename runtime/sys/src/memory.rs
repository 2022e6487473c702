//! Memory that isn't needed now: the allocator's, and that of the program itself.

use std::num::NonZeroUsize;
use std::ops::Range;

/// Gives memory that the allocator holds and nobody uses back to the kernel (malloc_trim(3)). Takes milliseconds, in which
/// other threads may wait for memory. Does nothing with C libraries that keep none.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number, and locks what it works on (attributes(7): MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the program's and its libraries' code (madvise(2), `MADV_DONTNEED`): what runs is mapped again from the page cache, 64 KiB at
/// a fault, and what only the start needed is not. Breakpoints that a debugger has put into the code are lost.
///
/// # Errors
/// `/proc` isn't there to say where the code is.
pub fn forget_code() -> std::io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for range in maps.lines().filter_map(code) {
        let Some(start) = NonZeroUsize::new(range.start) else { continue };
        // SAFETY: the range is a private mapping of a file that may be read and executed but not written, so that every page of it is the
        // file's and comes back with the next access; what code does while its page is away is fault and go on.
        let given = unsafe { libc::madvise(start.get() as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
        if given != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The addresses of a line of proc_pid_maps(5), if it is code of a file: `start-end perms offset device inode path`.
fn code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (range, permissions) = (fields.next()?, fields.next()?);
    let inode = fields.nth(2)?;
    let (start, end) = range.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    (permissions == "r-xp" && inode != "0").then_some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_let_go() {
        let line =
            |permissions: &str, inode: &str| format!("55d0-55e0 {permissions} 00001000 fe:00 {inode}   /usr/bin/a b");
        assert_eq!(code(&line("r-xp", "17")), Some(0x55d0..0x55e0));
        for other in [line("r--p", "17"), line("rw-p", "17"), line("rwxp", "17"), line("r-xs", "17"), line("r-xp", "0")]
        {
            assert_eq!(code(&other), None, "{other}");
        }
        assert_eq!(code("7ffc-7ffd r-xp 00000000 00:00 0                          [vdso]"), None);
        assert_eq!(code(""), None);
    }

    #[test]
    fn the_program_goes_on_without_its_code() {
        for _ in 0..3 {
            forget_code().expect("/proc is there");
        }
        assert_eq!((0..100_u32).map(|n| n.to_string().len()).sum::<usize>(), 190);
    }
}
