//! What administrators have configured admission to ask: compiled from objects of `admissionregistration.k8s.io`, shared, and replaced as a
//! whole when one of them changes.
//!
//! A write takes it once and keeps it, so that nothing changes under it. What is stored is found before the server is ready, so that no
//! write passes by what guards it.

use super::chosen::Chosen;
use super::file::{AdmissionFile, AdmissionFileError};
use super::manifests::{self, Manifests};
use super::pod_security::Settings as PodSecurity;
use super::policies::{self, Bindings, Policies};
use super::webhooks::{self, Hooks};
use super::{event_rate_limit, pod_node_selector, pod_toleration_restriction};
use crate::app::App;
use crate::registry::object::name_of;
use crate::registry::{Known, ListOptions, Registry, built_in};
use crate::remote::trust::Credentials;
use crate::status::Status;
use serde_json::Value;
use skiff_policy::{Mutating, Validating};
use skiff_schema::Resource;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long a task waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The group of all that is followed here.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// Objects of one kind by name.
pub(crate) type Named = BTreeMap<String, Value>;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configured {
    /// `MutatingWebhookConfiguration`
    pub(crate) mutating: Arc<Hooks>,
    /// `ValidatingWebhookConfiguration`
    pub(crate) validating: Arc<Hooks>,
    /// `MutatingAdmissionPolicy`
    pub(crate) mutating_policies: Arc<Policies<Mutating>>,
    /// `MutatingAdmissionPolicyBinding`
    pub(crate) mutating_bindings: Arc<Bindings>,
    /// `ValidatingAdmissionPolicy`
    pub(crate) validating_policies: Arc<Policies<Validating>>,
    /// `ValidatingAdmissionPolicyBinding`
    pub(crate) validating_bindings: Arc<Bindings>,
    /// As whom hooks of both kinds are asked.
    pub(crate) credentials: Arc<[Credentials; 2]>,
    /// What the Pod Security Standards ask of namespaces that say nothing, and whom they spare.
    pub(crate) pod_security: Arc<PodSecurity>,
    /// What other plugins are told.
    pub(crate) told: Arc<Told>,
    /// Which plugins are asked.
    pub(crate) chosen: Arc<Chosen>,
    /// What comes from files.
    pub(crate) manifests: Arc<Manifests>,
}

/// What plugins are told at a start.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) node_selectors: pod_node_selector::Settings,
    pub(crate) tolerations: pod_toleration_restriction::Settings,
    pub(crate) events: event_rate_limit::Limits,
}

/// The present one.
#[derive(Debug, Default)]
pub(crate) struct Current {
    now: RwLock<Arc<Configured>>,
    /// Tells those that follow a kind that there are other files.
    refiled: Notify,
}

impl Current {
    pub(crate) fn get(&self) -> Arc<Configured> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks all hooks as somebody else from now on, pods by other standards, and other plugins; compile the hooks again.
    pub(crate) fn introduce(&self, file: &AdmissionFile, chosen: Chosen) -> Result<(), AdmissionFileError> {
        let hooks = ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"].map(|plugin| file.credentials(plugin));
        let [mutating, validating] = hooks;
        let told = Told {
            node_selectors: file.told("PodNodeSelector", pod_node_selector::Settings::parse)?,
            tolerations: file.told("PodTolerationRestriction", pod_toleration_restriction::Settings::parse)?,
            events: file.told("EventRateLimit", event_rate_limit::Limits::parse)?,
        };
        if chosen.has("EventRateLimit") && told.events.is_empty() {
            return Err(file.lacks("EventRateLimit", "limits: must not be empty"));
        }
        let manifests = manifests::Folders::of(file)?.read().map_err(|why| file.misled(why))?;
        let next = Configured {
            manifests: Arc::new(manifests),
            credentials: Arc::new([mutating?, validating?]),
            pod_security: Arc::new(file.told("PodSecurity", PodSecurity::parse)?),
            told: Arc::new(told),
            chosen: Arc::new(chosen),
            ..Configured::default()
        };
        self.change(|configured| *configured = next);
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Configured)) {
        let mut current = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Configured::clone(&current);
        change(&mut next);
        *current = Arc::new(next);
    }
}

/// A kind whose objects configure admission.
#[derive(Clone, Copy)]
struct Followed {
    plural: &'static str,
    /// Compiles all of them. What cannot be compiled stands for itself: it fails as its failure policy says when it is asked.
    compile: fn(&mut Configured, &Found<'_>),
}

/// What there is of a kind: what is stored, and what comes from files.
pub(crate) struct Found<'a> {
    stored: &'a Named,
    manifests: &'a Manifests,
    plural: &'static str,
}

