//! Programs that make one system call and end with its errno, or with 0: shells cannot choose how to enter the kernel. They are
//! written byte by byte, so that they need neither a compiler nor a library, in a container or in a guest of `tests/vm`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Ways into an x86-64 kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `syscall`, with 64-bit arguments.
    Native,
    /// `int 0x80`, as 32-bit programs do it.
    Old,
}

/// Where a program is loaded: low enough for pointers of [`Way::Old`].
const BASE: u32 = 0x40_0000;
/// struct elf64_hdr and struct elf64_phdr (elf(5)).
const HEADER_BYTES: (u16, u16) = (64, 56);
/// Where a program has what a call points to. Its code follows.
pub(crate) const MEMORY: u32 = BASE + HEADER_BYTES.0 as u32 + HEADER_BYTES.1 as u32;
const MEMORY_WORDS: usize = 4;

/// Writes the program `path`, which makes the call `number` with two arguments and a third one that is 0. `memory` stands at
/// [`MEMORY`].
pub(crate) fn write(path: &Path, way: Way, number: u32, arguments: [u64; 2], memory: [u32; MEMORY_WORDS]) {
    // mov eax, number
    let mut code = [&[0xb8][..], &number.to_le_bytes()].concat();
    match way {
        Way::Native => {
            // movabs rdi, …; movabs rsi, …; xor edx, edx; syscall
            let [first, second] = arguments.map(u64::to_le_bytes);
            code.extend([&[0x48, 0xbf][..], &first, &[0x48, 0xbe], &second, &[0x31, 0xd2, 0x0f, 0x05]].concat());
        }
        Way::Old => {
            // mov ebx, …; mov ecx, …; xor edx, edx; int 0x80
            let [first, second] = arguments.map(|argument| u32::try_from(argument).unwrap().to_le_bytes());
            code.extend([&[0xbb][..], &first, &[0xb9], &second, &[0x31, 0xd2, 0xcd, 0x80]].concat());
        }
    }
    // mov edi, eax; neg edi; test eax, eax; js over the next; xor edi, edi; mov eax, exit; syscall
    code.extend([0x89, 0xc7, 0xf7, 0xdf, 0x85, 0xc0, 0x78, 0x02, 0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05]);
    let memory: Vec<u8> = memory.into_iter().flat_map(u32::to_le_bytes).collect();
    let bytes = usize::from(HEADER_BYTES.0 + HEADER_BYTES.1) + memory.len() + code.len();
    fs::write(path, [headers(bytes), memory, code].concat()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Those of an executable for x86-64 of `bytes` bytes, all of them one segment that can be read and executed.
fn headers(bytes: usize) -> Vec<u8> {
    let wide = |value: u32| u64::from(value).to_le_bytes();
    let entry = MEMORY + u32::try_from(MEMORY_WORDS * size_of::<u32>()).unwrap();
    let size = wide(u32::try_from(bytes).unwrap());
    let header = [
        &b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"[..],
        &[2, 0, 62, 0, 1, 0, 0, 0],
        &wide(entry),
        &wide(HEADER_BYTES.0.into()),
        &[0; 12],
        &HEADER_BYTES.0.to_le_bytes(),
        &HEADER_BYTES.1.to_le_bytes(),
        &[1, 0, 0, 0, 0, 0, 0, 0],
    ];
    let segment = [&[1, 0, 0, 0, 5, 0, 0, 0][..], &wide(0), &wide(BASE), &wide(BASE), &size, &size, &wide(0x1000)];
    [header.concat(), segment.concat()].concat()
}
