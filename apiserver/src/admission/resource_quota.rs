//! ResourceQuota: what a write takes is taken off its namespace's quotas before it is stored, and given back if it is not.
//!
//! Like addresses of services it is claimed last, because claiming writes. A quota is written by compare-and-swap and read again when
//! somebody was faster, so that no two writes get the same rest. Writes that want something of the same quota at the same time are
//! charged together: one of them writes for all that wait.
//!
//! The controller counts what is there and mends what a crash between charge and write leaves behind.

use crate::admission::Stored;
use crate::registry::object::name_of;
use crate::registry::{Change, Registry, Target, built_in};
use crate::request::{Request, Run};
use crate::status::Status;
use futures::future::BoxFuture;
use serde_json::Value;
use skiff_quota::{Amounts, Asked, Refused, Write};
use skiff_schema::Decoded;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::oneshot;

/// Who waits for one quota.
#[derive(Debug, Default)]
struct Lane {
    waiting: Mutex<Vec<Waiter>>,
    /// Held by whoever charges for all that wait.
    turn: tokio::sync::Mutex<()>,
}

/// What a quota answers.
type Answer = Result<Result<Amounts, Refused>, Status>;

#[derive(Debug)]
struct Waiter {
    asked: Arc<Asked>,
    answer: oneshot::Sender<Answer>,
}

/// The lanes of quotas that somebody waits for, by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<HashMap<(String, String), Weak<Lane>>>);

/// What one write was charged.
#[derive(Debug, Default)]
#[must_use = "what is charged and not stored must be given back"]
pub(crate) struct Charge {
    namespace: String,
    /// Quotas and amounts.
    taken: Vec<(String, Amounts)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Quotas {
    fn lane(&self, namespace: &str, quota: &str) -> Arc<Lane> {
        let mut lanes = lock(&self.0);
        let key = (namespace.to_owned(), quota.to_owned());
        if let Some(lane) = lanes.get(&key).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Lane::default());
        lanes.insert(key, Arc::downgrade(&lane));
        lane
    }

    /// Takes what `next` needs off the quotas of its namespace. A dry run only asks.
    ///
    /// # Errors
    /// A quota has not got it (403), or cannot be read or written.
    pub(crate) async fn charge(
        &self,
        registry: &Registry,
        request: &Request,
        target: &Target<'_>,
        (old, next): (Option<&Value>, &Value),
    ) -> Result<Charge, Status> {
        let namespace = target.namespace;
        let kind = (target.resource.group.as_ref(), target.resource.plural.as_ref());
        let write = Write { kind, part: &request.part, old, new: next, now: jiff::Timestamp::now().as_second() };
        let is_on = registry.configured().get().chosen.charges_quotas();
        if !is_on || namespace.is_empty() || !Asked::is_of(&write) {
            return Ok(Charge::default());
        }
        let quotas = Stored::list(registry, built_in("", "resourcequotas")?, namespace).await?;
        if quotas.is_empty() {
            return Ok(Charge::default());
        }
        let Some(asked) = Asked::of(&write).map(Arc::new) else { return Ok(Charge::default()) };
        Box::pin(self.charge_each(registry, (request, target), quotas, &asked)).await
    }

