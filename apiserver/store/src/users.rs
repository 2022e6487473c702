//! Users and roles as etcd has them: who may read and write which keys. Pure: what is asked is decided, and what is changed is told, to be kept.
//!
//! ```text
//!  token or certificate ──► Caller ──► Store ──► writer ──► Users::check_txn, in the state that the transaction sees
//! ```
//!
//! Every change counts a revision. A caller bears the revision at which it was recognized, and what is asked with an older one is refused, so that
//! nobody uses rights that were taken from him in between. While access is not enabled everybody may do everything.

mod keep; // as it is kept
mod password;
mod permits; // which keys
mod tokens; // who is asking

use crate::keys::KeyRange;
use crate::request::{Op, Txn};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use keep::{Named, are_known, named_of as named, role_named, state, state_name, user_named};
pub(crate) use password::from_base64;
pub(crate) use password::{COST, Hashed, PASSWORD_BYTES_MAX, hash, matches};
pub(crate) use permits::{Grant, Right};
pub(crate) use tokens::Tokens;

/// The user, and the role, that may do everything.
const ROOT: &str = "root";

/// Why it is refused; the words are etcd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Access is enabled for somebody who can disable it.
    #[error("root user does not exist")]
    NoRootUser,
    /// The same.
    #[error("root user does not have root role")]
    NoRootRole,
    /// A name is given once.
    #[error("user name already exists")]
    UserExists,
    /// A user has a name; and who asks must be somebody.
    #[error("user name is empty")]
    NobodyAsks,
    /// No such user.
    #[error("user name not found")]
    UserNotFound,
    /// A name is given once.
    #[error("role name already exists")]
    RoleExists,
    /// No such role.
    #[error("role name not found")]
    RoleNotFound,
    /// A role has a name.
    #[error("role name is empty")]
    RoleUnnamed,
    /// Of a user who is not there, or has another password.
    #[error("authentication failed, invalid user ID or password")]
    WrongPassword,
    /// Of a user who has none.
    #[error("auth: authentication failed, password was given for no password user")]
    NoPassword,
    /// A grant of nothing.
    #[error("permission not given")]
    NothingGranted,
    /// The user has not that right.
    #[error("permission denied")]
    Permission,
    /// What the user does not have cannot be taken away.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The same of a role.
    #[error("permission is not granted to the role")]
    NotGranted,
    /// Nobody needs a token.
    #[error("authentication is not enabled")]
    NotEnabled,
    /// It is nobody's, or is too old.
    #[error("invalid auth token")]
    Token,
    /// Root cannot be taken away, nor a range be granted that has no keys.
    #[error("invalid auth management")]
    Management,
    /// Rights have changed since the caller was recognized.
    #[error("revision of auth store is old")]
    OldRevision,
}

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Caller {
    /// This program itself: nothing is refused to it.
    #[default]
    Us,
    /// Somebody who has not said who he is.
    Nobody,
    /// A user, recognized at a revision of the users.
    User(Arc<str>, u64),
}

/// A change.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// From now on everybody must be somebody.
    Enable,
    /// And from now on not.
    Disable,
    /// A new user; without a password it can only be recognized by a certificate.
    AddUser(String, Option<Hashed>),
    DeleteUser(String),
    SetPassword(String, Hashed),
    /// The user, and the role.
    GrantRole(String, String),
    RevokeRole(String, String),
    AddRole(String),
    DeleteRole(String),
    /// What a role may do.
    Grant(String, Grant),
    Revoke(String, KeyRange),
    /// Where the member list says that other members would connect.
    PeerUrls(Vec<String>),
}

