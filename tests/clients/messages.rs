//! Answers in etcd's own binary form, made readable.
use bramble_proto::etcdserverpb::{
    CompactionResponse, DeleteRangeResponse, MemberListResponse, PutResponse, RangeResponse, TxnResponse,
};
use prost::Message;

/// The message of this name. What follows it on the last line is the newline that etcdctl prints.
pub fn show(name: &str, bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = match name {
        "CompactionResponse" => decoded::<CompactionResponse>(bytes),
        "DeleteRangeResponse" => decoded::<DeleteRangeResponse>(bytes),
        "MemberListResponse" => decoded::<MemberListResponse>(bytes),
        "PutResponse" => decoded::<PutResponse>(bytes),
        "RangeResponse" => decoded::<RangeResponse>(bytes),
        "TxnResponse" => decoded::<TxnResponse>(bytes),
        other => panic!("a script names {other}, which is not in the list"),
    };
    text + "\n"
}

fn decoded<M: Message + Default + std::fmt::Debug>(bytes: &[u8]) -> String {
    match M::decode(bytes) {
        Ok(message) => format!("{message:?}"),
        Err(error) => format!("{error} in {bytes:?}"),
    }
}
