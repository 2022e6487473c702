//! Images that nobody uses make room: from a share of the disk on as many as needed, those unused for longest first; all of them when the
//! node is short of space (Kubernetes, "Garbage collection of unused containers and images").

use crate::agent::Agent;
use skiff_proto::cri::v1 as cri;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

/// An image is not removed sooner after it came: its pod may be about to start.
const AGE_MIN: Duration = Duration::from_secs(120);

/// When unused images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// From this share of the disk on, percent; 100: never, also not when the node is short of space.
    pub high_percent: u8,
    /// Down to this share.
    pub low_percent: u8,
}

impl Default for ImageLimits {
    /// Kubernetes' own.
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80 }
    }
}

impl ImageLimits {
    /// Whether any image is ever removed.
    pub(super) const fn are_on(self) -> bool {
        self.high_percent < 100
    }

    /// Bytes to free where so many of so many are left; 0: none.
    pub(super) fn to_free(self, available: i64, capacity: i64) -> i64 {
        let taken_percent = 100 - available.saturating_mul(100) / capacity.max(1);
        if !self.are_on() || taken_percent < i64::from(self.high_percent) {
            return 0;
        }
        (capacity / 100 * (100 - i64::from(self.low_percent)) - available).max(0)
    }
}

/// When each image was seen first, and in use last.
#[derive(Default)]
pub(super) struct Known(HashMap<String, (Instant, Instant)>);

impl Known {
    fn see(&mut self, images: &[cri::Image], used: &HashSet<String>, now: Instant) {
        self.0.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let (_, last) = self.0.entry(image.id.clone()).or_insert((now, now));
            if is_used(image, used) {
                *last = now;
            }
        }
    }

    /// Those that may go, unused for longest first.
    fn unused<'a>(&self, images: &'a [cri::Image], used: &HashSet<String>, now: Instant) -> Vec<&'a cri::Image> {
        let may_go = |image: &&cri::Image| {
            let old = self.0.get(&image.id).is_some_and(|(first, _)| now.duration_since(*first) >= AGE_MIN);
            old && !image.pinned && !is_used(image, used)
        };
        let mut unused: Vec<_> = images.iter().filter(may_go).collect();
        unused.sort_by_key(|image| self.0.get(&image.id).map(|(_, last)| *last));
        unused
    }
}

fn is_used(image: &cri::Image, used: &HashSet<String>) -> bool {
    used.contains(&image.id) || image.repo_tags.iter().chain(&image.repo_digests).any(|name| used.contains(name))
}

/// What containers are made of, whether they run or not.
async fn used(agent: &Agent) -> Result<HashSet<String>, tonic::Status> {
    let containers = agent.cri.containers(&[]).await?;
    let names = containers.into_iter().flat_map(|container| {
        let named = container.image.map(|image| image.image);
        [Some(container.image_ref), Some(container.image_id), named]
    });
    Ok(names.flatten().filter(|name| !name.is_empty()).collect())
}

/// Looks which images are in use, without removing any.
pub(super) async fn look(agent: &Agent, known: &mut Known) -> Result<(), tonic::Status> {
    let asked_at = SystemTime::now();
    let (images, used) = (agent.cri.list_images().await?, used(agent).await?);
    known.see(&images, &used, Instant::now());
    agent.pull_records.keep_only(&images.iter().map(|image| image.id.as_str()).collect(), asked_at);
    Ok(())
}

/// Removes unused images until so many bytes are free; returns how many that gave, by the images' own sizes.
pub(super) async fn free(agent: &Agent, known: &mut Known, wanted: i64) -> Result<i64, tonic::Status> {
    let (images, used, now) = (agent.cri.list_images().await?, used(agent).await?, Instant::now());
    known.see(&images, &used, now);
    let mut freed = 0;
    for image in known.unused(&images, &used, now) {
        if freed >= wanted {
            break;
        }
        agent.cri.remove_image(&image.id).await?;
        tracing::info!(image = image.id, bytes = image.size, "an image that nobody uses was removed to make room");
        freed = freed.saturating_add(i64::try_from(image.size).unwrap_or(i64::MAX));
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_go_from_the_high_mark_to_the_low_one() {
        let limits = ImageLimits::default();
        assert_eq!(limits.to_free(16, 100), 0, "84 % are taken");
        assert_eq!(limits.to_free(15, 100), 5);
        assert_eq!(limits.to_free(0, 100), 20);
        assert_eq!(ImageLimits { high_percent: 100, low_percent: 80 }.to_free(0, 100), 0, "switched off");
    }

    #[test]
    fn what_is_used_pinned_or_new_stays() {
        let image = |id: &str, pinned| cri::Image { id: id.to_owned(), pinned, ..Default::default() };
        let images = ["used", "old", "older", "pinned"].map(|id| image(id, id == "pinned"));
        let begun = Instant::now();
        let mut known = Known::default();
        let using = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        known.see(&images, &using(&["used", "old"]), begun);
        known.see(&images, &using(&["used", "old"]), begun + AGE_MIN / 2);
        let unused = |known: &Known, at| {
            known.unused(&images, &using(&["used"]), at).iter().map(|image| image.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(unused(&known, begun + AGE_MIN / 2), [""; 0], "all are new");
        assert_eq!(unused(&known, begun + AGE_MIN), ["older", "old"]);
    }
}
