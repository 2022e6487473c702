//! What is counted, as text for Prometheus, under kube-apiserver's names.

use crate::flow::{Flow, Histogram, Rejection};
use crate::levels::{Levels, State};
use crate::queueset::Waiter;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

/// Writes metrics, each with its kind once.
struct Page(String);

impl Page {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        self.line(&format!("# HELP apiserver_flowcontrol_{name} {help}"));
        self.line(&format!("# TYPE apiserver_flowcontrol_{name} {kind}"));
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn value(&mut self, name: &str, labels: &str, value: f64) {
        let written = match labels {
            "" => writeln!(self.0, "apiserver_flowcontrol_{name} {value}"),
            _ => writeln!(self.0, "apiserver_flowcontrol_{name}{{{labels}}} {value}"),
        };
        debug_assert!(written.is_ok(), "memory takes whatever is written");
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let (counts, sum) = histogram.read();
        let total = counts.last().copied().unwrap_or_default();
        if total == 0 {
            return;
        }
        for (bound, count) in histogram.bounds.iter().zip(&counts) {
            self.value(&format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), *count as f64);
        }
        self.value(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), total as f64);
        self.value(&format!("{name}_sum"), labels, sum);
        self.value(&format!("{name}_count"), labels, total as f64);
    }
}

/// Name, help, and the number, of a level.
type OfLevel<W> = (&'static str, &'static str, fn(&State<W>) -> f64);

/// Name, kind, help, and the number, of a schema's requests at a level.
type OfFlow = (&'static str, &'static str, &'static str, fn(&Flow) -> f64);

const FLOWS: [OfFlow; 6] = [
    ("dispatched_requests_total", "counter", "Requests that were executed.", |it| it.dispatched.load(Relaxed) as f64),
    ("request_dispatch_no_accommodation_total", "counter", "Attempts that found too few free seats.", |it| {
        it.unaccommodated.load(Relaxed) as f64
    }),
    ("current_inqueue_requests", "gauge", "Requests in queues.", |it| it.waiting.requests.load(Relaxed) as f64),
    ("current_inqueue_seats", "gauge", "Seats that requests in queues need.", |it| {
        it.waiting.seats.load(Relaxed) as f64
    }),
    ("current_executing_requests", "gauge", "Requests on seats, also those that have answered.", |it| {
        it.executing.requests.load(Relaxed) as f64
    }),
    ("current_executing_seats", "gauge", "Seats that are taken.", |it| it.executing.seats.load(Relaxed) as f64),
];

/// Name, help, labels, and the histogram, of a schema's requests at a level.
type HistogramOf = (&'static str, &'static str, &'static [(&'static str, fn(&Flow) -> &Histogram)]);

const HISTOGRAMS: [HistogramOf; 5] = [
    (
        "request_wait_duration_seconds",
        "How long requests waited.",
        &[(",execute=\"false\"", |it| &it.waited[0]), (",execute=\"true\"", |it| &it.waited[1])],
    ),
    (
        "request_execution_seconds",
        "How long requests, and the beginnings of watches, took.",
        &[(",type=\"regular\"", |it| &it.executed[0]), (",type=\"watch\"", |it| &it.executed[1])],
    ),
    (
        "request_queue_length_after_enqueue",
        "Length of a queue after a request has entered it.",
        &[("", |it| &it.queue_length)],
    ),
    ("work_estimated_seats", "Seats that requests were thought to need.", &[("", |it| &it.seats)]),
    ("watch_count_samples", "Watchers that were told of a write.", &[("", |it| &it.watchers)]),
];

fn levels<W: Waiter>() -> [OfLevel<W>; 10] {
    [
        ("nominal_limit_seats", "Seats by shares.", |it| it.nominal.into()),
        ("lower_limit_seats", "The fewest seats.", |it| it.least.into()),
        ("upper_limit_seats", "The most seats.", |it| it.most.into()),
        ("current_limit_seats", "Seats now.", |it| it.current.into()),
        ("demand_seats_high_watermark", "The most seats that could be used in the last period.", |it| it.seen.most),
        ("demand_seats_average", "The average of the last period.", |it| it.seen.average),
        ("demand_seats_stdev", "The standard deviation of the last period.", |it| it.seen.deviation),
        ("demand_seats_smoothed", "The same, smoothed over periods.", |it| it.smoothed),
        ("target_seats", "Seats that are aimed at.", |it| it.target),
        ("current_r", "Progress of the virtual world, in seat-seconds.", |it| it.level.lock().progress() as f64 / 1e9),
    ]
}

/// A label's value may have any character.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The page.
#[must_use]
pub fn metrics<W: Waiter>(all: &Levels<W>) -> String {
    let mut page = Page(String::new());
    for (name, help, of) in levels::<W>() {
        page.begin(name, "gauge", help);
        for (level, state) in &all.states {
            page.value(name, &format!("priority_level=\"{}\"", quoted(level)), of(state));
        }
    }
    page.begin("seat_fair_frac", "gauge", "The part of its target that a level gets.");
    page.value("seat_fair_frac", "", all.fair_fraction);
    let flows = all.states.iter().flat_map(|(level, state)| {
        let labels =
            move |schema: &str| format!("flow_schema=\"{}\",priority_level=\"{}\"", quoted(schema), quoted(level));
        state.level.flows().into_iter().map(move |flow| (labels(&flow.schema), flow))
    });
    let flows = flows.collect::<Vec<_>>();
    for (name, kind, help, of) in FLOWS {
        page.begin(name, kind, help);
        flows.iter().for_each(|(labels, flow)| page.value(name, labels, of(flow)));
    }
    page.begin("rejected_requests_total", "counter", "Requests that were refused.");
    for (labels, flow) in &flows {
        for (why, count) in Rejection::ALL.into_iter().zip(flow.outcomes().1).filter(|(_, count)| *count > 0) {
            let labels = format!("{labels},reason=\"{}\"", why.text());
            page.value("rejected_requests_total", &labels, count as f64);
        }
    }
    for (name, help, parts) in HISTOGRAMS {
        page.begin(name, "histogram", help);
        for (labels, flow) in &flows {
            parts.iter().for_each(|(more, of)| page.histogram(name, &format!("{labels}{more}"), of(flow)));
        }
    }
    page.0
}
