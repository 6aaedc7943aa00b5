//! What members say of themselves.
use bramble_proto::etcdserverpb::StatusRequest;
use bramble_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use serde_json::json;

use crate::client::{ConnectError, Connection};
use crate::wear::{self, Wear};

/// One member's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Where it was asked.
    pub endpoint: String,
    /// The member that answered.
    pub member_id: u64,
    /// The cluster it belongs to.
    pub cluster_id: u64,
    /// The API version it reports.
    pub version: String,
    /// Its current revision.
    pub revision: i64,
    /// The leader it knows; 0 = none.
    pub leader: u64,
    /// Raft term, committed and applied index.
    pub term: u64,
    /// Newest committed index.
    pub committed_index: u64,
    /// Newest applied index.
    pub applied_index: u64,
    /// Bytes on disk.
    pub db_bytes: i64,
    /// Of these, in use.
    pub db_in_use_bytes: i64,
    /// What is wrong, in its own words.
    pub errors: Vec<String>,
    /// What it has written to its card; `None`: it does not tell, as etcd does not.
    pub wear: Option<Wear>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It refused.
    #[error("{endpoint} answers {code:?}: {text}")]
    Refused {
        /** Which endpoint. */
        endpoint: String,
        /** gRPC code. */
        code: tonic::Code,
        /** Its text. */
        text: String,
    },
}

/// Asks one endpoint.
///
/// # Errors
/// [`StatusError`].
pub async fn ask(connection: &Connection, endpoint: &str) -> Result<Status, StatusError> {
    let channel = connection.connect(endpoint).await?;
    let mut client = MaintenanceClient::new(channel.clone());
    let refused = |status: tonic::Status| StatusError::Refused {
        endpoint: endpoint.into(),
        code: status.code(),
        text: status.message().into(),
    };
    let answer = client.status(StatusRequest {}).await.map_err(refused)?.into_inner();
    let header = answer.header.unwrap_or_default();
    Ok(Status {
        endpoint: endpoint.into(),
        member_id: header.member_id,
        cluster_id: header.cluster_id,
        version: answer.version,
        revision: header.revision,
        leader: answer.leader,
        term: answer.raft_term,
        committed_index: answer.raft_index,
        applied_index: answer.raft_applied_index,
        db_bytes: answer.db_size,
        db_in_use_bytes: answer.db_size_in_use,
        errors: answer.errors,
        wear: wear::ask(channel).await,
    })
}

impl Status {
    /// For people: one fact a line.
    pub fn text(&self) -> String {
        let role = match self.leader {
            0 => "knows no leader".into(),
            leader if leader == self.member_id => "leads".into(),
            leader => format!("follows {leader:x}"),
        };
        let mut lines = vec![
            format!(
                "{}  member {:x} of cluster {:x}, {role} in term {}",
                self.endpoint, self.member_id, self.cluster_id, self.term
            ),
            format!("  version {}, revision {}", self.version, self.revision),
            format!("  raft index {} committed, {} applied", self.committed_index, self.applied_index),
            format!("  {} bytes on disk, {} in use", self.db_bytes, self.db_in_use_bytes),
        ];
        lines.extend(self.wear.iter().flat_map(Wear::lines).map(|line| format!("  {line}")));
        lines.extend(self.errors.iter().map(|error| format!("  error: {error}")));
        lines.join("\n")
    }

    /// For programs; ids in hexadecimal, as etcdctl writes them.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "endpoint": self.endpoint,
            "member_id": format!("{:x}", self.member_id),
            "cluster_id": format!("{:x}", self.cluster_id),
            "version": self.version,
            "revision": self.revision,
            "leader": format!("{:x}", self.leader),
            "raft_term": self.term,
            "raft_index": self.committed_index,
            "raft_applied_index": self.applied_index,
            "db_bytes": self.db_bytes,
            "db_in_use_bytes": self.db_in_use_bytes,
            "errors": self.errors,
            "card": self.wear.as_ref().map(Wear::json),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_roles_and_errors() {
        let status = Status {
            endpoint: "a:1".into(),
            member_id: 0x1f,
            cluster_id: 2,
            version: "3.6.11".into(),
            revision: 7,
            leader: 0x1f,
            term: 3,
            committed_index: 9,
            applied_index: 8,
            db_bytes: 4096,
            db_in_use_bytes: 100,
            errors: vec!["memberID:31 alarm:NOSPACE ".into()],
            wear: None,
        };
        let text = status.text();
        assert!(text.starts_with("a:1  member 1f of cluster 2, leads in term 3\n"), "{text}");
        assert!(text.ends_with("error: memberID:31 alarm:NOSPACE "), "{text}");
        assert!(Status { leader: 0, ..status.clone() }.text().contains("knows no leader"));
        assert_eq!(status.json()["leader"], "1f");
    }
}
