//! Whom a container runs as: names and numbers, looked up in the image's own `/etc/passwd` and `/etc/group`.
//!
//! The image's files are hostile: they are opened inside its root only (openat2(2), RESOLVE_IN_ROOT), must be regular
//! files, and are read up to a limit. Absent files are empty ones, as in an image from scratch.

use crate::bundle::User;
use crate::error::{CriError, During};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use skiff_proto::cri::v1::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest passwd or group file that is read: 10,000 users of 100 bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The image's user database.
#[derive(Debug, Default)]
pub(crate) struct Database {
    passwd: String,
    group: String,
}

impl Database {
    /// Reads the files below `rootfs`.
    pub(crate) fn read(rootfs: &Path) -> Result<Self, CriError> {
        Ok(Self { passwd: read_inside(rootfs, "etc/passwd")?, group: read_inside(rootfs, "etc/group")? })
    }

    /// Lines of passwd as name, uid, gid, home (passwd(5)); malformed ones are skipped, as getpwent(3) does.
    fn users(&self) -> impl Iterator<Item = (&str, u32, u32, &str)> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            Some((fields[0], fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?, *fields.get(5)?))
        })
    }

    /// Lines of group as name, gid, members (group(5)).
    fn groups(&self) -> impl Iterator<Item = (&str, u32, Vec<&str>)> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let members = fields.get(3).map(|names| names.split(',').filter(|name| !name.is_empty()).collect());
            Some((fields[0], fields.get(2)?.parse().ok()?, members.unwrap_or_default()))
        })
    }
}

/// The container's user, or else its image's (`user[:group]`, OCI image-spec, config.md).
pub(crate) fn resolve(
    security: &LinuxContainerSecurityContext,
    image_user: &str,
    database: &Database,
) -> Result<User, CriError> {
    let (wanted_user, image_group) = wanted(security, image_user);
    let (name, uid, passwd_gid, home) = find_user(&wanted_user, database)?;
    let gid = match (&security.run_as_group, image_group) {
        (Some(group), _) => number(group.value, "run_as_group")?,
        (None, Some(group)) => find_group(group, database)?,
        (None, None) => passwd_gid,
    };
    if security.run_as_group.is_some() && security.run_as_user.is_none() && security.run_as_username.is_empty() {
        return Err(CriError::Invalid("run_as_group: only together with run_as_user or run_as_username".to_owned()));
    }
    // The own group is listed too: a file that denies it must not be opened by way of a lost group (CVE-2022-2995).
    let mut additional_gids = vec![gid];
    for group in &security.supplemental_groups {
        additional_gids.push(number(*group, "supplemental_groups")?);
    }
    if let (SupplementalGroupsPolicy::Merge, Some(name)) = (security.supplemental_groups_policy(), name) {
        let of_user = database.groups().filter(|(_, _, members)| members.contains(&name.as_str()));
        additional_gids.extend(of_user.map(|(_, gid, _)| gid));
    }
    let mut seen = std::collections::BTreeSet::new();
    additional_gids.retain(|gid| seen.insert(*gid));
    Ok(User { uid, gid, additional_gids, home })
}

fn wanted<'a>(security: &LinuxContainerSecurityContext, image_user: &'a str) -> (String, Option<&'a str>) {
    if let Some(uid) = &security.run_as_user {
        return (uid.value.to_string(), None);
    }
    if !security.run_as_username.is_empty() {
        return (security.run_as_username.clone(), None);
    }
    match image_user.split_once(':') {
        Some((user, group)) => (user.to_owned(), Some(group).filter(|group| !group.is_empty())),
        None => (image_user.to_owned(), None),
    }
}

type Found = (Option<String>, u32, u32, String);

fn find_user(wanted: &str, database: &Database) -> Result<Found, CriError> {
    let wanted = if wanted.is_empty() { "0" } else { wanted };
    let uid: Option<u32> = wanted.parse().ok();
    let is_it = |(name, of, _, _): &(&str, u32, u32, &str)| uid.map_or(*name == wanted, |uid| *of == uid);
    match (database.users().find(is_it), uid) {
        (Some((name, uid, gid, home)), _) => Ok((Some(name.to_owned()), uid, gid, home.to_owned())),
        (None, Some(uid)) => Ok((None, uid, 0, "/".to_owned())),
        (None, None) => Err(CriError::Invalid(format!("user `{wanted}`: not in the image's /etc/passwd"))),
    }
}

fn find_group(wanted: &str, database: &Database) -> Result<u32, CriError> {
    if let Ok(gid) = wanted.parse() {
        return Ok(gid);
    }
    let found = database.groups().find(|(name, _, _)| *name == wanted);
    found
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| CriError::Invalid(format!("group `{wanted}`: not in the image's /etc/group")))
}

