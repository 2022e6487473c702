//! Machines that really boot: what goes in, what comes out, and when they are given up.

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

use skiff_harness::skip;
use skiff_vm::{Command, Entry, Error, Guest, Kernel, Layout, Limit, Limits, Outcome, Replay, WriteLog};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

/// A guest with busybox; `None`, loudly, where there is no kernel or QEMU for it.
fn guest() -> Option<Guest> {
    let made = || {
        let mut guest = Guest::new(Kernel::peer("6.1")?)?;
        guest.busybox(Path::new("/bin/busybox"))?;
        Ok(guest)
    };
    available(made())
}

/// A result, or `None` with a word where this machine lacks something.
fn available<T>(result: skiff_vm::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error @ Error::Missing { .. }) => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn shell(script: &str) -> Command {
    Command::new(["sh", "-c", script])
}

fn run(guest: &Guest, scripts: &[&str]) -> Option<Outcome> {
    let commands: Vec<_> = scripts.iter().map(|script| shell(script)).collect();
    available(guest.run(&commands))
}

#[test]
fn codes_output_and_files_come_back() {
    let Some(mut guest) = guest() else { return };
    guest.env("GIVEN", "to all").bring("/tmp/made").bring("/tmp/empty").bring("/tmp/never");
    guest.text("/etc/told", "told\n").unwrap().add("/etc/passwd", "/data/accounts").unwrap();
    let large = "yes 0123456789 | head -c 300000 > /tmp/made; : > /tmp/empty; echo $GIVEN; exit 3";
    let mut commands = vec![shell(large), shell("echo out; echo err >&2; kill -9 $$"), Command::new(["/no/such"])];
    commands
        .push(shell("pwd; echo $OWN; cat /etc/told; grep -c root: /data/accounts").within("/usr").env("OWN", "mine"));
    commands.push(shell("echo left behind; sleep 1000 & exit 0"));
    let Some(outcome) = available(guest.run(&commands)) else { return };
    let codes: Vec<_> = outcome.commands.iter().map(|ran| ran.code).collect();
    assert_eq!(codes, [3, 128 + 9, 127, 0, 0]);
    assert_eq!(outcome.code(), 3);
    let said: Vec<_> = outcome.commands.iter().map(|ran| (ran.out(), ran.err())).collect();
    assert_eq!(said[0].0, "to all\n");
    assert_eq!(said[1], ("out\n".to_owned(), "err\n".to_owned()));
    assert!(said[2].1.contains("No such file"), "{said:?}");
    assert_eq!(said[3].0, "/usr\nmine\ntold\n1\n");
    assert_eq!(said[4].0, "left behind\n");
    assert!(outcome.release.starts_with("6.1."), "{}", outcome.release);
    assert_eq!(outcome.files.keys().collect::<Vec<_>>(), ["/tmp/empty", "/tmp/made"]);
    let expected: Vec<u8> = b"0123456789\n".iter().copied().cycle().take(300_000).collect();
    assert!(outcome.files["/tmp/made"] == expected && outcome.files["/tmp/empty"].is_empty());
}

#[test]
fn each_layout_is_what_its_name_says() {
    for (name, layout) in Layout::ALL {
        let Some(mut guest) = guest() else { return };
        guest.cgroups(layout);
        let look = "mkdir /sys/fs/cgroup/memory/x; cat /sys/fs/cgroup/memory/x/memory.limit_in_bytes; \
                    cat /sys/fs/cgroup/cgroup.subtree_control; stat -f -c %t /sys/fs/cgroup/unified";
        let Some(outcome) = run(&guest, &[look]) else { return };
        let out = outcome.commands[0].out();
        let lines: Vec<_> = out.lines().collect();
        // The largest number of pages in bytes means no limit; 63677270 is CGROUP2_SUPER_MAGIC.
        match layout {
            Layout::V2 => assert!(["cpu", "io", "memory", "pids"].iter().all(|word| out.contains(word)), "{out}"),
            Layout::V1 => assert_eq!(lines, ["9223372036854771712"], "{name}"),
            Layout::Hybrid => assert_eq!(lines, ["9223372036854771712", "63677270"], "{name}"),
        }
    }
}

#[test]
fn modules_come_with_what_they_need_and_a_disk_is_a_filesystem() {
    let Some(mut guest) = guest() else { return };
    guest.module("overlay").module("bridge").disk_mib(64);
    let overlay = "cd $TMPDIR && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m";
    let Some(outcome) =
        run(&guest, &[overlay, "ip link add b type bridge", "stat -f -c %t /scratch; test -b /dev/vda"])
    else {
        return;
    };
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert_eq!(outcome.commands[2].out(), "ef53\n", "ext4");
    let mut unknown = guest.clone();
    unknown.module("no-such-module");
    let error = unknown.run(&[shell("true")]).unwrap_err();
    assert!(matches!(&error, Error::Refused(text) if text.contains("no_such_module")), "{error}");
}

