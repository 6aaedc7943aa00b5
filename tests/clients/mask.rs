//! Takes out of an answer what is each server's own: ids, ports, terms, times, picked leases.
use bramble_tests::process::Server;

/// What follows these words, up to the end of its field, is a time or a term.
const OWN: &[&str] = &[
    "\"raft_term\":",
    "\"RaftTerm\" : ",
    "raft_term: ",
    "took = ",
    "took ",
    "\"took\":",
    "\"Took\" : ",
    "remaining(",
    "\"ttl\":",
    "\"TTL\" : ",
    " ttl: ",
    // etcd 3.5 does not say which revision it hashed.
    "\"HashRevision\" : ",
];

/// Hexadecimal digits of a lease that a client picked for itself, at the end of a key.
const LEASE_DIGITS: std::ops::RangeInclusive<usize> = 12..=16;

/// One server's own words.
pub struct Mask {
    /// The member's id.
    pub member: u64,
    /// The lease granted last, as printed.
    pub lease: String,
    cluster: u64,
    leases: Vec<String>,
    ports: (u16, u16),
}

impl Mask {
    /// Knows the server's addresses.
    pub fn new(server: &Server) -> Mask {
        Mask { member: 0, lease: String::new(), cluster: 0, leases: Vec::new(), ports: server.ports }
    }

    /// Reads the ids from an answer in JSON.
    pub fn learn_ids(&mut self, answer: &str) {
        self.cluster = number_after(answer, "\"cluster_id\":");
        self.member = number_after(answer, "\"member_id\":");
    }

    /// Reads the id of a lease from the answer to its grant, in the format `simple` or `fields`.
    pub fn learn_lease(&mut self, answer: &str) {
        if let Some(rest) = answer.strip_prefix("lease ") {
            self.lease = rest.split(' ').next().unwrap_or_default().to_string();
            self.leases.push(self.lease.clone());
        } else if answer.contains("\"ID\" : ") {
            let id = number_after(answer, "\"ID\" : ");
            self.leases.push(format!("{id:x}"));
        }
    }

    /// The text without what is this server's own.
    pub fn take_out(&self, text: &str) -> String {
        let mut text = text.to_string();
        for (id, name) in [(self.cluster, "CLUSTER"), (self.member, "MEMBER")] {
            text = text.replace(&id.to_string(), name).replace(&format!("{id:x}"), name);
        }
        let (client, peer) = self.ports;
        text = text.replace(&format!("127.0.0.1:{client}"), "SERVER");
        text = text.replace(&format!("127.0.0.1:{peer}"), "PEER");
        for lease in &self.leases {
            let decimal = i64::from_str_radix(lease, 16).unwrap_or_default().to_string();
            text = text.replace(lease, "LEASE").replace(&decimal, "LEASE");
        }
        for before in OWN {
            text = mask_after(&text, before);
        }
        text.lines().map(|line| pickled(&squeezed(line)) + "\n").collect()
    }
}

/// Columns are as wide as the ids in them. Plain lines until etcdctl 3.6, drawn ones from 3.7 on.
fn squeezed(line: &str) -> String {
    if line.starts_with(['|', '+', '│', '┌', '├', '└']) {
        line.replace(['-', '─'], "").split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        line.to_string()
    }
}

/// `name/694d…` becomes `name/LEASE`.
fn pickled(line: &str) -> String {
    match line.rsplit_once('/') {
        Some((name, digits))
            if LEASE_DIGITS.contains(&digits.len())
                && digits.chars().all(|letter| letter.is_ascii_hexdigit()) =>
        {
            format!("{name}/LEASE")
        }
        _ => line.to_string(),
    }
}

fn mask_after(text: &str, before: &str) -> String {
    let mut parts = text.split(before);
    let mut masked = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find([',', '}', ')', '\n', ' ']).unwrap_or(part.len());
        masked.push_str(before);
        masked.push('#');
        masked.push_str(&part[end..]);
    }
    masked
}

fn number_after(text: &str, before: &str) -> u64 {
    let from = text.find(before).expect("a number in the answer") + before.len();
    let digits: String = text[from..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("an id")
}
