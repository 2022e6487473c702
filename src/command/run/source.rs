//! What an application's image is made from: a name that a registry knows, or a folder that is built here.
//!
//! An image of a folder is named by its content, so that another content is another image to the deployment, and the same one is not
//! deployed twice.

use crate::cli::RunArgs;
use crate::command::image::build_folder;
use crate::folders::Folders;
use crate::out::complain;
use anyhow::Context;
use skiff_image::{AuthFile, Reference, Registries};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a folder is looked at: as soon as one has saved a file and looked up.
const FOLDER_LOOK: Duration = Duration::from_secs(1);

/// Hosts of images that no registry has.
const LOCAL: [&str; 2] = ["skiff.local", "localhost"];

/// Where images come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The name of an image, and who is asked what it means.
    Registry { reference: Box<Reference>, word: String, registries: Registries, every: Option<Duration> },
    /// A folder with a Dockerfile, and what it looked like when it was built.
    Folder { path: PathBuf, folders: Folders, built: u64 },
}

impl Source {
    /// A word that begins with `.` or `/` is a folder: no image's name does.
    pub(super) fn of(word: &str, args: &RunArgs) -> anyhow::Result<Self> {
        let folders = Folders::choose(args.folders.data_dir.as_deref(), args.folders.run_dir.as_deref())?;
        if word.starts_with(['.', '/']) {
            let path = fs::canonicalize(word).with_context(|| format!("run {word}"))?;
            return Ok(Self::Folder { path, folders, built: 0 });
        }
        let reference = word.parse::<Reference>().with_context(|| format!("run {word}"))?;
        anyhow::ensure!(
            !args.watch || !LOCAL.contains(&reference.host()),
            "run {word} --watch: a registry is asked for changes, and {} is none; give the folder that it is built from",
            reference.host()
        );
        let registries = Registries::new(Some(folders.registries()), AuthFile::of_user());
        let every = args.watch.then_some(args.watch_interval);
        Ok(Self::Registry { reference: Box::new(reference), word: word.to_owned(), registries, every })
    }

    /// As one calls it; the last part names the application.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Registry { word, .. } => word.clone(),
            Self::Folder { path, .. } => path.display().to_string(),
        }
    }

    /// The image as it is now. One that is watched bears the digest that its tag means, so that another one is another deployment.
    pub(super) async fn image(&mut self, name: &str) -> anyhow::Result<String> {
        match self {
            Self::Registry { word, every: None, .. } => Ok(word.clone()),
            Self::Registry { reference, registries, .. } => resolved(reference, registries).await,
            Self::Folder { path, folders, built } => {
                *built = look(path);
                let (path, folders, name) = (path.clone(), folders.clone(), name.to_owned());
                // A build blocks, and asks registries in a runtime of its own.
                tokio::task::spawn_blocking(move || build_folder(&folders, &path, &name)).await?
            }
        }
    }

    /// Waits until it is another image than `last`. What cannot be built or resolved is told, once for each reason, and looked at again.
    pub(super) async fn changed(&mut self, name: &str, last: &str) -> String {
        let mut said = String::new();
        loop {
            match self {
                Self::Registry { every, .. } => tokio::time::sleep(every.unwrap_or(FOLDER_LOOK)).await,
                Self::Folder { path, built, .. } => {
                    tokio::time::sleep(FOLDER_LOOK).await;
                    if look(path) == *built {
                        continue;
                    }
                }
            }
            match self.image(name).await {
                Ok(image) if image != last => return image,
                Ok(_) => said.clear(),
                Err(error) => {
                    let sentence = crate::exit::sentence(&error);
                    if sentence != said {
                        complain!("skiff: {sentence}");
                    }
                    said = sentence;
                }
            }
        }
    }
}

/// Name, tag and the digest that the registry says the tag has.
async fn resolved(reference: &Reference, registries: &Registries) -> anyhow::Result<String> {
    let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) else { return Ok(reference.to_string()) };
    let asked = registries.repository(reference.host(), reference.path(), None);
    let asked = asked.with_context(|| format!("ask what {reference} means"))?;
    let digest = asked.resolve(tag).await.with_context(|| format!("ask what {reference} means"))?;
    let digest = digest.with_context(|| format!("ask what {reference} means: the registry names no digest"))?;
    Ok(format!("{reference}@{digest}"))
}

/// What a folder looks like: names, sizes and times of all that is in it.
fn look(folder: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            (&path, about.len(), about.modified().ok()).hash(&mut hasher);
            if about.is_dir() {
                left.push(path);
            }
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_looks_different_when_anything_below_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let empty = look(folder.path());
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "1").unwrap();
        let first = look(folder.path());
        assert_eq!(first, look(folder.path()));
        fs::write(folder.path().join("a/b"), "22").unwrap();
        assert!(empty != first && look(folder.path()) != first);
    }
}
