//! What a kubelet says that its node and its containers have used (`/metrics/resource`, KEP-727), and what they used between two answers.
//! Pure.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Below this a rate says more of the clock than of the processor.
const WINDOW_MIN: SignedDuration = SignedDuration::from_millis(900);
/// Starts that differ by less are one: they are told as seconds.
const START_SECONDS: f64 = 1.0;

/// What was counted of one thing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Point {
    /// When.
    at: Timestamp,
    /// Seconds since 1970.
    started: Option<f64>,
    /// Seconds of processors since then.
    cpu: Option<f64>,
    /// Bytes that cannot be had back at once.
    memory: Option<f64>,
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// Until when.
    pub(super) at: Timestamp,
    /// Over how long.
    pub(super) window: SignedDuration,
    pub(super) nano_cores: u64,
    pub(super) bytes: u64,
}

/// Containers of a pod, by name.
pub(super) type Containers = BTreeMap<String, Point>;

/// One answer.
#[derive(Debug, Default)]
pub(super) struct Scrape {
    pub(super) node: Point,
    /// By namespace and name of their pod.
    pub(super) pods: BTreeMap<(String, String), Containers>,
}

impl Scrape {
    /// Reads an answer that came at `at`; figures that say when they were counted are of that time.
    pub(super) fn read(text: &str, at: Timestamp) -> Self {
        let fresh = Point { at, ..Point::default() };
        let mut all = Self { node: fresh, pods: BTreeMap::new() };
        for sample in text.lines().filter_map(sample) {
            let Some((kind, figure)) = sample.name.split_once('_') else { continue };
            let point = match kind {
                "node" => Some(&mut all.node),
                "container" => container(&mut all.pods, &sample.labels, fresh),
                _ => None,
            };
            if let Some(point) = point {
                point.set(figure, sample.value, sample.at);
            }
        }
        all
    }
}

fn container<'a>(
    pods: &'a mut BTreeMap<(String, String), Containers>,
    labels: &BTreeMap<&str, String>,
    fresh: Point,
) -> Option<&'a mut Point> {
    let label = |name: &str| labels.get(name).filter(|value| !value.is_empty()).cloned();
    let (namespace, pod, name) = (label("namespace")?, label("pod")?, label("container")?);
    Some(pods.entry((namespace, pod)).or_default().entry(name).or_insert(fresh))
}

impl Point {
    fn set(&mut self, figure: &str, value: f64, at: Option<Timestamp>) {
        match figure {
            "cpu_usage_seconds_total" => {
                self.cpu = Some(value);
                self.at = at.unwrap_or(self.at);
            }
            "memory_working_set_bytes" => self.memory = Some(value),
            "start_time_seconds" => self.started = Some(value),
            _ => {}
        }
    }

    /// What was used since `before`; of what has begun since, what it has used since it began. `None`: nobody knows yet.
    pub(super) fn since(&self, before: Option<&Self>) -> Option<Usage> {
        let (cpu, memory) = (self.cpu?, self.memory?);
        let before = before.filter(|before| before.is_same(self));
        let (from, since) = match before {
            Some(before) => (before.cpu.unwrap_or_default(), before.at),
            None => (0.0, moment(self.started?)?),
        };
        let window = self.at.duration_since(since);
        let used = cpu - from;
        if window < WINDOW_MIN || used < 0.0 {
            return None;
        }
        let nano_cores = whole(used / window.as_secs_f64() * 1e9);
        Some(Usage { at: self.at, window, nano_cores, bytes: whole(memory) })
    }

    /// Whether `now` goes on counting what this counted.
    fn is_same(&self, now: &Self) -> bool {
        let restarted = self.started.zip(now.started).is_some_and(|(one, other)| (one - other).abs() > START_SECONDS);
        !restarted && self.cpu.is_some()
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest number that there is"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn moment(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

/// One line (Prometheus, "Text-based format").
struct Sample<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, String>,
    value: f64,
    at: Option<Timestamp>,
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let at = words.next().and_then(|at| Timestamp::from_millisecond(at.parse().ok()?).ok());
    Some(Sample { name, labels, value, at })
}

/// The labels, and what stands behind them.
fn labels(mut text: &str) -> Option<(BTreeMap<&str, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, rest) = text.split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        labels.insert(key, value);
        text = rest;
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    const FIRST: &str = "# HELP container_cpu_usage_seconds_total x\n\
        container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 10\n\
        container_memory_working_set_bytes{container=\"a\",namespace=\"n\",pod=\"p\"} 4096\n\
        container_start_time_seconds{container=\"a\",namespace=\"n\",pod=\"p\"} 999990.5\n\
        node_cpu_usage_seconds_total 100\nnode_memory_working_set_bytes 8192\n\
        pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 10\nscrape_error 0\n";

    fn of_container(text: &str, second: i64) -> Point {
        Scrape::read(text, at(second)).pods[&("n".to_owned(), "p".to_owned())]["a"]
    }

    #[test]
    fn a_rate_is_what_was_used_between_two_answers() {
        let (before, now) = (Scrape::read(FIRST, at(0)), Scrape::read(&FIRST.replace("} 10\n", "} 13\n"), at(6)));
        let key = ("n".to_owned(), "p".to_owned());
        let usage = now.pods[&key]["a"].since(before.pods[&key].get("a")).unwrap();
        assert_eq!((usage.nano_cores, usage.bytes, usage.window), (500_000_000, 4096, SignedDuration::from_secs(6)));
        let idle = now.node.since(Some(&before.node)).unwrap();
        assert_eq!((idle.nano_cores, idle.bytes), (0, 8192));
        assert_eq!(now.node.since(None), None, "a node does not say since when it counts");
    }

    #[test]
    fn what_began_since_is_counted_from_its_start() {
        let before = of_container(FIRST, 0);
        let restarted = FIRST.replace("999990.5", "1000002").replace("} 10\n", "} 1\n");
        let usage = of_container(&restarted, 6).since(Some(&before)).unwrap();
        assert_eq!((usage.nano_cores, usage.window), (250_000_000, SignedDuration::from_secs(4)));
        assert_eq!(of_container(&restarted, 2).since(None), None, "too short to say");
        assert_eq!(before.since(Some(&before)), None, "the same answer twice");
    }

    #[test]
    fn a_kubelet_s_own_times_are_used() {
        let timed = FIRST.replace("} 10\n", "} 10 1000003000\n");
        assert_eq!(of_container(&timed, 9).at, at(3));
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in ".{0,200}", number in any::<f64>()) {
            let _scrape = Scrape::read(&text, at(0));
            let line = format!("container_cpu_usage_seconds_total{{container=\"a\",namespace=\"n\",pod=\"p\"}} {number}");
            let _scrape = Scrape::read(&line, at(0));
        }

        #[test]
        fn labels_come_back_as_they_were(value in "[^\r]{0,20}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let line = format!("x{{a=\"{escaped}\",b=\"c\"}} 1");
            let sample = sample(&line).unwrap();
            prop_assert_eq!((&*sample.labels["a"], &*sample.labels["b"]), (&*value, "c"));
        }
    }
}
