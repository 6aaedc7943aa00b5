package javaclient;

import static javaclient.JavaClient.ENDPOINT;
import static javaclient.JavaClient.WAIT_S;
import static javaclient.JavaClient.bytes;
import static javaclient.JavaClient.builder;
import static javaclient.JavaClient.check;
import static javaclient.JavaClient.now;
import static javaclient.JavaClient.refused;
import static javaclient.JavaClient.saw;

import io.etcd.jetcd.Auth;
import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.Lock;
import io.etcd.jetcd.Maintenance;
import io.etcd.jetcd.auth.Permission;
import io.etcd.jetcd.election.LeaderKey;
import io.etcd.jetcd.election.LeaderResponse;
import io.etcd.jetcd.options.GetOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;

/** The server's own locks and elections, its maintenance, its members, its users. */
final class Services {
  private Services() {}

  static long lease(Client client) throws Exception {
    return now(client.getLeaseClient().grant(60)).getID();
  }

  static void locks(Client client) throws Exception {
    AtomicInteger inside = new AtomicInteger();
    AtomicInteger most = new AtomicInteger();
    List<CompletableFuture<Void>> workers = new ArrayList<>();
    Lock locks = client.getLockClient();
    for (int i = 0; i < 4; i++) {
      long lease = lease(client);
      workers.add(CompletableFuture.runAsync(() -> {
        try {
          for (int round = 0; round < 3; round++) {
            ByteSequence key = now(locks.lock(bytes("lock"), lease)).getKey();
            most.accumulateAndGet(inside.incrementAndGet(), Math::max);
            inside.decrementAndGet();
            now(locks.unlock(key));
          }
        } catch (Exception error) {
          throw new IllegalStateException(error);
        }
      }));
    }
    for (CompletableFuture<Void> worker : workers) {
      now(worker);
    }
    saw("most at once", most);
    long first = lease(client);
    long second = lease(client);
    ByteSequence held = now(locks.lock(bytes("held"), first)).getKey();
    saw("its key", held.toString().equals("held/" + Long.toHexString(first)));
    saw("again", now(locks.lock(bytes("held"), first)).getKey().equals(held));
    CompletableFuture<?> waiting = locks.lock(bytes("held"), second);
    check(stays(waiting), "two hold a lock");
    now(client.getLeaseClient().revoke(first));
    now(waiting);
    saw("a dead lease", refused(() -> locks.lock(bytes("other"), first)));
    saw("unlocked what nobody holds", now(locks.unlock(bytes("nothing"))) != null);
  }

  static boolean stays(CompletableFuture<?> waiting) throws Exception {
    try {
      waiting.get(200, TimeUnit.MILLISECONDS);
      return false;
    } catch (TimeoutException late) {
      return true;
    }
  }

  static void election(Client client) throws Exception {
    Election election = client.getElectionClient();
    ByteSequence office = bytes("office");
    saw("nobody", refused(() -> election.leader(office)));
    BlockingQueue<String> seen = new LinkedBlockingQueue<>();
    election.observe(office, new Election.Listener() {
      @Override
      public void onNext(LeaderResponse answer) {
        seen.add(answer.getKv().getValue().toString());
      }

      @Override
      public void onError(Throwable error) {
        seen.add(error.toString());
      }

      @Override
      public void onCompleted() {}
    });
    LeaderKey one = now(election.campaign(office, lease(client), bytes("one"))).getLeader();
    saw("observed", seen.poll(WAIT_S, TimeUnit.SECONDS));
    now(election.proclaim(one, bytes("still one")));
    saw("observed", seen.poll(WAIT_S, TimeUnit.SECONDS));
    saw("leader", now(election.leader(office)).getKv().getValue());
    var two = election.campaign(office, lease(client), bytes("two"));
    check(stays(two), "two in office");
    now(election.resign(one));
    LeaderKey next = now(two).getLeader();
    saw("observed", seen.poll(WAIT_S, TimeUnit.SECONDS));
    saw("after the end", refused(() -> election.proclaim(one, bytes("no"))));
    now(election.resign(next));
    saw("no lease", refused(() -> election.campaign(office, 77, bytes("x"))));
  }

