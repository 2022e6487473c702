//! Plans, told as stories: `pod init=migrate app=web; sandbox; exit migrate 0`.
//!
//! Words of the first sentence describe the pod, the others happen one after the other. After each the planner is asked
//! until it has nothing more to do, and everything it wants is done at once and works. What is compared is what was done
//! after the last sentence.

use super::*;
use crate::pod::backoff::RESTARTS;
use crate::pod::memory::{Failure, Killer, ReadyImage, ToKill};
use crate::pod::restart::{Restart, RestartPolicy};
use crate::pod::wanted::{PullPolicy, RestartOn};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use proptest::prelude::*;

struct World {
    wanted: Wanted,
    seen: Observed,
    memory: Memory,
    now: Timestamp,
    done: Vec<String>,
    /// Containers end as soon as they are told to stop.
    ids: u32,
}

fn container(name: &str, role: Role) -> WantedContainer {
    WantedContainer {
        name: name.to_owned(),
        role,
        hash: "h".to_owned(),
        pull: PullPolicy::IfNotPresent,
        restart: Restart::by(RestartPolicy::Always),
        needs: Needs::default(),
        restart_on: RestartOn::default(),
        startup_probe: false,
        readiness_probe: false,
        post_start: false,
        recorded: None,
    }
}

/// All containers that the pod's policy is for.
fn restart(wanted: &mut Wanted, policy: RestartPolicy) {
    for container in wanted.containers.iter_mut().filter(|container| container.role != Role::Ephemeral) {
        container.restart = Restart::by(policy);
    }
}

impl World {
    fn new(pod: &str) -> Self {
        let mut wanted = Wanted {
            containers: Vec::new(),
            needs: Needs::default(),
            ending: Ending::Staying,
            deadline: None,
            grace_seconds: 30,
        };
        for word in pod.split_whitespace().skip(1) {
            match word.split_once('=').unwrap() {
                ("init", name) => wanted.containers.push(container(name, Role::Init)),
                ("side", name) => wanted.containers.push(container(name, Role::Sidecar)),
                ("app", name) => wanted.containers.push(container(name, Role::App)),
                ("debug", name) => wanted.containers.push(container(name, Role::Ephemeral)),
                ("restart", "never") => restart(&mut wanted, RestartPolicy::Never),
                ("restart", "onfailure") => restart(&mut wanted, RestartPolicy::OnFailure),
                other => panic!("no such word: {other:?}"),
            }
        }
        wanted.containers.sort_by_key(|container| match container.role {
            Role::Init | Role::Sidecar => 0,
            Role::App => 1,
            Role::Ephemeral => 2,
        });
        let now = Timestamp::from_second(1_000_000).unwrap();
        Self { wanted, seen: Observed::default(), memory: Memory::default(), now, done: Vec::new(), ids: 0 }
    }

    /// What the container is to have, as a spec says it.
    fn size(&self, name: &str) -> ResourceRequirements {
        let cpu = self.wanted.container(name).and_then(|container| container.needs.cpu_request);
        let requests = cpu.map(|cpu| [("cpu".to_owned(), Quantity(format!("{cpu}m")))].into());
        ResourceRequirements { requests, ..Default::default() }
    }

    /// Has the container ask for this many thousandths of a CPU from now on.
    fn resize(&mut self, name: &str, cpu: i64) {
        let wanted = self.wanted.containers.iter_mut().find(|container| container.name == name).unwrap();
        wanted.needs.cpu_request = Some(cpu);
        self.wanted.needs.cpu_request = Some(cpu);
    }

