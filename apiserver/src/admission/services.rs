//! Services: cluster addresses and node ports, each of which belongs to one service at a time.
//!
//! A claim is a key of its own, made only if it does not exist; so two API servers on one store cannot give the same address
//! twice. It names the uid of its service. Claiming comes before storing the service: a crash in between leaves a claim
//! without a service, which the repair takes back.

mod claim; // one key, one owner
mod plan; // what a service needs
pub(crate) mod repair; // after a crash

use super::Network;
use crate::registry::Target;
use crate::registry::object::{meta, name_of};
use crate::request::Run;
use crate::status::Status;
use claim::{Claim, Owner, Taken};
use plan::{Needs, Port};
use rand::Rng;
use serde_json::{Value, json};
use skiff_schema::{FieldError, FieldErrorKind, Resource};
use skiff_store::backend::Backend;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// How many addresses or ports are tried at random before all are tried in order. With half of the range taken, 16
/// misses in a row happen once in 65,536 times.
const RANDOM_TRIES: u32 = 16;

/// Gives out addresses and ports.
#[derive(Debug, Clone)]
pub(crate) struct Allocator {
    addresses: Network,
    ports: RangeInclusive<u16>,
}

/// What a write has claimed, and what it will no longer need.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Claims {
    made: Vec<Claim>,
    replaced: Vec<Claim>,
}

impl Claims {
    /// The write did not happen.
    pub(crate) async fn give_back(self, backend: &dyn Backend) {
        for claim in self.made {
            claim.release(backend).await;
        }
    }

    /// The write happened: what the old state had and the new one has not is free.
    pub(crate) async fn release_replaced(self, backend: &dyn Backend) {
        for claim in self.replaced {
            claim.release(backend).await;
        }
    }
}

fn is_service(resource: &Resource) -> bool {
    resource.is("", "services")
}

impl Allocator {
    pub(crate) fn new(addresses: Network, ports: RangeInclusive<u16>) -> Self {
        Self { addresses, ports }
    }

    /// The addresses that it gives out, in CIDR notation.
    pub(crate) fn range(&self) -> String {
        self.addresses.to_string()
    }

    /// The API server's own service address.
    pub(crate) fn first_address(&self) -> Ipv4Addr {
        self.addresses.at(1)
    }

    /// Writes into a changed service what it was given before and says no more, in both forms of an address.
    pub(crate) fn carry_over(&self, resource: &Resource, old: Option<&Value>, object: &mut Value) {
        let Some(old) = old.filter(|_| is_service(resource)) else { return };
        plan::carry_over(old, object);
        // What does not fit together is refused where it is claimed.
        let _refused_where_claimed = Needs::of(object);
    }

    /// Fills in what `object` needs if it is a service, and claims it; `old` is the state it replaces.
    pub(crate) async fn claim_for(
        &self,
        backend: &dyn Backend,
        target: &Target<'_>,
        object: &mut Value,
        old: Option<&Value>,
        run: Run,
    ) -> Result<Claims, Status> {
        if !is_service(target.resource) {
            return Ok(Claims::default());
        }
        let mut claims = Claims::default();
        match Box::pin(self.fill(backend, target, object, run, &mut claims)).await {
            Ok(()) => {
                claims.replaced = plan::no_longer_held(old, object).into_iter().map(|held| held.claim(old)).collect();
                Ok(claims)
            }
            Err(status) => {
                claims.give_back(backend).await;
                Err(status)
            }
        }
    }

    /// Frees the API server's own service address, if a service of that name claims it that is not stored.
    pub(crate) async fn free_first(&self, backend: &dyn Backend, own: &Target<'_>) -> Result<(), Status> {
        let service = json!({"metadata": {"namespace": own.namespace, "name": own.name}});
        Claim::address(&Owner::of(&service), self.first_address()).free_namesake(backend).await?;
        Ok(())
    }

    /// Frees everything that a deleted object had, if it is a service.
    pub(crate) async fn release(&self, backend: &dyn Backend, target: &Target<'_>, service: &Value) {
        if !is_service(target.resource) {
            return;
        }
        for held in plan::held(service) {
            held.claim(Some(service)).release(backend).await;
        }
    }

