//! The last steps before the program: terminal, user, capabilities, filter, execve. Shared by containers and `exec`.

use super::labels;
use super::listener::Handover;
use crate::error::{Acts, Error, On, Result};
use crate::inherited::{Limit, UMASK_DEFAULT};
use crate::mutant;
use crate::seccomp::Filter;
use crate::spec::Process;
use crate::steps;
use caps::CapsHashSet;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::prctl;
use nix::sys::stat::{Mode, SFlag, fstat, stat, umask};
use nix::unistd::{AccessFlags, Gid, Uid, chdir, execve, faccessat, fchown, getcwd, setgroups, setresgid, setresuid};
use skiff_sys::capability::{self, Sets};
use skiff_sys::schedule;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, RawFd};
use std::path::Path;

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Standard input, output and error.
const STDIO_FDS: RawFd = 3;

/// A process that has become the container's user and knows its program.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    acts: &'a Acts,
    process: &'a Process,
    filter: Option<&'a Filter>,
    path: CString,
    env: Vec<CString>,
    preserve_fds: u32,
    /// Whether the filter is in force.
    loaded: bool,
}

impl<'a> Payload<'a> {
    /// Becomes the user, gives up what it must not have, and finds the program. The root is the container's already.
    ///
    /// # Errors
    /// The kernel refuses a step, or there is no such program.
    pub(crate) fn prepare(
        acts: &'a Acts,
        process: &'a Process,
        filter: Option<&'a Filter>,
        preserve_fds: u32,
    ) -> Result<Self> {
        own_stdio(process)?;
        treat(acts, process)?;
        // Before no_new_privs, which would only let AppArmor narrow what a profile allows already.
        labels::set(acts, &process.treatment)?;
        if process.no_new_privileges {
            acts.step(&steps::PRIVILEGES_LOCK, "", prctl::set_no_new_privs)?;
        }
        bound(acts, process)?;
        prctl::set_keepcaps(true).on("keep", "capabilities")?;
        if mutant::has("CVE-2022-4318") {
            name_user(process)?;
        }
        become_user(acts, process)?;
        // Changing users clears the effective set but not the permitted one (PR_SET_KEEPCAPS); raise it again to set up.
        let own = capability::get().on(steps::CAPS_SET.id, "own")?;
        capability::set(Sets { effective: own.permitted, ..own }).on(steps::CAPS_SET.id, "own")?;
        let mut payload = Self {
            acts,
            process,
            filter,
            path: CString::default(),
            env: environment(process),
            preserve_fds,
            loaded: false,
        };
        enter_cwd(acts, &process.cwd)?;
        if !payload.needs_privilege_for_filter() {
            set_caps(acts, process)?;
        }
        payload.path = find(process, &payload.env)?;
        Ok(payload)
    }

    /// Without no_new_privs the kernel takes a filter only from who has CAP_SYS_ADMIN (seccomp(2)), so the capabilities go
    /// after it; with it, the filter comes last and need not allow any of our own calls but execve.
    fn needs_privilege_for_filter(&self) -> bool {
        self.filter.is_some() && !self.process.no_new_privileges
    }

