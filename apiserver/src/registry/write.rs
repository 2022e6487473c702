//! Every write, for REST, gRPC and this server itself, whatever its verb:
//!
//! ```text
//!  present ──► change ──► what its path may change ──► defaults ──► what the kind takes out or restores ──► owners ──┐
//!     ▲                                                                                                              │
//!     │        validating admission ◄── validate ◄── what the server makes up ◄── mutating admission ◄───────────────┘
//!     │                 │
//!     │                 └──► claim ──► commit
//!     └── again, if somebody was faster ◄─┘
//! ```
//!
//! Owners come before admission, as in Kubernetes: who writes owns what it said, with its defaults, and nothing that the server adds.
//! Claims come last, because they write. A deletion is the same frame with a plan in place of a change (`delete.rs`): present,
//! admission, commit, or again.

use super::object::{Object, metadata_mut, name_of, now};
use super::recent::{Pair, Spare};
use super::{ATTEMPTS_MAX, Registry, Target, create, update};
use crate::admission::{self, Attributes, Operation};
use crate::author;
use crate::authority;
use crate::request::{Request, Run};
use crate::reviews::user_info;
use crate::status::Status;
use serde_json::Value;
use skiff_schema::{Decoded, Resource, Stamp, apply_defaults, settle, validate_change, validate_create};

/// How it becomes known who owns the fields of an object that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Whoever writes owns what changes.
    Track,
    /// The object says it: it was applied.
    Said,
    /// They stay: the server itself decides about the whole object.
    Keep,
}

/// What is computed of a present state, in something that is easily made a copy of it; `None`: there is no such object.
type Next<'a> = Box<dyn Fn(Option<&Value>, Spare) -> Result<Decoded, Status> + Send + Sync + 'a>;

/// What a request wants of one object.
pub(crate) struct Change<'a> {
    /// Whether an object that is not there is made.
    pub(super) makes: bool,
    pub(super) owners: Owners,
    /// Computed again when somebody else was faster.
    pub(super) next: Next<'a>,
}

impl<'a> Change<'a> {
    /// Of an object that is there.
    pub(crate) fn of_present(next: impl Fn(&Value) -> Result<Decoded, Status> + Send + Sync + 'a) -> Self {
        let next: Next<'a> = Box::new(move |present, _| next(present.unwrap_or(&Value::Null)));
        Self { makes: false, owners: Owners::Track, next }
    }

    /// The same, where a copy of the object becomes the next state.
    pub(super) fn of_copy(next: impl Fn(&Value, Value) -> Result<Decoded, Status> + Send + Sync + 'a) -> Self {
        let next: Next<'a> = Box::new(move |present, spare| {
            let present = present.unwrap_or(&Value::Null);
            next(present, spare.copy(present))
        });
        Self { makes: false, owners: Owners::Track, next }
    }

    /// Of an object that is there, or of none yet, which is then made.
    pub(crate) fn of_any(next: impl Fn(Option<&Value>) -> Result<Decoded, Status> + Send + Sync + 'a) -> Self {
        Self { makes: true, owners: Owners::Track, next: Box::new(move |present, _| next(present)) }
    }

    /// The same, with other owners.
    pub(crate) fn owned(self, owners: Owners) -> Self {
        Self { owners, ..self }
    }
}

/// What a write did.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) object: Object,
    /// Whether there was no such object before.
    pub(crate) made: bool,
}

/// An object as it is stored and as it is read.
pub(super) struct Present {
    pub(super) object: Object,
    pub(super) value: Value,
    spare: Spare,
}

/// The attempts of one write: as many as it takes until nobody else is faster, within reason.
pub(super) struct Attempts<'a> {
    request: &'a Request,
    /// How many warnings the request had before the first.
    warned: usize,
    left: usize,
}

impl<'a> Attempts<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        Self { request, warned: request.warned(), left: ATTEMPTS_MAX }
    }

    /// Begins the next one, which knows nothing of those before.
    ///
    /// # Errors
    /// Somebody else was faster [`ATTEMPTS_MAX`] times.
    pub(super) fn begin(&mut self) -> Result<(), Status> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or_else(|| Status::modified(&self.request.resource, &self.request.name))?;
        self.request.forget_from(self.warned);
        Ok(())
    }
}

