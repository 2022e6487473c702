//! Every field that a request of etcd's can have, and what becomes of it (fault N4).
//!
//! The test walks the descriptors from the methods' requests on, and fails for a field without a row and for a row without a field, so that
//! a new version of etcd brings a decision and not a field that is passed over in silence. Numbers of enumerations that are not known are
//! refused (`check::known`); so are calls that this store leaves out, whatever their fields say.

use skiff_proto::etcd::REQUEST_FIELDS;
use std::collections::{BTreeMap, BTreeSet};

/// Fields that do what they do in etcd.
const USED: &[(&str, &str)] = &[
    (
        "etcdserverpb.RangeRequest",
        "count_only key keys_only limit max_create_revision max_mod_revision min_create_revision min_mod_revision range_end revision \
         sort_order sort_target",
    ),
    ("etcdserverpb.PutRequest", "ignore_lease ignore_value key lease prev_kv value"),
    ("etcdserverpb.DeleteRangeRequest", "key prev_kv range_end"),
    ("etcdserverpb.RequestOp", "request_delete_range request_put request_range request_txn"),
    ("etcdserverpb.Compare", "create_revision key lease mod_revision range_end result target value version"),
    ("etcdserverpb.TxnRequest", "compare failure success"),
    ("etcdserverpb.CompactionRequest", "physical revision"),
    ("etcdserverpb.WatchRequest", "cancel_request create_request progress_request"),
    (
        "etcdserverpb.WatchCreateRequest",
        "filters fragment key prev_kv progress_notify range_end start_revision watch_id",
    ),
    ("etcdserverpb.WatchCancelRequest", "watch_id"),
    ("etcdserverpb.LeaseGrantRequest", "ID TTL"),
    ("etcdserverpb.LeaseRevokeRequest", "ID"),
    ("etcdserverpb.LeaseKeepAliveRequest", "ID"),
    ("etcdserverpb.LeaseTimeToLiveRequest", "ID keys"),
    ("etcdserverpb.AlarmRequest", "action alarm memberID"),
    ("etcdserverpb.HashKVRequest", "revision"),
    ("etcdserverpb.MoveLeaderRequest", "targetID"),
    ("etcdserverpb.DowngradeRequest", "action version"),
    ("etcdserverpb.MemberRemoveRequest", "ID"),
    ("etcdserverpb.MemberPromoteRequest", "ID"),
    ("etcdserverpb.AuthenticateRequest", "name password"),
    ("etcdserverpb.AuthUserAddRequest", "name options password"),
    ("authpb.UserAddOptions", "no_password"),
    ("etcdserverpb.AuthUserGetRequest", "name"),
    ("etcdserverpb.AuthUserDeleteRequest", "name"),
    ("etcdserverpb.AuthUserChangePasswordRequest", "hashedPassword name password"),
    ("etcdserverpb.AuthUserGrantRoleRequest", "role user"),
    ("etcdserverpb.AuthUserRevokeRoleRequest", "name role"),
    ("etcdserverpb.AuthRoleAddRequest", "name"),
    ("etcdserverpb.AuthRoleGetRequest", "role"),
    ("etcdserverpb.AuthRoleDeleteRequest", "role"),
    ("etcdserverpb.AuthRoleGrantPermissionRequest", "name perm"),
    ("etcdserverpb.AuthRoleRevokePermissionRequest", "key range_end role"),
    ("authpb.Permission", "key permType range_end"),
    ("v3lockpb.LockRequest", "lease name"),
    ("v3lockpb.UnlockRequest", "key"),
    ("v3electionpb.CampaignRequest", "lease name value"),
    ("v3electionpb.ProclaimRequest", "leader value"),
    ("v3electionpb.LeaderRequest", "name"),
    ("v3electionpb.ResignRequest", "leader"),
    ("v3electionpb.LeaderKey", "key lease rev"),
];

/// Fields of calls that are refused in words: members cannot be added.
const REFUSED: &[(&str, &str)] =
    &[("etcdserverpb.MemberAddRequest", "isLearner peerURLs"), ("etcdserverpb.MemberUpdateRequest", "ID peerURLs")];

/// Fields that change nothing here, and why that is right.
const WITHOUT_EFFECT: &[(&str, &str, &str)] = &[
    ("etcdserverpb.RangeRequest", "serializable", "asks for less than every read gives: there is one member"),
    ("etcdserverpb.MemberListRequest", "linearizable", "asks for what every answer is: there is one member"),
    ("etcdserverpb.AuthUserAddRequest", "hashedPassword", "etcd too puts in its place what it makes of the password"),
    ("v3electionpb.LeaderKey", "name", "the key says it too, and etcd does not look at it either"),
];

#[test]
fn every_field_of_a_request_has_a_decision() {
    let mut fields: BTreeSet<(&str, &str)> = REQUEST_FIELDS.lines().filter_map(|line| line.split_once(' ')).collect();
    assert!(fields.len() > 90, "{}", fields.len());
    let decided =
        USED.iter().chain(REFUSED).flat_map(|(message, names)| names.split(' ').map(move |name| (*message, name)));
    let mut rows: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in decided.chain(WITHOUT_EFFECT.iter().map(|&(message, name, _)| (message, name))) {
        *rows.entry(row).or_default() += 1;
    }
    let twice: Vec<_> = rows.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "these have two decisions: {twice:?}");
    let vanished: Vec<_> = rows.keys().filter(|row| !fields.remove(row)).collect();
    assert!(vanished.is_empty(), "no request has these fields any more: {vanished:?}");
    assert!(fields.is_empty(), "what becomes of these fields? {fields:?}");
}
