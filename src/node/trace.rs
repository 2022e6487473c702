//! One step engine per component.

use anyhow::Context;
use skiff_step::Engine;

/// An engine as the environment asks (`--trace` sets it, see `command::up`).
pub(crate) fn engine(component: &'static str) -> anyhow::Result<Engine> {
    Engine::from_env(component).context("open the trace file or read the fault plan")
}
