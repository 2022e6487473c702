//! What is refused to whom; and that what is kept is what there is.

use super::*;
use crate::request::{Compare, Delete, Put, Range, Relation, Target};
use proptest::prelude::*;

fn changed(users: &mut Users, changes: &[Change]) {
    for change in changes {
        users.change(change).unwrap_or_else(|denied| panic!("{change:?}: {denied}"));
    }
}

fn grant(from: &'static str, end: &'static str, right: Right) -> Grant {
    Grant { keys: KeyRange::from_etcd(from.into(), end.into()), right }
}

/// Root, and ann, who may read and write what begins with a, and read what begins with b.
fn some() -> Users {
    let mut users = Users::default();
    let s = str::to_owned;
    changed(
        &mut users,
        &[
            Change::AddUser(s("root"), Some(b"x".to_vec())),
            Change::GrantRole(s("root"), s("root")),
            Change::AddUser(s("ann"), None),
            Change::AddRole(s("a")),
            Change::Grant(s("a"), grant("b", "c", Right::Read)),
            Change::Grant(s("a"), grant("a", "b", Right::Both)),
            Change::GrantRole(s("ann"), s("a")),
            Change::Enable,
        ],
    );
    users
}

fn ann(users: &Users) -> Caller {
    Caller::User("ann".into(), users.revision())
}

fn put(key: &'static str, lease: i64, want_previous: bool) -> Op {
    Op::Put(Put { key: key.into(), value: Some(Bytes::new()), lease: Some(lease), want_previous })
}

fn may(users: &Users, op: Op) -> Result<(), Denied> {
    // Lease 7 holds a key of somebody else's.
    let keys_of = |lease| if lease == 7 { vec![Bytes::from("z")] } else { Vec::new() };
    users.check_txn(&ann(users), &Txn::of(op), &keys_of)
}

#[test]
fn rights_are_asked_for_at_every_step() {
    let users = some();
    assert_eq!(may(&users, put("a1", 0, true)), Ok(()));
    assert_eq!(may(&users, put("b1", 0, false)), Err(Denied::Permission));
    assert_eq!(may(&users, put("a1", 7, false)), Err(Denied::Permission), "the lease would not be ann's to end");
    assert_eq!(may(&users, put("a1", 8, false)), Ok(()));
    let read = |from: &'static str, end: &'static str| Range::of(KeyRange::from_etcd(from.into(), end.into()));
    assert_eq!(may(&users, Op::Range(read("a", "c"))), Ok(()));
    assert_eq!(may(&users, Op::Range(read("a", "d"))), Err(Denied::Permission));
    let delete = |keys, want_previous| Op::Delete(Delete { keys, want_previous });
    assert_eq!(may(&users, delete(KeyRange::single("b1".into()), false)), Err(Denied::Permission));
    assert_eq!(may(&users, delete(KeyRange::single("a1".into()), true)), Ok(()));
    // Of both branches, of comparisons, and of transactions inside.
    let secret = Compare { keys: KeyRange::single("z".into()), target: Target::Version(0), relation: Relation::Equal };
    let inside = Txn { compares: vec![secret], success: vec![put("a1", 0, false)], failure: vec![] };
    assert_eq!(may(&users, Op::Txn(inside)), Err(Denied::Permission));
    let otherwise = Txn { compares: vec![], success: vec![], failure: vec![Op::Range(read("z", ""))] };
    assert_eq!(may(&users, Op::Txn(otherwise)), Err(Denied::Permission));
}

#[test]
fn who_is_not_known_may_nothing_and_root_everything() {
    let users = some();
    let keys = KeyRange::everything();
    assert_eq!(users.check_read(&Caller::Nobody, &keys), Err(Denied::NobodyAsks));
    assert_eq!(users.check_read(&Caller::Us, &keys), Ok(()));
    assert_eq!(users.check_write(&Caller::User("root".into(), users.revision()), &keys), Ok(()));
    assert_eq!(users.check_write(&Caller::User("root".into(), 1), &keys), Err(Denied::OldRevision));
    assert_eq!(users.check_write(&Caller::User("ben".into(), users.revision()), &keys), Err(Denied::Permission));
    assert_eq!(users.check_admin(&ann(&users)), Err(Denied::Permission));
    assert_eq!(users.check_admin(&Caller::User("ben".into(), 9)), Err(Denied::UserNotFound));
    assert_eq!(users.check_known(&Caller::Nobody), Err(Denied::NobodyAsks));
    assert_eq!((users.check_user(&ann(&users), "ann"), users.check_role(&ann(&users), "a")), (Ok(()), Ok(())));
    assert_eq!(users.check_user(&ann(&users), "root"), Err(Denied::Permission));
    let lease = [Bytes::from("a1"), Bytes::from("z")];
    assert_eq!(users.check_lease(&ann(&users), &lease[..1], Right::Write), Ok(()));
    assert_eq!(users.check_lease(&ann(&users), &lease, Right::Write), Err(Denied::Permission));
}

