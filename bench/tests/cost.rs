//! The model of cards against what was published of real ones, and against a second model on recorded traces.
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use bramble_bench::cardsim::cost::{Model, Preset, Report, Trace};
use bramble_store::disk::sim::Rng;
use flate2::read::GzDecoder;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn preset(name: &str) -> Preset {
    Preset::named(name).unwrap_or_else(|| panic!("there is no card {name}"))
}

fn trace(name: &str) -> Trace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces").join(format!("{name}.trace.gz"));
    let file = File::open(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    Trace::read(BufReader::new(GzDecoder::new(file))).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// The last digit that was printed, and a hundredth.
fn near(ours: f64, theirs: f64, digit: f64) -> bool {
    (ours - theirs).abs() <= digit.max(theirs * 0.01)
}

/// `cost.table` is what the model that the presets were fitted with, written in another language, says of traces
/// recorded under ext4: four shapes of a log, two with grouped writes, etcd, and k3s's SQLite with two settings.
#[test]
fn recorded_traces_cost_what_the_fitted_model_says() {
    let mut rows = 0;
    for row in include_str!("cost.table").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<_> = row.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<f64>().expect("a number");
        let report = Report::replay(&mut Model::new(preset(words[0])), &trace(words[1]), 3);
        let puts = report.puts as f64;
        let (kb, ms) = (1e3 * puts, 1e3);
        let found = [
            ("host KB", report.host_bytes as f64 / kb, 0.06),
            ("ms", report.busy_s() / puts * ms, 0.006),
            ("p99 ms", report.quantile_s(0.99) * ms, 0.06),
            ("longest ms", report.quantile_s(1.0) * ms, 0.06),
            ("flash KB", report.wear.nand_bytes as f64 / kb, 0.06),
            ("padding KB", report.wear.padding_bytes as f64 / kb, 0.06),
        ];
        for (at, (what, ours, digit)) in found.into_iter().enumerate() {
            let theirs = number(at + 2);
            assert!(near(ours, theirs, digit), "{} {}: {what} {ours} for {theirs}", words[0], words[1]);
        }
        rows += 1;
    }
    assert_eq!(rows, 81, "nine cards, nine traces");
}

/// KB/s at which a card takes writes.
fn speed(model: &mut Model, writes: impl Iterator<Item = (u64, u64)>) -> f64 {
    let (mut bytes, mut seconds) = (0, 0.0);
    for (offset, length) in writes {
        bytes += length;
        seconds += model.write(offset, length);
    }
    bytes as f64 / 1e3 / seconds
}

/// Speeds of writes of 4, 16, 128, 512 and 1,024 KiB in KB/s, as users measured and published them: in a row, and
/// all over a file of 100 MB.
const PUBLISHED: [(&str, [u32; 5], [u32; 5]); 7] = [
    ("cheap", [1312, 5998, 8686, 9199, 9308], [138, 38, 307, 1230, 2340]),
    ("ultra8", [2347, 6261, 10803, 10352, 7832], [644, 84, 708, 2637, 5303]),
    ("a1", [3523, 11383, 32768, 52901, 59780], [5888, 17431, 30835, 50015, 57174]),
    ("a1_ultra", [3976, 7848, 14261, 17336, 15794], [3619, 8458, 14653, 16309, 17353]),
    ("a2", [1971, 7193, 30657, 46646, 50939], [2324, 10498, 22742, 42485, 47495]),
    ("industrial", [2675, 7958, 15785, 29209, 32347], [3012, 7138, 15745, 25490, 31149]),
    ("emmc", [9113, 26820, 43550, 45873, 47050], [9103, 25484, 39000, 44290, 44586]),
];
const SIZES: [u64; 5] = [4, 16, 128, 512, 1024];

/// How far a model of a card may be off: what the fit left over. The small random writes of good cards are better
/// than the model, which knows nothing of their tricks.
const OFF: std::ops::RangeInclusive<f64> = 0.55..=1.55;
/// Most of all points are much nearer.
const USUALLY_OFF: std::ops::RangeInclusive<f64> = 0.8..=1.2;

#[test]
fn published_speeds_are_met() {
    let (mut all, mut near) = (0, 0);
    for (card, in_a_row, anywhere) in PUBLISHED {
        let model = || Model::new(Preset { flush_s: preset(card).flush_s.map(|_| 0.0), ..preset(card) });
        for (at, size) in SIZES.into_iter().map(|kib| kib * KIB).enumerate() {
            let places = 100 * MIB / size;
            let count = places.min(2000);
            let mut rng = Rng::new(1);
            let row = speed(&mut model(), (0..count).map(|place| (place * size, size)));
            let wild = speed(&mut model(), (0..count).map(|_| (rng.below(places) * size, size)));
            for (how, ours, theirs) in [("in a row", row, in_a_row[at]), ("anywhere", wild, anywhere[at])] {
                let ratio = ours / f64::from(theirs);
                println!("{card} {:4} KiB {how}: {ours:.0} KB/s, {theirs} measured, {ratio:.2}", size / KIB);
                assert!(OFF.contains(&ratio), "{card} {} KiB {how}: {ours:.0} for {theirs}", size / KIB);
                all += 1;
                near += u32::from(USUALLY_OFF.contains(&ratio));
            }
        }
    }
    println!("{near} of {all} within a fifth");
    assert!(near * 10 >= all * 8, "{near} of {all} within a fifth");
}

/// An old card whose five open streams are more than it can have open: 4 to 1,024 KiB, in KB/s.
#[test]
fn more_streams_than_a_card_can_have_open_cost_what_was_published() {
    let ftl = bramble_bench::cardsim::cost::Ftl::Hybrid { open_max: 2, log_pages: 1, small_s: 0.0 };
    let card = Preset { ftl, bytes_per_s: 4e6, copied_per_s: 19.4e6, erase_s: 0.0, ..preset("cheap") };
    for (kib, theirs) in [(4, 19.0), (16, 76.0), (64, 297.0), (256, 868.0), (1024, 2840.0)] {
        let size = kib * KIB;
        let streams = (0..200).map(|i| ((i % 5) * 4 * MIB + (i / 5) * size % (4 * MIB), size));
        let ours = speed(&mut Model::new(card), streams);
        assert!((0.85..=1.15).contains(&(ours / theirs)), "{kib} KiB: {ours:.0} KB/s, {theirs} measured");
    }
}

/// What the shape of a log costs on the worst card is why ours is as it is.
#[test]
fn the_shape_of_a_log_decides_how_long_a_card_lives() {
    let life = |name: &str| {
        let report = Report::replay(&mut Model::new(preset("cheap")), &trace(name), 3);
        report.life_years(32e9, report.puts as f64 / 3.0)
    };
    let [appended, over, etcd] = ["append", "overwrite_4k", "etcd_10_per_s"].map(life);
    assert!(etcd < appended && appended * 3.0 < over, "{etcd:.1}, {appended:.1} and {over:.1} years");
}

#[test]
fn a_line_that_is_none_is_named() {
    let wrong = Trace::read("# puts 3\n0.0 WS 0 4096\n0.1 WS x 4096\n".as_bytes());
    assert!(wrong.is_err_and(|why| why.to_string().contains("line 3")));
    let reads = Trace::read("0.0 RS 0 4096\n".as_bytes());
    assert!(reads.is_err());
}