/// What becomes of an object that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has a new state.
    Stays,
    /// It goes, and this was its last state.
    Goes,
}

impl Registry {
    /// Makes of the object that `request` names what `change` wants. The request is told the warnings.
    ///
    /// # Errors
    /// There is no such object and the change makes none; the change, admission or the rules of the kind refuse; somebody else was
    /// faster [`ATTEMPTS_MAX`] times.
    pub(crate) async fn write(&self, request: &Request, change: &Change<'_>) -> Result<Written, Status> {
        let mut attempts = Attempts::of(request);
        loop {
            attempts.begin()?;
            let mut present = self.present(&request.target(), change.makes).await?;
            let spare = present.as_mut().map(|present| std::mem::take(&mut present.spare));
            let draft = (change.next)(present.as_ref().map(|present| &present.value), spare.unwrap_or_default())?;
            let made = present.is_none();
            if let Some(object) = self.attempt(request, present, draft, change.owners).await? {
                return Ok(Written { object, made });
            }
        }
    }

    /// Asks admission about what is no write of an object: a connection, an eviction, a question. Answers what it made of `object`.
    ///
    /// # Errors
    /// Admission refuses it.
    pub(crate) async fn admit(
        &self,
        request: &Request,
        operation: Operation,
        mut object: Value,
    ) -> Result<Value, Status> {
        let (name, setting) = (&*request.name, &self.setting());
        let seen = Attributes { request, operation, name, old: None, stored: self, setting };
        admission::mutate(&seen, &mut object).await?;
        admission::validate(&seen, &object).await?;
        Ok(object)
    }