    async fn fill(
        &self,
        backend: &dyn Backend,
        target: &Target<'_>,
        service: &mut Value,
        run: Run,
        claims: &mut Claims,
    ) -> Result<(), Status> {
        let refused = |error| Status::invalid(target.resource, target.name, &[error]);
        let owner = Owner::of(service);
        let needs = Needs::of(service).map_err(refused)?;
        if needs.address {
            let address = self.address(backend, &owner, needs.wanted_address, run, claims).await?.map_err(refused)?;
            let spec = &mut service["spec"];
            spec["clusterIP"] = address.to_string().into();
            spec["clusterIPs"] = json!([address.to_string()]);
        }
        for Port { index, wanted } in needs.ports {
            let field = format!("spec.ports[{index}].nodePort");
            let port = self.port(backend, &owner, &field, wanted, run, claims).await?.map_err(refused)?;
            service["spec"]["ports"][index]["nodePort"] = port.into();
        }
        if let Some(wanted) = needs.health {
            let field = "spec.healthCheckNodePort";
            let port = self.port(backend, &owner, field, wanted, run, claims).await?.map_err(refused)?;
            service["spec"]["healthCheckNodePort"] = port.into();
        }
        Ok(())
    }

    async fn address(
        &self,
        backend: &dyn Backend,
        owner: &Owner,
        wanted: Option<Ipv4Addr>,
        run: Run,
        claims: &mut Claims,
    ) -> Result<Result<Ipv4Addr, FieldError>, Status> {
        if let Some(address) = wanted {
            let problem = if self.addresses.has_host(address) {
                match try_claim(backend, Claim::address(owner, address), run, claims).await? {
                    Taken::Ours => return Ok(Ok(address)),
                    Taken::Others => "provided IP is already allocated".to_owned(),
                }
            } else {
                format!(
                    "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                    self.addresses
                )
            };
            return Ok(Err(FieldError {
                kind: FieldErrorKind::Invalid,
                field: "spec.clusterIPs".to_owned(),
                value: Some(json!([address.to_string()])),
                detail: format!("failed to allocate IP {address}: {problem}"),
            }));
        }
        let (from, size) = (self.addresses.dynamic_from(), self.addresses.size());
        // The band that is given out unasked first, then the one that is kept for those who ask.
        let offsets = candidates(from, size - 1).chain(2..from);
        for offset in offsets {
            let address = self.addresses.at(offset);
            if let Taken::Ours = try_claim(backend, Claim::address(owner, address), run, claims).await? {
                return Ok(Ok(address));
            }
        }
        Err(Status::internal(format!("failed to allocate a serviceIP: range {} is full", self.addresses)))
    }

    async fn port(
        &self,
        backend: &dyn Backend,
        owner: &Owner,
        field: &str,
        wanted: Option<u16>,
        run: Run,
        claims: &mut Claims,
    ) -> Result<Result<u16, FieldError>, Status> {
        if let Some(port) = wanted {
            let problem = if self.ports.contains(&port) {
                match try_claim(backend, Claim::port(owner, port), run, claims).await? {
                    Taken::Ours => return Ok(Ok(port)),
                    Taken::Others => "provided port is already allocated".to_owned(),
                }
            } else {
                let (first, last) = (self.ports.start(), self.ports.end());
                format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
            };
            return Ok(Err(FieldError {
                kind: FieldErrorKind::Invalid,
                field: field.to_owned(),
                value: Some(port.into()),
                detail: problem,
            }));
        }
        for port in candidates(u32::from(*self.ports.start()), u32::from(*self.ports.end()) + 1) {
            let port = u16::try_from(port).expect("a candidate lies within the range of u16 ports");
            if let Taken::Ours = try_claim(backend, Claim::port(owner, port), run, claims).await? {
                return Ok(Ok(port));
            }
        }
        Err(Status::internal("failed to allocate a nodePort: range is full"))
    }
}

/// Some at random, then all in order.
fn candidates(from: u32, end: u32) -> impl Iterator<Item = u32> {
    (0..RANDOM_TRIES).map(move |_| rand::rng().random_range(from..end)).chain(from..end)
}

async fn try_claim(backend: &dyn Backend, claim: Claim, run: Run, claims: &mut Claims) -> Result<Taken, Status> {
    if claims.made.contains(&claim) {
        return Ok(Taken::Others);
    }
    let (taken, new) = match run {
        Run::Real => claim.make(backend).await?,
        Run::Dry => (claim.look(backend).await?, false),
    };
    if new {
        claims.made.push(claim);
    }
    Ok(taken)
}

/// `namespace/name` of a service, for messages.
fn title(service: &Value) -> String {
    format!("{}/{}", meta(service, "namespace"), name_of(service))
}
