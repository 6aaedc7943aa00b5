//! Keys, transactions, leases, watches.
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, EventType, GetOptions, GetResponse, KeyValue, KvClientPrefix,
    LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, WatchFilterType,
    WatchOptions, WatchStream,
};

use crate::{Outcome, refused, saw};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn show(kv: &KeyValue) -> String {
    format!("{}={} v{}", text(kv.key()), text(kv.value()), kv.version())
}

fn all(answer: &GetResponse) -> Vec<String> {
    answer.kvs().iter().map(show).collect()
}

pub async fn keys_and_values(mut client: Client) -> Outcome {
    client.put("greeting", "hello", None).await?;
    let before = client.put("greeting", "again", Some(PutOptions::new().with_prev_key())).await?;
    saw("before", before.prev_key().map(show));
    let kept = PutOptions::new().with_ignore_value();
    saw("kept", client.put("greeting", "", Some(kept.clone())).await.is_ok());
    saw("kept nothing", refused(client.put("missing", "", Some(kept)).await));
    for i in 0..6 {
        client.put(format!("list/{i}"), (9 - i).to_string(), None).await?;
    }
    let sorted =
        GetOptions::new().with_prefix().with_limit(2).with_sort(SortTarget::Value, SortOrder::Ascend);
    let page = client.get("list/", Some(sorted)).await?;
    saw("sorted by value", (all(&page), page.more(), page.count()));
    let range = GetOptions::new().with_range("list/3").with_serializable().with_keys_only();
    saw("range", all(&client.get("list/1", Some(range)).await?));
    saw("count", client.get("", Some(GetOptions::new().with_all_keys().with_count_only())).await?.count());
    saw("past", all(&client.get("greeting", Some(GetOptions::new().with_revision(2))).await?));
    let bounded = GetOptions::new().with_prefix().with_min_mod_revision(7).with_max_create_revision(8);
    saw("bounded", all(&client.get("list/", Some(bounded)).await?));
    let future = GetOptions::new().with_revision(1 << 40);
    saw("future", refused(client.get("greeting", Some(future)).await));
    let gone = client.delete("list/", Some(DeleteOptions::new().with_prefix().with_prev_key())).await?;
    saw("deleted", (gone.deleted(), gone.prev_kvs().iter().map(show).collect::<Vec<_>>()));
    saw("empty key", refused(client.put("", "x", None).await));
    saw("too large", refused(client.put("large", vec![0; 2 << 20], None).await));
    Ok(())
}

pub async fn transactions(mut client: Client) -> Outcome {
    client.put("balance", "7", None).await?;
    let inner = Txn::new()
        .when([Compare::lease("balance", CompareOp::Greater, 0)])
        .or_else([TxnOp::get("greeting", None)]);
    let transfer = Txn::new()
        .when([
            Compare::value("balance", CompareOp::Equal, "7"),
            Compare::version("missing", CompareOp::Equal, 0),
            Compare::mod_revision("greeting", CompareOp::Less, 100),
            Compare::create_revision("a", CompareOp::NotEqual, 7).with_range("b"),
        ])
        .and_then([TxnOp::put("balance", "8", None), TxnOp::txn(inner), TxnOp::get("balance", None)])
        .or_else([TxnOp::get("balance", None), TxnOp::delete("balance", None)]);
    for round in 0..2 {
        let answer = client.txn(transfer.clone()).await?;
        let answers = answer.op_responses();
        saw("succeeded", (round, answer.succeeded(), answers.iter().map(kind).collect::<Vec<_>>()));
    }
    saw("left", client.get("balance", None).await?.count());
    let twice = [TxnOp::put("twice", "1", None), TxnOp::put("twice", "2", None)];
    saw("twice", refused(client.txn(Txn::new().and_then(twice)).await));
    let many: Vec<TxnOp> = (0..129).map(|i| TxnOp::get(format!("{i}"), None)).collect();
    saw("too many", refused(client.txn(Txn::new().and_then(many)).await));
    Ok(())
}

