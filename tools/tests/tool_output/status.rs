//! What `bramblectl status` prints of a member on a card. The README shows the same text.
use bramble_tools::status::Status;
use bramble_tools::wear::Wear;

use crate::readme::in_the_readme;

/// As a member on a card tells it, shortened.
const ACCOUNT: &str = r#"{
  "date": "2026-11-22",
  "windows": {
    "today": {"own_bytes": 41000000, "flushes": 5100, "write_amplification": {"own": 3.14}},
    "7d": {"own_bytes": 280000000, "flushes": 36000, "write_amplification": {"own": 3.2}},
    "30d": {"own_bytes": 1210000000, "flushes": 154000, "write_amplification": {"own": 3.18}},
    "all": {"own_bytes": 3720000000, "flushes": 470100, "write_amplification": {"own": 3.21}}
  },
  "device": {"name": "mmcblk0", "capacity_bytes": 31914983424},
  "projected_life": {"years": 21.4, "estimate": true, "bytes_per_day": 408000000, "of": "device", "window": "30d"},
  "emmc": {"life_time_a": 1, "life_time_b": 2, "pre_eol": 1, "pre_eol_meaning": "good"}
}"#;

fn status() -> Status {
    Status {
        endpoint: "127.0.0.1:2379".into(),
        member_id: 0xae29_1ae0_6a4b_66cc,
        cluster_id: 0xa2f9_3cd1_21f0_27cf,
        version: "3.6.11".into(),
        revision: 52_003,
        leader: 0xae29_1ae0_6a4b_66cc,
        term: 3,
        committed_index: 52_017,
        applied_index: 52_017,
        db_bytes: 9_437_184,
        db_in_use_bytes: 6_029_312,
        errors: Vec::new(),
        wear: Wear::read(ACCOUNT.as_bytes()),
    }
}

pub fn sample() {
    let sample = format!("```console\n$ bramblectl status\n{}\n```\n", status().text());
    in_the_readme("status", &sample);
}

#[test]
fn programs_get_the_account_as_the_member_tells_it() {
    let told: serde_json::Value = serde_json::from_str(ACCOUNT).expect("JSON");
    assert_eq!(status().json()["card"], told);
    let silent = Status { wear: None, ..status() };
    assert!(silent.json()["card"].is_null() && !silent.text().contains("card"), "{}", silent.text());
}
