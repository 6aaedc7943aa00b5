//! The part of the allow-list that is about users, and about RPCs that one side does not have.
use bramble_proto::authpb::Permission;
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bytes::Bytes;
use tonic::Code;

use crate::allow::Known;
use crate::call::Call;
use crate::words::{Outcome, Refused, Reply, Request};
use crate::world::World;

/// See the module.
pub const KNOWN: &[Known] = &[
    Known {
        name: "words of maintenance",
        reason: "who may not hash, defragment or save is told so by etcd 3.5 in words of its own and as \
                 Unknown, since 3.6 as everywhere",
        explains: words_of_maintenance,
    },
    Known {
        name: "status for all",
        reason: "the status is root's alone until etcd 3.6.11; Bramble tells it every user, as later ones do, \
                 for health checks ask for it",
        explains: status_for_all,
    },
    Known {
        name: "role of root",
        reason: "since etcd 3.6 the role root is shown with the permission it has without being granted one",
        explains: role_of_root,
    },
    Known {
        name: "open end of a watch",
        reason: "etcd asks of a watch with an open end only whether its first key may be read (as it did \
                 until 3.6.14); Bramble asks for all of it",
        explains: open_end,
    },
    Known {
        name: "RangeStream",
        reason: "etcd 3.5 has none; what it answers is compared with Range where the server is tested",
        explains: range_stream,
    },
    Known {
        name: "hash for strangers",
        reason: "etcd hashes a new password before it asks who wants it, and so complains of its length first; \
                 Bramble spends no hash on those who may not",
        explains: hash_for_strangers,
    },
    Known {
        name: "too large from strangers",
        reason: "etcd measures a write before it looks who may write; Bramble looks first",
        explains: too_large_from_strangers,
    },
    Known {
        name: "the user without a name",
        reason: "etcd takes one who shows no token for the user without a name, who may look at himself",
        explains: user_without_a_name,
    },
    Known {
        name: "observe unseen",
        reason: "etcd ends the stream of one who may not observe without a word; Bramble says why",
        explains: observe_unseen,
    },
    Known {
        name: "not served yet",
        reason: "changes of members: Bramble asks who wants them, and says that it cannot yet",
        explains: not_served_yet,
    },
];

fn words_of_maintenance(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let about = matches!(
        &call.request,
        Request::Hash(_) | Request::HashKV(_) | Request::Defragment(_) | Request::Snapshot(_)
    );
    let same = [
        ("auth: user name is empty", Code::InvalidArgument, "etcdserver: user name is empty"),
        ("auth: invalid auth token", Code::Unauthenticated, "etcdserver: invalid auth token"),
        ("auth: permission denied", Code::PermissionDenied, "etcdserver: permission denied"),
        ("auth: user not found", Code::FailedPrecondition, "etcdserver: user name not found"),
    ];
    about
        && same.iter().any(|(old, code, new)| {
            *theirs == Err(Refused::new(Code::Unknown, old)) && *ours == Err(Refused::new(*code, new))
        })
}

fn status_for_all(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let roots_alone = theirs.as_ref().is_err_and(|refused| {
        matches!(refused.code, Code::PermissionDenied | Code::FailedPrecondition) && is_about_asker(refused)
    });
    matches!(&call.request, Request::Status(_)) && roots_alone && matches!(ours, Ok(Reply::Status(_)))
}

fn role_of_root(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let (Request::RoleGet(asked), Ok(Reply::RoleGet(theirs)), Ok(Reply::RoleGet(ours))) =
        (&call.request, theirs, ours)
    else {
        return false;
    };
    let all = Permission { perm_type: 2, key: Bytes::new(), range_end: Bytes::from_static(b"\0") };
    asked.role == "root" && theirs.header == ours.header && ours.perm == [all]
}

fn open_end(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let Request::Watch(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }) =
        &call.request
    else {
        return false;
    };
    let (Ok(Reply::Watch(theirs)), Ok(Reply::Watch(ours))) = (theirs, ours) else { return false };
    let denied = pb::WatchResponse {
        header: theirs.header,
        watch_id: -1,
        created: true,
        canceled: true,
        cancel_reason: "rpc error: code = PermissionDenied desc = etcdserver: permission denied".to_string(),
        ..Default::default()
    };
    create.range_end.as_ref() == b"\0" && theirs.created && !theirs.canceled && *ours == denied
}

fn range_stream(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let unknown = Refused::new(Code::Unimplemented, "unknown method RangeStream for service etcdserverpb.KV");
    let answered = !ours.as_ref().is_err_and(|refused| refused.code == Code::Unimplemented);
    matches!(&call.request, Request::RangeStream(_)) && *theirs == Err(unknown) && answered
}

/// Whether this is what one hears who may not ask.
fn is_about_asker(refused: &Refused) -> bool {
    [
        Refused::new(Code::PermissionDenied, "etcdserver: permission denied"),
        Refused::new(Code::Unauthenticated, "etcdserver: invalid auth token"),
        Refused::new(Code::InvalidArgument, "etcdserver: user name is empty"),
        Refused::new(Code::FailedPrecondition, "etcdserver: user name not found"),
    ]
    .contains(refused)
}

fn hash_for_strangers(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let password = match &call.request {
        Request::UserAdd(it) => &it.password,
        Request::UserChangePassword(it) => &it.password,
        _ => return false,
    };
    let too_long = Refused::new(Code::Unknown, "bcrypt: password length exceeds 72 bytes");
    password.len() > 72 && *theirs == Err(too_long) && ours.as_ref().is_err_and(is_about_asker)
}

fn too_large_from_strangers(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let too_large = Refused::new(Code::InvalidArgument, "etcdserver: request is too large");
    matches!(&call.request, Request::Put(_) | Request::Txn(_))
        && *theirs == Err(too_large)
        && ours.as_ref().is_err_and(is_about_asker)
}

fn user_without_a_name(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let unknown = Refused::new(Code::FailedPrecondition, "etcdserver: user name not found");
    let nobody = Refused::new(Code::InvalidArgument, "etcdserver: user name is empty");
    matches!(&call.request, Request::UserGet(it) if it.name.is_empty())
        && *theirs == Err(unknown)
        && *ours == Err(nobody)
}

fn observe_unseen(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let ended = Refused::new(Code::Unknown, "the stream ended without an answer");
    matches!(&call.request, Request::Observe(_))
        && *theirs == Err(ended)
        && ours.as_ref().is_err_and(is_about_asker)
}

fn not_served_yet(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let later = matches!(
        &call.request,
        Request::MemberAdd(_)
            | Request::MemberRemove(_)
            | Request::MemberUpdate(_)
            | Request::MemberPromote(_)
    );
    let asker =
        theirs.as_ref().is_err_and(|refused| is_about_asker(refused) || refused.text.starts_with("auth: "));
    let unserved = ours.as_ref().is_err_and(|refused| refused.code == Code::Unimplemented);
    later && unserved && !asker
}

/// Permissions of one role come by key; of more than twelve, those with one key come in any order.
pub fn order_permissions(theirs: &mut [Permission], ours: &mut [Permission]) {
    if theirs.len() > 12 {
        for permissions in [theirs, ours] {
            permissions.sort_by(|a, b| (&a.key, &a.range_end).cmp(&(&b.key, &b.range_end)));
        }
    }
}
