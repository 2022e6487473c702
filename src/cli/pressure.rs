//! Flags of a node that may run short of memory or space, of which logs take some.

use crate::duration;
use clap::Args;
use skiff_kubelet::Thresholds;
use std::time::Duration;

/// When a node is short of something, and what goes then; names of the kubelet's flags.
#[derive(Debug, Clone, Args)]
pub(crate) struct PressureArgs {
    /// How little may be left before pods are evicted, all of it [default: memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%; in `up` 5% of each disk]
    #[arg(long, value_name = "SIGNAL<QUANTITY,...>")]
    pub(crate) eviction_hard: Option<Thresholds>,
    /// How long a condition such as DiskPressure stays after it was seen last
    #[arg(long, default_value = "5m", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) eviction_pressure_transition_period: Duration,
    /// Share of the images' disk from which on unused images are removed, percent; 100: never [default: 100 in `up`, because imported images cannot be had again, 85 elsewhere]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    pub(crate) image_gc_high_threshold: Option<u8>,
    /// Share down to which they are removed
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    pub(crate) image_gc_low_threshold: u8,
}

/// How large container logs may become; names of the kubelet's flags.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogArgs {
    /// Rotate a container's log at this size; negative: never
    #[arg(long, default_value = "10Mi", value_name = "QUANTITY", allow_hyphen_values = true)]
    pub(crate) container_log_max_size: String,
    /// Files of one container's log, the one being written included
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..), value_name = "NUMBER")]
    pub(crate) container_log_max_files: u32,
}
