//! What is told: Markdown for people, JSON for programs, plots; and whether it counts.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bramble_bench::plot::{self, Axes, Line};
use bramble_bench::versus::{Figures, Measured, Plot, Report, Rival, Spread, short};
use serde_json::{Value, json};

use crate::board::{Facts, Kind};
use crate::course::{Course, Part};

/// The columns of the table of shapes.
const OF_A_SHAPE: [&str; 7] =
    ["per s", "p50 µs", "p99 µs", "max µs", "device B/op", "writes/op", "flushes/op"];

/// A run, ready to be told.
pub struct Account {
    /// What its figures are of.
    pub kind: Kind,
    /// Whether it was too short for its figures to mean something.
    pub quick: bool,
    /// The machine.
    pub board: Facts,
    /// The folder's place.
    pub place: Facts,
    /// Why the whole does not count, beside what parts say.
    pub reasons: Vec<String>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
    /// What was measured.
    pub course: Course,
}

impl Account {
    /// Why it does not count: nothing when it does.
    pub fn invalid(&self) -> Vec<String> {
        let parts = self.course.shapes.iter().chain(&self.course.workloads);
        let disturbed = parts.flat_map(|part| {
            part.watched.reasons.iter().map(move |reason| format!("{}: {reason}", part.title()))
        });
        let failed = self.course.failures.iter().map(|failure| {
            format!(
                "{} in run {} was not measured to its end: {}",
                failure.rival.name(),
                failure.run,
                failure.why
            )
        });
        self.reasons.iter().cloned().chain(failed).chain(disturbed).collect()
    }

    /// The verdict in one line.
    pub fn verdict(&self) -> String {
        let what = match (self.invalid().is_empty(), self.quick) {
            (true, false) => "VALID",
            (true, true) => "VALID as a check that everything works; too short for its figures to be quoted",
            (false, _) => "INVALID",
        };
        format!("{what} ({})", self.kind)
    }

    /// Writes all files into `dir`, which must not be there.
    ///
    /// # Errors
    /// What cannot be written or drawn.
    pub fn write(&self, dir: &Path) -> Result<(), String> {
        let told = |path: &Path, why: std::io::Error| format!("cannot write {}: {why}", path.display());
        fs::create_dir_all(dir.join("plots")).map_err(|why| told(dir, why))?;
        let plots = self.plots()?;
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|why| told(&path, why))
        };
        for plot in &plots {
            write(&format!("plots/{}", plot.file), &plot.svg)?;
        }
        write("report.md", &self.markdown(&plots))?;
        write("report.json", &format!("{:#}\n", self.json()))
    }

    fn markdown(&self, plots: &[Plot]) -> String {
        let mut text = format!("# Bramble on a card\n\n**{}**\n\n", self.verdict());
        for reason in self.invalid() {
            let _ = writeln!(text, "- {reason}");
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "- left out: {left_out}");
        }
        for (title, facts) in [("The machine", &self.board), ("The disk", &self.place)] {
            let _ = writeln!(text, "\n## {title}\n\n| | |\n|---|---|");
            for (name, fact) in facts {
                let _ = writeln!(text, "| {name} | {} |", fact.replace('|', "\\|"));
            }
        }
        let _ = writeln!(text, "\n## The shapes of a log ({})\n\n{}", self.kind, self.shapes());
        let _ = writeln!(
            text,
            "## The workloads ({})\n\n{}",
            self.kind,
            self.workloads().markdown(self.kind.word())
        );
        let _ = writeln!(text, "## Plots ({})\n", self.kind);
        for plot in plots {
            let _ = writeln!(text, "![{}](plots/{})\n", plot.title, plot.file);
        }
        text
    }

    fn shapes(&self) -> String {
        let mut runs: Vec<(&str, Vec<Figures>)> = Vec::new();
        for part in &self.course.shapes {
            let figures = part.measured.figures.clone();
            match runs.iter_mut().find(|(name, _)| *name == part.name) {
                Some((_, runs)) => runs.push(figures),
                None => runs.push((&part.name, vec![figures])),
            }
        }
        let mut text = format!("| {} | {} |\n", self.kind.word(), OF_A_SHAPE.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(OF_A_SHAPE.len()));
        for (name, runs) in &runs {
            let cell = |figure: &&str| {
                Spread::of(runs, figure).map_or("–".to_owned(), |spread| short(spread.median))
            };
            let _ = writeln!(
                text,
                "| {name} | {} |",
                OF_A_SHAPE.iter().map(cell).collect::<Vec<_>>().join(" | ")
            );
        }
        text
    }

    fn workloads(&self) -> Report {
        let mut report = Report::default();
        for part in &self.course.workloads {
            let Measured { figures, curve } = &part.measured;
            let measured = Measured { figures: figures.clone(), curve: curve.clone() };
            report.add_measured(&part.name, part.rival, measured);
        }
        report
    }

    fn plots(&self) -> Result<Vec<Plot>, String> {
        let what = self.kind.to_string();
        let mut plots = self.workloads().plots(&what).map_err(|why| why.to_string())?;
        let shapes = self.course.shapes.iter().filter(|part| part.run == 1).map(|part| {
            let points = part.measured.curve.iter().map(|(of_all, us)| (*us as f64 / 1e3, of_all * 100.0));
            Line { name: part.name.clone(), points: points.collect() }
        });
        let shapes: Vec<Line> = shapes.collect();
        if shapes.iter().any(|line| !line.points.is_empty()) {
            let title = format!("The shapes of a log: how long writes took ({what})");
            let axes = Axes { x: "ms", y: "percent took no longer", x_is_log: true };
            let svg = plot::lines(&title, &axes, &shapes).map_err(|why| why.to_string())?;
            plots.insert(0, Plot { file: "shapes.svg".to_owned(), title, svg });
        }
        Ok(plots)
    }

    fn json(&self) -> Value {
        let parts = |parts: &[Part]| parts.iter().map(|part| part.json(&self.kind)).collect::<Vec<_>>();
        json!({
            "figures_are_of": self.kind.word(),
            "which": self.kind.to_string(),
            "valid": self.invalid().is_empty(),
            "quick": self.quick,
            "invalid_because": self.invalid(),
            "left_out": self.left_out,
            "machine": self.board,
            "disk": self.place,
            "shapes": parts(&self.course.shapes),
            "workloads": parts(&self.course.workloads),
        })
    }
}

