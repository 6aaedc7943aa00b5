//! The card section of a status: what the member has written, and how long its device lasts.
//!
//! Bramble tells it as JSON at `/debug/wear`, on the port that serves gRPC; etcd does not, and then nothing is said.
use http::Request;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceExt;

/// The account has a few KiB.
const BYTES_MAX: usize = 1 << 20;

/// The account of one member.
#[derive(Clone, Debug, PartialEq)]
pub struct Wear(Value);

/// Asks over a connection that is open; `None`: it does not tell.
pub async fn ask(channel: Channel) -> Option<Wear> {
    let request = Request::get("/debug/wear").body(Body::empty()).ok()?;
    let answer = channel.oneshot(request).await.ok().filter(|answer| answer.status().is_success())?;
    let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await.ok()?;
    Wear::read(&body.to_bytes())
}

impl Wear {
    /// Of the member's JSON; `None`: it is something else.
    pub fn read(json: &[u8]) -> Option<Wear> {
        let account: Value = serde_json::from_slice(json).ok()?;
        account.get("windows")?.is_object().then_some(Wear(account))
    }

    /// As the member tells it.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.card()];
        for (window, name) in [("today", "today"), ("30d", "in 30 days"), ("all", "in all")] {
            lines.extend(self.written(window, name));
        }
        lines.extend(self.emmc());
        lines
    }

    /// Its name, its size, and how long such a one lasts.
    fn card(&self) -> String {
        let device = &self.0["device"];
        let name = device["name"].as_str().unwrap_or("that cannot be seen");
        let size = device["capacity_bytes"].as_u64().map(|size| format!(" of {}", bytes(size)));
        let life = &self.0["projected_life"];
        let years = life["years"].as_f64().map(|years| {
            let guessed = life["estimate"].as_bool().unwrap_or(true);
            let how =
                if guessed { "a guess; --card-endurance makes it better" } else { "by --card-endurance" };
            format!(": a new one lasts {years:.1} years at this pace ({how})")
        });
        format!("card {name}{}{}", size.unwrap_or_default(), years.unwrap_or_default())
    }

    /// What was written in a time, and how much more that is than clients wrote.
    fn written(&self, window: &str, name: &str) -> Option<String> {
        let counts = &self.0["windows"][window];
        let (own, flushes) = (counts["own_bytes"].as_u64()?, counts["flushes"].as_u64()?);
        let times = counts["write_amplification"]["own"].as_f64();
        let times = times.map(|times| format!(", {times:.1} for each of clients"));
        Some(format!("  written {name}: {} in {flushes} flushes{}", bytes(own), times.unwrap_or_default()))
    }

    /// What eMMC says of itself.
    fn emmc(&self) -> Option<String> {
        let emmc = &self.0["emmc"];
        let (a, b) = (emmc["life_time_a"].as_u64()?, emmc["life_time_b"].as_u64()?);
        let spare = emmc["pre_eol_meaning"].as_str().unwrap_or("not told");
        Some(format!("  eMMC says: {a} and {b} tenths of its life are used, spare blocks: {spare}"))
    }
}

/// A size as data sheets write it.
fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", count as f64 / *unit as f64),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let counts = r#"{"own_bytes": 999, "flushes": 1, "write_amplification": {"own": null}}"#;
        let account = format!(r#"{{"windows": {{"today": {counts}}}, "device": null, "emmc": null}}"#);
        let wear = Wear::read(account.as_bytes()).expect("an account");
        assert_eq!(wear.lines(), ["card that cannot be seen", "  written today: 999 B in 1 flushes"]);
    }

    #[test]
    fn another_answer_is_no_account() {
        for other in ["", "404 page not found", "[]", r#"{"windows": 7}"#, r#"{"health":"true"}"#] {
            assert_eq!(Wear::read(other.as_bytes()), None, "{other}");
        }
    }
}
