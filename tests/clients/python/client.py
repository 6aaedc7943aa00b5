"""Drives the server at BRAMBLE_ENDPOINT with the package `etcd3`.

Prints a line per part and, indented, what it saw; all of it must be equal on every server.
"""

import os
import queue
import threading
import time
from urllib.parse import urlparse

import etcd3
import grpc
from etcd3 import etcdrpc

WAIT = 20


def saw(what, seen):
    print(f"  {what}: {seen}", flush=True)


def connect(**options):
    server = urlparse(os.environ["BRAMBLE_ENDPOINT"])
    return etcd3.client(host=server.hostname, port=server.port, timeout=WAIT, **options)


def sign_in(user):
    own = connect(user=user, password="secret")
    # gRPC sends credentials of a call over TLS only; the token is in the metadata as well.
    own.call_credentials = None
    return own


def refused(call, *arguments, **options):
    """The error of a call that must fail."""
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    except etcd3.exceptions.Etcd3Exception as error:
        return type(error).__name__
    raise AssertionError("it was allowed")


def wait_until(claim):
    end = time.monotonic() + WAIT
    while not claim():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


def keys_and_values(client):
    assert client.get("missing") == (None, None)
    client.put("greeting", "hello")
    value, meta = client.get("greeting")
    saw("greeting", (value, meta.key, meta.version, meta.create_revision, meta.mod_revision))
    saw("before", client.put("greeting", b"\x00\xff", prev_kv=True).prev_kv.value)
    assert client.put_if_not_exists("greeting", "no") is False
    assert client.put_if_not_exists("fresh", "yes") is True
    assert client.replace("fresh", "yes", "new") is True
    assert client.replace("fresh", "yes", "newer") is False
    for i in range(5):
        client.put(f"list/{i}", str(9 - i))
    saw("prefix", [(meta.key, value) for value, meta in client.get_prefix("list/")])
    descending = client.get_prefix("list/", sort_order="descend", sort_target="value", keys_only=True)
    saw("by value", [meta.key for _, meta in descending])
    saw("range", [value for value, _ in client.get_range("list/1", "list/3")])
    saw("all", len(list(client.get_all())))
    saw("counted", client.get_prefix_response("list/").count)
    assert client.delete("list/0") is True and client.delete("list/0") is False
    saw("deleted", client.delete_prefix("list/").deleted)
    saw("no key", refused(client.put, "", "value"))
    saw("no lease", refused(client.put, "leased", "value", lease=77))


def transactions(client):
    tx = client.transactions
    client.put("balance", "7")
    done, answers = client.transaction(
        compare=[tx.value("balance") == "7", tx.version("balance") > 0, tx.mod("none") < 1, tx.create("balance") != 0],
        success=[tx.put("balance", "8"), tx.get("balance"), tx.txn([], [tx.delete("none")], [])],
        failure=[tx.get("balance")],
    )
    saw("then", (done, answers[1][0][0]))
    done, answers = client.transaction(
        compare=[tx.value("balance") == "7"],
        success=[tx.put("balance", "9")],
        failure=[tx.get("balance"), tx.delete("balance")],
    )
    saw("else", (done, answers[0][0][0]))
    twice = [tx.put("twice", "1"), tx.put("twice", "2")]
    saw("twice", refused(client.transaction, compare=[], success=twice, failure=[]))


def leases(client):
    lease = client.lease(60)
    client.put("leased/a", "x", lease=lease)
    client.put("leased/b", "x", lease=lease)
    info = client.get_lease_info(lease.id)
    saw("lease", (info.grantedTTL, sorted(info.keys), 0 < info.TTL <= 60, lease.granted_ttl, lease.remaining_ttl > 0))
    saw("refreshed", [answer.TTL for answer in lease.refresh()])
    lease.revoke()
    saw("left", len(list(client.get_prefix("leased/"))))
    saw("revoked twice", refused(client.revoke_lease, lease.id))
    chosen = client.lease(1, lease_id=4711)
    saw("chosen", (chosen.id, refused(client.lease, 5, 4711)))
    client.put("short", "x", lease=chosen)
    wait_until(lambda: client.get("short") == (None, None))
    saw("ended", client.get_lease_info(4711).TTL)


