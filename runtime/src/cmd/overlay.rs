//! What the options of `exec` change in the container's own process, as in runc: environment, capabilities and groups are
//! added to, everything else takes the place of what was there.
//!
//! Pure: words and the process as written in, the process as written out.

use crate::cli::Words;
use crate::error::{Error, Result};
use crate::spec::config::Process;

/// `process` with what `words` change.
///
/// # Errors
/// No program is named; a user or group is not a number that fits.
pub(super) fn overlay(mut process: Process, words: &Words) -> Result<Process> {
    let args = words.positionals.get(1..).unwrap_or_default().to_vec();
    if args.is_empty() {
        return Err(Error::Usage("exec: a program is needed, or --process FILE".to_owned()));
    }
    process.args = Some(args);
    // The container's own terminal is not this program's.
    process.terminal = Some(words.is_on("tty"));
    process.env.get_or_insert_default().extend(words.values("env").into_iter().map(str::to_owned));
    let text = |name: &str| words.value(name).filter(|text| !text.is_empty());
    if let Some(cwd) = text("cwd") {
        process.cwd = cwd.into();
    }
    if let Some(profile) = text("apparmor") {
        process.apparmor_profile = Some(profile.to_owned());
    }
    if let Some(label) = text("process-label") {
        process.selinux_label = Some(label.to_owned());
    }
    if words.value("no-new-privs").is_some() {
        process.no_new_privileges = Some(words.is_on("no-new-privs"));
    }
    if let Some(user) = text("user") {
        let (uid, gid) = ids(user)?;
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    let gids = words.values("additional-gids").into_iter().map(id).collect::<Result<Vec<_>>>()?;
    process.user.additional_gids.get_or_insert_default().extend(gids);
    add_caps(&mut process, &words.values("cap"));
    Ok(process)
}

/// To the ambient set too if there is an inheritable one: without it nothing can be ambient (capabilities(7)).
fn add_caps(process: &mut Process, names: &[&str]) {
    if names.is_empty() {
        return;
    }
    let caps = process.capabilities.get_or_insert_default();
    let has_inheritable = caps.inheritable.is_some();
    let ambient = has_inheritable.then_some(&mut caps.ambient);
    for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted].into_iter().chain(ambient) {
        set.get_or_insert_default().extend(names.iter().map(|name| (*name).to_owned()));
    }
}

/// `UID` or `UID:GID`, as numbers and nothing else: a name would have to be looked up in files that the container controls,
/// and a number that does not fit must never become another one (CVE-2024-40635, CVE-2026-30892).
fn ids(text: &str) -> Result<(u32, Option<u32>)> {
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

fn id(text: &str) -> Result<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // The largest number means "no change" to setresuid(2).
    let number = if is_plain { text.parse::<u32>().ok().filter(|id| *id != u32::MAX) } else { None };
    number.ok_or_else(|| Error::Usage(format!("`{}` is not a user or group number", text.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::End;
    use proptest::prelude::*;

    /// Numbers, and what is no number of a user: signs, spaces, other bases, other digits, names, too large.
    const GOOD: &[(&str, u32)] =
        &[("0", 0), ("1", 1), ("007", 7), ("1000", 1000), ("65534", 65534), ("4294967294", 4_294_967_294)];
    const BAD: &[&str] = &[
        "",
        " ",
        "-0",
        "-1",
        "+1",
        "4294967295",
        "4294967296",
        "4294968296",
        "8589934592",
        "18446744073709551616",
        "99999999999999999999999999",
        "0x0",
        "0o7",
        "1e3",
        "1.0",
        "1_000",
        "1,000",
        " 1",
        "1 ",
        "\t1",
        "1\n",
        "1\0",
        "root",
        "rооt",
        "\u{661}",
        "\u{ff11}",
        "NaN",
        "1a",
        "a1",
        "--1",
        "$0",
        "0;0",
        "/0",
        "..",
    ];

    #[test]
    fn users_are_numbers_that_fit() {
        let mut table = 0;
        for uid in GOOD.iter().map(|(text, _)| *text).chain(BAD.iter().copied()) {
            for gid in ["0", "4294967294", "4294967295", "-1", "", "users"] {
                let good = |text: &str| GOOD.iter().find(|(good, _)| *good == text).map(|(_, id)| *id);
                let expected = good(uid).zip(good(gid)).map(|(uid, gid)| (uid, Some(gid)));
                assert_eq!(ids(&format!("{uid}:{gid}")).ok(), expected, "{uid}:{gid}");
                table += 1;
            }
            assert_eq!(ids(uid).is_ok(), !BAD.contains(&uid), "{uid}");
        }
        assert!(table >= 200, "{table}");
        assert!(ids("1:2:3").is_err() && ids(":").is_err() && ids("::").is_err());
    }

    proptest! {
        #[test]
        fn a_user_string_never_becomes_another_user(text in "[-+0-9: x]{0,12}") {
            if let Ok((uid, gid)) = ids(&text) {
                let trimmed = |part: &str| match part.trim_start_matches('0') { "" => "0".to_owned(), rest => rest.to_owned() };
                let mut parts = text.split(':');
                prop_assert_eq!(uid.to_string(), trimmed(parts.next().unwrap()));
                prop_assert_eq!(gid.map(|gid| gid.to_string()), parts.next().map(trimmed));
            }
        }
    }

    fn changed(line: &str) -> Result<Process> {
        let process = serde_json::json!({"cwd": "/", "args": ["sh"], "env": ["A=1"], "terminal": true,
            "user": {"uid": 1, "gid": 2, "additionalGids": [3]}, "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"]}});
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let words = Words::sort(&words, super::super::exec::OPTIONS, End::AfterPositionals(2))?;
        overlay(serde_json::from_value(process).unwrap(), &words)
    }

    #[test]
    fn options_add_to_or_replace_what_the_container_has() {
        let process = changed("-u 5 -g 6 -g 7 -e B=2 --cap CAP_CHOWN --cwd /d c ls -e x").unwrap();
        assert_eq!((process.user.uid, process.user.gid), (5, 2));
        assert_eq!(process.user.additional_gids, Some(vec![3, 6, 7]));
        assert_eq!(process.env, Some(vec!["A=1".to_owned(), "B=2".to_owned()]));
        assert_eq!(process.args, Some(vec!["ls".to_owned(), "-e".to_owned(), "x".to_owned()]));
        let caps = process.capabilities.unwrap();
        assert_eq!((caps.bounding.unwrap().len(), caps.ambient), (2, None));
        assert_eq!((process.terminal, process.no_new_privileges), (Some(false), Some(true)));
        assert_eq!(changed("--no-new-privs=false c ls").unwrap().no_new_privileges, Some(false));
        assert!(changed("-g -1 c ls").is_err() && changed("c").is_err());
    }
}
