//! How users and roles are kept: each under a name, as the message in which etcd keeps it, so that nothing is lost on the way between them.

use super::{Grant, Kept, Right, User, Users};
use crate::engine::EngineError;
use crate::keys::{End, KeyRange};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use skiff_proto::etcd::authpb;
use skiff_proto::etcd::authpb::permission::Type;
use skiff_proto::etcd::etcdserverpb;

/// Whether access is enabled, and the revision.
const STATE: &[u8] = b"s";
/// What the member list says of this member beyond what the program is started with.
const MEMBER: &[u8] = b"m";
const USER: u8 = b'u';
const ROLE: u8 = b'r';

fn named(kind: u8, name: &str) -> Bytes {
    [&[kind], name.as_bytes()].concat().into()
}

/// What is kept under a name.
pub(crate) enum Named<'a> {
    State,
    User(&'a str),
    Role(&'a str),
}

/// What a name means; `None`: nothing.
pub(crate) fn named_of(name: &[u8]) -> Option<Named<'_>> {
    match name.split_first()? {
        _ if name == STATE => Some(Named::State),
        (&USER, name) => Some(Named::User(std::str::from_utf8(name).ok()?)),
        (&ROLE, name) => Some(Named::Role(std::str::from_utf8(name).ok()?)),
        _ => None,
    }
}

/// Where a user is kept.
pub(crate) fn user_named(name: &str) -> Bytes {
    named(USER, name)
}

/// Where a role is kept.
pub(crate) fn role_named(name: &str) -> Bytes {
    named(ROLE, name)
}

/// Where the state is kept.
pub(crate) fn state_name() -> Bytes {
    Bytes::from_static(STATE)
}

/// The state as it is kept.
pub(crate) fn state(enabled: bool, revision: u64) -> Bytes {
    let mut value = BytesMut::with_capacity(9);
    value.put_u8(enabled.into());
    value.put_u64(revision);
    value.freeze()
}

/// Whether somebody knows what all these grant.
pub(crate) fn are_known(grants: Vec<authpb::Permission>) -> bool {
    grants.into_iter().all(|grant| Grant::of(grant).is_some())
}

impl Right {
    /// etcd's number of it.
    pub(crate) fn number(self) -> i32 {
        let kind = match self {
            Right::Read => Type::Read,
            Right::Write => Type::Write,
            Right::Both => Type::Readwrite,
        };
        kind.into()
    }

    /// Of etcd's number.
    pub(crate) fn of_number(number: i32) -> Option<Self> {
        Some(match Type::try_from(number).ok()? {
            Type::Read => Right::Read,
            Type::Write => Right::Write,
            Type::Readwrite => Right::Both,
        })
    }
}

impl Grant {
    /// As etcd has it.
    pub(crate) fn message(&self) -> authpb::Permission {
        let end = match &self.keys.end {
            End::Single => Bytes::new(),
            End::Before(end) => end.clone(),
            End::Unbounded => Bytes::from_static(&[0]),
        };
        authpb::Permission { perm_type: self.right.number(), key: self.keys.from.to_vec(), range_end: end.to_vec() }
    }

    /// Of etcd's; `None`: it gives a right that nobody knows.
    pub(crate) fn of(message: authpb::Permission) -> Option<Self> {
        let keys = KeyRange::from_etcd(message.key.into(), message.range_end.into());
        Some(Grant { keys, right: Right::of_number(message.perm_type)? })
    }
}

impl Users {
    /// Of what was kept.
    pub(crate) fn read(kept: Vec<(Bytes, Bytes)>) -> Result<Self, EngineError> {
        let mut users = Users::default();
        for (name, value) in kept {
            let read = users.add(&name, &value);
            read.ok_or_else(|| EngineError(format!("what is kept of {} is damaged", name.escape_ascii())))?;
        }
        Ok(users)
    }

    /// Everything that is kept.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<Kept> {
        let users = self.users.keys().map(|name| self.user(name));
        let roles = self.roles.keys().map(|name| self.role(name));
        [self.state(), self.member()].into_iter().chain(users).chain(roles).collect()
    }

    fn add(&mut self, name: &[u8], mut value: &[u8]) -> Option<()> {
        match name.split_first()? {
            _ if name == STATE => {
                let (enabled, revision) = value.split_first_chunk::<1>()?;
                self.enabled = enabled[0] != 0;
                self.revision = u64::from_be_bytes(revision.try_into().ok()?);
            }
            _ if name == MEMBER => {
                self.peer_urls = etcdserverpb::Member::decode(&mut value).ok()?.peer_ur_ls;
            }
            (&USER, name) => {
                let message = authpb::User::decode(&mut value).ok()?;
                let without = message.options.is_some_and(|options| options.no_password);
                let user = User {
                    password: (!without).then_some(message.password),
                    roles: message.roles.into_iter().collect(),
                };
                self.users.insert(String::from_utf8(name.to_vec()).ok()?, user);
            }
            (&ROLE, name) => {
                let message = authpb::Role::decode(&mut value).ok()?;
                let grants: Option<Vec<Grant>> = message.key_permission.into_iter().map(Grant::of).collect();
                self.roles.insert(String::from_utf8(name.to_vec()).ok()?, grants?);
            }
            _ => return None,
        }
        Some(())
    }

    pub(super) fn state(&self) -> Kept {
        (state_name(), Some(state(self.enabled, self.revision)))
    }

    pub(super) fn member(&self) -> Kept {
        let message = etcdserverpb::Member { peer_ur_ls: self.peer_urls.clone(), ..Default::default() };
        (Bytes::from_static(MEMBER), Some(message.encode_to_vec().into()))
    }

    pub(super) fn user(&self, name: &str) -> Kept {
        let message = self.users.get(name).map(|user| authpb::User {
            name: name.as_bytes().to_vec(),
            password: user.password.clone().unwrap_or_default(),
            roles: user.roles.iter().cloned().collect(),
            options: Some(authpb::UserAddOptions { no_password: user.password.is_none() }),
        });
        (named(USER, name), message.map(|message| message.encode_to_vec().into()))
    }

    pub(super) fn role(&self, name: &str) -> Kept {
        let message = self.roles.get(name).map(|grants| authpb::Role {
            name: name.as_bytes().to_vec(),
            key_permission: grants.iter().map(Grant::message).collect(),
        });
        (named(ROLE, name), message.map(|message| message.encode_to_vec().into()))
    }
}