  static void maintenance(Client client) throws Exception {
    Maintenance server = client.getMaintenanceClient();
    var members = now(client.getClusterClient().listMember()).getMembers();
    saw("members", members.size() + " " + members.get(0).getName() + " " + members.get(0).isLearner());
    saw("client URLs", members.get(0).getClientURIs().get(0).toString().equals(ENDPOINT));
    var status = now(server.statusMember(ENDPOINT));
    saw("status", status.getLeader() == members.get(0).getId() && status.getDbSize() >= status.getDbSizeInUse()
        && status.getDbSizeInUse() > 0 && status.getRaftAppliedIndex() > 0 && !status.isLearner() && status.getErrorList().isEmpty());
    now(server.defragmentMember(ENDPOINT));
    saw("alarms", now(server.listAlarms()).getAlarms());
    var hash = now(server.hashKV(ENDPOINT, 0));
    saw("hash of all", hash.getHash() != 0 && hash.getCompacted() > 0);
    saw("to itself", now(server.moveLeader(members.get(0).getId())) != null);
    saw("to nobody", refused(() -> server.moveLeader(77)));
  }

  static void auth(Client client) throws Exception {
    Auth auth = client.getAuthClient();
    for (String name : List.of("root", "eve")) {
      now(auth.userAdd(bytes(name), bytes("secret")));
      now(auth.roleAdd(bytes(name)));
      now(auth.userGrantRole(bytes(name), bytes(name)));
    }
    now(auth.roleGrantPermission(bytes("eve"), bytes("eve/"), bytes("eve0"), Permission.Type.READWRITE));
    saw("no such role", refused(() -> auth.userGrantRole(bytes("eve"), bytes("nobody"))));
    now(auth.authEnable());
    saw("nobody", refused(() -> client.getKVClient().get(bytes("eve/a"))));
    try (Client wrong = builder().user(bytes("eve")).password(bytes("wrong")).build()) {
      saw("wrong", refused(() -> wrong.getKVClient().get(bytes("eve/a"))));
    }
    try (Client eve = builder().user(bytes("eve")).password(bytes("secret")).build();
        Client root = builder().user(bytes("root")).password(bytes("secret")).build()) {
      KV kv = eve.getKVClient();
      now(kv.put(bytes("eve/a"), bytes("hers")));
      saw("hers", now(kv.get(bytes("eve/a"))).getKvs().get(0).getValue());
      saw("not hers", refused(() -> kv.put(bytes("bob/a"), bytes("x"))));
      saw("too wide", refused(() -> kv.get(bytes("ev"), GetOption.builder().isPrefix(true).build())));
      saw("not her business", refused(() -> eve.getAuthClient().userList()));
      saw("herself", now(eve.getAuthClient().userGet(bytes("eve"))).getRoles());
      // A change of users makes her token stale; the client must get a new one.
      now(root.getAuthClient().roleAdd(bytes("another")));
      now(kv.put(bytes("eve/b"), bytes("after a change of roles")));
      saw("users", now(root.getAuthClient().userList()).getUsers());
      saw("roles", now(root.getAuthClient().roleList()).getRoles());
      for (Permission granted : now(root.getAuthClient().roleGet(bytes("eve"))).getPermissions()) {
        saw("granted", granted.getPermType() + " " + granted.getKey() + " " + granted.getRangeEnd());
      }
      now(root.getAuthClient().roleRevokePermission(bytes("eve"), bytes("eve/"), bytes("eve0")));
      saw("taken away", refused(() -> kv.get(bytes("eve/a"))));
      now(root.getAuthClient().authDisable());
    }
    saw("open again", now(client.getKVClient().get(bytes("eve/b"))).getCount());
  }
}
