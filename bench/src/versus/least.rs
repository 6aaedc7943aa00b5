//! What is compared beside etcd, each behind the two RPCs that a put and a get need.
//!
//! *Echo* answers without looking: what gRPC alone costs. *SQLite* keeps rows as k3s does (kine's table, its
//! indexes, its way to write), with each commit synced: k3s leaves that to chance, we compare like with like.
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::kv_server::{Kv, KvServer};
use bramble_proto::mvccpb::KeyValue;
use rusqlite::{Connection, OptionalExtension, params};
use tonic::{Request, Response, Status};

/// kine's table and indexes.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS kine (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER,
        create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
    CREATE INDEX IF NOT EXISTS kine_name_index ON kine (name);
    CREATE INDEX IF NOT EXISTS kine_name_id_index ON kine (name,id);
    CREATE INDEX IF NOT EXISTS kine_id_deleted_index ON kine (id,deleted);
    CREATE INDEX IF NOT EXISTS kine_prev_revision_index ON kine (prev_revision);
    CREATE UNIQUE INDEX IF NOT EXISTS kine_name_prev_revision_uindex ON kine (name, prev_revision);
    CREATE INDEX IF NOT EXISTS kine_list_query_index ON kine (name, id DESC, deleted);";
const NEWEST: &str = "SELECT id, create_revision, value FROM kine WHERE name = ? ORDER BY id DESC LIMIT 1";
const INSERT: &str = "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, \
     old_value) VALUES (?, ?, 0, ?, ?, 0, ?, ?)";
const LIST: &str = "SELECT name, id, create_revision, value FROM kine WHERE id IN \
     (SELECT MAX(id) FROM kine WHERE name >= ? AND name < ? GROUP BY name) AND deleted = 0 ORDER BY name LIMIT ?";

/// Serves an echo for ever.
///
/// # Errors
/// The address cannot be had.
pub async fn serve_echo(listen: SocketAddr) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder().add_service(KvServer::new(Least::Echo)).serve(listen).await
}

/// Serves SQLite for ever.
///
/// # Errors
/// The address or the file cannot be had.
pub async fn serve_sqlite(listen: SocketAddr, dir: &Path) -> Result<(), String> {
    let sqlite = open(dir).map_err(|why| why.to_string())?;
    let least = Least::Sqlite(Arc::new(Mutex::new(sqlite)));
    let server = tonic::transport::Server::builder().add_service(KvServer::new(least));
    server.serve(listen).await.map_err(|why| why.to_string())
}

fn open(dir: &Path) -> rusqlite::Result<Connection> {
    let sqlite = Connection::open(dir.join("state.db"))?;
    sqlite.pragma_update(None, "journal_mode", "WAL")?;
    sqlite.pragma_update(None, "synchronous", "FULL")?;
    sqlite.execute_batch(SCHEMA)?;
    Ok(sqlite)
}

enum Least {
    Echo,
    Sqlite(Arc<Mutex<Connection>>),
}

impl Least {
    /// SQLite's work, off the threads that serve.
    async fn sqlite<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let Least::Sqlite(sqlite) = self else { return Ok(Response::new(T::default())) };
        let sqlite = sqlite.clone();
        let done =
            tokio::task::spawn_blocking(move || work(&mut sqlite.lock().expect("nobody panics with it")));
        let done = done.await.map_err(|why| Status::internal(why.to_string()))?;
        done.map(Response::new).map_err(|why| Status::internal(why.to_string()))
    }
}

fn put(sqlite: &mut Connection, put: &pb::PutRequest) -> rusqlite::Result<pb::PutResponse> {
    let transaction = sqlite.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let (name, value) = (String::from_utf8_lossy(&put.key), &put.value[..]);
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let newest: Option<(i64, i64, Vec<u8>)> =
        transaction.prepare_cached(NEWEST)?.query_row([&name], row).optional()?;
    let mut insert = transaction.prepare_cached(INSERT)?;
    match newest {
        None => insert.execute(params![name, 1, 0, 0, value, None::<Vec<u8>>])?,
        Some((id, created, old)) => {
            insert.execute(params![name, 0, if created == 0 { id } else { created }, id, value, old])?
        }
    };
    drop(insert);
    let revision = transaction.last_insert_rowid();
    transaction.commit()?;
    Ok(pb::PutResponse { header: header(revision), prev_kv: None })
}

fn range(sqlite: &mut Connection, range: &pb::RangeRequest) -> rusqlite::Result<pb::RangeResponse> {
    let end =
        if range.range_end.is_empty() { [&range.key[..], &[0]].concat() } else { range.range_end.to_vec() };
    let limit = if range.limit > 0 { range.limit } else { i64::MAX };
    let mut list = sqlite.prepare_cached(LIST)?;
    let (from, end) = (String::from_utf8_lossy(&range.key), String::from_utf8_lossy(&end));
    let rows = list.query_map(params![from, end, limit], |row| {
        let (name, id, created, value): (String, i64, i64, Vec<u8>) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let create_revision = if created == 0 { id } else { created };
        Ok(KeyValue {
            key: name.into(),
            value: value.into(),
            mod_revision: id,
            create_revision,
            version: 1,
            lease: 0,
        })
    })?;
    let kvs = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(pb::RangeResponse { header: header(0), more: false, count: kvs.len() as i64, kvs })
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn not_compared<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not compared"))
}

#[tonic::async_trait]
impl Kv for Least {
    type RangeStreamStream = tokio_stream::Empty<Result<pb::RangeStreamResponse, Status>>;

    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        self.sqlite(move |sqlite| range(sqlite, request.get_ref())).await
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        self.sqlite(move |sqlite| put(sqlite, request.get_ref())).await
    }

    async fn range_stream(
        &self,
        _: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        not_compared()
    }

    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        not_compared()
    }

    async fn txn(&self, _: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        not_compared()
    }

    async fn compact(
        &self,
        _: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        not_compared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_keeps_what_was_put_and_lists_the_newest() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut sqlite = open(dir.path()).expect("a database");
        for (key, value) in [("/a/1", "old"), ("/a/2", "two"), ("/a/1", "new"), ("/b/1", "other")] {
            put(&mut sqlite, &pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() })
                .expect("a put");
        }
        let list = pb::RangeRequest { key: "/a/".into(), range_end: "/a0".into(), ..Default::default() };
        let kvs = range(&mut sqlite, &list).expect("a range").kvs;
        let told: Vec<_> =
            kvs.iter().map(|kv| (&kv.key[..], &kv.value[..], kv.create_revision, kv.mod_revision)).collect();
        assert_eq!(told, [(&b"/a/1"[..], &b"new"[..], 1, 3), (&b"/a/2"[..], &b"two"[..], 2, 2)]);
        let get = pb::RangeRequest { key: "/b/1".into(), ..Default::default() };
        assert_eq!(range(&mut sqlite, &get).expect("a get").kvs.len(), 1);
    }
}
