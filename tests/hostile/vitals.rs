//! How a server process is, seen from outside: its memory by the kernel's count, its budgets by /metrics.
use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a mebibyte.
pub const MIB: u64 = 1 << 20;

/// Resident memory of a process in bytes: now, and the most there was.
pub fn resident(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
        let kib = line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number of kB");
        kib * 1024
    };
    (bytes("VmRSS:"), bytes("VmHWM:"))
}

/// From now on the most is counted anew.
pub fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("our own child's peak can be reset");
}

/// What clients have taken of each kind of budget.
pub type Budgets = BTreeMap<String, u64>;

/// `bramble_budget_used` by kind; the request that asks is in it.
pub async fn budgets(server: SocketAddr) -> Budgets {
    let rows = scrape(server).await;
    let rows = rows.lines().filter_map(|line| line.strip_prefix("bramble_budget_used{kind=\""));
    let row = |row: &str| {
        let (kind, value) = row.split_once("\"} ").expect("a label and a value");
        (kind.to_string(), value.parse::<f64>().expect("a number") as u64)
    };
    rows.map(row).collect()
}

/// Everything that /metrics says.
pub async fn scrape(server: SocketAddr) -> String {
    let mut stream = TcpStream::connect(server).await.expect("the port is open");
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Processor time a process has taken, in ticks of a hundredth of a second.
pub fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let (_, behind) = stat.rsplit_once(')').expect("Linux says it");
    let fields: Vec<&str> = behind.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number of ticks")).sum()
}

/// Processor time of the whole machine: in use, and in all.
pub fn busy_ticks() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").expect("Linux has it");
    let line = stat.lines().next().expect("the first line is of all processors");
    // user nice system idle iowait irq softirq steal; guests' time is in the first two.
    let fields = line.split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = fields.map(|field| field.parse().expect("a number of ticks")).collect();
    let all = ticks.iter().sum::<u64>();
    (all - ticks[3] - ticks[4], all)
}
