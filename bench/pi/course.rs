//! The course of a run: the shapes of a log, and then each workload on each server, one after the other.
use std::path::Path;
use std::time::Duration;

use bramble_bench::disk::Asked;
use bramble_bench::load::{self, Times, Work};
use bramble_bench::shape::{Log, Shape};
use bramble_bench::versus::{Figures, Measured, Programs, Rival, Running, Scene, data, scene};
use tempfile::TempDir;

use crate::place::Place;
use crate::quiet::{self, Window};
use crate::watch::{Watch, Watched};

const RIVALS: &[Rival] = &[Rival::Sqlite];

/// Puts of 1 KiB. Four clients keep a pace that one on a slow card cannot.
const fn put(name: &'static str, keys: u64, clients: u32, rate: Option<f64>) -> Scene {
    Scene { rate, ..scene(name, Work::Put, data(keys, 1024), clients, RIVALS) }
}

/// The workloads by how many keys there are, all of which are put once before.
const WORKLOADS: [[Scene; 5]; 2] = [
    [
        put("2,000 keys, 3 puts/s", 2000, 4, Some(3.0)),
        put("2,000 keys, 10 puts/s", 2000, 4, Some(10.0)),
        put("2,000 keys, 20 puts/s", 2000, 4, Some(20.0)),
        put("2,000 keys, 1 client", 2000, 1, None),
        put("2,000 keys, 16 clients", 2000, 16, None),
    ],
    [
        put("50,000 keys, 3 puts/s", 50_000, 4, Some(3.0)),
        put("50,000 keys, 10 puts/s", 50_000, 4, Some(10.0)),
        put("50,000 keys, 20 puts/s", 50_000, 4, Some(20.0)),
        put("50,000 keys, 1 client", 50_000, 1, None),
        put("50,000 keys, 16 clients", 50_000, 16, None),
    ],
];

/// The shapes, as fast as they go, and the least of them at a pace: a file system writes its journal by the clock.
const SHAPES: [(Shape, Option<f64>); 6] = [
    (Shape::Append, None),
    (Shape::Fallocate, None),
    (Shape::OverwriteTail, None),
    (Shape::Overwrite4k, None),
    (Shape::Overwrite16k, None),
    (Shape::Overwrite4k, Some(10.0)),
];

/// How long everything is.
#[derive(Clone, Copy)]
pub struct Lengths {
    pub paced: Duration,
    pub closed: Duration,
    pub shape: Duration,
    pub window: Window,
    /// How many of [`WORKLOADS`] are played.
    pub workloads: usize,
}

/// One thing that was measured.
pub struct Part {
    pub run: u32,
    pub name: String,
    pub rival: Rival,
    pub measured: Measured,
    pub watched: Watched,
}

/// Something that could not be measured.
pub struct Failure {
    pub run: u32,
    pub rival: Rival,
    pub why: String,
}

/// All that was.
#[derive(Default)]
pub struct Course {
    pub shapes: Vec<Part>,
    pub workloads: Vec<Part>,
    pub failures: Vec<Failure>,
}

/// Who measures what where.
pub struct Plan<'a> {
    pub place: &'a Place,
    pub programs: &'a Programs,
    pub rivals: &'a [Rival],
    pub lengths: Lengths,
    /// Only workloads whose name contains this.
    pub only: &'a str,
    pub runs: u32,
}