fn kind(answer: &TxnOpResponse) -> String {
    match answer {
        TxnOpResponse::Put(_) => "put".to_string(),
        TxnOpResponse::Get(got) => format!("get {:?}", all(got)),
        TxnOpResponse::Delete(gone) => format!("delete {}", gone.deleted()),
        TxnOpResponse::Txn(inner) => format!("txn {}", inner.succeeded()),
    }
}

pub async fn leases(mut client: Client) -> Outcome {
    let lease = client.lease_grant(60, None).await?;
    client.put("leased", "x", Some(PutOptions::new().with_lease(lease.id()))).await?;
    let left = client.lease_time_to_live(lease.id(), Some(LeaseTimeToLiveOptions::new().with_keys())).await?;
    let keys: Vec<String> = left.keys().iter().map(|key| text(key)).collect();
    saw("lease", (left.granted_ttl(), left.ttl() > 50, keys));
    let (mut keeper, mut answers) = client.lease_keep_alive(lease.id()).await?;
    for _ in 0..2 {
        keeper.keep_alive().await?;
        saw("kept", answers.message().await?.map(|answer| answer.ttl()));
    }
    saw("listed", client.leases().await?.leases().iter().any(|one| one.id() == lease.id()));
    client.lease_revoke(lease.id()).await?;
    saw("gone", client.get("leased", None).await?.count());
    keeper.keep_alive().await?;
    saw("kept the dead", answers.message().await?.map(|answer| answer.ttl()));
    saw("revoked twice", refused(client.lease_revoke(lease.id()).await));
    let short = client.lease_grant(1, None).await?;
    client.put("short", "x", Some(PutOptions::new().with_lease(short.id()))).await?;
    let mut watch = client.watch("short", None).await?;
    saw("ended", events(&mut watch, 1).await?);
    Ok(())
}

async fn events(watch: &mut WatchStream, count: usize) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let response = watch.message().await?.ok_or("the watch ended")?;
        for event in response.events() {
            let kind = if event.event_type() == EventType::Put { "put" } else { "delete" };
            let before = event.prev_kv().map_or(String::new(), |kv| text(kv.value()));
            seen.push(format!("{kind} {} was {before:?}", event.kv().map_or(String::new(), show)));
        }
    }
    Ok(seen)
}

pub async fn watches(mut client: Client) -> Outcome {
    let start = client.put("watched/a", "1", None).await?.header().ok_or("a header")?.revision();
    let options = WatchOptions::new().with_prefix().with_prev_key().with_start_revision(start);
    let mut watch = client.watch("watched/", Some(options)).await?;
    let no_puts = WatchOptions::new().with_prefix().with_filters([WatchFilterType::NoPut]);
    let mut deletes = client.watch("watched/", Some(no_puts)).await?;
    client.put("watched/a", "2", None).await?;
    client
        .txn(Txn::new().and_then([TxnOp::put("watched/b", "3", None), TxnOp::delete("watched/a", None)]))
        .await?;
    saw("events", events(&mut watch, 4).await?);
    saw("deletes", events(&mut deletes, 1).await?);
    watch.request_progress().await?;
    let progress = watch.message().await?.ok_or("the watch ended")?;
    saw("progress", (progress.events().len(), progress.header().map(|header| header.revision() - start)));
    client.compact(start + 1, None).await?;
    let mut late = client.watch("watched/a", Some(WatchOptions::new().with_start_revision(start))).await?;
    let mut end = late.message().await?.ok_or("the watch ended")?;
    while !end.canceled() {
        end = late.message().await?.ok_or("the watch ended")?;
    }
    saw("compacted", (end.canceled(), end.compact_revision() - start));
    saw("compacted again", refused(client.compact(start, None).await));
    Ok(())
}

pub async fn namespace(mut client: Client) -> Outcome {
    let mut own = KvClientPrefix::new(client.kv_client(), "tenant/".into());
    own.put("a", "1", None).await?;
    own.txn(
        Txn::new().when([Compare::version("a", CompareOp::Equal, 1)]).and_then([TxnOp::put("b", "2", None)]),
    )
    .await?;
    saw("inside", all(&own.get("a", Some(GetOptions::new().with_range("z"))).await?));
    saw("outside", all(&client.get("tenant", Some(GetOptions::new().with_prefix())).await?));
    Ok(())
}