impl<'a> Found<'a> {
    /// Name and object of each, in the order of their names, and whether it comes from a file. What is stored does not stand in for that.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&'a String, &'a Value, bool)> + use<'a> {
        let filed: BTreeMap<&String, &Value> = self.manifests.of(self.plural).collect();
        let mut all: BTreeMap<&String, (&Value, bool)> =
            self.stored.iter().map(|(name, object)| (name, (object, false))).collect();
        all.extend(filed.into_iter().map(|(name, object)| (name, (object, true))));
        all.into_iter().map(|(name, (object, is_filed))| (name, object, is_filed))
    }
}

const FOLLOWED: [Followed; 6] = [
    Followed {
        plural: "mutatingwebhookconfigurations",
        compile: |configured, found| {
            configured.mutating = Arc::new(webhooks::compile(found, &configured.mutating, &configured.credentials[0]));
        },
    },
    Followed {
        plural: "validatingwebhookconfigurations",
        compile: |configured, found| {
            configured.validating =
                Arc::new(webhooks::compile(found, &configured.validating, &configured.credentials[1]));
        },
    },
    Followed {
        plural: "mutatingadmissionpolicies",
        compile: |configured, found| {
            let before = &configured.mutating_policies;
            configured.mutating_policies = Arc::new(policies::compile(found, before, Mutating::compile));
        },
    },
    Followed {
        plural: "mutatingadmissionpolicybindings",
        compile: |configured, found| configured.mutating_bindings = Arc::new(policies::bindings(found)),
    },
    Followed {
        plural: "validatingadmissionpolicies",
        compile: |configured, found| {
            let before = &configured.validating_policies;
            configured.validating_policies = Arc::new(policies::compile(found, before, Validating::compile));
        },
    },
    Followed {
        plural: "validatingadmissionpolicybindings",
        compile: |configured, found| configured.validating_bindings = Arc::new(policies::bindings(found)),
    },
];

impl Followed {
    fn resource(self) -> Result<&'static Arc<Resource>, Status> {
        built_in(GROUP, self.plural)
    }

    fn publish(self, registry: &Registry, found: &Named) {
        registry.configured().change(|configured| {
            let manifests = Arc::clone(&configured.manifests);
            let found = Found { stored: found, manifests: &manifests, plural: self.plural };
            (self.compile)(configured, &found);
        });
    }

    async fn list(self, registry: &Registry) -> Result<Named, Status> {
        let list = registry.list(self.resource()?, "", &ListOptions::default()).await?;
        let values = list.items.iter().map(|object| object.value()).collect::<Result<Vec<_>, _>>()?;
        Ok(values.into_iter().map(|value| (name_of(&value).to_owned(), value)).collect())
    }

    /// Lists, then watches; ends when the watch does.
    async fn follow_once(self, registry: &Registry) -> Result<(), Status> {
        let mut known = Known::follow(registry, self.resource()?, |object, _| object.clone()).await?;
        loop {
            let refiled = registry.configured().refiled.notified();
            self.publish(registry, &known.all);
            tokio::select! {
                changed = known.changed() => if changed?.is_none() {
                    return Ok(());
                },
                () = refiled => {}
            }
        }
    }
}

/// Compiles what the store has, before the server is ready.
pub(crate) async fn load(registry: &Registry) -> Result<(), Status> {
    for kind in FOLLOWED {
        kind.publish(registry, &kind.list(registry).await?);
    }
    Ok(())
}

/// Follows all of it until the server stops, or is dropped.
pub(crate) fn follow(app: &Arc<App>, until: &CancellationToken) {
    for kind in FOLLOWED {
        let app = Arc::clone(app);
        tokio::spawn(until.clone().run_until_cancelled_owned(async move {
            loop {
                if let Err(status) = kind.follow_once(&app.registry).await {
                    tracing::warn!(
                        kind = kind.plural,
                        message = status.message,
                        "following what configures admission failed; again in a second"
                    );
                }
                tokio::time::sleep(RETRY).await;
            }
        }));
    }
}

/// Reads files again when they change, until the server stops.
pub(crate) fn follow_files(app: &Arc<App>, file: &AdmissionFile, until: CancellationToken) {
    let Ok(folders) = manifests::Folders::of(file) else { return };
    if folders.is_empty() {
        return;
    }
    let app = Arc::clone(app);
    tokio::spawn(until.run_until_cancelled_owned(async move {
        let mut said = String::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let current = app.registry.configured();
            match folders.read() {
                Ok(manifests) if manifests != *current.get().manifests => {
                    current.change(|configured| configured.manifests = Arc::new(manifests));
                    current.refiled.notify_waiters();
                    said.clear();
                }
                Ok(_) => said.clear(),
                Err(why) if why != said => {
                    tracing::warn!(why, "files of policies and hooks cannot be used; what was in them before stands");
                    said = why;
                }
                Err(_) => {}
            }
        }
    }));
}