    /// Loads a filter with an agent, while the runtime still waits for this process and can tell the agent.
    ///
    /// # Errors
    /// The kernel refuses the filter, or the runtime has gone.
    pub(crate) fn load_with_agent(&mut self, handover: Option<&Handover>) -> Result<()> {
        match (handover, self.filter) {
            (Some(handover), Some(filter)) => {
                self.limit()?;
                load(self.acts, filter, Some(handover))?;
                self.loaded = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Narrows the limits to what was asked for: from here on, nothing of ours needs more, and a filter might forbid it. The
    /// runtime has made room where it takes the host's rights.
    fn limit(&self) -> Result<()> {
        let set = |(resource, soft, hard): &Limit| {
            let set = skiff_sys::process::set_limit(0, *resource as libc::c_int, *soft, *hard);
            set.on(steps::RLIMIT_SET.id, format!("{resource:?} {soft}:{hard}"))
        };
        self.process.rlimits.iter().try_for_each(set)
    }

    /// Becomes the program.
    ///
    /// # Errors
    /// It cannot be executed. There is no way back from here but to end.
    pub(crate) fn execute(self) -> Result<Infallible> {
        let first_hidden = STDIO_FDS + RawFd::try_from(self.preserve_fds).unwrap_or(RawFd::MAX - STDIO_FDS);
        if !mutant::has("CVE-2024-21626") {
            skiff_sys::fd::cloexec_from(first_hidden).on("hide", "descriptors")?;
        }
        skiff_sys::process::reset_signals().on("reset", "signals")?;
        if !self.loaded {
            self.limit()?;
        }
        if let Some(filter) = self.filter.filter(|_| !self.loaded) {
            load(self.acts, filter, None)?;
        }
        if self.needs_privilege_for_filter() {
            set_caps(self.acts, self.process)?;
        }
        let operand = self.path.to_string_lossy().into_owned();
        self.acts.last_step(&steps::EXEC_PAYLOAD, operand, || execve(&self.path, &self.process.args, &self.env))
    }
}

/// Loads the filter; if an agent is to answer for it, waits until the agent can.
fn load(acts: &Acts, filter: &Filter, handover: Option<&Handover>) -> Result<()> {
    acts.step(&steps::SECCOMP_LOAD, format_args!("{} instructions", filter.program.len()), || {
        let loaded = skiff_sys::seccomp::install(&filter.program, filter.flags);
        handover.map_or(loaded.map(drop), |handover| handover.give(loaded))
    })
}

/// A program that is not root could not even open its own `/dev/stdout` if that belonged to root.
fn own_stdio(process: &Process) -> Result<()> {
    let is_null = |rdev| stat("/dev/null").is_ok_and(|null| null.st_rdev == rdev);
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        let Ok(stat) = fstat(fd) else { continue };
        let is_device = SFlag::from_bits_truncate(stat.st_mode).contains(SFlag::S_IFCHR);
        if stat.st_uid == process.uid || (is_device && is_null(stat.st_rdev)) {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(process.uid)), None) {
            // Sockets, read-only files and files of unmapped owners stay as they are; nothing worse follows.
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => (),
            Err(errno) => return Err(errno).on("give stdio to", process.uid),
        }
    }
    Ok(())
}

/// Every processor, unless config.json names some: what the runtime was pinned to is not the container's business, whose
/// limit is its cgroup's.
const ALL_CPUS: [u64; 1024] = [u64::MAX; 1024];

fn treat(acts: &Acts, process: &Process) -> Result<()> {
    let treatment = &process.treatment;
    let cpus = treatment.cpus.as_deref();
    acts.step(&steps::AFFINITY_SET, if cpus.is_some() { "final" } else { "all" }, || {
        schedule::set_affinity(cpus.unwrap_or(&ALL_CPUS))
    })?;
    if let Some(attributes) = &treatment.scheduler {
        acts.step(&steps::SCHEDULER_SET, format!("policy {}", attributes.policy), || {
            schedule::set_scheduler(attributes)
        })?;
    }
    if let Some((class, level)) = treatment.io_priority {
        acts.step(&steps::IO_PRIORITY_SET, format!("class {class} level {level}"), || {
            schedule::set_io_priority(class, level)
        })?;
    }
    if let Some((mode, nodes)) = &treatment.memory_policy {
        acts.step(&steps::MEMORY_POLICY_SET, format!("mode {mode:#x}"), || schedule::set_memory_policy(*mode, nodes))?;
    }
    if let Some(domain) = treatment.personality {
        acts.step(&steps::PERSONALITY_SET, domain, || schedule::set_personality(domain))?;
    }
    Ok(())
}

fn bound(acts: &Acts, process: &Process) -> Result<()> {
    acts.step(&steps::CAPS_BOUND, format!("{} capabilities", process.caps.bounding.len()), || {
        caps::all().difference(&process.caps.bounding).try_for_each(|cap| capability::unbound(cap.index()))
    })
}

fn become_user(acts: &Acts, process: &Process) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    let groups: Vec<_> = process.additional_gids.iter().copied().map(Gid::from_raw).collect();
    acts.step(&steps::USER_GROUPS, format!("{} groups", groups.len()), || match setgroups(&groups) {
        // An ordinary user's namespace of one id: the groups stay, for giving one up could gain what it is denied
        // (user_namespaces(7), setgroups).
        Err(Errno::EPERM) if groups.is_empty() && are_groups_kept() => Ok(()),
        result => result,
    })?;
    acts.step(&steps::USER_SET, format!("{uid}:{gid}"), || {
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        umask(Mode::from_bits_truncate(process.umask.unwrap_or(UMASK_DEFAULT)));
        Ok(())
    })
}

fn are_groups_kept() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

/// Sets what config.json asks, as far as the runtime itself has it: nobody can give what they do not have.
fn set_caps(acts: &Acts, process: &Process) -> Result<()> {
    let asked = &process.caps;
    acts.step(&steps::CAPS_SET, format_args!("{} permitted", asked.permitted.len()), || {
        let own = capability::get()?.permitted;
        let permitted = bits(&asked.permitted) & own;
        let inheritable = bits(&asked.inheritable) & own;
        let inheritable = if mutant::has("CVE-2022-29162") { permitted } else { inheritable };
        capability::set(Sets { effective: bits(&asked.effective) & permitted, permitted, inheritable })?;
        capability::set_ambient(bits(&asked.ambient) & permitted & inheritable)
    })
}

