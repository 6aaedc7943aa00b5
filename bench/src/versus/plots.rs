//! A report as plots: figures as bars, how long requests took as lines.
use super::report::{Report, Spread, Told};
use crate::plot::{self, Axes, Group, Line, PlotError};

/// The figures that have a plot, the file's name, and what is said above.
const FIGURES: [(&str, &str, &str); 7] = [
    ("per s", "rate", "Requests a second: more is better"),
    ("p50 µs", "p50", "Half of the requests took no longer, µs"),
    ("p99 µs", "p99", "99 of 100 requests took no longer, µs"),
    ("device B/op", "device-bytes", "Bytes that the device was sent for a request"),
    ("flushes/op", "flushes", "Flushes that the device was sent for a request"),
    ("CPU µs/op", "cpu", "Time of a processor that the server took for a request, µs"),
    ("RSS MB", "memory", "Memory that the server held, MB"),
];

/// A file.
pub struct Plot {
    /// Its name, with an ending.
    pub file: String,
    /// What it shows.
    pub title: String,
    /// It.
    pub svg: String,
}

impl Report {
    /// A plot of each figure, the medians of the runs, and one of each scene's times. `what` is said behind each title.
    ///
    /// # Errors
    /// One cannot be drawn.
    pub fn plots(&self, what: &str) -> Result<Vec<Plot>, PlotError> {
        let mut plots = Vec::new();
        for (figure, file, title) in FIGURES {
            let groups: Vec<Group> = self.scenes.iter().filter_map(|told| told.group(figure)).collect();
            if !groups.is_empty() {
                let title = format!("{title} ({what})");
                plots.push(Plot { file: format!("{file}.svg"), svg: plot::bars(&title, &groups)?, title });
            }
        }
        for told in &self.scenes {
            let lines: Vec<Line> = told.lines();
            if lines.iter().any(|line| !line.points.is_empty()) {
                let title = format!("{}: how long requests took ({what})", told.name);
                let axes = Axes { x: "ms", y: "percent took no longer", x_is_log: true };
                let svg = plot::lines(&title, &axes, &lines)?;
                plots.push(Plot { file: format!("latency-{}.svg", file_name(&told.name)), title, svg });
            }
        }
        Ok(plots)
    }
}

impl Told {
    fn group(&self, figure: &str) -> Option<Group> {
        let bars = self
            .rivals
            .iter()
            .filter_map(|(rival, runs)| Some((rival.name().to_owned(), Spread::of(runs, figure)?.median)));
        let bars: Vec<_> = bars.collect();
        (!bars.is_empty()).then(|| Group { name: self.name.clone(), bars })
    }

    fn lines(&self) -> Vec<Line> {
        let lines = self.curves.iter().map(|(rival, curve)| {
            let points = curve.iter().map(|(part, us)| (*us as f64 / 1e3, part * 100.0)).collect();
            Line { name: rival.name().to_owned(), points }
        });
        lines.collect()
    }
}

/// Letters, digits and lines between them.
fn file_name(scene: &str) -> String {
    let words = scene.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::{Figures, Measured, Rival};

    #[test]
    fn what_was_measured_has_its_plot_and_nothing_else() {
        let mut report = Report::default();
        for (rival, p99) in [(Rival::Bramble, 3.0), (Rival::Sqlite, 9.0)] {
            let figures = Figures::from([("p99 µs", p99)]);
            report.add_measured(
                "put 1 KiB, 3/s",
                rival,
                Measured { figures, curve: vec![(0.5, 1), (1.0, 3)] },
            );
        }
        report.add("idle", Rival::Bramble, Figures::from([("RSS MB", 20.0)]));
        let plots = report.plots("emulation").expect("plots");
        let files: Vec<_> = plots.iter().map(|plot| plot.file.as_str()).collect();
        assert_eq!(files, ["p99.svg", "memory.svg", "latency-put-1-kib-3-s.svg"]);
        assert!(plots.iter().all(|plot| plot.title.contains("emulation") && plot.svg.contains("emulation")));
        assert!(plots[0].svg.contains("SQLite 9.000") && !plots[0].svg.contains("idle"));
    }
}