def watches(client):
    seen = queue.Queue()
    watch_id = client.add_watch_prefix_callback("watched/", seen.put, prev_kv=True)
    start = client.put("watched/a", "1").header.revision
    client.put("watched/a", "2")
    client.delete("watched/a")
    events = []
    while len(events) < 3:
        events += seen.get(timeout=WAIT).events
    saw("events", [(type(event).__name__, event.key, event.value, event.prev_value) for event in events])
    client.cancel_watch(watch_id)
    history, cancel = client.watch("watched/a", start_revision=start)
    saw("history", [next(history).mod_revision - start for _ in range(3)])
    cancel()
    timer = threading.Timer(0.2, client.put, ("once", "now"))
    timer.start()
    saw("once", client.watch_once("once", timeout=WAIT).value)
    timer.join()
    try:
        client.watch_once("never", timeout=0.2)
    except etcd3.exceptions.WatchTimedOut:
        saw("never", "timed out")
    client.compact(start + 2)
    saw("compacted read", refused(client.compact, start))
    late, _ = client.watch("watched/a", start_revision=start)
    try:
        next(late)
    except etcd3.exceptions.RevisionCompactedError as error:
        saw("compacted watch", error.compacted_revision - start)


def locks(client):
    inside, most, lock_of = [0], [0], threading.Lock()

    def work():
        own = connect()
        for _ in range(3):
            with own.lock("counter", ttl=20):
                with lock_of:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.005)
                with lock_of:
                    inside[0] -= 1

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    saw("most at once", most[0])
    first, second = client.lock("held", ttl=20), client.lock("held", ttl=20)
    saw("taken", (first.acquire(), second.acquire(timeout=0), first.is_acquired()))
    saw("given back", (first.release(), second.acquire(timeout=WAIT), second.release()))


def server(client):
    members = list(client.members)
    saw("members", [(member.name, member.client_urls == [os.environ["BRAMBLE_ENDPOINT"]]) for member in members])
    status = client.status()
    saw("status", (status.leader.id == members[0].id, status.db_size > 0, status.raft_index > 0, status.raft_term > 0))
    assert client.hash() == client.hash()
    client.defragment()
    saw("no alarm", len(list(client.list_alarms())))
    saw("raised", [alarm.alarm_type for alarm in client.create_alarm(members[0].id)])
    saw("put", refused(client.put, "full", "x"))
    client.delete("full")
    saw("listed", [(alarm.alarm_type, alarm.member_id == members[0].id) for alarm in client.list_alarms()])
    client.disarm_alarm(members[0].id)
    client.put("full", "not any more")


def users(client):
    auth = etcdrpc.AuthStub(client.channel)
    for name in ["root", "ann"]:
        auth.UserAdd(etcdrpc.AuthUserAddRequest(name=name, password="secret"))
        auth.RoleAdd(etcdrpc.AuthRoleAddRequest(name=name))
        auth.UserGrantRole(etcdrpc.AuthUserGrantRoleRequest(user=name, role=name))
    # 2 is READWRITE, of the package authpb that etcd3 does not export.
    grant = etcdrpc.AuthRoleGrantPermissionRequest(name="ann")
    grant.perm.permType, grant.perm.key, grant.perm.range_end = 2, b"ann/", b"ann0"
    auth.RoleGrantPermission(grant)
    auth.AuthEnable(etcdrpc.AuthEnableRequest())
    saw("nobody", refused(client.get, "ann/a"))
    saw("wrong", refused(connect, user="ann", password="wrong"))
    ann = sign_in("ann")
    ann.put("ann/a", "hers")
    saw("hers", ann.get("ann/a")[0])
    saw("not hers", refused(ann.put, "bob/a", "x"))
    saw("too wide", refused(lambda: list(ann.get_prefix("an"))))
    lease = ann.lease(30)
    ann.put("ann/lease", "x", lease=lease)
    saw("locks are not hers", refused(ann.lock("x").acquire))
    root = sign_in("root")
    metadata = (("token", auth.Authenticate(etcdrpc.AuthenticateRequest(name="root", password="secret")).token),)
    saw("users", list(auth.UserList(etcdrpc.AuthUserListRequest(), metadata=metadata).users))
    auth.AuthDisable(etcdrpc.AuthDisableRequest(), metadata=metadata)
    saw("open again", (root.get("ann/a")[0], client.get("ann/a")[0]))


def main():
    client = connect()
    for part in [keys_and_values, transactions, leases, watches, locks, server, users]:
        part(client)
        print("ok", part.__name__, flush=True)


main()