fn bits(capabilities: &CapsHashSet) -> u64 {
    capabilities.iter().fold(0, |bits, capability| bits | capability.bitmask())
}

fn enter_cwd(acts: &Acts, cwd: &Path) -> Result<()> {
    acts.step(&steps::CWD_ENTER, cwd.display(), || chdir(cwd))?;
    // A working directory outside the root, reached through a leaked descriptor, reads as "(unreachable)…" (CVE-2024-21626).
    if mutant::has("CVE-2024-21626") {
        return Ok(());
    }
    let here = getcwd().on("cwd.enter", cwd.display())?;
    if here.is_absolute() {
        return Ok(());
    }
    Err(Error::Said(format!("cwd.enter {}: is outside the container's root", cwd.display())))
}

/// The mistake CVE-2022-4318: the user gets a line in the container's `/etc/passwd`, with a home that nobody has looked at.
fn name_user(process: &Process) -> Result<()> {
    use std::io::Write;
    let home = process.env.iter().find_map(|pair| pair.to_str().ok()?.strip_prefix("HOME=")).unwrap_or("/");
    let line = format!("{0}:x:{0}:{1}::{home}:/sbin/nologin\n", process.uid, process.gid);
    let opened = std::fs::OpenOptions::new().append(true).open("/etc/passwd");
    opened.and_then(|mut passwd| passwd.write_all(line.as_bytes())).on("name", "user")
}

/// The environment, with HOME from the container's `/etc/passwd` when config.json has none.
fn environment(process: &Process) -> Vec<CString> {
    let mut env = process.env.clone();
    if !env.iter().any(|pair| pair.to_bytes().starts_with(b"HOME=")) {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let home = home_of(&passwd, process.uid).unwrap_or("/");
        env.extend(CString::new(format!("HOME={home}")));
    }
    env
}

fn home_of(passwd: &str, uid: u32) -> Option<&str> {
    let is_user = |line: &&str| line.split(':').nth(2).and_then(|field| field.parse::<u32>().ok()) == Some(uid);
    let home = passwd.lines().find(is_user)?.split(':').nth(5)?;
    // An entry that is no path is the image's mistake or an injection (CVE-2022-4318), not a home.
    let is_path = home.starts_with('/') && !home.chars().any(char::is_control);
    (is_path || mutant::has("CVE-2022-4318")).then_some(home)
}

/// The program's path, looked up as execvp(3) would, before anything starts: an engine wants to hear of a wrong name from
/// `create`.
fn find(process: &Process, env: &[CString]) -> Result<CString> {
    // The container cannot be started, and is all the same there.
    let Some(name) = process.args.first() else { return Ok(CString::default()) };
    let text = name.to_string_lossy();
    if text.is_empty() {
        // With the words that engines look for.
        let reason = "executable file not found in $PATH: process.args[0] is empty";
        return Err(Error::Said(format!("exec: \"\": {reason}")));
    }
    if text.contains('/') {
        return executable(name).map(|()| name.clone()).map_err(|errno| {
            // Engines look for these words in lower case.
            Error::Said(format!("exec: \"{text}\": stat {text}: {}", errno.desc().to_lowercase()))
        });
    }
    let path =
        env.iter().filter_map(|pair| pair.to_str().ok()?.strip_prefix("PATH=")).next_back().unwrap_or(DEFAULT_PATH);
    let mut last = Errno::ENOENT;
    for directory in path.split(':') {
        let Ok(candidate) = CString::new(format!("{}/{text}", if directory.is_empty() { "." } else { directory }))
        else {
            continue;
        };
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => last = Errno::EACCES,
            Err(_) => (),
        }
    }
    if last == Errno::EACCES {
        return Err(Error::Said(format!("exec: \"{text}\": permission denied")));
    }
    Err(Error::Said(format!("exec: \"{text}\": executable file not found in $PATH")))
}

fn executable(path: &CStr) -> std::result::Result<(), Errno> {
    let found = stat(path)?;
    if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Errno::EACCES);
    }
    faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv\t/x:/bin/sh\nodd:x:34:34::nowhere:\nshort:x:35\n";

    #[test]
    fn home_comes_from_passwd_only_when_it_is_a_path() {
        assert_eq!(home_of(PASSWD, 0), Some("/root"));
        for uid in [33, 34, 35, 36] {
            assert_eq!(home_of(PASSWD, uid), None, "{uid}");
        }
    }

    proptest! {
        #[test]
        fn any_passwd_is_survived(passwd in "[a-z:0-9/\n\r\u{e9}]{0,80}", uid: u32) {
            if let Some(home) = home_of(&passwd, uid) {
                prop_assert!(home.starts_with('/'));
            }
        }
    }
}
