//! The server's own locks and elections, its members and maintenance, its users.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, CampaignResponse, Client, Error, GetOptions, LockOptions, Permission,
    PermissionType, ProclaimOptions, ResignOptions,
};

use crate::{Outcome, connect, endpoint, refused, saw};

/// How long somebody who must wait is watched.
const WAITS: Duration = Duration::from_millis(200);

async fn lease(client: &mut Client) -> Result<i64, Error> {
    Ok(client.lease_grant(60, None).await?.id())
}

pub async fn locks(mut client: Client) -> Outcome {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for _ in 0..4 {
        let (mut own, inside, most) = (client.clone(), inside.clone(), most.clone());
        workers.push(tokio::spawn(async move {
            let lease = lease(&mut own).await?;
            for _ in 0..3 {
                let held = own.lock("lock", Some(LockOptions::new().with_lease(lease))).await?;
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                own.unlock(held.key()).await?;
            }
            Ok::<(), Error>(())
        }));
    }
    for worker in workers {
        worker.await??;
    }
    saw("most at once", most.load(Ordering::SeqCst));
    let first = lease(&mut client).await?;
    let held = client.lock("held", Some(LockOptions::new().with_lease(first))).await?;
    saw("its key", held.key() == format!("held/{first:x}").as_bytes());
    let mut other = client.clone();
    // Without a lease the server makes one of its own.
    let mut waiting = tokio::spawn(async move { other.lock("held", None).await });
    saw("waits", tokio::time::timeout(WAITS, &mut waiting).await.is_err());
    client.lease_revoke(first).await?;
    let key = waiting.await??.key().to_vec();
    client.unlock(key).await?;
    saw("a dead lease", refused(client.lock("held", Some(LockOptions::new().with_lease(first))).await));
    saw("no name", refused(client.lock("", None).await));
    Ok(())
}

pub async fn election(mut client: Client) -> Outcome {
    saw("nobody", refused(client.leader("office").await));
    // The answer begins with the first leader, so it cannot be waited for here.
    let mut observer = client.clone();
    let observed = tokio::spawn(async move { observer.observe("office").await });
    let own = lease(&mut client).await?;
    let one = campaign(&mut client, "one", own).await?;
    let mut observed = observed.await??;
    saw("observed", value(observed.message().await?));
    let still = ProclaimOptions::new().with_leader(one.leader().ok_or("a leader")?.clone());
    client.proclaim("still one", Some(still.clone())).await?;
    saw("observed", value(observed.message().await?));
    saw("leader", value(Some(client.leader("office").await?)));
    let (mut other, next) = (client.clone(), lease(&mut client).await?);
    let mut two = tokio::spawn(async move { campaign(&mut other, "two", next).await });
    saw("waits", tokio::time::timeout(WAITS, &mut two).await.is_err());
    let resign = ResignOptions::new().with_leader(one.leader().ok_or("a leader")?.clone());
    client.resign(Some(resign)).await?;
    let two = two.await??;
    saw("observed", value(observed.message().await?));
    saw("its revision", two.leader().is_some_and(|leader| leader.rev() > 0 && leader.lease() == next));
    saw("after the end", refused(client.proclaim("no", Some(still)).await));
    Ok(())
}

async fn campaign(client: &mut Client, what: &str, lease: i64) -> Result<CampaignResponse, Error> {
    client.campaign("office", what, lease).await
}

fn value(answer: Option<etcd_client::LeaderResponse>) -> Option<String> {
    let kv = answer.as_ref()?.kv()?;
    Some(String::from_utf8_lossy(kv.value()).into_owned())
}

pub async fn members(mut client: Client) -> Outcome {
    let list = client.member_list().await?;
    let member = list.members().first().ok_or("a member")?;
    saw("members", (list.members().len(), member.name(), member.is_learner()));
    saw("client URLs", member.client_urls() == [endpoint()]);
    saw("itself", client.move_leader(member.id()).await.is_ok());
    saw("nobody", refused(client.move_leader(77).await));
    Ok(())
}

pub async fn maintenance(mut client: Client) -> Outcome {
    let status = client.status().await?;
    saw("sizes", status.db_size() >= status.raft_used_db_size() && status.raft_used_db_size() > 0);
    saw("raft", status.raft_index() >= status.raft_applied_index() && status.raft_applied_index() > 0);
    saw("state", (status.is_learner(), status.errors()));
    client.defragment().await?;
    let hash = client.hash_kv(0).await?;
    saw("hash", (hash.hash() == client.hash_kv(0).await?.hash(), hash.compact_version() > 0));
    saw("hash of all", client.hash().await.is_ok());
    saw("hash of the future", refused(client.hash_kv(1 << 40).await));
    let raised = client.alarm(AlarmAction::Activate, AlarmType::Nospace, None).await?;
    saw(
        "raised",
        raised.alarms().iter().map(|alarm| alarm.alarm() == AlarmType::Nospace).collect::<Vec<_>>(),
    );
    saw("put", refused(client.put("full", "x", None).await));
    saw("grant", refused(client.lease_grant(60, None).await));
    saw("delete", client.delete("full", None).await.is_ok());
    client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None).await?;
    saw("left", client.alarm(AlarmAction::Get, AlarmType::None, None).await?.alarms().len());
    client.put("full", "not any more", None).await?;
    Ok(())
}

pub async fn auth(mut client: Client) -> Outcome {
    for name in ["root", "sue"] {
        client.user_add(name, "secret", None).await?;
        client.role_add(name).await?;
        client.user_grant_role(name, name).await?;
    }
    client.role_grant_permission("sue", Permission::read_write("sue/").with_prefix()).await?;
    client.role_grant_permission("sue", Permission::read("shared")).await?;
    client.auth_enable().await?;
    saw("nobody", refused(client.get("sue/a", None).await));
    saw("wrong", refused(connect(Some(("sue", "wrong"))).await));
    let mut sue = connect(Some(("sue", "secret"))).await?;
    let mut root = connect(Some(("root", "secret"))).await?;
    sue.put("sue/a", "hers", None).await?;
    saw("shared", (refused(sue.get("shared", None).await), refused(sue.put("shared", "x", None).await)));
    saw("too wide", refused(sue.get("su", Some(GetOptions::new().with_prefix())).await));
    saw("not her business", refused(sue.user_add("x", "y", None).await));
    saw("a lock of hers", refused(sue.lock("sue/lock", None).await));
    saw("a lock of another's", refused(sue.lock("lock", None).await));
    let role = root.role_get("sue").await?;
    for permission in role.permissions() {
        let both = permission.get_type() == PermissionType::Readwrite as i32;
        saw("granted", (both, permission.key_str()?.to_string(), permission.is_prefix()));
    }
    saw("users", root.user_list().await?.users());
    root.user_change_password("sue", "other").await?;
    saw("the old password", refused(connect(Some(("sue", "secret"))).await));
    let mut again = connect(Some(("sue", "other"))).await?;
    root.role_revoke_permission("sue", "shared", None).await?;
    again.refresh_token().await?;
    saw("taken away", refused(again.get("shared", None).await));
    root.user_revoke_role("sue", "sue").await?;
    again.refresh_token().await?;
    saw("nothing left", refused(again.get("sue/a", None).await));
    root.user_delete("sue").await?;
    root.role_delete("sue").await?;
    root.auth_disable().await?;
    saw("open again", client.get("sue/a", None).await?.count());
    Ok(())
}