impl Plan<'_> {
    /// Does it all. Where a server fails, what it was still to do is left out, and that is told.
    pub async fn run(&self) -> Course {
        let mut course = Course::default();
        for run in 1..=self.runs {
            if let Err(why) = self.shapes(run, &mut course).await {
                course.failures.push(Failure { run, rival: Rival::Bare, why });
            }
            for scenes in &WORKLOADS[..self.lengths.workloads] {
                for rival in self.rivals {
                    eprintln!("run {run} of {}: {}, {} keys", self.runs, rival.name(), scenes[0].data.keys);
                    if let Err(why) = self.workloads(run, *rival, scenes, &mut course).await {
                        eprintln!("{} failed: {why}", rival.name());
                        course.failures.push(Failure { run, rival: *rival, why });
                    }
                }
            }
        }
        course
    }

    async fn shapes(&self, run: u32, course: &mut Course) -> Result<(), String> {
        for (shape, rate) in SHAPES {
            let name = rate.map_or(shape.name().to_owned(), |rate| format!("{}, {rate}/s", shape.name()));
            eprintln!("run {run} of {}: {name}", self.runs);
            let folder = self.folder()?;
            let mut log = Log::make(shape, folder.path()).map_err(|why| format!("{name}: {why}"))?;
            let reason = self.quiet(None)?;
            let length = if rate.is_some() { self.lengths.paced } else { self.lengths.shape };
            let watch = Watch::begin(self.place.device.clone(), None, length);
            let before = self.asked()?;
            let times = tokio::task::spawn_blocking(move || log.run(rate, length));
            let times = times.await.map_err(told)?.map_err(|why| format!("{name}: {why}"))?;
            let asked = self.asked()?.zip(before).map(|(now, then)| now - then);
            let mut watched = watch.end();
            watched.reasons.extend(reason);
            let measured = told_of(&times, asked);
            course.shapes.push(Part { run, name, rival: Rival::Bare, measured, watched });
        }
        Ok(())
    }

    async fn workloads(
        &self,
        run: u32,
        rival: Rival,
        scenes: &[Scene],
        course: &mut Course,
    ) -> Result<(), String> {
        if !scenes.iter().any(|scene| scene.name.contains(self.only)) {
            return Ok(());
        }
        let folder = self.folder()?;
        let server = Running::start(rival, self.programs, folder.path()).await.map_err(told)?;
        let filler = scenes[0].connect(&server).await?;
        load::fill(&filler, &scenes[0].data, 1).await.map_err(|why| format!("filling: {why}"))?;
        for scene in scenes.iter().filter(|scene| scene.name.contains(self.only)) {
            let channels = scene.connect(&server).await?;
            let reason = self.quiet(Some(server.id()))?;
            eprintln!("  {}", scene.name);
            let length = if scene.rate.is_some() { self.lengths.paced } else { self.lengths.closed };
            let device = self.place.device.as_ref();
            let watch = Watch::begin(device.cloned(), Some(server.id()), length);
            let measured = scene.measure(&server, &channels, device, length).await;
            let mut watched = watch.end();
            let mut measured = measured?;
            watched.reasons.extend(reason);
            measured.figures.extend(watched.figures());
            course.workloads.push(Part { run, name: scene.name.to_owned(), rival, measured, watched });
        }
        Ok(())
    }

    /// A folder of our own on the card, until it is dropped.
    fn folder(&self) -> Result<TempDir, String> {
        let dir: &Path = &self.place.dir;
        let made = tempfile::Builder::new().prefix("bramble-pi-").tempdir_in(dir);
        made.map_err(|why| format!("cannot make a folder in {}: {why}", dir.display()))
    }

    fn quiet(&self, server: Option<u32>) -> Result<Option<String>, String> {
        let (place, window) = (self.place, self.lengths.window);
        quiet::wait(&place.dir, place.device.as_ref(), server, window).map_err(told)
    }

    fn asked(&self) -> Result<Option<Asked>, String> {
        self.place.device.as_ref().map(|device| device.asked().map_err(told)).transpose()
    }
}

fn told(why: impl std::fmt::Display) -> String {
    why.to_string()
}

fn told_of(times: &Times, asked: Option<Asked>) -> Measured {
    let [p50, _, p99, _] = times.quantiles_us;
    let mut figures = Figures::from([
        ("per s", times.per_s),
        ("p50 µs", p50 as f64),
        ("p99 µs", p99 as f64),
        ("max µs", times.max_us as f64),
    ]);
    figures.extend(asked.into_iter().flat_map(|asked| asked.figures(times.count as f64)));
    Measured { figures, curve: times.curve.clone() }
}