    fn id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}{}", self.ids)
    }

    fn settle(&mut self) -> Plan {
        for _ in 0..50 {
            let plan = plan(&self.wanted, &self.seen, &self.memory, self.now);
            if plan.steps.is_empty() {
                return plan;
            }
            for step in plan.steps {
                self.perform(step);
            }
        }
        panic!("never at rest: {:?}", self.done);
    }

    fn stop(&mut self, container: &str, id: &str, grace_seconds: i64) {
        self.done.push(format!("stop {container} {grace_seconds}"));
        let instance = &self.seen.containers[id];
        let wanted = self.wanted.container(container);
        let change = wanted.and_then(|wanted| resize::change(wanted, self.memory.get(container), instance));
        if change == Some(resize::Change::Restart) {
            self.memory.of(container).resized = Some(id.to_owned());
        }
        self.end(id, 143);
    }

    fn perform(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Prepare => {
                (self.memory.prepared, self.memory.refresh_at) = (true, None);
                self.memory.cgroup = Some(self.wanted.needs);
            }
            Step::Resize { containers, .. } => {
                self.memory.cgroup = Some(self.wanted.needs);
                for (name, id) in containers {
                    self.done.push(format!("resize {name}"));
                    self.memory.of(&name).applied = Some((id, self.size(&name)));
                }
            }
            Step::RunSandbox { attempt } => {
                let id = self.id("s");
                self.done.push(format!("sandbox {attempt}"));
                let ips = vec!["10.0.0.1".to_owned()];
                self.seen.absorb_sandbox(Sandbox { id, attempt, ready: true, created_at: now, ips });
            }
            Step::EnsureImage { container, attempt } => {
                self.memory.of(&container).image = Some((attempt, ReadyImage::default()));
            }
            Step::Start { container, attempt, sandbox } => {
                let counts = self
                    .wanted
                    .container(&container)
                    .is_none_or(|wanted| again::counts(wanted, self.memory.get(&container), &self.seen));
                if attempt > 0 && counts {
                    self.memory.of(&container).runs.note(RESTARTS, now);
                }
                self.done.push(format!("start {container} {attempt}"));
                let id = self.id("c");
                let life = Life::Running { started_at: now };
                let size = self.size(&container);
                let memory = self.memory.of(&container);
                (memory.applied, memory.resized) = (Some((id.clone(), size)), None);
                self.seen.absorb(instance(id, sandbox, &container, attempt, now, life));
            }
            Step::PostStart { container, id } => self.memory.of(&container).hooked = Some(id),
            Step::Stop { container, id, grace_seconds, .. } => self.stop(&container, &id, grace_seconds),
            Step::Remove { container, id } => {
                self.done.push(format!("remove {container}"));
                self.seen.forget(&id);
            }
            Step::StopSandbox { id } => {
                self.done.push("stop sandbox".to_owned());
                self.seen.sandboxes.get_mut(&id).unwrap().ready = false;
            }
            Step::RemoveSandbox { id } => {
                self.done.push("remove sandbox".to_owned());
                self.seen.forget(&id);
            }
            Step::Clear { .. } => self.memory.cleared = true,
            Step::FinishDeletion => {
                self.done.push("finish deletion".to_owned());
                self.memory.deletion_finished = true;
            }
        }
    }

    fn end(&mut self, id: &str, code: i32) {
        let old = self.seen.containers[id].clone();
        let (reason, message) = (String::new(), String::new());
        let life = Life::Exited { started_at: self.now, finished_at: self.now, code, reason, message };
        self.seen.absorb(Instance { life, ..old });
    }

    fn kill(&mut self, name: &str, id: String, grace_seconds: Option<i64>) {
        let to_kill = ToKill { id, by: Killer::Probe, why: "liveness".to_owned(), grace_seconds };
        self.memory.of(name).to_kill = Some(to_kill);
    }

    fn tell(&mut self, sentence: &str) {
        self.done.clear();
        let words: Vec<_> = sentence.split_whitespace().collect();
        match words[..] {
            ["exit", name, code] => {
                let id = self.seen.latest(name).unwrap().id.clone();
                self.end(&id, code.parse().unwrap());
            }
            ["wait", seconds] => self.now += SignedDuration::from_secs(seconds.parse().unwrap()),
            ["delete", grace] => self.wanted.ending = Ending::Deleting { grace_seconds: grace.parse().unwrap() },
            ["gone"] => self.wanted.ending = Ending::Gone { grace_seconds: 5 },
            ["sandbox", "dies"] => self.seen.sandboxes.values_mut().for_each(|sandbox| sandbox.ready = false),
            ["unhealthy", name] => {
                let id = self.seen.latest(name).unwrap().id.clone();
                self.kill(name, id, None);
            }
            ["unhealthy", name, grace] => {
                let (id, grace_seconds) = (self.seen.latest(name).unwrap().id.clone(), grace.parse().ok());
                self.kill(name, id, grace_seconds);
            }
            ["evicted"] => {
                self.memory.ended_by = Some(Failure::new("Evicted", "too large"));
                self.memory.end_grace_seconds = Some(1);
            }
            ["half-made", name] => {
                let (id, sandbox) = (self.id("c"), self.seen.standing().unwrap().id.clone());
                let attempt = self.seen.latest(name).map_or(0, |latest| latest.attempt + 1);
                self.seen.absorb(instance(id, sandbox, name, attempt, self.now, Life::Created));
            }
            ["cpu", name, cpu] => self.resize(name, cpu.parse().unwrap()),
            ["cpu", name, cpu, "restarts"] => {
                self.resize(name, cpu.parse().unwrap());
                let wanted = self.wanted.containers.iter_mut().find(|container| container.name == name).unwrap();
                wanted.restart_on.cpu = true;
            }
            ["kubelet", "restarts"] => self.memory = Memory::default(),
            ["lost", name] => {
                let id = self.seen.latest(name).unwrap().id.clone();
                self.seen.forget(&id);
                let position = self.wanted.containers.iter().position(|container| container.name == name).unwrap();
                self.wanted.containers[position].recorded = Some(0);
            }
            _ => panic!("no such sentence: {sentence}"),
        }
    }
}