#[test]
fn silence_and_length_are_bounded() {
    let Some(mut guest) = guest() else { return };
    let second = Duration::from_secs(1);
    let limits = |total, silence| Limits { total, silence, ..Limits::default() };
    guest.limits(limits(600 * second, 3 * second));
    match guest.run(&[shell("echo last words > /dev/console; sleep 1000")]) {
        Err(Error::Stopped { why: Limit::Silence(_), console }) => assert!(console.contains("last words"), "{console}"),
        other => panic!("{other:?}"),
    }
    guest.limits(limits(4 * second, 600 * second));
    match guest.run(&[shell("while true; do echo still here; sleep 1; done")]) {
        Err(Error::Stopped { why: Limit::Total(_), .. }) => (),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_is_told_with_the_kernels_words() {
    let Some(guest) = guest() else { return };
    match guest.run(&[shell("echo c > /proc/sysrq-trigger; sleep 1000")]) {
        Err(Error::Died { console, .. }) => assert!(console.contains("Kernel panic"), "{console}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_machine_that_does_not_boot_is_tried_again_and_then_given_up() {
    let Some(mut guest) = guest() else { return };
    // The kernel starts something else than our process 1, which waits for input for ever.
    let limits = Limits { boot: Duration::from_secs(3), boots_max: 2, ..Limits::default() };
    match guest.kernel_words("rdinit=/bin/cat").limits(limits).run(&[shell("true")]) {
        Err(Error::NotBooted { boots: 2, .. }) => (),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_logged_disk_tells_every_write_in_order() {
    let Some(mut guest) = guest() else { return };
    let folder = tempfile::tempdir().unwrap();
    guest.disk_mib(16).disk_raw_mib(1).log_writes(folder.path());
    // Behind the filesystem, in pages, which is what the guest's cache writes: 16 MiB are 4,096.
    let page = |number: usize| 4096 + number;
    let raw = |number| format!("yes {number} | head -c 4096 | dd of=/dev/vda bs=4096 seek={} conv=fsync", page(number));
    let scripts = [&raw(1), "yes file | head -c 8192 > /scratch/file; sync", &raw(2)];
    let Some(outcome) = run(&guest, &scripts) else { return };
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    let log = WriteLog::open(&folder).unwrap();
    let found = |text: &str| {
        let holds = |entry: &Entry| log.data(entry).unwrap().starts_with(text.repeat(60).as_bytes());
        log.entries().iter().position(holds).unwrap_or_else(|| panic!("no write of {text:?}"))
    };
    let (first, file, last) = (found("1\n"), found("file\n"), found("2\n"));
    assert!(first < file && file < last);
    assert_eq!(log.entries()[first].at, page(1) as u64 * 4096);
    // Each was synced before the next was asked for.
    let mark_after = |at: usize| at + log.entries()[at..].iter().position(Entry::is_mark).unwrap();
    assert!(mark_after(first) < file && mark_after(file) < last && mark_after(last) > last);
    let mut replay = Replay::along(&log).unwrap();
    while replay.step().unwrap().is_some() {}
    let (image, saved) = (replay.now().unwrap(), folder.path().join("disk"));
    image.save(&saved).unwrap();
    let disk = std::fs::read(saved).unwrap();
    assert_eq!(disk.len(), 17 << 20);
    assert!(disk[page(2) * 4096..].starts_with(b"2\n2\n"));
}

#[test]
fn a_log_wants_a_disk() {
    let Some(mut guest) = guest() else { return };
    let error = guest.log_writes("/nowhere").run(&[shell("true")]).unwrap_err();
    assert!(matches!(&error, Error::Refused(text) if text.contains("filesystem")), "{error}");
}

/// The program, as a user types it.
fn skiff_vm(words: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_skiff-vm"));
    command.args(words).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_program_ends_as_its_command_did() {
    if guest().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let there = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(there("suite"), "#!/bin/sh\ncat /data/in; tr a-z A-Z < /data/in > /tmp/out; exit $CODE\n").unwrap();
    std::fs::write(there("in"), "hello\n").unwrap();
    let (add, fetch) = (format!("{}:/data/in", there("in")), format!("/tmp/out:{}", there("out")));
    let run =
        ["run", "--cgroup", "v1", "--env", "CODE=7", "--add", &add, "--fetch", &fetch, "--console", &there("console")];
    let ended = skiff_vm(&[&run[..], &["--", &there("suite")]].concat());
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
    assert_eq!(ended.stdout, b"hello\n", "{ended:?}");
    assert_eq!(std::fs::read_to_string(there("out")).unwrap(), "HELLO\n");
    assert!(std::fs::read_to_string(there("console")).unwrap().contains("Linux version"));
    let late = skiff_vm(&["run", "--timeout", "2", "--", "sleep", "1000"]);
    assert_eq!(late.status.code(), Some(124), "{late:?}");
    let wrong = skiff_vm(&["run", "--kernel-package", &there("nowhere"), "--", "true"]);
    assert_eq!(wrong.status.code(), Some(125), "{wrong:?}");
}