fn number(value: i64, field: &str) -> Result<u32, CriError> {
    // All ones means "leave as it is" to setresuid(2) and its kin, so it is no identity.
    let valid = u32::try_from(value).ok().filter(|&id| id != u32::MAX);
    valid.ok_or_else(|| CriError::Invalid(format!("{field}: {value} is no id")))
}

fn read_inside(rootfs: &Path, path: &str) -> Result<String, CriError> {
    let operation = || format!("read {path} of the image");
    let root = open(rootfs, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).during(operation)?;
    // O_NONBLOCK: opening a fifo must not wait for a writer.
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(&root, path, how) {
        Ok(fd) => File::from(fd),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(String::new()),
        Err(error) => return Err(error).during(operation),
    };
    if !file.metadata().during(operation)?.is_file() {
        return Err(CriError::Invalid(format!("{path} of the image is not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).during(operation)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(CriError::Invalid(format!("{path} of the image has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skiff_proto::cri::v1::Int64Value;

    fn database() -> Database {
        Database {
            passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv:/bin/false\nbroken:line\n".to_owned(),
            group: "root:x:0:\nweb:x:102:\ndisk:x:6:root,web\naudio:x:29:web\n".to_owned(),
        }
    }

    fn check(security: LinuxContainerSecurityContext, image_user: &str, expected: (u32, u32, &[u32], &str)) {
        let user = resolve(&security, image_user, &database()).unwrap();
        let (uid, gid, additional_gids, home) = expected;
        let expected = User { uid, gid, additional_gids: additional_gids.to_vec(), home: home.to_owned() };
        assert_eq!(user, expected, "image user {image_user:?}, {security:?}");
    }

    fn as_user(uid: i64) -> LinuxContainerSecurityContext {
        LinuxContainerSecurityContext { run_as_user: Some(Int64Value { value: uid }), ..Default::default() }
    }

    #[test]
    fn the_image_decides_when_the_container_does_not() {
        check(Default::default(), "", (0, 0, &[0, 6], "/root"));
        check(Default::default(), "web", (101, 102, &[102, 6, 29], "/srv"));
        check(Default::default(), "web:audio", (101, 29, &[29, 6], "/srv"));
        check(Default::default(), "1000:7", (1000, 7, &[7], "/"));
    }

    #[test]
    fn the_container_overrides_the_image() {
        check(as_user(101), "root", (101, 102, &[102, 6, 29], "/srv"));
        check(as_user(4000), "web", (4000, 0, &[0], "/"));
        let strict = LinuxContainerSecurityContext {
            supplemental_groups: vec![9],
            supplemental_groups_policy: SupplementalGroupsPolicy::Strict as i32,
            run_as_group: Some(Int64Value { value: 5 }),
            ..as_user(101)
        };
        check(strict, "", (101, 5, &[5, 9], "/srv"));
    }

    #[test]
    fn what_cannot_be_found_is_refused() {
        for (security, image_user, expected) in [
            (LinuxContainerSecurityContext::default(), "ghost", "user `ghost`: not in the image's /etc/passwd"),
            (LinuxContainerSecurityContext::default(), "web:ghosts", "group `ghosts`: not in the image's /etc/group"),
            (as_user(-1), "", "user `-1`: not in the image's /etc/passwd"),
        ] {
            assert_eq!(resolve(&security, image_user, &database()).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn links_stay_inside_the_root_and_fifos_are_no_files() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/../../../../etc/passwd", root.path().join("etc/group")).unwrap();
        nix::unistd::mkfifo(&root.path().join("etc/passwd"), Mode::S_IRUSR).unwrap();
        assert_eq!(
            read_inside(root.path(), "etc/passwd").unwrap_err().to_string(),
            "etc/passwd of the image is not a regular file"
        );
        std::fs::remove_file(root.path().join("etc/passwd")).unwrap();
        assert_eq!(read_inside(root.path(), "etc/group").unwrap(), "");
        std::fs::write(root.path().join("etc/passwd"), "inside").unwrap();
        assert_eq!(read_inside(root.path(), "etc/group").unwrap(), "inside");
    }

    proptest! {
        #[test]
        fn no_database_can_make_it_panic(passwd in "[a-z0-9:,\n]{0,80}", group in "[a-z0-9:,\n]{0,80}", user in "[a-z0-9:]{0,6}") {
            let _either_way = resolve(&Default::default(), &user, &Database { passwd, group });
        }
    }
}