/// A name under which something is kept, and what; `None`: it is gone.
pub(crate) type Kept = (Bytes, Option<Bytes>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    /// `None`: it can only be recognized by a certificate.
    password: Option<Hashed>,
    roles: BTreeSet<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Users {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Vec<Grant>>,
    /// Kept here because they are changed by the same people in the same way; rights have nothing to do with them.
    peer_urls: Vec<String>,
}

impl Default for Users {
    fn default() -> Self {
        // A fresh etcd is at 1.
        Users { enabled: false, revision: 1, users: BTreeMap::new(), roles: BTreeMap::new(), peer_urls: Vec::new() }
    }
}

impl Users {
    /// Whether anybody is asked who he is.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Counts the changes.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Every user, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// Every role, in order.
    pub(crate) fn roles(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// Where other members would connect, if anybody has said so.
    pub(crate) fn peer_urls(&self) -> &[String] {
        &self.peer_urls
    }

    /// The roles of a user.
    pub(crate) fn roles_of(&self, name: &str) -> Result<Vec<String>, Denied> {
        let user = self.users.get(name).ok_or(Denied::UserNotFound)?;
        Ok(user.roles.iter().cloned().collect())
    }

    /// What a role may do.
    pub(crate) fn grants_of(&self, role: &str) -> Result<Vec<Grant>, Denied> {
        self.roles.get(role).cloned().ok_or(Denied::RoleNotFound)
    }

    /// What the password of a user is to be compared with.
    pub(crate) fn password_of(&self, name: &str) -> Result<Hashed, Denied> {
        if !self.enabled {
            return Err(Denied::NotEnabled);
        }
        let user = self.users.get(name).ok_or(Denied::WrongPassword)?;
        user.password.clone().ok_or(Denied::NoPassword)
    }

    /// Makes a change, or refuses it; returns what is to be kept.
    pub(crate) fn change(&mut self, change: &Change) -> Result<Vec<Kept>, Denied> {
        let mut kept = Vec::new();
        match change {
            Change::Enable => {
                let root = self.users.get(ROOT).ok_or(Denied::NoRootUser)?;
                if !self.enabled && !root.roles.contains(ROOT) {
                    return Err(Denied::NoRootRole);
                }
                self.enabled = true;
                return Ok(vec![self.state()]);
            }
            Change::Disable if !self.enabled => return Ok(kept),
            Change::Disable => self.enabled = false,
            Change::AddUser(name, password) => kept.push(self.add_user(name, password)?),
            Change::DeleteUser(name) => kept.push(self.delete_user(name)?),
            Change::SetPassword(name, password) => kept.push(self.set_password(name, password)?),
            Change::GrantRole(name, role) => match self.grant_role(name, role)? {
                Some(one) => kept.push(one),
                None => return Ok(kept),
            },
            Change::RevokeRole(name, role) => kept.push(self.revoke_role(name, role)?),
            Change::AddRole(role) => kept.push(self.add_role(role)?),
            Change::DeleteRole(role) => kept.extend(self.delete_role(role)?),
            Change::Grant(role, grant) => kept.push(self.grant(role, grant)?),
            Change::Revoke(role, keys) => kept.push(self.revoke(role, keys)?),
            Change::PeerUrls(urls) => {
                self.peer_urls.clone_from(urls);
                return Ok(vec![self.member()]);
            }
        }
        self.revision += 1;
        kept.push(self.state());
        Ok(kept)
    }

    fn add_user(&mut self, name: &str, password: &Option<Hashed>) -> Result<Kept, Denied> {
        match name {
            "" => return Err(Denied::NobodyAsks),
            name if self.users.contains_key(name) => return Err(Denied::UserExists),
            _ => (),
        }
        self.users.insert(name.to_owned(), User { password: password.clone(), roles: BTreeSet::new() });
        Ok(self.user(name))
    }

    fn delete_user(&mut self, name: &str) -> Result<Kept, Denied> {
        if self.enabled && name == ROOT {
            return Err(Denied::Management);
        }
        self.users.remove(name).ok_or(Denied::UserNotFound)?;
        Ok(self.user(name))
    }

    fn set_password(&mut self, name: &str, password: &Hashed) -> Result<Kept, Denied> {
        let user = self.users.get_mut(name).ok_or(Denied::UserNotFound)?;
        // Who can only be recognized by a certificate stays so.
        user.password = user.password.is_some().then(|| password.clone());
        Ok(self.user(name))
    }

    fn grant_role(&mut self, name: &str, role: &str) -> Result<Option<Kept>, Denied> {
        let user = self.users.get_mut(name).ok_or(Denied::UserNotFound)?;
        if role != ROOT && !self.roles.contains_key(role) {
            return Err(Denied::RoleNotFound);
        }
        Ok(user.roles.insert(role.to_owned()).then(|| self.user(name)))
    }

    fn revoke_role(&mut self, name: &str, role: &str) -> Result<Kept, Denied> {
        if self.enabled && name == ROOT && role == ROOT {
            return Err(Denied::Management);
        }
        let user = self.users.get_mut(name).ok_or(Denied::UserNotFound)?;
        if user.roles.remove(role) { Ok(self.user(name)) } else { Err(Denied::RoleNotGranted) }
    }

    fn add_role(&mut self, role: &str) -> Result<Kept, Denied> {
        match role {
            "" => return Err(Denied::RoleUnnamed),
            role if self.roles.contains_key(role) => return Err(Denied::RoleExists),
            _ => (),
        }
        self.roles.insert(role.to_owned(), Vec::new());
        Ok(self.role(role))
    }

    fn delete_role(&mut self, role: &str) -> Result<Vec<Kept>, Denied> {
        if self.enabled && role == ROOT {
            return Err(Denied::Management);
        }
        self.roles.remove(role).ok_or(Denied::RoleNotFound)?;
        let having = self.users.iter_mut().filter_map(|(name, user)| user.roles.remove(role).then(|| name.clone()));
        let having: Vec<String> = having.collect();
        Ok([self.role(role)].into_iter().chain(having.iter().map(|name| self.user(name))).collect())
    }

    fn grant(&mut self, role: &str, grant: &Grant) -> Result<Kept, Denied> {
        if grant.keys.from.is_empty() || grant.keys.is_empty() {
            return Err(Denied::Management);
        }
        let grants = self.roles.get_mut(role).ok_or(Denied::RoleNotFound)?;
        match grants.iter_mut().find(|other| other.keys == grant.keys) {
            Some(other) => other.right = grant.right,
            None => {
                grants.push(grant.clone());
                grants.sort_by(|one, other| one.keys.from.cmp(&other.keys.from));
            }
        }
        Ok(self.role(role))
    }

    fn revoke(&mut self, role: &str, keys: &KeyRange) -> Result<Kept, Denied> {
        let grants = self.roles.get_mut(role).ok_or(Denied::RoleNotFound)?;
        let before = grants.len();
        grants.retain(|grant| grant.keys != *keys);
        if grants.len() < before { Ok(self.role(role)) } else { Err(Denied::NotGranted) }
    }

    /// Whether the caller may do everything; `Err`: why not.
    pub(crate) fn check_admin(&self, caller: &Caller) -> Result<(), Denied> {
        let name = match caller {
            Caller::Us => return Ok(()),
            _ if !self.enabled => return Ok(()),
            Caller::Nobody => return Err(Denied::NobodyAsks),
            Caller::User(name, _) => name,
        };
        let user = self.users.get(&**name).ok_or(Denied::UserNotFound)?;
        if user.roles.contains(ROOT) { Ok(()) } else { Err(Denied::Permission) }
    }

    /// Whether the caller is somebody, whatever he may do.
    pub(crate) fn check_known(&self, caller: &Caller) -> Result<(), Denied> {
        if self.enabled && *caller == Caller::Nobody { Err(Denied::NobodyAsks) } else { Ok(()) }
    }

    /// Whether the caller is that user, or may do everything.
    pub(crate) fn check_user(&self, caller: &Caller, name: &str) -> Result<(), Denied> {
        let is_own = match caller {
            Caller::User(own, _) => **own == *name,
            // With etcd, who has no name may ask for the user of no name, and hears that there is none.
            Caller::Nobody => name.is_empty(),
            Caller::Us => true,
        };
        if is_own { Ok(()) } else { self.check_admin(caller) }
    }

    /// Whether the caller has that role, or may do everything.
    pub(crate) fn check_role(&self, caller: &Caller, role: &str) -> Result<(), Denied> {
        let has = |name: &str| self.users.get(name).is_some_and(|user| user.roles.contains(role));
        let is_own = matches!(caller, Caller::User(name, _) if has(name));
        if is_own { Ok(()) } else { self.check_admin(caller) }
    }

    /// Whether the caller may read these keys.
    pub(crate) fn check_read(&self, caller: &Caller, keys: &KeyRange) -> Result<(), Denied> {
        self.check(caller, keys, Right::Read)
    }

    /// Whether the caller may write these keys.
    pub(crate) fn check_write(&self, caller: &Caller, keys: &KeyRange) -> Result<(), Denied> {
        self.check(caller, keys, Right::Write)
    }

    fn check(&self, caller: &Caller, keys: &KeyRange, right: Right) -> Result<(), Denied> {
        let (name, revision) = match caller {
            Caller::Us => return Ok(()),
            _ if !self.enabled => return Ok(()),
            Caller::Nobody => return Err(Denied::NobodyAsks),
            Caller::User(name, revision) => (name, *revision),
        };
        if revision < self.revision {
            return Err(Denied::OldRevision);
        }
        let user = self.users.get(&**name).ok_or(Denied::Permission)?;
        let grants = user.roles.iter().filter_map(|role| self.roles.get(role)).flatten();
        let may = user.roles.contains(ROOT) || permits::cover(grants, keys, right);
        if may { Ok(()) } else { Err(Denied::Permission) }
    }

    /// Whether the caller may write every key that a lease holds: who may not, may neither end nor keep it, nor give it more keys.
    pub(crate) fn check_lease<'a>(
        &self,
        caller: &Caller,
        keys: impl IntoIterator<Item = &'a Bytes>,
        right: Right,
    ) -> Result<(), Denied> {
        if self.check_admin(caller).is_ok() {
            return Ok(());
        }
        self.check_known(caller)?;
        keys.into_iter().try_for_each(|key| self.check(caller, &KeyRange::single(key.clone()), right))
    }

    /// Whether the caller may do every step of a transaction, of both branches, and of those inside. `keys_of` tells what a lease holds.
    pub(crate) fn check_txn(
        &self,
        caller: &Caller,
        txn: &Txn,
        keys_of: &dyn Fn(i64) -> Vec<Bytes>,
    ) -> Result<(), Denied> {
        if *caller == Caller::Us || !self.enabled {
            return Ok(());
        }
        txn.compares.iter().try_for_each(|compare| self.check_read(caller, &compare.keys))?;
        txn.success.iter().chain(&txn.failure).try_for_each(|op| self.check_op(caller, op, keys_of))
    }

    fn check_op(&self, caller: &Caller, op: &Op, keys_of: &dyn Fn(i64) -> Vec<Bytes>) -> Result<(), Denied> {
        match op {
            Op::Range(range) => self.check_read(caller, &range.keys),
            Op::Put(put) => {
                let key = KeyRange::single(put.key.clone());
                self.check_write(caller, &key)?;
                if let Some(lease) = put.lease.filter(|lease| *lease != 0) {
                    self.check_lease(caller, &keys_of(lease), Right::Write)?;
                }
                if put.want_previous { self.check_read(caller, &key) } else { Ok(()) }
            }
            Op::Delete(delete) => {
                if delete.want_previous {
                    self.check_read(caller, &delete.keys)?;
                }
                self.check_write(caller, &delete.keys)
            }
            Op::Txn(txn) => self.check_txn(caller, txn, keys_of),
        }
    }
}

#[cfg(test)]
mod tests;