fn instance(id: String, sandbox: String, name: &str, attempt: u32, now: Timestamp, life: Life) -> Instance {
    Instance {
        id,
        sandbox,
        name: name.to_owned(),
        attempt,
        hash: "h".to_owned(),
        created_at: now,
        life,
        image_ref: String::new(),
        image: String::new(),
        log_path: String::new(),
        last_words: None,
        termination_file: None,
        user: None,
    }
}

fn play(story: &str) -> (World, Plan) {
    let mut sentences = story.split(';').map(str::trim);
    let mut world = World::new(sentences.next().unwrap());
    let mut plan = world.settle();
    for sentence in sentences {
        world.tell(sentence);
        plan = world.settle();
    }
    (world, plan)
}

fn check(story: &str, expected: &[&str]) {
    let (world, _) = play(story);
    assert_eq!(world.done, expected, "{story}");
}

#[test]
fn a_pod_starts_in_order() {
    check("pod app=web", &["sandbox 0", "start web 0"]);
    check("pod app=a app=b", &["sandbox 0", "start a 0", "start b 0"]);
    check("pod init=migrate app=web", &["sandbox 0", "start migrate 0"]);
    check("pod init=migrate app=web; exit migrate 0", &["start web 0"]);
    check("pod init=one init=two app=web; exit one 0", &["start two 0"]);
    check("pod side=proxy app=web", &["sandbox 0", "start proxy 0", "start web 0"]);
}

#[test]
fn a_failed_init_container_holds_the_pod() {
    check("pod init=migrate app=web; exit migrate 1", &["start migrate 1"]);
    check("pod init=migrate app=web restart=never; exit migrate 1", &["stop sandbox"]);
}

#[test]
fn restarts_follow_the_policy() {
    check("pod app=web; exit web 0", &["start web 1"]);
    check("pod app=web restart=onfailure; exit web 1", &["start web 1"]);
    check("pod app=web restart=onfailure; exit web 0", &["stop sandbox"]);
    check("pod app=web restart=never; exit web 1", &["stop sandbox"]);
    check("pod app=a app=b restart=never; exit a 0", &[]);
}

#[test]
fn restarts_back_off() {
    let (world, plan) = play("pod app=web; exit web 1; exit web 1");
    assert_eq!(world.done, Vec::<String>::new());
    assert_eq!(plan.wake_at, Some(world.now + SignedDuration::from_secs(10)));
    check("pod app=web; exit web 1; exit web 1; wait 9", &[]);
    check("pod app=web; exit web 1; exit web 1; wait 10", &["start web 2", "remove web"]);
    check("pod app=web; exit web 1; exit web 1; wait 10; exit web 1; wait 19", &[]);
    check("pod app=web; exit web 1; exit web 1; wait 10; wait 700; exit web 1", &["start web 3", "remove web"]);
}