#[test]
fn root_cannot_be_taken_away_while_access_is_enabled() {
    let (mut users, s) = (some(), str::to_owned);
    for change in [
        Change::DeleteUser(s("root")),
        Change::RevokeRole(s("root"), s("root")),
        Change::DeleteRole(s("root")),
        Change::Grant(s("a"), grant("b", "a", Right::Read)),
    ] {
        assert_eq!(users.change(&change), Err(Denied::Management), "{change:?}");
    }
    let revision = users.revision();
    changed(&mut users, &[Change::Enable, Change::GrantRole(s("ann"), s("a"))]);
    assert_eq!(users.revision(), revision, "nothing has changed");
    changed(&mut users, &[Change::Disable, Change::Disable, Change::RevokeRole(s("root"), s("root"))]);
    assert_eq!(users.revision(), revision + 2);
    assert_eq!(users.change(&Change::Enable), Err(Denied::NoRootRole));
    assert_eq!(Users::default().change(&Change::Enable), Err(Denied::NoRootUser));
}

#[test]
fn a_role_that_goes_is_taken_from_its_users() {
    let (mut users, s) = (some(), str::to_owned);
    assert_eq!(users.grants_of("a").unwrap().len(), 2);
    assert_eq!(users.roles_of("ann").unwrap(), ["a"]);
    changed(&mut users, &[Change::DeleteRole(s("a"))]);
    assert_eq!(users.roles_of("ann").unwrap(), Vec::<String>::new());
    assert_eq!(users.grants_of("a"), Err(Denied::RoleNotFound));
}

fn change() -> impl Strategy<Value = Change> {
    let name =
        || prop_oneof![Just("root".to_owned()), Just("ann".to_owned()), Just("é".to_owned()), Just(String::new())];
    let right = prop_oneof![Just(Right::Read), Just(Right::Write), Just(Right::Both)];
    let keys = || ("[a-c]{0,1}", "[a-c]{0,1}").prop_map(|(from, end)| KeyRange::from_etcd(from.into(), end.into()));
    prop_oneof![
        1 => Just(Change::Enable),
        1 => Just(Change::Disable),
        6 => (name(), proptest::option::of(Just(b"hash".to_vec()))).prop_map(|(name, hash)| Change::AddUser(name, hash)),
        1 => name().prop_map(Change::DeleteUser),
        2 => name().prop_map(|name| Change::SetPassword(name, b"other".to_vec())),
        6 => (name(), name()).prop_map(|(name, role)| Change::GrantRole(name, role)),
        1 => (name(), name()).prop_map(|(name, role)| Change::RevokeRole(name, role)),
        6 => name().prop_map(Change::AddRole),
        1 => name().prop_map(Change::DeleteRole),
        6 => (name(), keys(), right).prop_map(|(role, keys, right)| Change::Grant(role, Grant { keys, right })),
        2 => (name(), keys()).prop_map(|(role, keys)| Change::Revoke(role, keys)),
    ]
}

proptest! {
    /// What each change tells to be kept, put together, is what there is; and so is all of it at once.
    #[test]
    fn what_is_kept_is_what_there_is(changes in proptest::collection::vec(change(), 0..60)) {
        let (mut users, mut kept) = (Users::default(), BTreeMap::new());
        for change in &changes {
            let before = users.clone();
            match users.change(change) {
                Ok(told) => kept.extend(told),
                Err(_) => prop_assert_eq!(&users, &before, "a refusal changes nothing"),
            }
        }
        let there = |all: BTreeMap<Bytes, Option<Bytes>>| {
            all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect::<Vec<_>>()
        };
        prop_assert_eq!(&Users::read(there(kept)).unwrap(), &users);
        prop_assert_eq!(&Users::read(there(users.all().into_iter().collect())).unwrap(), &users);
    }
}