    async fn charge_each(
        &self,
        registry: &Registry,
        (request, target): (&Request, &Target<'_>),
        quotas: Vec<Arc<Value>>,
        asked: &Arc<Asked>,
    ) -> Result<Charge, Status> {
        let namespace = target.namespace;
        let mut charge = Charge { namespace: namespace.to_owned(), taken: Vec::new() };
        let refused = |Refused(why): Refused| Status::forbidden(target.resource, target.name, &why);
        for quota in quotas {
            let wanted = asked.of_quota(&quota);
            if wanted.as_ref().is_ok_and(Amounts::is_empty) {
                continue;
            }
            let answer = match request.run() {
                Run::Dry => wanted,
                Run::Real => self.take(registry, (namespace, name_of(&quota)), asked).await?,
            };
            match answer {
                Ok(taken) => charge.taken.push((name_of(&quota).to_owned(), taken)),
                Err(why) => {
                    if request.run() == Run::Real {
                        charge.give_back(registry).await;
                    }
                    return Err(refused(why));
                }
            }
        }
        Ok(if request.run() == Run::Dry { Charge::default() } else { charge })
    }

    /// Waits for its turn, or for somebody who charges for all that wait.
    async fn take(&self, registry: &Registry, (namespace, quota): (&str, &str), asked: &Arc<Asked>) -> Answer {
        let lane = self.lane(namespace, quota);
        loop {
            let (answer, mut mine) = oneshot::channel();
            lock(&lane.waiting).push(Waiter { asked: Arc::clone(asked), answer });
            let turn = lane.turn.lock().await;
            match mine.try_recv() {
                Ok(answer) => return answer,
                // Whoever charged for this one went away in the middle of it: once more.
                Err(oneshot::error::TryRecvError::Closed) => continue,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let waiting = std::mem::take(&mut *lock(&lane.waiting));
            let all: Vec<Arc<Asked>> = waiting.iter().map(|waiter| Arc::clone(&waiter.asked)).collect();
            let answers = charge_all(registry, (namespace, quota), all).await;
            drop(turn);
            for (number, waiter) in waiting.into_iter().enumerate() {
                let answer = match &answers {
                    Ok(answers) => Ok(answers.get(number).cloned().unwrap_or_else(|| Ok(Amounts::default()))),
                    Err(status) => Err(status.clone()),
                };
                // Whoever went away meanwhile was charged for nothing; the controller counts again.
                let _gone = waiter.answer.send(answer);
            }
            if let Ok(answer) = mine.try_recv() {
                return answer;
            }
        }
    }
}

/// Charges everybody who fits, one after the other, in one write.
fn charge_all<'a>(
    registry: &'a Registry,
    (namespace, name): (&'a str, &'a str),
    all: Vec<Arc<Asked>>,
) -> BoxFuture<'a, Result<Vec<Result<Amounts, Refused>>, Status>> {
    Box::pin(async move {
        let answers = Mutex::new(Vec::new());
        rewrite(registry, (namespace, name), |quota| {
            let mut used = Amounts::of(&quota["status"]["used"]);
            let mut now = Vec::new();
            for asked in &all {
                let answer = asked.of_quota(quota);
                if let Some(taken) = answer.as_ref().ok().filter(|taken| !taken.is_empty()) {
                    used.add(taken);
                    quota["status"]["used"] = used.value();
                }
                now.push(answer);
            }
            *lock(&answers) = now;
        })
        .await?;
        Ok(answers.into_inner().unwrap_or_else(PoisonError::into_inner))
    })
}

/// Changes the status of a quota, again when somebody was faster. One that has gone limits nothing, and is left alone.
async fn rewrite(
    registry: &Registry,
    (namespace, name): (&str, &str),
    change: impl Fn(&mut Value) + Send + Sync,
) -> Result<(), Status> {
    let target = Target { resource: built_in("", "resourcequotas")?, namespace, name };
    let change = Change::of_present(|present| {
        let mut quota = present.clone();
        change(&mut quota);
        Ok(Decoded { object: quota, warnings: Vec::new() })
    });
    match registry.write(&Request::own("update", &target).of_part("status"), &change).await {
        Err(status) if status.reason != "NotFound" => Err(status),
        _ => Ok(()),
    }
}

impl Charge {
    /// Of a write that came to nothing.
    pub(crate) async fn give_back(self, registry: &Registry) {
        for (name, taken) in &self.taken {
            if let Err(status) = return_to(registry, (&self.namespace, name), taken).await {
                tracing::warn!(
                    namespace = self.namespace,
                    quota = name,
                    message = status.message,
                    "what a write did not need could not be given back to its quota; the controller counts again"
                );
            }
        }
    }
}

fn return_to<'a>(
    registry: &'a Registry,
    (namespace, name): (&'a str, &'a str),
    taken: &'a Amounts,
) -> BoxFuture<'a, Result<(), Status>> {
    Box::pin(rewrite(registry, (namespace, name), |quota| {
        let mut used = Amounts::of(&quota["status"]["used"]);
        used.take(taken);
        quota["status"]["used"] = used.value();
    }))
}
