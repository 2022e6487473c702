//! Nobody gives what they do not have: who writes a role must have all that it allows, and who binds one too, unless they may `escalate` or
//! `bind` (Kubernetes "Privilege escalation prevention and bootstrapping").

use super::Authority;
use crate::auth::user;
use crate::registry::{Registry, Target, built_in};
use crate::request::Request;
use crate::status::Status;
use serde_json::Value;
use skiff_authz::{Act, Attributes, GROUP, Kind, MASTERS, Role, RoleRef, Rule, full_authority};

/// Refuses a role or binding by which its author would give more than they have.
pub(crate) async fn confirm(
    registry: &Registry,
    request: &Request,
    name: &str,
    old: Option<&Value>,
    next: &Value,
) -> Result<(), Status> {
    let Some(kind) = Kind::of(&request.resource.group, &request.resource.plural) else { return Ok(()) };
    if user(&request.who).is_in(MASTERS) || old.is_some_and(|old| only_collected(old, next)) {
        return Ok(());
    }
    let authority = registry.authority();
    match kind {
        Kind::ClusterRole | Kind::Role => Box::pin(role(authority, request, kind, name, old, next)).await,
        Kind::ClusterRoleBinding | Kind::RoleBinding => Box::pin(binding(registry, request, name, next)).await,
    }
}

/// Whether nothing changes but what the garbage collector needs.
fn only_collected(old: &Value, next: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
        }
        object
    };
    rest(old) == rest(next)
}

/// Whether the author may do this to the role, which is a right of its own.
async fn may(authority: &Authority, request: &Request, verb: &str, resource: &str, name: &str) -> bool {
    let act = Act::Resource { verb, group: GROUP, resource, part: "", namespace: &request.namespace, name };
    authority.decide(&Attributes::new(user(&request.who), act)).await.is_allowed()
}

async fn role(
    authority: &Authority,
    request: &Request,
    kind: Kind,
    name: &str,
    old: Option<&Value>,
    next: &Value,
) -> Result<(), Status> {
    if may(authority, request, "escalate", kind.plural(), &request.name).await {
        return Ok(());
    }
    held(authority, request, name, &Role::read(next).rules)?;
    let gathers =
        |role: &Value| role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|all| !all.is_empty());
    if (gathers(next) || old.is_some_and(gathers)) && held(authority, request, name, &full_authority()).is_err() {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        return Err(Status::forbidden(&request.resource, name, why));
    }
    Ok(())
}

async fn binding(registry: &Registry, request: &Request, name: &str, next: &Value) -> Result<(), Status> {
    let (authority, role) = (registry.authority(), RoleRef::read(&next["roleRef"]));
    let kind = if role.kind == "Role" { Kind::Role } else { Kind::ClusterRole };
    if may(authority, request, "bind", kind.plural(), &role.name).await {
        return Ok(());
    }
    let namespace = if kind == Kind::Role { &*request.namespace } else { "" };
    let target = Target { resource: built_in(GROUP, kind.plural())?, namespace, name: &role.name };
    // A role that was written a moment ago may not have reached who decides; default roles are known before they are written.
    let rules = match registry.get(&target).await {
        Ok(stored) => Role::read(&stored.value()?).rules,
        Err(missing) => authority.roles().rules_of_role(&role, &request.namespace).cloned().map_err(|_| missing)?,
    };
    held(authority, request, name, &rules)
}

fn held(authority: &Authority, request: &Request, name: &str, rules: &[Rule]) -> Result<(), Status> {
    let outcome = authority.roles().confirm_no_escalation(&user(&request.who), &request.namespace, rules);
    outcome.map_err(|why| Status::forbidden(&request.resource, name, &why))
}
