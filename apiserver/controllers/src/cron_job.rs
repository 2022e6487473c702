//! Begins jobs at the times of a schedule.
//!
//! Guarantees: one job for each time, because its name is made from the time; with `Forbid` none while another runs.

mod plan; // what is due, and what has become of the jobs before
pub(crate) mod schedule; // when something is due

use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, is_status};
use crate::looking::{Again, Loop, Outcome, Own};
use crate::owned::{controller, key_of_controller};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::{Resource, ResourceExt};
use plan::Plan;
use schedule::Schedule;
use skiff_client::{Cache, Change, Key};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct Keeper {
    context: Context,
    own: Own,
    crons: Cache<CronJob>,
    jobs: Cache<Job>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let caches = looking.context.caches.clone();
    let (crons, jobs) = (caches.all::<CronJob>(), caches.all::<Job>());
    let queue = looking.queue();
    looking.when(&crons, move |change| match until_next(&change) {
        Some(wait) => {
            queue.add_after(Key::of(change.meta()), wait);
            Vec::new()
        }
        None => vec![Key::of(change.meta())],
    });
    looking.when(&jobs, |change| {
        let sides = [change.before, change.now].into_iter().flatten();
        sides.filter_map(|job| key_of_controller(&job.metadata, &CronJob::kind(&()))).collect()
    });
    let keeper = Arc::new(Keeper { context: looking.context.clone(), own: looking.own.clone(), crons, jobs });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

/// What a new schedule has missed is not made up for: it begins with its next time.
fn until_next(change: &Change<'_, CronJob>) -> Option<Duration> {
    let when = |cron: &CronJob| (cron.spec.schedule.clone(), cron.spec.time_zone.clone());
    let (before, now) = (change.before?, change.now?);
    if when(before) == when(now) {
        return None;
    }
    let spec = &now.spec;
    let schedule = Schedule::parse(&spec.schedule, spec.time_zone.as_deref()).ok()?;
    plan::next_look(now, &schedule, Timestamp::now())?.try_into().ok()
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(cron) = self.crons.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let uid = cron.metadata.uid.clone().unwrap_or_default();
        let own = |job: &Arc<Job>| controller(&job.metadata).is_some_and(|owner| owner.uid == uid);
        let jobs: Vec<Arc<Job>> = self.jobs.owned_by(&uid).into_iter().filter(own).collect();
        let gone = self.gone(&cron, &jobs).await?;
        let mut plan = plan::decide(&cron, &jobs, &gone, Timestamp::now());
        for (kind, reason, message) in std::mem::take(&mut plan.told) {
            self.context.tell(&*cron, kind, reason, message);
        }
        let acted = self.act(&key, &cron, &mut plan).await;
        self.write_status(&key, &cron, &plan.status).await?;
        acted.map(|()| Again::within(plan.again))
    }

    /// The jobs that the status says run and that are not there, as the server says too.
    async fn gone(&self, cron: &CronJob, jobs: &[Arc<Job>]) -> Result<BTreeSet<String>, ControllerError> {
        let active = cron.status.iter().flat_map(|status| status.active.iter().flatten());
        let missing = active.filter(|known| jobs.iter().all(|job| job.metadata.uid != known.uid));
        let mut gone = BTreeSet::new();
        for known in missing {
            let name = known.name.as_deref().unwrap_or_default();
            let api: Api<Job> = self.context.api(&cron.namespace().unwrap_or_default());
            let live = absent_is_none(api.get(name).await).on(|| format!("get job {name}"))?;
            if live.is_none_or(|live| live.metadata.uid != known.uid) {
                gone.extend(known.uid.clone());
            }
        }
        Ok(gone)
    }

    async fn act(&self, key: &Key, cron: &CronJob, plan: &mut Plan) -> Result<(), ControllerError> {
        for job in std::mem::take(&mut plan.replace) {
            let (name, uid) = (job.name.unwrap_or_default(), job.uid);
            self.delete(key, cron, &name, uid.as_deref(), &mut plan.status).await?;
        }
        if let Some(due) = plan.begin {
            self.begin(key, cron, due, &mut plan.status).await?;
        }
        for job in &plan.forget {
            self.delete(key, cron, &job.name_any(), job.metadata.uid.as_deref(), &mut plan.status).await?;
        }
        Ok(())
    }

    async fn delete(
        &self,
        key: &Key,
        cron: &CronJob,
        name: &str,
        uid: Option<&str>,
        status: &mut CronJobStatus,
    ) -> Result<(), ControllerError> {
        let api: Api<Job> = self.context.api(&key.namespace);
        let same = Preconditions { uid: uid.map(str::to_owned), resource_version: None };
        let deleted = api.delete(name, &DeleteParams::background().preconditions(same)).await.map(drop);
        match absent_is_none(deleted) {
            Ok(_gone) => {
                plan::remove(status, uid);
                if let Some(job) = self.jobs.get(&key.namespace, name) {
                    self.own.deleted(key, &self.jobs, &*job);
                }
                self.context.tell(cron, EventKind::Normal, "SuccessfulDelete", format!("Deleted job {name}"));
                Ok(())
            }
            Err(error) => {
                let message = format!("Deleted job: {}", skiff_client::sentence(&error));
                self.context.tell(cron, EventKind::Warning, "FailedDelete", message);
                Err(error).on(|| format!("delete job {name}"))
            }
        }
    }

    async fn begin(
        &self,
        key: &Key,
        cron: &CronJob,
        due: Timestamp,
        status: &mut CronJobStatus,
    ) -> Result<(), ControllerError> {
        let Some(wanted) = plan::job_of(cron, due) else { return Ok(()) };
        let (name, api): (_, Api<Job>) = (wanted.name_any(), self.context.api(&key.namespace));
        let job = match api.create(&PostParams::default(), &wanted).await {
            Ok(made) => {
                self.context.tell(cron, EventKind::Normal, "SuccessfulCreate", format!("Created job {name}"));
                made
            }
            // Made by us before we could say so, or by somebody who took its name.
            Err(error) if is_status(&error, 409) => {
                let live = absent_is_none(api.get(&name).await).on(|| format!("get job {name}"))?;
                let ours =
                    |job: &Job| controller(&job.metadata).is_some_and(|of| Some(&of.uid) == cron.metadata.uid.as_ref());
                let Some(live) = live.filter(ours) else { return Ok(()) };
                live
            }
            Err(error) => {
                let message = format!("Error creating job: {}", skiff_client::sentence(&error));
                self.context.tell(cron, EventKind::Warning, "FailedCreate", message);
                return Err(error).on(|| format!("create job {name}"));
            }
        };
        self.own.wrote(key, &self.jobs, &job);
        let active = status.active.get_or_insert_default();
        if active.iter().all(|known| known.uid != job.metadata.uid) {
            active.push(reference(&job));
        }
        status.last_schedule_time = Some(Time(due));
        Ok(())
    }

    async fn write_status(&self, key: &Key, cron: &CronJob, status: &CronJobStatus) -> Result<(), ControllerError> {
        if cron.status.as_ref() == Some(status) || cron.status.is_none() && *status == CronJobStatus::default() {
            return Ok(());
        }
        let wanted = CronJob { status: Some(status.clone()), ..cron.clone() };
        let api: Api<CronJob> = self.context.api(&key.namespace);
        self.own.replace_status(&api, key, &self.crons, &wanted).await.map(drop)
    }
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some(Job::api_version(&()).into_owned()),
        kind: Some(Job::kind(&()).into_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        field_path: None,
    }
}
