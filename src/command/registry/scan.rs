//! `skiff registry scan` and `import-vulnerabilities`.

use super::{look, print};
use crate::cli::Output;
use crate::command::get::render;
use crate::node::read_registry_config;
use crate::out::{self, show};
use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use skiff_registry::refusal::Refusal;
use skiff_registry::scan::{Database, Severity, target};
use skiff_registry::{Name, Reference, Scanned, Scanner, Scanning};
use std::path::{Path, PathBuf};

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) image: &'a str,
    pub(super) fail_on: Option<&'a str>,
    pub(super) form: Option<Output>,
}

/// How to scan: as a configuration says, or with a database alone.
pub(super) fn scanning(database: PathBuf, config: Option<&Path>) -> anyhow::Result<Scanning> {
    let Some(path) = config else { return Ok(Scanning::with(database)) };
    let config = read_registry_config(Some(path))?;
    config.scanning.with_context(|| format!("{}: scanning is not configured", path.display()))
}

/// REPOSITORY:TAG or REPOSITORY@DIGEST.
fn image(text: &str) -> anyhow::Result<(Name, Reference)> {
    let refused = |refusal: Refusal| anyhow!("image \"{text}\": {}", refusal.message);
    let both = text.split_once('@').or_else(|| text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')));
    let (name, reference) =
        both.with_context(|| format!("image \"{text}\": REPOSITORY:TAG or REPOSITORY@DIGEST is needed"))?;
    Ok((name.parse().map_err(refused)?, reference.parse().map_err(refused)?))
}

pub(super) fn scan(folder: &Path, scanning: Scanning, asked: &Asked<'_>) -> anyhow::Result<()> {
    let (name, reference) = image(asked.image)?;
    let found = target(&look(folder)?, &name, &reference);
    let (digest, images) = found.map_err(|refusal| anyhow!("{}", refusal.message))?;
    if Database::at(&scanning.database).revision()?.is_none() {
        bail!(
            "there is no database of vulnerabilities in {} (skiff registry import-vulnerabilities makes one)",
            scanning.database.display()
        );
    }
    let scanned = Scanner::new(folder, scanning).scan(&name, &digest, &images)?;
    match asked.form {
        None | Some(Output::Wide | Output::Name) => table(&scanned, asked.form)?,
        Some(form) => out::print_bytes(render(&scanned.document(), form)?.as_bytes())?,
    }
    let limit = asked.fail_on.and_then(Severity::of_word);
    match (limit, scanned.report.worst()) {
        (Some(limit), Some(worst)) if worst >= limit => {
            bail!("image {}: findings of severity {} (--fail-on {})", asked.image, worst.word(), limit.word())
        }
        _ => Ok(()),
    }
}

fn table(scanned: &Scanned, form: Option<Output>) -> anyhow::Result<()> {
    let report = &scanned.report;
    let row = |mut finding: Value| {
        for field in ["fixedIn", "suppressed"] {
            if finding[field].is_null() {
                finding[field] = "-".into();
            }
        }
        // Words of strangers go to a terminal.
        for value in finding.as_object_mut().into_iter().flat_map(|fields| fields.values_mut()) {
            if let Value::String(text) = value {
                *text = text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
            }
        }
        finding
    };
    let rows: Vec<Value> =
        report.findings.iter().map(|one| row(serde_json::to_value(one).unwrap_or_default())).collect();
    let columns = [
        ("ID", "id"),
        ("SEVERITY", "severity"),
        ("PACKAGE", "name"),
        ("VERSION", "version"),
        ("FIXED", "fixedIn"),
        ("ECOSYSTEM", "ecosystem"),
        ("ACCEPTED", "suppressed"),
    ];
    if !rows.is_empty() {
        print(&rows, &columns, "findings", form)?;
    }
    if form == Some(Output::Name) {
        return Ok(());
    }
    let counts = Severity::ALL.iter().filter_map(|one| {
        let count = report.counts.get(one.word()).filter(|count| **count > 0)?;
        Some(format!("{count} {}", one.word()))
    });
    let counts: Vec<String> = counts.collect();
    let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
    show!("{} packages, found: {counts}", report.packages)?;
    for words in &report.unscanned {
        show!("not scanned: {}", words.escape_debug())?;
    }
    Ok(())
}

pub(super) fn import(database: &Path, archives: &[PathBuf]) -> anyhow::Result<()> {
    for archive in archives {
        let imported = Database::at(database).import(archive)?;
        show!("{}: {} records", archive.display(), imported.records)?;
        for (ecosystem, count) in &imported.ecosystems {
            show!("  {}: {count}", ecosystem.escape_debug())?;
        }
        for unread in &imported.unread {
            show!("  not read: {}", unread.escape_debug())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::image;

    #[test]
    fn an_image_has_a_tag_or_a_digest() {
        assert!(image("team/app:1").is_ok() && image(&format!("team/app@sha256:{}", "a".repeat(64))).is_ok());
        for wrong in ["team/app", "localhost:5000/app", "Team:1", "app:", "app@sha256:1"] {
            assert!(image(wrong).is_err(), "{wrong}");
        }
    }
}
