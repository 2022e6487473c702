//! `skiff image pull` and `push`, with how far they are on a terminal.

use super::size;
use crate::command::on_runtime;
use crate::out::show;
use anyhow::Context;
use skiff_image::{Credentials, Digest, Image, ImageStore, Progress, Stage};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the line changes: as fast as one can read.
const SHOWN_EVERY: Duration = Duration::from_millis(100);

pub(super) fn pull(store: &ImageStore, images: &[String], user: Option<&str>) -> anyhow::Result<Vec<Image>> {
    let credentials = user.map(credentials).transpose()?;
    on_runtime(async {
        let mut all = Vec::new();
        for name in images {
            let bars = Arc::new(Bars::new());
            let pulled = store.pull(name, credentials.clone(), Arc::<Bars>::clone(&bars)).await;
            bars.clear();
            all.push(pulled.map_err(|error| anyhow::anyhow!("{}", error.chain()))?);
        }
        Ok(all)
    })
}

pub(super) fn push(store: &ImageStore, image: &str, to: Option<&str>, user: Option<&str>) -> anyhow::Result<()> {
    let credentials = user.map(credentials).transpose()?;
    let bars = Arc::new(Bars::new());
    let pushed = on_runtime(async {
        let pushed = store.push(image, to.unwrap_or(image), credentials, Arc::<Bars>::clone(&bars)).await;
        Ok(pushed.with_context(|| format!("push {image}")))
    })?;
    bars.clear();
    show!("{}", pushed?)
}

fn credentials(text: &str) -> anyhow::Result<Credentials> {
    let (user, password) = text.split_once(':').context("--user: it is not NAME:PASSWORD")?;
    Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
}

/// One line: of how many layers how much has come, and how fast.
struct Bars {
    is_terminal: bool,
    state: Mutex<State>,
}

struct State {
    layers: BTreeMap<Digest, (Stage, u64, u64)>,
    /// Bytes that were there when we looked first: they did not come.
    before: u64,
    started: Instant,
    shown: Option<Instant>,
}

impl Bars {
    fn new() -> Self {
        let state = State { layers: BTreeMap::new(), before: 0, started: Instant::now(), shown: None };
        Self { is_terminal: stderr().is_terminal(), state: Mutex::new(state) }
    }

    fn clear(&self) {
        if self.is_terminal {
            let _nobody_misses_it = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl Progress for Bars {
    fn layer(&self, digest: &Digest, stage: Stage, done: u64, total: u64) {
        // Numbers are whole whatever panicked while they were held.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.layers.insert(*digest, (stage, done, total)).is_none() {
            state.before += done;
        }
        let is_due = state.shown.is_none_or(|at| at.elapsed() >= SHOWN_EVERY);
        if self.is_terminal && is_due {
            state.shown = Some(Instant::now());
            let _nobody_misses_it = write!(stderr(), "\r{}\x1b[K", line(&state));
        }
    }
}

fn line(state: &State) -> String {
    let of = |wanted: Stage| state.layers.values().filter(|(stage, ..)| *stage == wanted).count();
    let done: u64 = state.layers.values().map(|(_, done, _)| done).sum();
    let total: u64 = state.layers.values().map(|(_, _, total)| total).sum();
    let millis = u64::try_from(state.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done.saturating_sub(state.before).saturating_mul(1000) / millis;
    let share = (done.saturating_mul(20) / total.max(1)).min(20);
    let bar: String = (0..20).map(|at| if at < share { '#' } else { '-' }).collect();
    let (ready, unpacking) = (of(Stage::Ready), of(Stage::Unpacking));
    let unpacking = if unpacking > 0 { format!(", {unpacking} being unpacked") } else { String::new() };
    format!(
        "[{bar}] {} of {}, {}/s, {ready} of {} layers{unpacking}",
        size(done),
        size(total),
        size(rate),
        state.layers.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let bars = Bars::new();
        let digest = |text: &str| text.parse::<Digest>().unwrap();
        let (one, two) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "2".repeat(64)));
        bars.layer(&digest(&one), Stage::Unpacking, 1000, 1000);
        bars.layer(&digest(&two), Stage::Fetching, 500, 2000);
        let line = line(&bars.state.lock().unwrap());
        assert!(
            line.starts_with("[##########----------] 1.5 kB of 3.0 kB, 0 B/s, 0 of 2 layers, 1 being unpacked"),
            "{line}"
        );
    }
}
