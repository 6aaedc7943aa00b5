package javaclient;

import static javaclient.JavaClient.WAIT_S;
import static javaclient.JavaClient.builder;
import static javaclient.JavaClient.bytes;
import static javaclient.JavaClient.now;
import static javaclient.JavaClient.refused;
import static javaclient.JavaClient.saw;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Lease;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.common.exception.CompactedException;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.support.CloseableClient;
import io.etcd.jetcd.support.Observers;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Keys, transactions, leases, watches. */
final class Keys {
  private Keys() {}

  static GetOption prefix() {
    return GetOption.builder().isPrefix(true).build();
  }

  static String show(List<KeyValue> kvs) {
    List<String> texts = new ArrayList<>();
    for (KeyValue kv : kvs) {
      texts.add(kv.getKey() + "=" + kv.getValue() + " v" + kv.getVersion());
    }
    return texts.toString();
  }

  static void keysAndValues(Client client) throws Exception {
    KV kv = client.getKVClient();
    now(kv.put(bytes("greeting"), bytes("hello")));
    PutOption before = PutOption.builder().withPrevKV().build();
    saw("before", now(kv.put(bytes("greeting"), bytes("again"), before)).getPrevKv().getValue());
    saw("greeting", show(now(kv.get(bytes("greeting"))).getKvs()));
    for (int i = 0; i < 6; i++) {
      now(kv.put(bytes("list/" + i), bytes("" + (9 - i))));
    }
    GetOption sorted = GetOption.builder().isPrefix(true).withLimit(2)
        .withSortField(GetOption.SortTarget.VALUE).withSortOrder(GetOption.SortOrder.ASCEND).build();
    var page = now(kv.get(bytes("list/"), sorted));
    saw("sorted by value", show(page.getKvs()) + page.isMore() + page.getCount());
    GetOption keys = GetOption.builder().isPrefix(true).withKeysOnly(true).build();
    saw("keys", show(now(kv.get(bytes("list/"), keys)).getKvs()));
    GetOption range = GetOption.builder().withRange(bytes("list/4")).withSerializable(true).build();
    saw("range", show(now(kv.get(bytes("list/2"), range)).getKvs()));
    GetOption count = GetOption.builder().isPrefix(true).withCountOnly(true).build();
    saw("count", now(kv.get(bytes("list/"), count)).getCount());
    GetOption past = GetOption.builder().withRevision(2).build();
    saw("past", show(now(kv.get(bytes("greeting"), past)).getKvs()));
    GetOption future = GetOption.builder().withRevision(1_000_000).build();
    saw("future", refused(() -> kv.get(bytes("greeting"), future)));
    DeleteOption all = DeleteOption.builder().isPrefix(true).withPrevKV(true).build();
    saw("deleted", show(now(kv.delete(bytes("list/"), all)).getPrevKvs()));
    saw("empty key", refused(() -> kv.put(ByteSequence.EMPTY, bytes("x"))));
  }

  static void transactions(Client client) throws Exception {
    KV kv = client.getKVClient();
    now(kv.put(bytes("balance"), bytes("7")));
    Cmp seven = new Cmp(bytes("balance"), Cmp.Op.EQUAL, CmpTarget.value(bytes("7")));
    Cmp fresh = new Cmp(bytes("balance"), Cmp.Op.LESS, CmpTarget.version(2));
    Op.TxnOp nested = Op.txn(new Cmp[] {fresh}, new Op[] {Op.put(bytes("nested"), bytes("yes"), PutOption.DEFAULT)}, new Op[0]);
    for (int round = 0; round < 2; round++) {
      TxnResponse answer = now(kv.txn().If(seven, fresh)
          .Then(Op.put(bytes("balance"), bytes("8"), PutOption.DEFAULT), nested, Op.get(bytes("balance"), GetOption.DEFAULT))
          .Else(Op.get(bytes("balance"), GetOption.DEFAULT), Op.delete(bytes("nested"), DeleteOption.DEFAULT))
          .commit());
      saw("round " + round, answer.isSucceeded() + " " + show(answer.getGetResponses().get(0).getKvs())
          + " puts " + answer.getPutResponses().size() + " deletes " + answer.getDeleteResponses().size()
          + " nested " + answer.getTxnResponses().size());
    }
    saw("left", now(kv.get(bytes("nested"))).getCount());
  }

