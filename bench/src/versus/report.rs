//! Many runs as one table: medians, spread, and how many times etcd's each is.
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::rival::Rival;
use super::scene::{Curve, Figures, Measured};

/// Figures of all runs, by scene (in their order), by rival.
#[derive(Default)]
pub struct Report {
    pub(super) scenes: Vec<Told>,
}

/// What is told of a scene.
pub(super) struct Told {
    pub name: String,
    pub rivals: BTreeMap<Rival, Vec<Figures>>,
    /// How long requests took, in the first run.
    pub curves: BTreeMap<Rival, Curve>,
}

/// The middle, the least and the most of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of a figure that some of the runs have.
    pub fn of(runs: &[Figures], name: &str) -> Option<Spread> {
        let mut seen: Vec<f64> = runs.iter().filter_map(|run| run.get(name).copied()).collect();
        seen.sort_by(f64::total_cmp);
        let (least, most) = (*seen.first()?, *seen.last()?);
        Some(Spread { median: (seen[(seen.len() - 1) / 2] + seen[seen.len() / 2]) / 2.0, least, most })
    }

    fn text(self) -> String {
        let Spread { median, least, most } = self;
        if least == most {
            short(median)
        } else {
            format!("{} ({}–{})", short(median), short(least), short(most))
        }
    }
}

/// Four digits, no more.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

impl Report {
    /// Takes the figures of one run in.
    pub fn add(&mut self, scene: &str, rival: Rival, figures: Figures) {
        self.told(scene).rivals.entry(rival).or_default().push(figures);
    }

    /// Takes in what one run of a scene took.
    pub fn add_measured(&mut self, scene: &str, rival: Rival, measured: Measured) {
        self.add(scene, rival, measured.figures);
        self.told(scene).curves.entry(rival).or_insert(measured.curve);
    }

    fn told(&mut self, scene: &str) -> &mut Told {
        let at = self.scenes.iter().position(|told| told.name == scene).unwrap_or_else(|| {
            let (name, rivals, curves) = (scene.to_owned(), BTreeMap::new(), BTreeMap::new());
            self.scenes.push(Told { name, rivals, curves });
            self.scenes.len() - 1
        });
        &mut self.scenes[at]
    }

    /// As Markdown: for each scene its figures, a column for each rival. `what` is in the corner of each table.
    pub fn markdown(&self, what: &str) -> String {
        let mut text = String::new();
        for Told { name: scene, rivals, .. } in &self.scenes {
            let names: Vec<&str> = rivals.keys().map(|rival| rival.name()).collect();
            let _ = writeln!(text, "### {scene}\n\n| {what} | {} | Bramble ÷ etcd |", names.join(" | "));
            let _ = writeln!(text, "|---|{}---|", "---|".repeat(names.len()));
            for name in figure_names(rivals) {
                let spreads: Vec<_> = rivals.values().map(|runs| Spread::of(runs, name)).collect();
                let cells: Vec<_> =
                    spreads.iter().map(|spread| spread.map_or("–".to_owned(), Spread::text)).collect();
                let ratio = ratio(rivals, name).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
                let _ = writeln!(text, "| {name} | {} | {ratio} |", cells.join(" | "));
            }
            text.push('\n');
        }
        text
    }

    /// Every figure of every run.
    pub fn json(&self) -> Value {
        let scenes = self.scenes.iter().map(|told| {
            let runs: BTreeMap<_, _> = told.rivals.iter().map(|(rival, runs)| (rival.name(), runs)).collect();
            (told.name.clone(), json!(runs))
        });
        Value::Object(scenes.collect())
    }
}

fn figure_names(rivals: &BTreeMap<Rival, Vec<Figures>>) -> Vec<&'static str> {
    let all = rivals.values().flatten().flat_map(|figures| figures.keys().copied());
    let mut names: Vec<_> = all.collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn ratio(rivals: &BTreeMap<Rival, Vec<Figures>>, name: &str) -> Option<f64> {
    let median = |rival| Some(Spread::of(rivals.get(&rival)?, name)?.median);
    let (ours, theirs) = (median(Rival::Bramble)?, median(Rival::Etcd)?);
    (theirs > 0.0).then_some(ours / theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_told_by_their_median_and_their_spread() {
        let mut report = Report::default();
        for (rival, values) in [(Rival::Bramble, [30.0, 10.0, 20.0]), (Rival::Etcd, [80.0, 80.0, 80.0])] {
            for value in values {
                report.add("scene", rival, Figures::from([("per s", value)]));
            }
        }
        let text = report.markdown("board");
        assert!(text.contains("| board | Bramble | etcd | Bramble ÷ etcd |"), "{text}");
        assert!(text.contains("| per s | 20.00 (10.00–30.00) | 80.00 | 0.25 |"), "{text}");
        assert_eq!(report.json()["scene"]["Bramble"][1]["per s"], 10.0);
        let even = [1.0, 2.0, 4.0, 9.0].map(|value| Figures::from([("x", value)]));
        assert_eq!(Spread::of(&even, "x").map(|spread| spread.median), Some(3.0));
        assert_eq!(Spread::of(&even, "y"), None);
    }
}
