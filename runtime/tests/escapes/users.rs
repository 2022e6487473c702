//! CVE-2026-30892, CVE-2024-40635: a string for a user that is read as another user, usually root.

use crate::control::Victim;
use crate::support::{self, Bundle};
use serde_json::json;

/// The user and group that a string means, read by the strictest grammar: decimal numbers of 32 bits, the last one reserved.
fn meaning(text: &str) -> Option<(u32, Option<u32>)> {
    let number = |part: &str| -> Option<u32> {
        let is_plain = !part.is_empty() && part.chars().all(|letter| letter.is_ascii_digit());
        is_plain
            .then(|| part.parse::<u64>().ok())
            .flatten()
            .filter(|value| *value < u64::from(u32::MAX))
            .map(|value| value as u32)
    };
    let mut parts = text.split(':');
    let (uid, gid, rest) = (parts.next()?, parts.next(), parts.next());
    match (gid, rest) {
        (None, _) => Some((number(uid)?, None)),
        (Some(gid), None) => Some((number(uid)?, Some(number(gid)?))),
        _ => None,
    }
}

fn strings() -> Vec<String> {
    let parts = [
        "0",
        "1",
        "7",
        "1000",
        "65534",
        "4294967294",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "-1",
        "-0",
        "+0",
        "00",
        "007",
        "0x0",
        "0x1f",
        "1e3",
        "1000abc",
        "abc",
        "root",
        "",
        " ",
        " 5",
        "5 ",
        "5\n",
        "\t5",
        "\u{661}",
        "5.0",
        "5,6",
        "nobody",
        "99999999999999999999",
    ];
    // Nothing at all is not a user but no option: then it is the container's.
    let given = parts.iter().filter(|part| !part.is_empty());
    let mut strings: Vec<String> = given.map(|part| (*part).to_owned()).collect();
    for part in parts {
        for pattern in
            [format!("{part}:"), format!(":{part}"), format!("5:{part}"), format!("{part}:6"), format!("5:6:{part}")]
        {
            strings.push(pattern);
        }
    }
    strings
}

/// The first strings that a runtime reads as somebody else than they mean.
fn misread(victim: Victim) -> Vec<String> {
    let bundle = Bundle::new("sleep 600", |c| c["ociVersion"] = json!("1.0.2"));
    assert!(victim.start(&bundle));
    let mut wrong = Vec::new();
    for text in strings() {
        let said = victim.says(&bundle, &["exec", "-u", &text, &bundle.id, "sh", "-c", "id -u; id -g"]);
        let expected = meaning(&text).map(|(uid, gid)| format!("{uid}\n{}\n", gid.unwrap_or(0)));
        if said.code == 0 && Some(&said.out) != expected.as_ref() {
            wrong.push(text);
            if !matches!(victim, Victim::Ours) {
                break;
            }
        }
    }
    victim.forget(&bundle);
    wrong
}

#[test]
fn cve_2026_30892_a_string_is_the_user_it_means_or_nobody() {
    assert!(strings().len() >= 180);
    assert_eq!(misread(Victim::Ours), [""; 0]);
    let control = Victim::Peer("crun-1.8");
    if control.program().is_none() {
        return support::skipped(
            "cve_2026_30892_a_string_is_the_user_it_means_or_nobody",
            "no crun-1.8 here as a control",
        );
    }
    assert!(!misread(control).is_empty(), "crun-1.8 withstood: the strings have lost their teeth");
}