  static void leases(Client client) throws Exception {
    Lease leases = client.getLeaseClient();
    long id = now(leases.grant(60)).getID();
    PutOption leased = PutOption.builder().withLeaseId(id).build();
    now(client.getKVClient().put(bytes("leased"), bytes("x"), leased));
    var left = now(leases.timeToLive(id, LeaseOption.builder().withAttachedKeys().build()));
    saw("lease", left.getGrantedTTL() + " " + left.getKeys() + " " + (left.getTTL() > 50));
    saw("kept once", now(leases.keepAliveOnce(id)).getTTL());
    BlockingQueue<Long> kept = new LinkedBlockingQueue<>();
    long shortId = now(leases.grant(3)).getID();
    try (CloseableClient keeping = leases.keepAlive(shortId, Observers.<LeaseKeepAliveResponse>observer(answer -> kept.add(answer.getTTL())))) {
      saw("kept", kept.poll(WAIT_S, TimeUnit.SECONDS) + " " + kept.poll(WAIT_S, TimeUnit.SECONDS));
    }
    now(leases.revoke(shortId));
    now(leases.revoke(id));
    saw("gone", now(client.getKVClient().get(bytes("leased"))).getCount());
    saw("revoked twice", refused(() -> leases.revoke(id)));
    saw("asked", now(leases.timeToLive(id, LeaseOption.DEFAULT)).getTTL());
    saw("put", refused(() -> client.getKVClient().put(bytes("leased"), bytes("x"), leased)));
  }

  static void watches(Client client) throws Exception {
    KV kv = client.getKVClient();
    BlockingQueue<WatchResponse> seen = new LinkedBlockingQueue<>();
    CompletableFuture<Throwable> failed = new CompletableFuture<>();
    long start = now(kv.put(bytes("watched/a"), bytes("1"))).getHeader().getRevision();
    WatchOption options = WatchOption.builder().isPrefix(true).withRevision(start).withPrevKV(true).build();
    try (Watch.Watcher watcher = client.getWatchClient().watch(bytes("watched/"), options, seen::add)) {
      now(kv.put(bytes("watched/a"), bytes("2")));
      now(kv.txn().Then(Op.put(bytes("watched/b"), bytes("3"), PutOption.DEFAULT),
          Op.delete(bytes("watched/a"), DeleteOption.DEFAULT)).commit());
      List<String> events = new ArrayList<>();
      while (events.size() < 4) {
        for (WatchEvent event : seen.poll(WAIT_S, TimeUnit.SECONDS).getEvents()) {
          events.add(event.getEventType() + " " + event.getKeyValue().getKey() + "=" + event.getKeyValue().getValue()
              + " was " + event.getPrevKV().getValue() + " at " + (event.getKeyValue().getModRevision() - start));
        }
      }
      saw("events", events);
      watcher.requestProgress();
      WatchResponse progress = seen.poll(WAIT_S, TimeUnit.SECONDS);
      saw("progress", progress.isProgressNotify() + " at " + (progress.getHeader().getRevision() - start));
    }
    now(kv.compact(start + 1));
    client.getWatchClient().watch(bytes("watched/a"), WatchOption.builder().withRevision(start).build(), response -> { }, failed::complete);
    Throwable error = failed.get(WAIT_S, TimeUnit.SECONDS);
    long compacted = error instanceof CompactedException refusal ? refusal.getCompactedRevision() - start : -1;
    saw("compacted", error.getMessage() + " at " + compacted);
  }

  static void namespace(Client client) throws Exception {
    try (Client own = builder().namespace(bytes("tenant/")).build()) {
      now(own.getKVClient().put(bytes("a"), bytes("1")));
      Cmp there = new Cmp(bytes("a"), Cmp.Op.GREATER, CmpTarget.createRevision(0));
      now(own.getKVClient().txn().If(there).Then(Op.put(bytes("b"), bytes("2"), PutOption.DEFAULT)).commit());
      saw("inside", show(now(own.getKVClient().get(ByteSequence.EMPTY, prefix())).getKvs()));
    }
    saw("outside", show(now(client.getKVClient().get(bytes("tenant/"), prefix())).getKvs()));
  }
}