/// Kubernetes looks at a probe's victim before it has ended, so what counts is the end of the instance before it.
#[test]
fn what_a_probe_ends_waits_from_the_end_before_it() {
    // Each lives for 30 s: four times it starts at once, while the delay has grown to 40 s.
    let story =
        "pod app=web; wait 30; unhealthy web; wait 30; unhealthy web; wait 30; unhealthy web; wait 30; unhealthy web";
    check("pod app=web; wait 30; unhealthy web", &["stop web 30", "start web 1"]);
    check(story, &["stop web 30", "start web 4", "remove web"]);
    let (world, plan) = play(&format!("{story}; wait 30; unhealthy web"));
    // The one before ended 30 s ago, and 40 s are to pass: now it waits as whoever ends by itself does.
    assert_eq!((world.done, plan.wake_at), (vec!["stop web 30".to_owned()], Some(world.now + seconds(40))));
}

#[test]
fn the_first_end_by_a_probe_does_not_count() {
    let (world, plan) = play("pod app=web; wait 30; unhealthy web; wait 1; exit web 1");
    assert_eq!((world.done, plan.wake_at), (vec!["start web 2".to_owned(), "remove web".to_owned()], None));
    let (world, plan) = play("pod app=web; wait 30; unhealthy web; wait 1; unhealthy web; wait 5; unhealthy web");
    assert_eq!((world.done, plan.wake_at), (vec!["stop web 30".to_owned()], Some(world.now + seconds(10))));
    check("pod app=web; exit web 1; wait 9; unhealthy web; wait 9", &[]);
    check("pod app=web; exit web 1; wait 9; unhealthy web; wait 10", &["start web 2", "remove web"]);
    check("pod app=web; exit web 1; wait 10; unhealthy web", &["stop web 30", "start web 2", "remove web"]);
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn old_instances_go_and_one_dead_stays() {
    let (world, _) = play("pod app=web; exit web 1; exit web 1; wait 10; exit web 1; wait 20; exit web 1");
    let attempts: Vec<_> = world.seen.instances("web").map(|instance| instance.attempt).collect();
    assert_eq!(attempts, [3, 2]);
}

#[test]
fn a_pod_leaves_in_order() {
    check("pod app=web; delete 7", &["stop web 7", "remove sandbox", "finish deletion"]);
    check("pod side=proxy app=web; delete 7", &["stop web 7", "stop proxy 7", "remove sandbox", "finish deletion"]);
    check("pod app=web; gone", &["stop web 5", "remove sandbox"]);
    let (_, plan) = play("pod app=web; delete 0");
    assert!(plan.over);
}

#[test]
fn an_ephemeral_container_starts_at_once_and_once() {
    let story = "pod init=migrate app=web debug=look";
    check(story, &["sandbox 0", "start migrate 0", "start look 0"]);
    check("pod app=web debug=look; exit look 1", &[]);
    // It does not keep its pod from its end.
    check("pod app=web debug=look restart=never; exit web 0", &["stop look 30", "stop sandbox"]);
    check("pod app=web debug=look; delete 7", &["stop web 7", "stop look 7", "remove sandbox", "finish deletion"]);
}

#[test]
fn resources_change_in_place_or_with_a_restart() {
    check("pod app=web; cpu web 5", &["resize web"]);
    check("pod app=web; cpu web 5; cpu web 5", &[]);
    check("pod app=web restart=onfailure; cpu web 5 restarts", &["stop web 30", "start web 1"]);
    // It counts as no failure: the next start after one waits as if there had been none.
    check("pod app=web; cpu web 5 restarts; cpu web 6", &["stop web 30", "start web 2", "remove web"]);
}

#[test]
fn sidecars_end_after_the_last_app() {
    check("pod side=proxy app=job restart=never; exit job 0", &["stop proxy 30", "stop sandbox"]);
}

#[test]
fn a_fallen_sandbox_is_replaced_and_init_runs_again() {
    check("pod app=web; sandbox dies", &["stop web 0", "sandbox 1", "start web 1"]);
    let story = "pod init=migrate app=web; exit migrate 0; sandbox dies";
    check(story, &["stop web 0", "sandbox 1", "start migrate 1"]);
}

#[test]
fn probes_condemn() {
    check("pod app=web; unhealthy web", &["stop web 30", "start web 1"]);
    check("pod app=web restart=never; unhealthy web", &["stop web 30", "stop sandbox"]);
    // An evicted pod does not come back, and may not take its time.
    check("pod app=web; evicted", &["stop web 1", "stop sandbox"]);
    // A probe may have a time of its own.
    check("pod app=web; unhealthy web 2", &["stop web 2", "start web 1"]);
}

#[test]
fn a_restarted_kubelet_starts_nothing_twice() {
    check("pod app=web; kubelet restarts", &[]);
    check("pod init=migrate app=web; exit migrate 0; kubelet restarts", &[]);
    check("pod app=web restart=never; exit web 0; kubelet restarts", &[]);
    check("pod app=web restart=never; lost web", &["stop sandbox"]);
    check("pod app=web; lost web", &["start web 1"]);
}

/// Others have run init containers again, and forgotten sidecars, when the kubelet had crashed.
#[test]
fn a_crash_of_the_kubelet_is_nothing_to_sidecars_and_init_containers() {
    let story = "pod init=migrate side=proxy app=web; exit migrate 0; kubelet restarts";
    check("pod side=proxy app=web; kubelet restarts", &[]);
    check(story, &[]);
    check(&format!("{story}; lost migrate"), &[]);
    check(&format!("{story}; exit proxy 1"), &["start proxy 1"]);
    check(&format!("{story}; exit proxy 0; kubelet restarts"), &[]);
    check("pod init=migrate app=web; kubelet restarts; exit migrate 1", &["start migrate 1"]);
}

#[test]
fn a_dead_sandbox_does_not_outlive_its_pod() {
    let gone = ["stop web 0", "remove sandbox", "remove sandbox", "finish deletion"];
    check("pod app=web; sandbox dies; delete 0", &gone);
    check("pod app=web; kubelet restarts; sandbox dies; delete 0", &gone);
    check("pod app=web; sandbox dies; gone", &["stop web 5", "remove sandbox", "remove sandbox"]);
}

#[test]
fn a_half_made_container_is_made_again() {
    check("pod app=web; exit web 1; exit web 1; half-made web", &["remove web", "remove web"]);
    check("pod app=web; exit web 1; exit web 1; half-made web; wait 10", &["start web 2"]);
}

proptest! {
    /// Whatever happens, planning comes to rest, a container never runs twice, and a deleted pod ends.
    #[test]
    fn the_plan_comes_to_rest(restart in 0..3usize, happenings in proptest::collection::vec(0..6usize, 0..12)) {
        let policy = ["", " restart=never", " restart=onfailure"][restart];
        let mut world = World::new(&format!("pod init=i side=s app=a app=b{policy}"));
        world.settle();
        for happening in happenings {
            let running: Vec<_> = world.seen.containers.values().filter(|c| c.is_running()).map(|c| c.name.clone()).collect();
            let sentence = match (happening, running.first(), running.last()) {
                (0, Some(name), _) => format!("exit {name} 0"),
                (1, Some(name), _) | (2, _, Some(name)) => format!("exit {name} 1"),
                (3, ..) => "wait 400".to_owned(),
                (4, ..) => "sandbox dies".to_owned(),
                _ => "kubelet restarts".to_owned(),
            };
            world.tell(&sentence);
            world.settle();
            for container in &world.wanted.containers {
                let alive = world.seen.instances(&container.name).filter(|instance| instance.is_running()).count();
                prop_assert!(alive <= 1, "{} runs {alive} times", container.name);
            }
        }
        world.tell("delete 1");
        let plan = world.settle();
        prop_assert!(plan.over || plan.wake_at.is_some());
        prop_assert!(world.seen.sandboxes.is_empty());
    }
}
