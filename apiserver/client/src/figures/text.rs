//! Families, lines and histograms of Prometheus' text form.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Figures of one name: a head, then lines.
///
/// Prometheus wants all lines of a name to stand together below its head; so a family is begun once, and whoever has it writes lines.
///
/// ```
/// use skiff_client::Family;
/// let mut out = String::new();
/// Family::begin(&mut out, "pods_total", ("ALPHA", "counter"), "Pods.").line(&mut out, "phase=\"Running\"", "2");
/// assert!(out.ends_with("pods_total{phase=\"Running\"} 2\n"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Family<'a> {
    name: &'a str,
}

impl<'a> Family<'a> {
    /// Writes the head of a family: how stable Kubernetes says it is, and of which type.
    pub fn begin(out: &mut String, name: &'a str, (stability, kind): (&str, &str), help: &str) -> Self {
        let _memory_takes_all = write!(out, "# HELP {name} [{stability}] {help}\n# TYPE {name} {kind}\n");
        Self { name }
    }

    /// Writes one figure.
    ///
    /// `labels` are as between the braces, with their quotation marks, and without a comma at the end; none if they are empty. `value` is as
    /// it is to stand there: whole numbers and seconds come out of Rust's own formatting in a form that Prometheus reads.
    pub fn line(self, out: &mut String, labels: &str, value: &str) {
        let _memory_takes_all = match labels {
            "" => writeln!(out, "{} {value}", self.name),
            labels => writeln!(out, "{}{{{labels}}} {value}", self.name),
        };
    }

    /// Writes a histogram: a line for each upper end, which counts all that is not above it, then the sum and the count.
    ///
    /// It is read once, so that its lines agree with each other whatever happens meanwhile.
    pub fn histogram(self, out: &mut String, labels: &str, histogram: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let (counts, micros) = histogram.read();
        let ends = histogram.ends.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let mut sum = 0;
        for (count, end) in counts.iter().zip(ends) {
            sum += count;
            let _memory_takes_all = writeln!(out, "{}_bucket{{{labels}{comma}le=\"{end}\"}} {sum}", self.name);
        }
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let seconds = Duration::from_micros(micros).as_secs_f64();
        let name = self.name;
        let _memory_takes_all = write!(out, "{name}_sum{braces} {seconds}\n{name}_count{braces} {sum}\n");
    }
}

/// How long things took, by upper ends in seconds.
///
/// Counting takes no lock: many may note at once. The sum is kept in microseconds, which is as exact as anybody reads it.
#[derive(Debug)]
pub struct Histogram {
    ends: &'static [f64],
    /// One for each end, and one for what is above all.
    counts: Vec<AtomicU64>,
    micros: AtomicU64,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(ends: &'static [f64]) -> Self {
        Self { ends, counts: (0..=ends.len()).map(|_| AtomicU64::new(0)).collect(), micros: AtomicU64::new(0) }
    }

    /// Something took so long.
    pub fn note(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = self.ends.iter().position(|end| seconds <= *end).unwrap_or(self.ends.len());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn read(&self) -> (Vec<u64>, u64) {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        (counts, self.micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_all_below_them() {
        let histogram = Histogram::new(&[0.01, 1.0]);
        for millis in [1, 10, 500, 5000] {
            histogram.note(Duration::from_millis(millis));
        }
        let mut out = String::new();
        Family::begin(&mut out, "x_seconds", ("ALPHA", "histogram"), "x.").histogram(
            &mut out,
            "name=\"q\"",
            &histogram,
        );
        let wanted = "# HELP x_seconds [ALPHA] x.\n# TYPE x_seconds histogram\nx_seconds_bucket{name=\"q\",le=\"0.01\"} 2\n\
                      x_seconds_bucket{name=\"q\",le=\"1\"} 3\nx_seconds_bucket{name=\"q\",le=\"+Inf\"} 4\n\
                      x_seconds_sum{name=\"q\"} 5.511\nx_seconds_count{name=\"q\"} 4\n";
        assert_eq!(out, wanted);
    }
}
