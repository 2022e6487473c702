//! One step engine per component.

use anyhow::Context;
use skiff_step::{Engine, FAULT_VARIABLE, TRACE_VARIABLE};

/// An engine as the environment asks (`--trace` sets it, see `command::up`).
pub(crate) fn engine(component: &'static str) -> anyhow::Result<Engine> {
    Engine::from_env(component).with_context(|| {
        let said = |name: &str| std::env::var(name).map(|value| format!("{name}={value}")).ok();
        let asked: Vec<String> = [TRACE_VARIABLE, FAULT_VARIABLE].into_iter().filter_map(said).collect();
        format!("trace or inject faults as {} asks", asked.join(" "))
    })
}
