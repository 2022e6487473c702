//! Gives services of the type LoadBalancer addresses of a pool, in the place of a cloud: the first free one, or the one that a service
//! asks for (`spec.loadBalancerIP`). Every node leads such an address to the service; that packets come to a node is the network's affair.
//!
//! Services of a class (`spec.loadBalancerClass`) are somebody else's. They are looked at one after the other, because two at once could get one
//! address.

use crate::context::{Actor, Context, ControllerError, EventKind, On, is_status};
use crate::looking::{Again, Loop, Outcome};
use crate::node_ipam::Pool;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use skiff_client::{Cache, Caches, Key};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Addresses for load balancers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerRange(Pool);

impl BalancerRange {
    /// Reads a range such as `192.0.2.0/28`: every address of it is given.
    ///
    /// # Errors
    /// It is none, or has more than 65,536 addresses.
    pub fn parse(range: &str) -> Result<Self, String> {
        Pool::parse(range, if range.contains(':') { 128 } else { 32 }).map(Self)
    }

    /// The first that is free, or the one that is asked for if it is.
    fn free(&self, wanted: &str, taken: &[String]) -> Option<String> {
        let with_bits = |text: &String| if text.contains(':') { format!("{text}/128") } else { format!("{text}/32") };
        let taken: Vec<String> = taken.iter().map(with_bits).collect();
        if wanted.is_empty() {
            let free = self.0.free(&taken)?;
            return free.split_once('/').map(|(address, _)| address.to_owned());
        }
        let wanted = wanted.to_owned();
        let is_free = self.0.holds(&with_bits(&wanted)) && !taken.contains(&with_bits(&wanted));
        is_free.then_some(wanted)
    }
}

/// Gives addresses until `shutdown`; `caches` show what the API server behind `client` has.
pub async fn balance_services(actor: Actor, caches: Caches, range: BalancerRange, shutdown: CancellationToken) {
    let mut looking = Loop::new(Context::new(actor, caches, "service-controller").acting_as("service-controller"));
    let services = looking.context.caches.all::<Service>();
    // Whichever changes, all are looked at, the oldest first.
    looking.when(&services, |_| vec![Key::new("", "services")]);
    let context = looking.context.clone();
    let giver = Arc::new(Mutex::new(Giver { context, services, range, given: BTreeMap::new() }));
    looking.run(shutdown, move |_| look(giver.clone()).boxed()).await;
}

async fn look(giver: Arc<Mutex<Giver>>) -> Outcome {
    giver.lock().await.look().await.map(|()| Again::OnChange)
}

struct Giver {
    context: Context,
    services: Cache<Service>,
    range: BalancerRange,
    /// What was given, by the service's uid; empty: that nothing is left was said.
    given: BTreeMap<String, String>,
}

/// Whether the service's address is ours to give.
fn is_ours(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    spec.type_.as_deref() == Some("LoadBalancer")
        && spec.load_balancer_class.is_none()
        && service.metadata.deletion_timestamp.is_none()
}

fn addresses(service: &Service) -> Vec<String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    ingress.iter().filter_map(|one| one.ip.clone()).collect()
}

impl Giver {
    async fn look(&mut self) -> Result<(), ControllerError> {
        let mut all = self.services.all();
        all.sort_by_key(|service| (service.metadata.creation_timestamp.clone(), service.name_any()));
        self.given.retain(|uid, _| all.iter().any(|one| is_ours(one) && one.uid().as_ref() == Some(uid)));
        for service in &all {
            let (uid, has) = (service.uid().unwrap_or_default(), addresses(service));
            match (is_ours(service), has.is_empty()) {
                (true, true) if !self.given.contains_key(&uid) => self.give(service, &all).await?,
                // It was one of ours before its type changed.
                (false, false) if is_no_balancer(service) => self.write(service, None).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn give(&mut self, service: &Service, all: &[Arc<Service>]) -> Result<(), ControllerError> {
        let present = all.iter().flat_map(|one| addresses(one));
        let taken: Vec<String> = present.chain(self.given.values().cloned()).filter(|one| !one.is_empty()).collect();
        let wanted = service.spec.as_ref().and_then(|spec| spec.load_balancer_ip.clone()).unwrap_or_default();
        let uid = service.uid().unwrap_or_default();
        match self.range.free(&wanted, &taken) {
            Some(address) => {
                self.write(service, Some(&address)).await?;
                self.given.insert(uid, address);
            }
            None => {
                let message = match wanted.as_str() {
                    "" => "no address is left in the range of load balancers".to_owned(),
                    wanted => format!("the address {wanted} is taken or not in the range of load balancers"),
                };
                self.context.tell(service, EventKind::Warning, "SyncLoadBalancerFailed", message);
                self.given.insert(uid, String::new());
            }
        }
        Ok(())
    }

    async fn write(&self, service: &Service, address: Option<&str>) -> Result<(), ControllerError> {
        let api: Api<Service> = self.context.api(&service.namespace().unwrap_or_default());
        let ingress = address.map(|address| json!([{"ip": address, "ipMode": "VIP"}]));
        let patch = json!({
            "metadata": {"uid": service.uid()},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        let name = service.name_any();
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(error) if is_status(&error, 409) || is_status(&error, 404) => Ok(()),
            written => written.map(drop).on(|| format!("write the load balancer's address of service {name}")),
        }
    }
}

fn is_no_balancer(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) != Some("LoadBalancer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_address_or_the_one_asked_for() {
        let range = BalancerRange::parse("192.0.2.8/30").unwrap();
        let taken = ["192.0.2.8".to_owned(), "203.0.113.1".to_owned()];
        assert_eq!(range.free("", &taken).as_deref(), Some("192.0.2.9"));
        assert_eq!(range.free("192.0.2.11", &taken).as_deref(), Some("192.0.2.11"));
        assert_eq!(range.free("192.0.2.8", &taken), None, "it is taken");
        assert_eq!(range.free("192.0.2.12", &taken), None, "it is not in the range");
        assert_eq!(range.free("nonsense", &taken), None);
        assert!(BalancerRange::parse("192.0.2.8").is_err());
    }

    #[test]
    fn classes_are_somebody_elses() {
        let of = |spec: serde_json::Value| is_ours(&serde_json::from_value(json!({"spec": spec})).unwrap());
        assert!(of(json!({"type": "LoadBalancer"})));
        assert!(!of(json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/x"})));
        assert!(!of(json!({"type": "NodePort"})));
    }
}
