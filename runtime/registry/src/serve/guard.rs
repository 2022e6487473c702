//! Who calls, and whether they may.

use super::{Answer, Registry, asked};
use crate::Name;
use crate::access::{Caller, Scope};
use crate::happened::Happened;
use crate::login::{Asked, Here, Login};
use crate::receive::{self, Incoming};
use crate::refusal::{Code, Refusal};
use crate::route::{Action, Call};
use crate::server::Remote;
use http::request::Parts;
use http::{Method, StatusCode, header};
use std::sync::Arc;

/// Bytes of a form that asks for a token.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What is known of a call before it is looked at.
pub(super) fn begun(parts: &Parts, bytes: u64) -> Happened {
    let remote = parts.extensions.get::<Remote>().map(|remote| remote.address);
    Happened { method: parts.method.to_string(), remote, bytes_received: bytes, ..Happened::default() }
}

/// The address that a client came to, as it says itself; what is no address is none.
fn here(parts: &Parts) -> Here<'_> {
    let secure = parts.extensions.get::<Remote>().is_some_and(|remote| remote.secure);
    let host = parts.uri.authority().map(http::uri::Authority::as_str).or_else(|| asked(parts, &header::HOST));
    let is_host = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]_".contains(&byte));
    Here { secure, host: host.filter(is_host).unwrap_or("localhost") }
}

impl Registry {
    /// Who calls.
    pub(super) async fn caller(&self, parts: &Parts, call: Option<&Call>) -> Result<Caller, Refusal> {
        let Some(login) = &self.login else { return Ok(Caller::default()) };
        let header = asked(parts, &header::AUTHORIZATION);
        let caller = login.caller(header, &here(parts)).await;
        if header.is_some() {
            self.metrics.login(caller.is_some());
        }
        caller.ok_or_else(|| {
            login.challenge(&here(parts), call.and_then(scope).as_deref(), "these credentials are not believed")
        })
    }

    /// Whether they may.
    pub(super) fn permit(&self, caller: &Caller, call: &Call, parts: &Parts) -> Result<(), Refusal> {
        let Some(login) = &self.login else { return Ok(()) };
        let known = caller.user.is_some() || caller.scopes.is_some();
        let may = match call.repository() {
            // Clients ask this to learn whether they must say who they are.
            None => known || matches!(call, Call::Catalog(_)),
            Some(name) => self.access.allows(caller, call.action(), name, &self.rules(name)),
        };
        match (may, &caller.user) {
            (true, _) => Ok(()),
            (false, Some(user)) if caller.scopes.is_none() => {
                let (action, name) = (call.action().word(), call.repository().map_or("", Name::as_str));
                Err(Refusal::new(403, Code::Denied, format!("user {user} may not {action} in repository {name}")))
            }
            // A token for this may be had.
            (false, _) => {
                Err(login.challenge(&here(parts), scope(call).as_deref(), "authentication is needed for this"))
            }
        }
    }

    /// Whether a caller may read a repository.
    pub(super) fn may_read(&self, caller: &Caller, name: &Name) -> bool {
        self.access.allows(caller, Action::Pull, name, &self.rules(name))
    }

    /// Whether they may see that it is there, whatever their token is for.
    pub(super) fn may_see(&self, caller: &Caller, name: &Name) -> bool {
        self.access.grants(caller, Action::Pull, name, &self.rules(name))
    }

    /// The token server.
    pub(super) async fn token(
        &self,
        login: &Arc<Login>,
        parts: &Parts,
        body: impl Incoming,
    ) -> Result<Answer, Refusal> {
        let too_long = || Refusal::new(413, Code::Unsupported, format!("a form has {FORM_BYTES_MAX} bytes at most"));
        let form = parts.method == Method::POST;
        let fields = match parts.method {
            Method::GET => parts.uri.query().unwrap_or_default().to_owned(),
            Method::POST => {
                let body = receive::whole(body, self.pace, FORM_BYTES_MAX, too_long).await?;
                String::from_utf8_lossy(&body).into_owned()
            }
            _ => {
                return Err(
                    Refusal::new(405, Code::Unsupported, "this takes GET, POST only").header("allow", "GET, POST")
                );
            }
        };
        let header = asked(parts, &header::AUTHORIZATION);
        let asked = Asked { form, fields: &fields, header, here: here(parts) };
        let given = login.token(asked, &self.access, &|name| self.rules(name)).await;
        if header.is_some() || form {
            self.metrics.login(given.is_ok());
        }
        Ok(Answer::new(StatusCode::OK).header("cache-control", "no-store").json(&given?))
    }
}

/// What a token must be for.
fn scope(call: &Call) -> Option<String> {
    let Some(name) = call.repository() else {
        return matches!(call, Call::Catalog(_)).then(|| "registry:catalog:*".to_owned());
    };
    let actions: &[Action] = match call.action() {
        Action::Pull => &[Action::Pull],
        // Whoever pushes looks first what is there.
        Action::Push => &[Action::Pull, Action::Push],
        Action::Delete => &[Action::Pull, Action::Delete],
    };
    Some(Scope::of(name, actions))
}