impl Part {
    fn title(&self) -> String {
        match self.rival {
            Rival::Bare => format!("{}, run {}", self.name, self.run),
            rival => format!("{} of {}, run {}", self.name, rival.name(), self.run),
        }
    }

    fn json(&self, kind: &Kind) -> Value {
        let samples =
            self.watched.samples.first().map(|first| {
                self.watched.samples.iter().map(|sample| sample.json(first)).collect::<Vec<_>>()
            });
        let took_us: BTreeMap<String, u64> =
            self.measured.curve.iter().map(|(part, us)| (part.to_string(), *us)).collect();
        json!({
            "figures_are_of": kind.word(),
            "name": self.name,
            "who": self.rival.name(),
            "run": self.run,
            "invalid_because": self.watched.reasons,
            "figures": self.measured.figures,
            "took_us": took_us,
            "samples": samples,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::Failure;
    use crate::watch::Watched;

    fn part(name: &str, rival: Rival, reasons: &[&str]) -> Part {
        let figures = Figures::from([("per s", 10.0), ("device B/op", 4096.0)]);
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        let watched = Watched { reasons, ..Watched::default() };
        let measured = Measured { figures, curve: vec![(0.5, 900), (1.0, 2000)] };
        Part { run: 1, name: name.to_owned(), rival, measured, watched }
    }

    fn account(kind: Kind, reasons: &[&str]) -> Account {
        let shapes = vec![part("append", Rival::Bare, &[])];
        let workloads = vec![
            part("2,000 keys, 3 puts/s", Rival::Bramble, reasons),
            part("2,000 keys, 3 puts/s", Rival::Sqlite, &[]),
        ];
        Account {
            kind,
            quick: false,
            board: Facts::from([("model".to_owned(), "Pi".to_owned())]),
            place: Facts::from([("cid".to_owned(), "0353".to_owned())]),
            reasons: Vec::new(),
            left_out: vec!["etcd: not found".to_owned()],
            course: Course { shapes, workloads, failures: Vec::new() },
        }
    }

    #[test]
    fn an_undisturbed_run_counts() {
        let account = account(Kind::Board("Pi".to_owned()), &[]);
        assert_eq!(account.verdict(), "VALID (board: Pi)");
        assert_eq!(account.json()["valid"], true);
    }

    #[test]
    fn a_throttled_or_disturbed_run_does_not_count_and_says_why() {
        for reason in ["the processors were throttled", "others wrote 900 KiB in 60 s: apt"] {
            let account = account(Kind::Board("Pi".to_owned()), &[reason]);
            assert_eq!(account.verdict(), "INVALID (board: Pi)");
            let text = account.markdown(&[]);
            assert!(text.contains(&format!("- 2,000 keys, 3 puts/s of Bramble, run 1: {reason}")), "{text}");
            let json = account.json();
            assert_eq!(
                (&json["valid"], &json["workloads"][0]["invalid_because"][0]),
                (&json!(false), &json!(reason))
            );
        }
        let mut failed = account(Kind::Board("Pi".to_owned()), &[]);
        failed.course.failures.push(Failure { run: 2, rival: Rival::Etcd, why: "it ended".to_owned() });
        assert!(failed.verdict().starts_with("INVALID"));
        failed.course.failures.clear();
        failed.reasons.push("nothing tells".to_owned());
        assert!(failed.verdict().starts_with("INVALID"));
    }

    #[test]
    fn every_figure_says_what_it_is_of() {
        let account = account(Kind::Model("the card is cardsim's".to_owned()), &[]);
        let plots = account.plots().expect("plots");
        assert!(plots.len() >= 4 && plots.iter().all(|plot| plot.svg.contains("model: the card")));
        let text = account.markdown(&plots);
        let corners = text.lines().filter(|line| line.starts_with("| model | "));
        // A row of the machine's facts begins alike.
        assert_eq!(corners.count(), 1 + 1 + 1, "{text}");
        assert!(text.contains("| append | 10.00 | – | – | – | 4096 |"), "{text}");
        let json = account.json();
        for part in json["shapes"].as_array().into_iter().chain(json["workloads"].as_array()).flatten() {
            assert_eq!(part["figures_are_of"], "model");
            assert_eq!(part["took_us"]["0.5"], 900);
        }
    }
}