    /// The object as it is; `None`, if that may be, when there is none.
    pub(super) async fn present(&self, target: &Target<'_>, may_be_missing: bool) -> Result<Option<Present>, Status> {
        match self.get(target).await {
            Ok(object) => {
                let Pair { value, spare } = match self.recent().take(target.resource, &target.key(), object.revision) {
                    Some(pair) => pair,
                    None => Pair { value: object.value()?, spare: Spare::default() },
                };
                Ok(Some(Present { object, value, spare }))
            }
            Err(status) if may_be_missing && status.reason == "NotFound" => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// One attempt; `None`: somebody was faster. Without a `present` state the object must not exist yet.
    pub(super) async fn attempt(
        &self,
        request: &Request,
        present: Option<Present>,
        draft: Decoded,
        owners: Owners,
    ) -> Result<Option<Object>, Status> {
        let (resource, old) = (&request.resource, present.as_ref().map(|present| &present.value));
        let Decoded { object: mut wanted, warnings } = draft;
        request.warn(warnings);
        let said = owners.take(&mut wanted);
        let mut next = match old {
            Some(old) => update::placed(request, old, wanted)?,
            None => create::placed(request, wanted)?,
        };
        apply_defaults(resource, &mut next);
        if update::has_rules(request.written()) {
            resource.prepare(&mut next, old, request.written());
        }
        owners.write(request, old, &mut next, said);
        let name = name_of(&next).to_owned();
        let (operation, setting) = (Operation::of(request, old), &self.setting());
        let seen = Attributes { request, operation, name: &name, old, stored: self, setting };
        admission::mutate(&seen, &mut next).await?;
        let name = create::admitted_name(request, old, &next)?;
        let (target, seen) = (Target { name: &name, ..request.target() }, Attributes { name: &name, ..seen });
        authority::confirm(self, request, &name, old, &next).await?;
        resource.complete(&mut next, old);
        if resource.is_stamped() {
            resource.stamp(&mut next, old, &Stamp { who: &user_info(&request.who), now: &now() });
        }
        self.services().carry_over(resource, old, &mut next);
        update::count_generation(request, old, &mut next);
        refuse_if_wrong(request, &target, old, &next)?;
        admission::validate(&seen, &next).await?;
        request.warn(resource.warnings(&next, old, request.written()));
        if let Some(present) = present {
            if next == present.value && !present.object.is_stale {
                let at = (present.object.revision, present.object.stored.len());
                let pair = Pair { value: present.value, spare: Spare::of(next) };
                self.recent().keep(resource, target.key(), at, pair);
                return Ok(Some(present.object));
            }
            return self.settle(request, &target, Some(present), next).await;
        }
        self.settle(request, &target, None, next).await
    }

    /// Claims what the new state needs, and stores it.
    async fn settle(
        &self,
        request: &Request,
        target: &Target<'_>,
        present: Option<Present>,
        mut next: Value,
    ) -> Result<Option<Object>, Status> {
        let old = present.as_ref().map(|present| &present.value);
        let claims = self.services().claim_for(self.backend(), target, &mut next, old, request.run()).await?;
        let charge = match self.quotas.charge(self, request, target, (old, &next)).await {
            Ok(charge) => charge,
            Err(status) => {
                claims.give_back(self.backend()).await;
                return Err(status);
            }
        };
        let revision = present.as_ref().map_or(0, |present| present.object.revision);
        // The last thing that held a terminating object may have let go of it.
        let goes = old.is_some() && update::may_vanish(target.resource, &next);
        let becomes = if goes { Outcome::Goes } else { Outcome::Stays };
        let outcome = self.conclude(request.run(), target, &next, revision, becomes).await;
        match &outcome {
            Ok(Some(_)) if request.run() == Run::Real => claims.release_replaced(self.backend()).await,
            // The service may be stored all the same; if it is not, the repair frees what it was to have.
            Err(status) if status.leaves_outcome_open() => drop((claims, charge)),
            _ => {
                claims.give_back(self.backend()).await;
                charge.give_back(self).await;
            }
        }
        if let (Ok(Some(object)), Run::Real, Outcome::Stays) = (&outcome, request.run(), becomes) {
            let spare = present.map(|present| Spare::of(present.value)).unwrap_or_default();
            let at = (object.revision, object.stored.len());
            self.recent().keep(target.resource, target.key(), at, Pair { value: next, spare });
        }
        outcome
    }

    /// Stores `next` over what stands at `revision`, or removes that; a dry run only looks. `None`: somebody was faster.
    pub(super) async fn conclude(
        &self,
        run: Run,
        target: &Target<'_>,
        next: &Value,
        revision: i64,
        becomes: Outcome,
    ) -> Result<Option<Object>, Status> {
        match (run, becomes) {
            (Run::Dry, _) => {
                let taken = revision == 0 && self.backend().get(target.key()).await?.entry.is_some();
                if taken {
                    return Ok(None);
                }
                let object = Object::encode(target.resource, next, revision)?;
                if becomes == Outcome::Stays && target.resource.conversion_webhook().is_some() {
                    // Kubernetes turns it into the version that it would store, and says so if that fails.
                    self.to_store(&object, next).await?;
                }
                Ok(Some(object))
            }
            (Run::Real, Outcome::Stays) => self.commit(target, next, revision).await,
            (Run::Real, Outcome::Goes) => {
                let gone = self.remove(target, next, revision).await?;
                gone.map(|revision| Object::encode(target.resource, next, revision)).transpose()
            }
        }
    }
}

impl Owners {
    /// Takes out what `wanted` says about owners.
    fn take(self, wanted: &mut Value) -> Option<Value> {
        match self {
            Self::Keep => None,
            Self::Track | Self::Said => metadata_mut(wanted).remove("managedFields"),
        }
    }

    /// Writes into `next` who owns what.
    fn write(self, request: &Request, old: Option<&Value>, next: &mut Value, said: Option<Value>) {
        match self {
            Self::Keep => return,
            Self::Said => author::put(next, said),
            Self::Track => author::own(request, old, next, said),
        }
        if let Some(old) = old {
            settle(old, next);
        }
    }
}

/// All that is wrong with a new state, as one refusal.
fn refuse_if_wrong(request: &Request, target: &Target<'_>, old: Option<&Value>, next: &Value) -> Result<(), Status> {
    let resource: &Resource = &request.resource;
    let errors = match old {
        Some(old) => {
            let part = Some(request.written()).filter(|part| !part.is_empty());
            let (errors, warnings) = validate_change(resource, next, old, part);
            request.warn(warnings);
            errors
        }
        None => create::name_errors(target.name, validate_create(resource, next)),
    };
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(resource, target.name, &errors)) }
}
