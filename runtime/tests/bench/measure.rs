//! The measurements: every program does a thing once, then every program again, and so on.

use super::bundle::Bundle;
use super::programs::{self, Kind, Program};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Milliseconds, kibibytes or bytes, by what was measured and who did it; the order of rows is that of measuring.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) rows: Vec<String>,
    pub(crate) values: BTreeMap<(String, &'static str), Vec<f64>>,
}

impl Figures {
    fn add(&mut self, row: &str, program: &Program, value: f64) {
        if !self.rows.iter().any(|known| known == row) {
            self.rows.push(row.to_owned());
        }
        self.values.entry((row.to_owned(), program.name)).or_default().push(value);
    }

    /// The middle one of a cell.
    pub(crate) fn median(&self, row: &str, program: &'static str) -> Option<f64> {
        let mut values = self.values.get(&(row.to_owned(), program))?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

fn command(program: &Program, bundle: &Bundle, words: &[&str]) -> Command {
    let mut command = Command::new(&program.path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(bundle.path());
    command.arg("--root").arg(bundle.state()).args(words);
    command
}

fn run(program: &Program, bundle: &Bundle) -> Command {
    if program.kind == Kind::Runtime {
        return command(program, bundle, &["run", &bundle.id]);
    }
    let mut command = Command::new(&program.path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(bundle.path());
    command.arg("run").arg(bundle.rootfs()).arg(&bundle.id);
    command
}

fn timed(mut command: Command) -> f64 {
    let begun = Instant::now();
    let status = command.status().unwrap();
    let took = begun.elapsed().as_secs_f64() * 1e3;
    assert!(status.success(), "{command:?}: {status}");
    took
}

/// Milliseconds of processor time of all that has been started and has ended: other work on the machine changes it little.
fn processor() -> f64 {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = |time: TimeVal| f64::from(u32::try_from(time.num_microseconds()).unwrap());
    (micros(used.user_time()) + micros(used.system_time())) / 1e3
}

/// `run` of `true`, to its end.
pub(crate) fn runs(figures: &mut Figures, title: &str, pairs: &[(&Program, &Bundle)], pause: Duration, rounds: usize) {
    for _ in 0..rounds {
        for (program, bundle) in pairs {
            std::thread::sleep(pause);
            let before = processor();
            let took = timed(run(program, bundle));
            figures.add(&format!("run, {title}, ms"), program, took);
            figures.add(&format!("run, {title}, processor ms"), program, processor() - before);
        }
    }
}

/// `create`, `start`, `state` and `delete` of `true`.
pub(crate) fn lives(figures: &mut Figures, title: &str, pairs: &[(&Program, &Bundle)], pause: Duration, rounds: usize) {
    let pairs: Vec<_> = pairs.iter().filter(|(program, _)| program.kind == Kind::Runtime).collect();
    for _ in 0..rounds {
        for (program, bundle) in &pairs {
            std::thread::sleep(pause);
            let pid_file = bundle.pid_file();
            let mut all = 0.0;
            for word in ["create", "state", "start", "delete"] {
                let mut words = vec![word, bundle.id.as_str()];
                if word == "create" {
                    words.splice(1..1, ["--pid-file", pid_file.to_str().unwrap()]);
                }
                let took = timed(command(program, bundle, &words));
                if word == "start" {
                    wait_for_end(&pid_file);
                }
                all += if word == "state" { 0.0 } else { took };
                figures.add(&format!("{word}, {title}, ms"), program, took);
            }
            figures.add(&format!("create+start+delete, {title}, ms"), program, all);
        }
    }
}

fn wait_for_end(pid_file: &std::path::Path) {
    let stat = format!("/proc/{}/stat", fs::read_to_string(pid_file).unwrap().trim());
    while fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// `exec` of `true` in a container that sleeps.
pub(crate) fn execs(figures: &mut Figures, programs: &[Program], rounds: usize) {
    let programs: Vec<_> = programs.iter().filter(|program| program.kind == Kind::Runtime).collect();
    let bundles: Vec<_> = programs.iter().map(|program| Bundle::new(program.name, &["/bin/sleep", "100000"])).collect();
    for (program, bundle) in programs.iter().zip(&bundles) {
        timed(command(program, bundle, &["run", "--detach", &bundle.id]));
    }
    for (title, pause, rounds) in
        [("back to back", Duration::ZERO, rounds), ("after 250 ms", Duration::from_millis(250), rounds / 2)]
    {
        for _ in 0..rounds {
            for (program, bundle) in programs.iter().zip(&bundles) {
                std::thread::sleep(pause);
                let took = timed(command(program, bundle, &["exec", &bundle.id, "/bin/true"]));
                figures.add(&format!("exec, {title}, ms"), program, took);
            }
        }
    }
    for (program, bundle) in programs.iter().zip(&bundles) {
        timed(command(program, bundle, &["delete", "--force", &bundle.id]));
    }
}

/// Memory and size.
pub(crate) fn sizes(figures: &mut Figures, program: &Program, bundle: &Bundle) {
    let bytes = fs::metadata(&program.path).unwrap().len();
    figures.add("program, KiB", program, kib(bytes));
    let inner = run(program, bundle);
    let mut peak = Command::new(programs::floor());
    peak.arg("peak").arg(inner.get_program()).args(inner.get_args()).current_dir(bundle.path());
    let said = peak.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    figures.add("peak memory of run, KiB", program, text.trim().parse().unwrap());
    if program.kind == Kind::Runtime {
        figures.add("smallest memory limit that works, KiB", program, smallest_limit(program, bundle));
    }
}

/// To 64 KiB.
fn smallest_limit(program: &Program, bundle: &Bundle) -> f64 {
    let works = |blocks: u64| {
        bundle.write(&["/bin/true"], Some(blocks * 64 * 1024));
        (0..3).all(|_| {
            let works = run(program, bundle).status().unwrap().success();
            if !works {
                // Whatever is left of the failure.
                let _may_be_gone = command(program, bundle, &["delete", "--force", &bundle.id]).status();
            }
            works
        })
    };
    let (mut fails, mut enough) = (0, 256);
    while enough - fails > 1 {
        let middle = u64::midpoint(fails, enough);
        if works(middle) { enough = middle } else { fails = middle }
    }
    bundle.write(&["/bin/true"], None);
    kib(enough * 64 * 1024)
}

#[allow(clippy::cast_precision_loss, reason = "sizes of programs are far below 2^52")]
fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
