//! Plots as SVG: bars in groups, and lines.
use std::fmt::Display;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::versus::short;

/// Colours that people who see few of them can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];
const WIDTH: u32 = 800;
/// Of a line of text in a plot of bars, and of a bar.
const ROW: u32 = 18;
const MARGIN: i32 = 12;
/// How long the longest bar of a group is; its text stands behind.
const BAR_LONGEST: f64 = 520.0;

/// Why there is no plot.
#[derive(Debug, thiserror::Error)]
#[error("no plot {title}: {why}")]
pub struct PlotError {
    title: String,
    why: String,
}

/// Some values under one name.
pub struct Group {
    /// What is above them.
    pub name: String,
    /// Who has which.
    pub bars: Vec<(String, f64)>,
}

/// One line.
pub struct Line {
    /// Whose it is.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// What is written at the sides of lines.
pub struct Axes<'a> {
    /// Below.
    pub x: &'a str,
    /// At the left.
    pub y: &'a str,
    /// Whether equal steps to the right are equal factors.
    pub x_is_log: bool,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Bars in groups. Within a group they are as long as their values to one another; each tells its own.
///
/// # Errors
/// It cannot be drawn.
pub fn bars(title: &str, groups: &[Group]) -> Result<String, PlotError> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in groups.iter().flat_map(|group| &group.bars) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let rows: usize = groups.iter().map(|group| group.bars.len() + 2).sum();
    draw(title, ROW * (rows as u32 + 3), |area| {
        text(area, title, (MARGIN, MARGIN), 16)?;
        let mut top = MARGIN + 2 * ROW as i32;
        for group in groups {
            text(area, &group.name, (MARGIN, top), 13)?;
            let most = group.bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
            for (name, value) in &group.bars {
                // One name has one colour in all groups.
                let nth = names.iter().position(|one| one == name).unwrap_or(0);
                top += ROW as i32;
                let right = MARGIN + (BAR_LONGEST * value.max(0.0) / most) as i32;
                let corners = [(MARGIN, top), (right.max(MARGIN + 1), top + ROW as i32 - 4)];
                area.draw(&Rectangle::new(corners, colour(nth).filled())).map_err(told)?;
                text(area, &format!("{name} {}", short(*value)), (right + 6, top), 13)?;
            }
            top += 2 * ROW as i32;
        }
        Ok(())
    })
}

/// Lines, with their names in a corner. Points that a logarithmic axis does not have are left out.
///
/// # Errors
/// There is no point, or it cannot be drawn.
pub fn lines(title: &str, axes: &Axes<'_>, lines: &[Line]) -> Result<String, PlotError> {
    draw(title, 420, |area| {
        let kept: Vec<Line> = lines.iter().map(|line| line.within(axes)).collect();
        let points = || kept.iter().flat_map(|line| &line.points);
        let y = range(points().map(|point| point.1))?;
        let x = range(points().map(|point| point.0))?;
        if axes.x_is_log {
            lines_on(area, title, axes, (x.log_scale(), y), &kept)
        } else {
            lines_on(area, title, axes, (x, y), &kept)
        }
    })
}

impl Line {
    fn within(&self, axes: &Axes<'_>) -> Line {
        let fits = |(x, y): &&(f64, f64)| x.is_finite() && y.is_finite() && (!axes.x_is_log || *x > 0.0);
        Line { name: self.name.clone(), points: self.points.iter().filter(fits).copied().collect() }
    }
}

fn lines_on<X>(
    area: &Area<'_>,
    title: &str,
    axes: &Axes<'_>,
    (x, y): (X, Range<f64>),
    lines: &[Line],
) -> Result<(), String>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(MARGIN)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(x, y)
        .map_err(told)?;
    chart.configure_mesh().x_desc(axes.x).y_desc(axes.y).max_light_lines(0).draw().map_err(told)?;
    for (nth, line) in lines.iter().enumerate() {
        let colour = colour(nth);
        let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
        let drawn = chart.draw_series(series).map_err(told)?;
        drawn
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    let mut names = chart.configure_series_labels();
    names.position(SeriesLabelPosition::LowerRight).background_style(WHITE.mix(0.8)).border_style(BLACK);
    names.draw().map_err(told)
}

fn colour(nth: usize) -> RGBColor {
    COLOURS[nth % COLOURS.len()]
}

/// From the least to the most, and a little more where they are one.
fn range(values: impl Iterator<Item = f64>) -> Result<Range<f64>, String> {
    let (least, most) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
    match least.partial_cmp(&most) {
        Some(std::cmp::Ordering::Less) => Ok(least..most),
        Some(std::cmp::Ordering::Equal) => Ok(least..least + least.abs().max(1.0) / 10.0),
        _ => Err("there is no point".to_owned()),
    }
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), size: u32) -> Result<(), String> {
    area.draw(&Text::new(text.to_owned(), at, ("sans-serif", size).into_font())).map_err(told)
}

fn told(why: impl Display) -> String {
    why.to_string()
}

fn draw(
    title: &str,
    height: u32,
    content: impl FnOnce(&Area<'_>) -> Result<(), String>,
) -> Result<String, PlotError> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    let drawn = area.fill(&WHITE).map_err(told).and_then(|()| content(&area));
    let drawn = drawn.and_then(|()| area.present().map_err(told));
    drop(area);
    drawn.map(|()| svg).map_err(|why| PlotError { title: title.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_to_one_another() {
        let bars = [("one", 10.0), ("two", 5.0)].map(|(name, value)| (name.to_owned(), value)).to_vec();
        let without_one = Group { name: "get".to_owned(), bars: vec![("two".to_owned(), 1.0)] };
        let groups = [Group { name: "put <&> 1 KiB".to_owned(), bars }, without_one];
        let svg = super::bars("puts", &groups).expect("a plot");
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.starts_with("<rect"))
            .filter_map(|line| line.split_once("width=\"")?.1.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths[1..], [520.0, 260.0, 520.0], "{svg}");
        assert_eq!(svg.matches("#E69F00").count(), 2, "{svg}");
        assert!(svg.contains("one 10.00") && svg.contains("put &lt;&amp;&gt; 1 KiB"), "{svg}");
    }

    #[test]
    fn lines_need_points_that_their_axis_has() {
        let axes = |x_is_log| Axes { x: "ms", y: "part", x_is_log };
        let line = |points: &[(f64, f64)]| [Line { name: "Bramble".to_owned(), points: points.to_vec() }];
        let svg = lines("latency", &axes(true), &line(&[(0.0, 0.0), (1.0, 0.5), (100.0, 1.0)]));
        assert!(svg.expect("a plot").contains("polyline"));
        let none = lines("latency", &axes(true), &line(&[(0.0, 1.0)])).expect_err("no point");
        assert_eq!(none.to_string(), "no plot latency: there is no point");
        assert!(lines("one point", &axes(false), &line(&[(0.0, 3.0)])).is_ok());
    }
}
